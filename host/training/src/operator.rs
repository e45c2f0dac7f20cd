//! What operators see of training, and what they decide.

mod difference;
mod shown;

use std::collections::BTreeMap;
use std::path::PathBuf;

use domain::{AgentId, SampleState};
use serde_json::{Value, json};
use store::{AdapterState, StoreError, StoredAdapter};

use crate::files::FilesError;
use crate::serving::ServingError;
use crate::statistics::Summary;
use crate::{Mode, Settings, Training};
use shown::{adapter_json, progress_json, waiting};

/// Why a decision could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// There is no such agent.
    #[error("there is no agent `{0}`")]
    NoAgent(AgentId),
    /// The agent is not trained.
    #[error("agent `{agent}` is not trained: {reason}")]
    Refused {
        /// Whose.
        agent: AgentId,
        /// Why.
        reason: String,
    },
    /// A step cannot be taken now.
    #[error("agent `{agent}` takes no step: {reason}")]
    NoStep {
        /// Whose.
        agent: AgentId,
        /// Why.
        reason: String,
    },
    /// There is no such adapter.
    #[error("agent `{agent}` has no adapter {generation}: see `metaclaw adapters list --agent {agent}`")]
    NoAdapter {
        /// Whose.
        agent: AgentId,
        /// Which.
        generation: u64,
    },
    /// It is there, but this cannot be done with it.
    #[error("adapter {agent}@{generation} is {state}: {reason}")]
    NotSo {
        /// Whose.
        agent: AgentId,
        /// Which.
        generation: u64,
        /// Where it stands.
        state: &'static str,
        /// Why that is in the way.
        reason: &'static str,
    },
    /// There is nothing to go back from, or to.
    #[error("agent `{0}` cannot be rolled back: no adapter serves, or the one that is named cannot")]
    NoWayBack(AgentId),
    /// The disk, the model or the database.
    #[error("{0}")]
    Failed(String),
}

impl From<StoreError> for OperatorError {
    fn from(error: StoreError) -> Self {
        OperatorError::Failed(error.to_string())
    }
}

impl From<FilesError> for OperatorError {
    fn from(error: FilesError) -> Self {
        OperatorError::Failed(error.to_string())
    }
}

impl From<ServingError> for OperatorError {
    fn from(error: ServingError) -> Self {
        OperatorError::Failed(error.to_string())
    }
}

impl Training {
    /// How training stands, for all agents that are to be trained, or have samples or adapters.
    pub async fn status(&self) -> Result<Value, OperatorError> {
        let heads = self.store.heads().await?.into_iter().map(|head| head.agent);
        let mut counts: BTreeMap<AgentId, Vec<(SampleState, u64)>> =
            self.host.agents().into_iter().chain(heads).map(|agent| (agent, Vec::new())).collect();
        for count in self.store.sample_counts().await? {
            counts.entry(count.agent).or_default().push((count.state, count.count));
        }
        let mut agents = Vec::new();
        for (agent, counts) in counts {
            let Some(settings) = self.host.settings(&agent) else { continue };
            agents.push(self.status_of(&agent, &settings, &counts).await?);
        }
        Ok(json!({ "agents": agents }))
    }

    async fn status_of(
        &self,
        agent: &AgentId,
        settings: &Settings,
        counts: &[(SampleState, u64)],
    ) -> Result<Value, OperatorError> {
        let lane = self.store.lane(agent).await?;
        let head = self.store.head(agent).await?;
        let samples: serde_json::Map<String, Value> =
            counts.iter().map(|(state, count)| (state.as_str().to_owned(), Value::from(*count))).collect();
        let of = |wanted| counts.iter().filter(|(state, _)| *state == wanted).map(|(_, count)| count).sum::<u64>();
        let has_judge = settings.votes > 0 && self.host.judge(agent).is_some();
        let here = self.lane(agent);
        let now = here.now();
        let mode = match settings.mode {
            Mode::Off => "off",
            Mode::WhenTold => "when told",
            Mode::Ready => "when ready",
        };
        let waits = match (&settings.refused, settings.mode, lane.paused, &now.progress) {
            (Some(reason), ..) => Some(reason.clone()),
            (None, Mode::Off, ..) => Some("its mode is not one that trains".to_owned()),
            (None, _, true, _) => Some("it is paused: `metaclaw train resume` lets it go on".to_owned()),
            (.., Some(_)) => None,
            _ => Some(waiting(settings, &lane, has_judge, of)),
        };
        let last = now.last.as_ref().map(|last| {
            json!({"outcome": last.outcome, "generation": last.generation, "seconds": last.seconds, "tokens": last.tokens,
                "time": shown::time(last.ended)})
        });
        Ok(json!({
            "agent": agent.as_str(), "mode": mode, "paused": lane.paused, "refused": settings.refused,
            "generation": head.map_or(0, |head| head.generation), "samples": samples,
            "batch_size": settings.batch_size, "judge": has_judge, "baseline": lane.baseline, "steps": lane.steps,
            "failures": lane.failures, "error": lane.error, "not_before": lane.not_before.map(shown::time),
            "trouble": now.trouble, "progress": now.progress.as_ref().map(progress_json), "last": last, "waits": waits,
        }))
    }

