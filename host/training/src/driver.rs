//! The one task that looks for what is due: rewards to be taken, samples to be judged, a step to be taken. One step at a time, for
//! there is one thread to train on; the lanes take turns.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use domain::{AgentId, SampleState};
use store::{StoreError, StoredAdapter};
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::serving::version_of;
use crate::step::Step;
use crate::{Backend, Mode, Settings, Training};

/// For how many agents a judge is asked at once.
const JUDGES: usize = 2;
/// How long after a look the next one is at the earliest, however much happens.
const CALM: Duration = Duration::from_millis(250);
/// How long after a look the next one is at the latest.
const LONGEST: Duration = Duration::from_secs(60);
/// How often samples are looked for that are too old.
const EXPIRE_EVERY: Duration = Duration::from_secs(600);

/// Looks and trains until it is told to stop.
pub struct Driver {
    training: Arc<Training>,
    judges: JoinSet<Judged>,
    judged: HashSet<AgentId>,
    step: JoinSet<AgentId>,
    /// When each lane had its last turn, as a number that grows.
    turns: HashMap<AgentId, u64>,
    turn: u64,
    /// Whose rewards are to be compared with those before.
    watch: BTreeSet<AgentId>,
    /// When what is too old was last looked for.
    expired: HashMap<AgentId, Instant>,
}

/// Whose samples were judged, and how many now have a score.
type Judged = (AgentId, Result<u64, StoreError>);

/// How many samples an agent has in each state.
type Counts = HashMap<SampleState, u64>;

impl Driver {
    /// Trains for whoever `training` is about.
    pub fn new(training: Arc<Training>) -> Self {
        let (judges, step) = (JoinSet::new(), JoinSet::new());
        let (judged, turns, watch, expired) = (HashSet::new(), HashMap::new(), BTreeSet::new(), HashMap::new());
        Driver { training, judges, judged, step, turns, turn: 0, watch, expired }
    }

    /// Works until `stop`; then ends what is under way, which goes on at the next start, and waits for it.
    pub async fn run(mut self, stop: CancellationToken) {
        self.begin().await;
        let mut troubled = false;
        while !stop.is_cancelled() {
            let began = Instant::now();
            let next = match self.look(&stop).await {
                Ok(next) => {
                    troubled = false;
                    next
                }
                Err(error) => {
                    if !std::mem::replace(&mut troubled, true) {
                        tracing::error!(%error, "what is due to be trained on cannot be read");
                    }
                    LONGEST
                }
            };
            let training = self.training.clone();
            // Where there is much to look at, it is looked at more rarely.
            let calm = CALM.max(began.elapsed() * 8);
            let news = async {
                tokio::time::sleep(calm).await;
                training.store.sample_news().await;
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = news => {}
                () = training.asked.notified() => {}
                () = tokio::time::sleep(next) => {}
                Some(ended) = self.judges.join_next() => self.judged(ended),
                Some(ended) = self.step.join_next() => self.stepped(ended),
            }
            while let Some(ended) = self.judges.try_join_next() {
                self.judged(ended);
            }
        }
        while self.step.join_next().await.is_some() {}
        while self.judges.join_next().await.is_some() {}
    }

    /// Puts what serves in place, and removes what no adapter has come of.
    async fn begin(&mut self) {
        let training = self.training.clone();
        let (heads, counts) = match tokio::try_join!(training.store.heads(), training.store.sample_counts()) {
            Ok(both) => both,
            Err(error) => return tracing::error!(%error, "the agents' adapters cannot be read"),
        };
        for head in &heads {
            training.reconcile(&head.agent).await;
            self.watch.insert(head.agent.clone());
        }
        let agents: BTreeSet<AgentId> =
            counts.into_iter().map(|count| count.agent).chain(heads.into_iter().map(|head| head.agent)).collect();
        for agent in agents {
            let Some(settings) = training.host.settings(&agent) else { continue };
            if let Err(error) = training.tidy(&agent, settings.keep).await {
                tracing::warn!(%agent, %error, "old adapters could not be removed");
            }
        }
    }

    fn judged(&mut self, ended: Result<Judged, JoinError>) {
        match ended {
            Ok((agent, count)) => {
                self.judged.remove(&agent);
                match count {
                    Ok(0) => {}
                    Ok(_) => drop(self.watch.insert(agent)),
                    Err(error) => tracing::error!(%agent, %error, "samples could not be scored"),
                }
            }
            Err(error) => {
                // Whose it was is not known; asking one agent's judge twice at once does no harm.
                tracing::error!(%error, "judging ended badly");
                self.judged.clear();
            }
        }
    }

    fn stepped(&mut self, ended: Result<AgentId, JoinError>) {
        if let Err(error) = ended {
            tracing::error!(%error, "a step of training ended badly; its batch is tried again");
        }
    }

