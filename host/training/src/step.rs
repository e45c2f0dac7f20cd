//! One step, from a claimed batch to an adapter or to nothing at all.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use domain::{AgentId, Digest, SampleState};
use local_model::Watch;
use serde_json::json;
use store::{AdapterState, Batch, NewAdapter, StoreError, StoredAdapter, StoredSample};
use tokio_util::sync::CancellationToken;

use crate::backend::{self, Backend, BackendError, Files, Opening, Passed, Stepped, Version};
use crate::batch::{Lecture, lecture};
use crate::candidates::{Draw, Drawn};
use crate::exchange::instruction;
use crate::files::FilesError;
use crate::gate::{Evidence, Stored, Trial, sound};
use crate::lane::{Last, Phase, Progress};
use crate::serving::version_of;
use crate::{Settings, Training};

/// How often a batch is tried before its samples are given up.
const ATTEMPTS: u32 = 6;
/// The pause after the first failure; each further one is twice as long.
const FIRST_WAIT: Duration = Duration::from_secs(10);
const LONGEST_WAIT: Duration = Duration::from_secs(3600);
/// How many kept samples are read for a comparison.
const HELD_OUT: usize = 64;

/// Why a step did not come to its end.
#[derive(Debug, thiserror::Error)]
enum StepError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Backend(#[from] BackendError),
    #[error(transparent)]
    Files(#[from] FilesError),
}

/// How a step ended.
enum Ended {
    Made(Box<StoredAdapter>),
    /// Another adapter has become live meanwhile.
    Overtaken,
}

/// One agent's step.
pub(crate) struct Step {
    pub(crate) training: Arc<Training>,
    pub(crate) agent: AgentId,
    pub(crate) settings: Settings,
    pub(crate) backend: Backend,
    /// What it has loaded, to be unloaded however it ends.
    loaded: Mutex<Vec<Version>>,
}

/// What was trained, before anybody looked at it.
struct Trained {
    files: Files,
    passed: Passed,
    stepped: Stepped,
    learning_rate: f32,
}

impl Step {
    pub(crate) fn new(training: Arc<Training>, agent: AgentId, settings: Settings, backend: Backend) -> Self {
        Step { training, agent, settings, backend, loaded: Mutex::default() }
    }

    /// Takes the batch as far as it goes. What fails is written down, and said in the log; nothing of it is left but the batch.
    pub(crate) async fn take(self, batch: Batch, stop: CancellationToken) {
        let (began, watch) = (Instant::now(), Arc::new(Watch::new()));
        let lane = self.training.lane(&self.agent);
        let progress = Progress {
            batch: batch.id,
            generation: batch.generation,
            samples: batch.samples.len(),
            phase: Phase::Open,
            began,
            watch: watch.clone(),
        };
        {
            let mut now = lane.now();
            (now.progress, now.stop) = (Some(progress), Some(stop.clone()));
        }
        let (agent, generation) = (&self.agent, batch.generation);
        tracing::info!(%agent, generation, batch = %batch.id, samples = batch.samples.len(), "a step of training begins");
        let outcome = match stop.run_until_cancelled(self.work(&batch, &watch)).await {
            None | Some(Err(StepError::Backend(BackendError::Stopped))) => "stopped",
            Some(Ok(Ended::Made(made))) => {
                let (state, reason) = (made.state.as_str(), made.reason.as_deref().unwrap_or_default());
                tracing::info!(%agent, generation, state, reason, "an adapter was made");
                state
            }
            Some(Ok(Ended::Overtaken)) => {
                tracing::info!(%agent, generation, "another adapter has become live: the step is left, and its samples wait");
                "overtaken"
            }
            Some(Err(error)) => {
                self.failed(&batch, error.to_string()).await;
                "failed"
            }
        };
        self.unload().await;
        let (seconds, tokens) = (began.elapsed().as_secs_f64(), watch.progress().0);
        self.training.metrics.step(agent, outcome);
        self.training.metrics.worked(agent, tokens, seconds);
        let mut now = lane.now();
        (now.progress, now.stop) = (None, None);
        now.last = Some(Last { outcome, generation, seconds, tokens, ended: SystemTime::now() });
    }

    /// Plans the next attempt; after too many of them the samples are given up, so that they do not stand in the others' way.
    async fn failed(&self, batch: &Batch, error: String) {
        let (agent, store) = (&self.agent, &self.training.store);
        let noted = async {
            let failures = store.lane(agent).await?.failures;
            let wait = FIRST_WAIT.saturating_mul(1 << failures.min(16)).min(LONGEST_WAIT);
            let failures = store.lane_failed(agent, &error, SystemTime::now() + wait).await?;
            if failures >= ATTEMPTS {
                store.abandon(batch.id, &format!("training on it failed {ATTEMPTS} times: {error}")).await?;
                tracing::error!(%agent, %error, "a batch is given up: its samples are rejected");
            } else {
                tracing::warn!(%agent, %error, again_in = ?wait, "a step of training has failed and is tried again");
            }
            Ok::<_, StoreError>(())
        };
        if let Err(error) = noted.await {
            tracing::error!(%agent, %error, "the failure of a step could not be recorded");
        }
    }

    async fn load(&self, version: &Version, files: Files) -> Result<(), BackendError> {
        self.backend.player.load(version, files).await?;
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner).push(version.clone());
        Ok(())
    }

    /// However the step has ended, nothing that it has loaded stays.
    async fn unload(&self) {
        let loaded = std::mem::take(&mut *self.loaded.lock().unwrap_or_else(PoisonError::into_inner));
        for version in loaded {
            if let Err(error) = self.backend.player.unload(&version).await {
                tracing::warn!(agent = %self.agent, generation = version.generation, %error, "an adapter stays loaded");
            }
        }
    }

    async fn work(&self, batch: &Batch, watch: &Arc<Watch>) -> Result<Ended, StepError> {
        let (training, lane, began) = (&self.training, self.training.lane(&self.agent), Instant::now());
        let head = training.store.head(&self.agent).await?;
        if head.as_ref().map_or(0, |head| head.generation) != batch.parent {
            return self.overtaken(batch).await;
        }
        let baseline = training.store.lane(&self.agent).await?.baseline;
        let normalisation = self.backend.trainer.facts().normalisation;
        // Read and loaded once, for all that is to come.
        let (parent, parent_files) = match &head {
            Some(head) => {
                let (version, files) = (version_of(head), training.files_of(head).await?);
                self.load(&version, files.clone()).await?;
                (Some(version), Some(files))
            }
            None => (None, None),
        };
        let drawn = self.draw(batch, parent.as_ref()).await?;
        let lecture = lecture(&batch.samples, &drawn.candidates, baseline, self.settings.batch_size, normalisation);
        let trained = self.train(parent_files, &lecture, watch).await?;

        lane.enter(Phase::Save);
        let folder = adapters::folder_name(batch.generation, batch.id);
        let digest = training.publish(&self.agent, folder.clone(), trained.files.clone()).await?;

        lane.enter(Phase::Gate);
        let (agent, generation) = (self.agent.clone(), batch.generation);
        let version = Version { agent, generation, folder: folder.clone(), digest };
        let mut evidence = Evidence {
            update_norm: trained.stepped.update_norm,
            parameter_norm: trained.stepped.parameter_norm,
            gradient_norm: trained.stepped.gradient_norm,
            ..Evidence::default()
        };
        let verdict = match sound(&trained.stepped) {
            Ok(()) => {
                self.load(&version, trained.files.clone()).await?;
                self.compare(batch, parent.as_ref(), &version, &mut evidence).await?;
                evidence.verdict(&self.settings.gate)
            }
            unsound => unsound,
        };

        lane.enter(Phase::Commit);
        let state = match (&verdict, self.settings.review) {
            (Err(_), _) => AdapterState::Rejected,
            (Ok(()), true) => AdapterState::Shadow,
            (Ok(()), false) => AdapterState::Live,
        };
        let metrics = json!({
            "samples": batch.samples.len(), "candidates": drawn.candidates.len(), "drawn": drawn.answers, "tokens": lecture.tokens, "groups": lecture.shaped.groups,
            "mean_reward": lecture.mean_reward, "success_rate": lecture.success_rate, "baseline": baseline, "loss": trained.passed.loss,
            "sampler_drift": trained.passed.drift, "clipped": trained.passed.clipped,
            "learning_rate": trained.learning_rate, "gate": evidence, "seconds": began.elapsed().as_secs_f64(),
        });
        let adapter = NewAdapter {
            generation: batch.generation,
            state,
            folder,
            digest,
            base: self.backend.trainer.facts().base.to_string(),
            metrics: metrics.to_string(),
            reason: verdict.err(),
            baseline: lecture.shaped.baseline,
        };
        let swap = lane.swap.lock().await;
        let Some(made) = training.store.commit(batch.id, adapter).await? else {
            drop(swap);
            return self.overtaken(batch).await;
        };
        if made.state == AdapterState::Live {
            // What fails here does not undo what is committed: the driver tries it again.
            if let Err(error) = training.swap(&self.agent, &lane).await {
                training.trouble(&self.agent, &lane, error.to_string());
            }
        }
        drop(swap);
        if let Err(error) = training.tidy(&self.agent, self.settings.keep).await {
            tracing::warn!(agent = %self.agent, %error, "old adapters could not be removed");
        }
        Ok(Ended::Made(Box::new(made)))
    }

    /// Draws further answers to prompts that the batch has one answer to, where that is wanted and somebody can grade them.
    async fn draw(&self, batch: &Batch, parent: Option<&Version>) -> Result<Drawn, StepError> {
        let judge = self.training.host.judge(&self.agent).filter(|_| self.settings.candidates > 0);
        let Some(judge) = judge.filter(|_| self.settings.votes > 0) else { return Ok(Drawn::default()) };
        self.training.lane(&self.agent).enter(Phase::Draw);
        let draw = Draw {
            player: &*self.backend.player,
            version: parent,
            judge: &*judge,
            votes: self.settings.votes,
            each: self.settings.candidates,
            max_tokens: self.settings.max_tokens,
            seed: seed(self.settings.seed, &format!("candidates {}", batch.id)),
        };
        Ok(draw.run(&self.stored(&batch.samples, true).await?).await?)
    }

    /// Trains on a handle that nobody has used, and that nobody will use again.
    async fn train(&self, parent: Option<Files>, lecture: &Lecture, watch: &Arc<Watch>) -> Result<Trained, StepError> {
        let lane = self.training.lane(&self.agent);
        let from = match (parent, &self.settings.resume) {
            (Some(files), _) => Opening::Checkpoint(files),
            (None, Some(from)) => Opening::Checkpoint(self.training.checkpoint(&self.agent, from).await?),
            (None, None) => {
                Opening::Fresh { shape: self.settings.shape, seed: seed(self.settings.seed, self.agent.as_str()) }
            }
        };
        let mut handle = self.backend.trainer.open(from).await?;
        lane.enter(Phase::Pass);
        let (data, loss, threads) = (lecture.data.clone(), self.settings.loss, self.settings.threads);
        let passed = handle.forward_backward(backend::Batch { data, loss, threads }, watch.clone()).await?;
        lane.enter(Phase::Step);
        let adam = self.settings.adam_at(handle.steps());
        let stepped = handle.optim_step(adam).await?;
        lane.enter(Phase::Save);
        let files = handle.save().await?;
        Ok(Trained { files, passed, stepped, learning_rate: adam.learning_rate })
    }

    async fn compare(
        &self,
        batch: &Batch,
        parent: Option<&Version>,
        candidate: &Version,
        evidence: &mut Evidence,
    ) -> Result<(), StepError> {
        let judge = self.training.host.judge(&self.agent).filter(|_| self.settings.gate.judge);
        let held_out = self.training.store.samples_in(&self.agent, SampleState::HeldOut, HELD_OUT).await?;
        let in_words = judge.is_some();
        let (held_out, trained) =
            (self.stored(&held_out, in_words).await?, self.stored(&batch.samples, in_words).await?);
        let trial = Trial {
            player: &*self.backend.player,
            parent,
            candidate,
            held_out: &held_out,
            trained: &trained,
            prompts: self.settings.gate.prompts,
            judge: judge.as_deref(),
            seed: seed(self.settings.seed, &batch.id.to_string()),
            max_tokens: self.settings.max_tokens,
        };
        Ok(trial.run(evidence).await?)
    }

    async fn stored(&self, samples: &[StoredSample], in_words: bool) -> Result<Vec<Stored>, StoreError> {
        let mut all = Vec::with_capacity(samples.len());
        for sample in samples {
            let (Some(trace), Some(score)) = (&sample.sample.tokens, sample.score) else { continue };
            let turn = if in_words { self.training.store.turn(sample.sample.turn).await? } else { None };
            all.push(Stored {
                tokens: trace.prompt.iter().chain(&trace.completion).copied().collect(),
                prompt: trace.prompt.len(),
                reward: score.reward.into(),
                instruction: turn.map(|turn| instruction(&turn.record)).unwrap_or_default(),
            });
        }
        Ok(all)
    }

    async fn overtaken(&self, batch: &Batch) -> Result<Ended, StepError> {
        self.training.store.release(batch.id).await?;
        Ok(Ended::Overtaken)
    }
}

/// A number that follows from the configured one and a name.
fn seed(seed: u64, name: &str) -> u64 {
    let digest = Digest::of(format!("{seed} {name}").as_bytes());
    digest.as_bytes()[..8].iter().fold(0, |seed, byte| (seed << 8) | u64::from(*byte))
}