    /// Wants a step taken now with what there is, however few samples that are.
    pub async fn step(&self, agent: &AgentId) -> Result<Value, OperatorError> {
        let no_step = |reason: String| OperatorError::NoStep { agent: agent.clone(), reason };
        let settings = self.settings_of(agent)?;
        let lane = self.store.lane(agent).await?;
        if lane.paused {
            return Err(no_step("it is paused: `metaclaw train resume` lets it go on".to_owned()));
        }
        let here = self.lane(agent);
        if here.now().progress.is_some() {
            return Err(no_step("one is under way: `metaclaw train status` shows it".to_owned()));
        }
        let samples = match self.store.open_batch(agent).await? {
            Some(open) => open.samples.len(),
            None => self.choice(agent, &settings).await?.1.take.len(),
        };
        if samples == 0 {
            let counts = self.store.sample_counts().await?;
            let of = |state| {
                let own = counts.iter().filter(|count| count.agent == *agent && count.state == state);
                own.map(|count| count.count).sum::<u64>()
            };
            let has_judge = settings.votes > 0 && self.host.judge(agent).is_some();
            let none = match of(SampleState::Eligible) {
                0 => "no sample can be trained on",
                _ => {
                    "nothing can be learned from those there are: every answer to their prompts was as good as the others"
                }
            };
            return Err(no_step(format!("{none}; {}", waiting(&settings, &lane, has_judge, of))));
        }
        here.now().wanted = true;
        self.asked.notify_one();
        let parent = self.store.head(agent).await?.map_or(0, |head| head.generation);
        Ok(json!({"agent": agent.as_str(), "samples": samples, "parent": parent}))
    }

    /// Stops training for an agent: a step under way is ended and goes on when it is resumed.
    pub async fn pause(&self, agent: &AgentId) -> Result<Value, OperatorError> {
        self.known(agent)?;
        self.store.set_paused(agent, true).await?;
        self.lane(agent).interrupt();
        Ok(json!({"agent": agent.as_str(), "paused": true}))
    }

    /// Lets training go on for an agent.
    pub async fn resume(&self, agent: &AgentId) -> Result<Value, OperatorError> {
        self.known(agent)?;
        self.store.set_paused(agent, false).await?;
        self.asked.notify_one();
        Ok(json!({"agent": agent.as_str(), "paused": false}))
    }

    /// The agent's adapters, the newest first.
    pub async fn adapters(&self, agent: &AgentId) -> Result<Value, OperatorError> {
        self.known(agent)?;
        let adapters = self.store.adapters(agent).await?;
        let live = adapters.iter().find(|adapter| adapter.state == AdapterState::Live);
        let live = live.map_or(0, |adapter| adapter.generation);
        let shown: Vec<Value> = adapters.iter().map(adapter_json).collect();
        Ok(json!({"agent": agent.as_str(), "live": live, "adapters": shown}))
    }

    /// One adapter.
    pub async fn adapter(&self, agent: &AgentId, generation: u64) -> Result<Value, OperatorError> {
        let adapter = self.adapter_of(agent, generation).await?;
        let mut shown = adapter_json(&adapter);
        let rewards: Vec<f64> = self.store.rewarded(agent, generation).await?.iter().map(|one| one.reward).collect();
        let stats = Summary::of(&rewards);
        shown["turns"] = json!({"count": stats.count, "mean_reward": stats.mean, "variance": stats.variance});
        shown["path"] = Value::from(self.shelf(agent)?.path(&adapter.folder).display().to_string());
        Ok(shown)
    }

    /// How far one adapter is from another; 0 is the model alone.
    pub async fn diff(&self, agent: &AgentId, from: u64, to: u64) -> Result<Value, OperatorError> {
        let (from, from_files) = self.with_files(agent, from).await?;
        let (to, to_files) = self.with_files(agent, to).await?;
        let compared = tokio::task::spawn_blocking(move || difference::difference(&from_files, &to_files)).await;
        let compared = compared.map_err(|_| OperatorError::Failed("a part of the host has failed".to_owned()))?;
        let distance = compared.map_err(OperatorError::Failed)?;
        Ok(json!({"agent": agent.as_str(), "from": from, "to": to, "parameters": distance}))
    }

    async fn with_files(&self, agent: &AgentId, generation: u64) -> Result<(Value, crate::Files), OperatorError> {
        if generation == 0 {
            self.known(agent)?;
            return Ok((json!({"generation": 0}), [].into()));
        }
        let adapter = self.adapter_of(agent, generation).await?;
        Ok((adapter_json(&adapter), self.files_of(&adapter).await?))
    }

