//! The embedded model as trainer and player: on one thread of its own, which the system runs after everything else.

mod desk;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use domain::{AgentId, Digest};
use local_model::{
    AdamW, Adapter, Engine, Event, FinishReason, Model, ModelError, Request, Sampling, SubmitError, Trainee, Watch,
};

use crate::backend::{
    BackendError, Batch, Facts, Files, Handle, Normalisation, Opening, Passed, Played, Player, Prompt, Stepped,
    Trainer, Version, Work,
};
use desk::Desk;

/// The embedded model: trains on a thread of its own, answers with the engine that serves.
pub struct Embedded {
    model: Arc<Model>,
    engine: Arc<Engine>,
    serving: Arc<dyn Serving>,
    desk: Arc<Desk>,
    loaded: Mutex<HashMap<Version, Loaded>>,
}

/// An adapter that has a name here.
struct Loaded {
    adapter: Arc<Adapter>,
    /// How many loads of it were not taken back yet.
    times: usize,
}

/// Who answers agents' turns with the engine.
pub trait Serving: Send + Sync {
    /// From now on this agent's turns are answered with this adapter; none: with the model alone.
    fn serve(&self, agent: &AgentId, adapter: Option<Served>);
}

/// An adapter that serves.
#[derive(Clone, Debug)]
pub struct Served {
    /// Which one of the agent's.
    pub generation: u64,
    /// The name of its folder.
    pub folder: String,
    /// What its files are, together: whoever reads them again can tell.
    pub digest: Digest,
    /// The model that it changes.
    pub base: Digest,
    /// The adapter.
    pub adapter: Arc<Adapter>,
}

impl Embedded {
    /// Trains `model` for whoever `engine` answers; `serving` hands each turn its adapter.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(model: Arc<Model>, engine: Arc<Engine>, serving: Arc<dyn Serving>) -> Result<Arc<Self>, BackendError> {
        let desk = Arc::new(Desk::start()?);
        Ok(Arc::new(Embedded { model, engine, serving, desk, loaded: Mutex::default() }))
    }

    /// Ends what is being trained, and waits for the thread. The engine goes on.
    pub async fn close(&self) {
        self.desk.close().await;
    }

    fn adapter(&self, version: Option<&Version>) -> Result<Option<Arc<Adapter>>, BackendError> {
        let Some(version) = version else { return Ok(None) };
        let loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let adapter = loaded.get(version).map(|loaded| loaded.adapter.clone());
        let missing = || BackendError::Failed(format!("{}@{} is not loaded", version.agent, version.generation));
        Ok(Some(adapter.ok_or_else(missing)?))
    }
}

impl Trainer for Embedded {
    fn facts(&self) -> Facts {
        let info = self.model.info();
        Facts {
            base_name: info.name.clone(),
            base: info.sha256,
            vocab: info.vocab,
            context: info.context.min(self.engine.context()),
            normalisation: Normalisation::Sum,
        }
    }

    fn open(&self, from: Opening) -> Work<'_, Box<dyn Handle>> {
        Box::pin(async move {
            let model = self.model.clone();
            let open = move || match from {
                Opening::Fresh { shape, seed } => Trainee::fresh(model, shape, seed),
                Opening::Checkpoint(files) => Trainee::from_files(model, &files),
            };
            let trainee = self.desk.run(None, open).await?;
            let (desk, base) = (self.desk.clone(), self.model.info().name.clone());
            Ok(Box::new(Learner { steps: trainee.steps(), trainee: Some(trainee), desk, base }) as Box<dyn Handle>)
        })
    }
}

/// An adapter in training. It goes to the thread with each piece of work and comes back with its outcome; if the outcome is not
/// known, it does not come back.
struct Learner {
    trainee: Option<Trainee>,
    steps: u64,
    desk: Arc<Desk>,
    base: String,
}

impl Learner {
    async fn work<T: Send + 'static>(
        &mut self,
        watch: Option<Arc<Watch>>,
        work: impl FnOnce(&mut Trainee) -> Result<T, ModelError> + Send + 'static,
    ) -> Result<T, BackendError> {
        let used = || BackendError::Failed("the handle was used after its outcome was lost".to_owned());
        let mut trainee = self.trainee.take().ok_or_else(used)?;
        let both = move || {
            let done = work(&mut trainee)?;
            Ok((trainee, done))
        };
        let (trainee, done) = self.desk.run(watch, both).await?;
        self.steps = trainee.steps();
        self.trainee = Some(trainee);
        Ok(done)
    }
}

