use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use domain::{AgentId, Hook, Sample, Verdict};
use policy::{Decided, SampleSource};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use crate::metrics::{AgentLabels, Metrics, SampleLabels};
use crate::registry::Agent;
use crate::uses::{Judged, Uses};
use crate::views::SampleView;

/// How much the finished turns of all agents may hold while their policies judge them, in bytes; an agent, a quarter of it.
/// What is beyond that is not learned from.
const MAX_WAITING: usize = 256 << 20;
/// What a waiting turn holds at the least.
const COST: usize = 16 << 10;
/// How many finished turns of one agent are judged at once.
const MAX_JUDGED: usize = 4;
/// How long turns that wait are still judged when the host closes.
const CLOSING_PATIENCE: Duration = Duration::from_secs(10);

/// Makes samples of finished turns: asks the agent's policy, then the store. Each agent has a lane of its own, so that a
/// slow policy holds up neither the records of turns nor another agent's samples.
pub(crate) struct Sampler {
    ends: Arc<Ends>,
    room: Arc<Semaphore>,
    lanes: HashMap<AgentId, Lane>,
    tasks: JoinSet<()>,
}

/// A finished turn that may be learned from.
pub(crate) struct Candidate {
    pub(crate) agent: Arc<Agent>,
    pub(crate) view: SampleView,
    pub(crate) sample: Sample,
}

/// Where samples go and are counted.
struct Ends {
    uses: Arc<Uses>,
    metrics: Metrics,
}

/// One agent's samples.
struct Lane {
    room: Arc<Semaphore>,
    judges: Arc<Semaphore>,
    /// Whether the last turn found no room: one burst is logged once.
    shedding: bool,
}

impl Sampler {
    pub(crate) fn new(uses: Arc<Uses>, metrics: Metrics) -> Self {
        let ends = Arc::new(Ends { uses, metrics });
        Sampler { ends, room: places(MAX_WAITING), lanes: HashMap::new(), tasks: JoinSet::new() }
    }

    /// Takes a turn, or leaves it out and counts it. Never waits.
    pub(crate) fn take(&mut self, candidate: Candidate) {
        while self.tasks.try_join_next().is_some() {}
        let agent = &candidate.agent.id;
        let lane = self.lanes.entry(agent.clone()).or_insert_with(Lane::new);
        let cost =
            (candidate.view.request.body().len() + candidate.view.answer_text.len()).clamp(COST, MAX_WAITING / 4);
        let Some(room) = part_of(&lane.room, cost).zip(part_of(&self.room, cost)) else {
            if !std::mem::replace(&mut lane.shedding, true) {
                tracing::warn!(%agent, "finished turns are not learned from: the agent's policy judges them too slowly");
            }
            return self.ends.failed(agent);
        };
        lane.shedding = false;
        let (ends, judges) = (self.ends.clone(), lane.judges.clone());
        self.tasks.spawn(async move {
            ends.sample(candidate, judges).await;
            drop(room);
        });
    }

    /// Waits until what was taken is durable, or left out because it would take too long.
    pub(crate) async fn close(mut self) {
        let drained = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(CLOSING_PATIENCE, drained).await.is_err() {
            self.lanes.values().for_each(|lane| lane.judges.close());
            while self.tasks.join_next().await.is_some() {}
        }
    }
}

impl Lane {
    fn new() -> Self {
        Lane { room: places(MAX_WAITING / 4), judges: places(MAX_JUDGED), shedding: false }
    }
}

impl Ends {
    async fn sample(&self, Candidate { agent, view, mut sample }: Candidate, judges: Arc<Semaphore>) {
        // A turn that has run had a policy.
        let Ok(policy) = &agent.policy else { return };
        let view = Arc::new(view);
        // The judge is free again before the sample is durable, which takes as long as a disk takes.
        let decided = match judges.acquire().await {
            Ok(_judge) => {
                let view = view.clone() as Arc<dyn SampleSource>;
                let decided = policy.filter(view.clone()).await;
                self.count_failure(&agent, &sample, Hook::Filter, &decided);
                if matches!(decided.value, Verdict::Keep { .. }) && policy.has(Hook::Reward) {
                    let rewarded = policy.reward(view).await;
                    self.count_failure(&agent, &sample, Hook::Reward, &rewarded);
                    sample.reward = rewarded.value;
                }
                agent.values.hand_over(&self.uses.store, &agent.id).await;
                decided
            }
            Err(_) => {
                tracing::warn!(agent = %agent.id, turn = %sample.turn, "a turn is not learned from: the host closes");
                return self.failed(&agent.id);
            }
        };
        let name = agent.id.to_string();
        sample.policy = decided.digest;
        let verdict = match &decided.value {
            Verdict::Keep { weight } => {
                sample.weight = *weight;
                "keep"
            }
            Verdict::Drop { .. } => "drop",
        };
        let turn = sample.turn;
        let judged = Judged { agent: &agent.id, turn, request: &view.request, injected: &view.skills };
        match self.uses.capture(&judged, sample, decided.value).await {
            Ok(_) => drop(self.metrics.samples.get_or_create(&SampleLabels { agent: name, verdict }).inc()),
            Err(error) => {
                tracing::error!(agent = %agent.id, %turn, %error, "a sample could not be made durable");
                self.failed(&agent.id);
            }
        }
    }

    fn count_failure<T>(&self, agent: &Agent, sample: &Sample, hook: Hook, decided: &Decided<T>) {
        if let Some(failure) = &decided.failure {
            let (agent, turn, name) = (&agent.id, sample.turn, hook.as_str());
            tracing::warn!(%agent, %turn, hook = name, %failure, "the agent's policy failed to judge a turn");
            self.metrics.count_failure(agent, hook, failure);
        }
    }

    fn failed(&self, agent: &AgentId) {
        self.metrics.samples_failed.get_or_create(&AgentLabels { agent: agent.to_string() }).inc();
    }
}

fn places(count: usize) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(count))
}

fn part_of(room: &Arc<Semaphore>, cost: usize) -> Option<OwnedSemaphorePermit> {
    room.clone().try_acquire_many_owned(u32::try_from(cost).ok()?).ok()
}