    /// Makes an adapter the live one; 0 is the model alone.
    pub async fn promote(&self, agent: &AgentId, generation: u64, reason: &str) -> Result<Value, OperatorError> {
        let lane = self.lane(agent);
        self.known(agent)?;
        let swap = lane.swap.lock().await;
        if generation > 0 {
            let adapter = self.adapter_of(agent, generation).await?;
            let not_so = |reason| {
                let (agent, state) = (agent.clone(), adapter.state.as_str());
                Err(OperatorError::NotSo { agent, generation, state, reason })
            };
            match adapter.state {
                AdapterState::Live => return not_so("it serves already"),
                AdapterState::Removed => return not_so("its files are gone"),
                _ => {}
            }
            // What cannot be read is not promoted.
            self.files_of(&adapter).await?;
        }
        if !self.store.promote(agent, generation, reason).await? {
            return Err(OperatorError::NoAdapter { agent: agent.clone(), generation });
        }
        self.changed(agent, &lane).await?;
        drop(swap);
        tracing::info!(%agent, generation, reason, "an adapter was promoted");
        Ok(json!({"agent": agent.as_str(), "live": generation}))
    }

    /// Takes the live adapter back: to its nearest ancestor that stood, or to the one that is named.
    pub async fn rollback(&self, agent: &AgentId, to: Option<u64>, reason: &str) -> Result<Value, OperatorError> {
        self.known(agent)?;
        let lane = self.lane(agent);
        let swap = lane.swap.lock().await;
        if let Some(to) = to.filter(|to| *to > 0) {
            let adapter = self.adapter_of(agent, to).await?;
            self.files_of(&adapter).await?;
        }
        let Some((was, now)) = self.store.rollback(agent, to, reason).await? else {
            return Err(OperatorError::NoWayBack(agent.clone()));
        };
        self.changed(agent, &lane).await?;
        drop(swap);
        let live = now.map_or(0, |adapter| adapter.generation);
        tracing::info!(%agent, was = was.generation, live, reason, "an adapter was rolled back");
        Ok(json!({"agent": agent.as_str(), "was": was.generation, "live": live}))
    }

    /// Copies an adapter, the live one if none is named, to where other tools can read it.
    pub async fn export(&self, agent: &AgentId, generation: Option<u64>, to: PathBuf) -> Result<Value, OperatorError> {
        self.known(agent)?;
        let adapter = match generation {
            Some(generation) => self.adapter_of(agent, generation).await?,
            None => self.store.head(agent).await?.ok_or_else(|| {
                OperatorError::Failed(format!(
                    "agent `{agent}` is answered by the model alone: there is nothing to export"
                ))
            })?,
        };
        let (folder, digest, target) = (adapter.folder.clone(), adapter.digest, to.clone());
        self.on_shelf(agent, move |shelf| shelf.export(&folder, &digest, &target)).await?;
        Ok(json!({"agent": agent.as_str(), "generation": adapter.generation, "path": to}))
    }

    /// Removes the files of adapters that nobody needs any more: all but the newest `rl.keep`, the live one and its parent.
    pub async fn gc(&self, agent: &AgentId) -> Result<Value, OperatorError> {
        let settings = self.host.settings(agent).ok_or_else(|| OperatorError::NoAgent(agent.clone()))?;
        let removed = self.tidy(agent, settings.keep).await?;
        Ok(json!({"agent": agent.as_str(), "removed": removed}))
    }

    /// After an operator's change, for who holds the lane's `swap`: a step under way is for nothing.
    async fn changed(&self, agent: &AgentId, lane: &crate::lane::Lane) -> Result<(), OperatorError> {
        lane.interrupt();
        if let Some(open) = self.store.open_batch(agent).await? {
            self.store.release(open.id).await?;
        }
        self.swap(agent, lane).await?;
        self.asked.notify_one();
        Ok(())
    }

    async fn adapter_of(&self, agent: &AgentId, generation: u64) -> Result<StoredAdapter, OperatorError> {
        self.known(agent)?;
        let adapter = self.store.adapter(agent, generation).await?;
        adapter.ok_or_else(|| OperatorError::NoAdapter { agent: agent.clone(), generation })
    }

    fn known(&self, agent: &AgentId) -> Result<Settings, OperatorError> {
        self.host.settings(agent).ok_or_else(|| OperatorError::NoAgent(agent.clone()))
    }

    fn settings_of(&self, agent: &AgentId) -> Result<Settings, OperatorError> {
        let settings = self.known(agent)?;
        let refused = |reason| OperatorError::Refused { agent: agent.clone(), reason };
        match &settings.refused {
            Some(reason) => Err(refused(reason.clone())),
            None if settings.mode == Mode::Off => Err(refused("its mode is not `rl` or `auto`".to_owned())),
            None if self.host.backend(agent).is_none() => Err(refused("nothing here trains its model".to_owned())),
            None => Ok(settings),
        }
    }
}