impl Handle for Learner {
    fn steps(&self) -> u64 {
        self.steps
    }

    fn forward_backward(&mut self, work: Batch, watch: Arc<Watch>) -> Work<'_, Passed> {
        Box::pin(async move {
            let seen = watch.clone();
            let pass = move |trainee: &mut Trainee| {
                trainee.forward_backward(&work.data, work.loss, work.threads.max(1), &seen)
            };
            let report = self.work(Some(watch), pass).await?;
            Ok(Passed { loss: report.loss, drift: report.drift, clipped: report.clipped, tokens: report.tokens })
        })
    }

    fn optim_step(&mut self, adam: AdamW) -> Work<'_, Stepped> {
        Box::pin(async move {
            let done = self.work(None, move |trainee| trainee.optim_step(&adam)).await?;
            Ok(Stepped {
                gradient_norm: done.grad_norm,
                update_norm: done.update_norm,
                parameter_norm: done.parameter_norm,
            })
        })
    }

    fn save(&mut self) -> Work<'_, Files> {
        Box::pin(async move {
            let base = self.base.clone();
            Ok(self.work(None, move |trainee| trainee.to_files(&base)).await?.into())
        })
    }
}

impl Player for Embedded {
    fn load<'a>(&'a self, version: &'a Version, files: Files) -> Work<'a, ()> {
        Box::pin(async move {
            let (model, name) = (self.model.clone(), format!("{}@{}", version.agent, version.generation));
            let read = move || Adapter::from_files(name, &model, &files);
            let adapter = Arc::new(self.desk.run(None, read).await?);
            let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
            loaded.entry(version.clone()).or_insert(Loaded { adapter, times: 0 }).times += 1;
            Ok(())
        })
    }

    fn unload<'a>(&'a self, version: &'a Version) -> Work<'a, ()> {
        Box::pin(async move {
            let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(found) = loaded.get_mut(version) {
                found.times -= 1;
                // Turns under way hold it themselves.
                if found.times == 0 {
                    loaded.remove(version);
                }
            }
            Ok(())
        })
    }

    fn sample<'a>(&'a self, version: Option<&'a Version>, prompt: Prompt) -> Work<'a, Played> {
        Box::pin(async move {
            let sampling =
                Sampling { seed: Some(prompt.seed), max_tokens: Some(prompt.max_tokens), ..Sampling::default() };
            let request = Request {
                tokens: Some(prompt.tokens),
                sampling,
                adapter: self.adapter(version)?,
                ..Request::default()
            };
            let mut events = self.engine.submit(request)?;
            let mut text = String::new();
            while let Some(event) = events.recv().await {
                match event {
                    Event::Text(more) => text.push_str(&more),
                    Event::Done(finish) => {
                        return Ok(Played { trace: finish.trace, text, ended: finish.reason == FinishReason::Stop });
                    }
                    Event::Failed(error) => return Err(error.into()),
                }
            }
            Err(BackendError::Stopped)
        })
    }

    fn is_idle(&self) -> bool {
        self.engine.is_idle()
    }

    fn score<'a>(&'a self, version: Option<&'a Version>, tokens: Arc<[u32]>, from: usize) -> Work<'a, Vec<f32>> {
        Box::pin(async move {
            let (model, adapter) = (self.model.clone(), self.adapter(version)?);
            let score = move || {
                let (prompt, answer) = tokens.split_at(from.min(tokens.len()));
                model.logprobs(prompt, answer, adapter.as_deref())
            };
            self.desk.run(None, score).await
        })
    }

    fn serve<'a>(&'a self, agent: &'a AgentId, version: Option<&'a Version>) -> Work<'a, ()> {
        Box::pin(async move {
            let served = version.zip(self.adapter(version)?).map(|(version, adapter)| Served {
                generation: version.generation,
                folder: version.folder.clone(),
                digest: version.digest,
                base: self.model.info().sha256,
                adapter,
            });
            self.serving.serve(agent, served);
            // Whoever serves it holds it from now on, and may put it aside.
            if let Some(version) = version {
                self.unload(version).await?;
            }
            Ok(())
        })
    }
}

impl From<ModelError> for BackendError {
    fn from(error: ModelError) -> Self {
        match error {
            ModelError::Stopped | ModelError::Interrupted => BackendError::Stopped,
            error => BackendError::Failed(error.to_string()),
        }
    }
}

impl From<SubmitError> for BackendError {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::Busy { .. } => BackendError::Busy,
            SubmitError::Stopped => BackendError::Stopped,
        }
    }
}
