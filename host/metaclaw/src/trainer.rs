//! The host as training sees it: how each agent is trained, on which model, and how an adapter comes to answer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::available_parallelism;
use std::time::Duration;

use ::config::{LossKind, RlConfig, Untrained};
use adapters::{Checkpoint, Shelf};
use agents::{AdapterSource, Host, ServedAdapter};
use domain::{AgentId, Digest, RewardSource, TurnId};
use local_model::{AdamW, Adapter, LoraShape, Loss, Model};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use training::{Backend, BackendError, Embedded, Gate, Mode, Noting, Served, Serving, Settings, Staleness};

use crate::wiring::{Backends, Local};

/// The pause before a sample whose judging failed is judged again.
const RETRY_WAIT: Duration = Duration::from_secs(60);

/// The running host, and who trains on each of its models.
pub(crate) struct TrainedHost {
    host: Arc<Host>,
    trainers: Mutex<Trainers>,
    /// A trainer has been replaced.
    replaced: Notify,
}

#[derive(Default)]
struct Trainers {
    /// By the upstream whose model it is.
    present: HashMap<String, (Local, Arc<Embedded>)>,
    /// Those whose model the configuration has no more, until they are closed.
    retired: Vec<Arc<Embedded>>,
}

impl TrainedHost {
    /// For the models of these upstreams.
    pub(crate) fn new(host: Arc<Host>, backends: &Backends) -> Result<Arc<Self>, BackendError> {
        let trained = Arc::new(TrainedHost { host, trainers: Mutex::default(), replaced: Notify::new() });
        trained.follow(backends)?;
        Ok(trained)
    }

    /// Trains on the models of these upstreams from now on. A model that stays keeps its trainer.
    pub(crate) fn follow(&self, backends: &Backends) -> Result<(), BackendError> {
        let mut next = HashMap::new();
        let mut trainers = self.trainers();
        for (name, local) in backends.iter().filter_map(|(name, wired)| Some((name, wired.local.as_ref()?))) {
            let same = |present: &&(Local, Arc<Embedded>)| Arc::ptr_eq(&present.0.engine, &local.engine);
            let trainer = match trainers.present.get(name).filter(same) {
                Some((_, trainer)) => trainer.clone(),
                None => {
                    let serving = Server { host: self.host.clone(), model: local.model.clone() };
                    Embedded::start(local.model.clone(), local.engine.clone(), Arc::new(serving))?
                }
            };
            next.insert(name.clone(), (local.clone(), trainer));
        }
        let before = std::mem::replace(&mut trainers.present, next);
        let is_present = |old: &Arc<Embedded>| trainers.present.values().any(|(_, now)| Arc::ptr_eq(now, old));
        let gone: Vec<_> = before.into_values().map(|(_, old)| old).filter(|old| !is_present(old)).collect();
        trainers.retired.extend(gone);
        drop(trainers);
        self.replaced.notify_one();
        Ok(())
    }

    /// Closes trainers that were replaced, until `stop`.
    pub(crate) async fn tidy_up(&self, stop: CancellationToken) {
        while stop.run_until_cancelled(self.replaced.notified()).await.is_some() {
            self.close_retired().await;
        }
    }

    /// Ends what is being trained, and waits for it. Models answer on.
    pub(crate) async fn close(&self) {
        self.retire_all();
        self.close_retired().await;
    }

    fn retire_all(&self) {
        let mut trainers = self.trainers();
        let all: Vec<_> = trainers.present.drain().map(|(_, (_, trainer))| trainer).collect();
        trainers.retired.extend(all);
    }

    async fn close_retired(&self) {
        let retired = std::mem::take(&mut self.trainers().retired);
        for trainer in retired {
            trainer.close().await;
        }
    }