    /// Does what is due, begins what takes longer, and says how long nothing more will be.
    async fn look(&mut self, stop: &CancellationToken) -> Result<Duration, StoreError> {
        let training = self.training.clone();
        let heads: BTreeMap<AgentId, StoredAdapter> =
            training.store.heads().await?.into_iter().map(|head| (head.agent.clone(), head)).collect();
        let mut counts: BTreeMap<AgentId, Counts> = heads.keys().map(|agent| (agent.clone(), Counts::new())).collect();
        for count in training.store.sample_counts().await? {
            counts.entry(count.agent).or_default().insert(count.state, count.count);
        }
        let mut ready = Vec::new();
        let mut next = LONGEST;
        for (agent, counts) in counts {
            let (Some(settings), Some(backend)) = (training.host.settings(&agent), training.host.backend(&agent))
            else {
                continue;
            };
            if let Some(again) = self.follow(&agent, heads.get(&agent), &backend).await {
                next = next.min(again);
            }
            if settings.mode == Mode::Off || settings.refused.is_some() {
                continue;
            }
            let of = |state| counts.get(&state).copied().unwrap_or_default();
            if of(SampleState::Captured) > 0 {
                if training.take_rewards(&agent).await? > 0 {
                    self.watch.insert(agent.clone());
                    next = next.min(CALM);
                }
                self.ask_judge(&agent, &settings, stop);
            }
            if of(SampleState::Scored) > 0 && training.sort(&agent, &settings, &backend.trainer.facts()).await? > 0 {
                next = next.min(CALM);
            }
            let waiting =
                [SampleState::Captured, SampleState::Scored, SampleState::Eligible].map(of).iter().sum::<u64>();
            if waiting > 0 && self.is_to_expire(&agent, &settings) {
                training.expire(&agent, &settings).await?;
            }
            if let Some(head) = heads.get(&agent).filter(|_| self.watch.remove(&agent))
                && training.watch(head, &settings).await?
            {
                next = next.min(CALM);
                continue;
            }
            let wanted = training.lane(&agent).now().wanted;
            let enough = of(SampleState::Eligible) >= settings.batch_size as u64 && settings.mode == Mode::Ready;
            if enough || wanted || of(SampleState::Claimed) > 0 {
                ready.push((agent, settings, backend));
            }
        }
        // Who has waited longest is first.
        ready.sort_by_key(|(agent, ..)| self.turns.get(agent).copied().unwrap_or_default());
        for (agent, settings, backend) in ready {
            if !self.step.is_empty() {
                break;
            }
            let lane = training.store.lane(&agent).await?;
            let wait = lane.not_before.and_then(|time| time.duration_since(SystemTime::now()).ok());
            let wanted = training.lane(&agent).now().wanted;
            match wait.filter(|wait| !wait.is_zero() && !wanted) {
                _ if lane.paused => {}
                Some(wait) => next = next.min(wait),
                None => self.begin_step(agent, settings, backend, stop).await?,
            }
        }
        Ok(next)
    }

    /// Whether what is too old is to be looked for; now and then, for it has been waiting long already.
    fn is_to_expire(&mut self, agent: &AgentId, settings: &Settings) -> bool {
        let every = (settings.staleness.age / 100).min(EXPIRE_EVERY);
        let due = self.expired.get(agent).is_none_or(|last| last.elapsed() >= every);
        if due {
            self.expired.insert(agent.clone(), Instant::now());
        }
        due
    }

    /// Lets the live adapter answer, where a change has not reached the model. If that fails, says how long it is left alone.
    async fn follow(&self, agent: &AgentId, head: Option<&StoredAdapter>, backend: &Backend) -> Option<Duration> {
        let wanted = head.map(version_of);
        let lane = self.training.lane(agent);
        let is_served = match &lane.now().served {
            Some(served) => served.is(&backend.player, wanted.as_ref()),
            None => wanted.is_none(),
        };
        if !is_served {
            self.training.reconcile(agent).await;
        }
        let again = lane.now().served.as_ref()?.again?;
        Some(again.saturating_duration_since(std::time::Instant::now()))
    }

    fn ask_judge(&mut self, agent: &AgentId, settings: &Settings, stop: &CancellationToken) {
        if settings.votes == 0 || self.judges.len() >= JUDGES || self.judged.contains(agent) {
            return;
        }
        let Some(judge) = self.training.host.judge(agent) else { return };
        self.judged.insert(agent.clone());
        let (training, agent, settings, stop) = (self.training.clone(), agent.clone(), settings.clone(), stop.clone());
        self.judges.spawn(async move {
            let count = training.judge(&agent, &settings, &judge, &stop).await;
            (agent, count)
        });
    }

    async fn begin_step(
        &mut self,
        agent: AgentId,
        settings: Settings,
        backend: Backend,
        stop: &CancellationToken,
    ) -> Result<(), StoreError> {
        let training = self.training.clone();
        let wanted = std::mem::take(&mut training.lane(&agent).now().wanted);
        let least = if wanted { 1 } else { settings.batch_size };
        let Some(batch) = training.next_batch(&agent, &settings, least).await? else { return Ok(()) };
        self.turn += 1;
        self.turns.insert(agent.clone(), self.turn);
        let step = Step::new(training, agent.clone(), settings, backend);
        let stop = stop.child_token();
        self.step.spawn(async move {
            step.take(batch, stop).await;
            agent
        });
        Ok(())
    }
}