    fn trainers(&self) -> MutexGuard<'_, Trainers> {
        self.trainers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl training::Host for TrainedHost {
    fn agents(&self) -> Vec<AgentId> {
        self.host.trained_agents()
    }

    fn settings(&self, agent: &AgentId) -> Option<Settings> {
        let votes = self.host.judge_of(agent, "").map_or(0, |judge| judge.bench().votes);
        Some(settings(agent, &self.host.training_of(agent)?, votes))
    }

    fn backend(&self, agent: &AgentId) -> Option<Backend> {
        let upstream = self.host.training_of(agent)?.trains.ok()?;
        let trainers = self.trainers();
        let (_, trainer) = trainers.present.get(&upstream)?;
        Some(Backend { trainer: trainer.clone(), player: trainer.clone() })
    }

    fn skill_generation(&self, agent: &AgentId) -> Option<u64> {
        Some(self.host.skills().library(agent).generation())
    }

    fn judge(&self, agent: &AgentId) -> Option<Arc<dyn judge::Ask>> {
        // Its upstream has a model, be it that of the first target: no turn is needed to name one.
        Some(Arc::new(self.host.judge_of(agent, "")?))
    }

    fn note_outcome<'a>(&'a self, agent: &'a AgentId, turn: TurnId, reward: f32) -> Noting<'a> {
        Box::pin(async move {
            if let Err(error) = self.host.note_outcome(agent, turn, reward, RewardSource::Judge).await {
                tracing::warn!(%agent, %turn, %error, "what came of the skills of a turn could not be noted");
            }
        })
    }
}

/// How an agent is trained, in training's own terms.
fn settings(agent: &AgentId, rl: &RlConfig, votes: u32) -> Settings {
    let resume = rl.resume_from_ckpt.as_deref().map(|text| Checkpoint::parse(text, agent)).transpose();
    let mode = match (&rl.trains, rl.manual) {
        (Err(Untrained::Mode), _) => Mode::Off,
        (_, true) => Mode::WhenTold,
        (_, false) => Mode::Ready,
    };
    let refused = match (&rl.trains, &resume) {
        (Err(reason), _) if mode != Mode::Off => Some(reason.to_string()),
        (_, Err(error)) => Some(format!("`rl.resume_from_ckpt`: {error}")),
        _ => None,
    };
    let (low, high) = (narrow(rl.loss.low), narrow(rl.loss.high));
    // One core is left to whoever answers.
    let free = || available_parallelism().map_or(1, |cores| cores.get().saturating_sub(1)).max(1);
    Settings {
        mode,
        refused,
        batch_size: rl.batch_size as usize,
        shape: LoraShape { rank: rl.rank as usize, alpha: narrow(rl.alpha), projections: [true; 7] },
        loss: match rl.loss.kind {
            LossKind::ImportanceSampling => Loss::ImportanceSampling,
            LossKind::Ppo => Loss::Ppo { low, high },
            LossKind::Cispo => Loss::Cispo { low, high },
        },
        adam: AdamW { learning_rate: narrow(rl.learning_rate), ..AdamW::default() },
        warmup_steps: rl.warmup_steps.into(),
        max_tokens: rl.max_tokens as usize,
        staleness: Staleness {
            age: rl.staleness.age,
            adapters: rl.staleness.adapters.into(),
            skills: rl.staleness.skills,
        },
        votes,
        candidates: rl.candidates as usize,
        retry_wait: RETRY_WAIT,
        gate: Gate {
            max_drift: rl.gate.max_drift,
            prompts: rl.gate.prompts as usize,
            judge: rl.gate.judge,
            held_out: rl.gate.held_out.into(),
            watch: rl.gate.watch.into(),
        },
        review: rl.review,
        keep: rl.keep as usize,
        folder: rl.lora_output.clone(),
        resume: resume.ok().flatten(),
        seed: rl.seed.into(),
        threads: rl.threads.map_or_else(free, |threads| threads as usize),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a setting is no more exact than this")]
fn narrow(number: f64) -> f32 {
    number as f32
}

/// Lets the agents' turns be answered with what training hands over.
struct Server {
    host: Arc<Host>,
    model: Arc<Model>,
}

impl Serving for Server {
    fn serve(&self, agent: &AgentId, served: Option<Served>) {
        let folder = self.host.training_of(agent).map(|rl| rl.lora_output).unwrap_or_default();
        let served = served.map(|Served { generation, folder: version, digest, base, adapter }| {
            let (shelf, name, model) = (Shelf::new(folder), adapter.name().to_owned(), self.model.clone());
            ServedAdapter {
                generation,
                base,
                adapter,
                source: Arc::new(OnDisk { shelf, version, digest, name, model }),
            }
        });
        self.host.serve_adapter(agent, served);
    }
}

/// An adapter's folder, which is read as it was made or not at all.
struct OnDisk {
    shelf: Shelf,
    version: String,
    digest: Digest,
    name: String,
    model: Arc<Model>,
}

impl AdapterSource for OnDisk {
    fn load(&self) -> Result<Adapter, String> {
        let files = self.shelf.read(&self.version, &self.digest).map_err(|error| error.to_string())?;
        Adapter::from_files(&*self.name, &self.model, &files).map_err(|error| error.to_string())
    }
}
