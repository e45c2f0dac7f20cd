//! The one task that looks for what is due and holds the lessons.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use domain::AgentId;
use store::{Lesson, StoreError};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{Evolver, Learning, lesson};

/// How many lessons are held at once; of each agent one.
const AT_ONCE: usize = 2;
/// How long after a look the next one is at the earliest, however much happens.
const CALM: Duration = Duration::from_millis(250);
/// How long after a look the next one is at the latest.
const LONGEST: Duration = Duration::from_secs(60);
/// How often the turns of an agent that does not learn are let go.
const SKIP_EVERY: Duration = Duration::from_secs(600);

/// How many skills of people are said to hurt, each once.
const MOST_REPORTED: usize = 1000;

/// Looks and learns until it is told to stop.
pub struct Driver {
    learning: Arc<Learning>,
    evolver: Arc<dyn Evolver>,
    lessons: JoinSet<AgentId>,
    busy: HashSet<AgentId>,
    skipped: HashMap<AgentId, Instant>,
    /// How far what came of turns has been looked at.
    weighed: HashMap<AgentId, SystemTime>,
    /// The skills of people that hurt, of which that has been said.
    reported: HashSet<(AgentId, String)>,
}

impl Driver {
    /// Whoever asks `evolver`.
    pub fn new(learning: Arc<Learning>, evolver: Arc<dyn Evolver>) -> Self {
        let (lessons, busy, skipped) = (JoinSet::new(), HashSet::new(), HashMap::new());
        let (weighed, reported) = (HashMap::new(), HashSet::new());
        Driver { learning, evolver, lessons, busy, skipped, weighed, reported }
    }

    /// Works until `stop`; then waits for what is being written. A model that is being asked is not waited for.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut troubled = false;
        while !stop.is_cancelled() {
            let next = match self.look(&stop).await {
                Ok(next) => {
                    troubled = false;
                    next
                }
                Err(error) => {
                    if !std::mem::replace(&mut troubled, true) {
                        tracing::error!(%error, "what is due to be learned cannot be read");
                    }
                    LONGEST
                }
            };
            let news = async {
                tokio::time::sleep(CALM).await;
                self.learning.store.news().await;
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = news => {}
                () = self.learning.asked.notified() => {}
                () = tokio::time::sleep(next) => {}
                Some(ended) = self.lessons.join_next() => self.ended(ended),
            }
            while let Some(ended) = self.lessons.try_join_next() {
                self.ended(ended);
            }
        }
        while let Some(ended) = self.lessons.join_next().await {
            self.ended(ended);
        }
    }

    fn ended(&mut self, ended: Result<AgentId, tokio::task::JoinError>) {
        match ended {
            Ok(agent) => drop(self.busy.remove(&agent)),
            Err(error) => {
                // Whose it was is not known; one too many at a time does no harm, for steps are transactions.
                tracing::error!(%error, "a lesson ended badly");
                self.busy.clear();
            }
        }
    }

    /// Begins what is due as far as there is room, and says how long nothing more will be.
    async fn look(&mut self, stop: &CancellationToken) -> Result<Duration, StoreError> {
        let (store, now) = (self.learning.store.clone(), SystemTime::now());
        let mut next = LONGEST;
        for lesson in store.open_lessons().await? {
            match lesson.not_before.duration_since(now) {
                Ok(wait) if !wait.is_zero() => next = next.min(wait),
                _ => self.begin(lesson, stop),
            }
        }
        for agent in store.agents_to_learn().await? {
            let Some(settings) = self.evolver.settings(&agent) else { continue };
            if !settings.enabled {
                self.skip(agent).await?;
                continue;
            }
            if self.busy.contains(&agent) || self.lessons.len() >= AT_ONCE {
                continue;
            }
            // A session without a word of a user's gives no lesson, and the next one has its turn.
            for session in store.due_sessions(&agent, settings.every, AT_ONCE * 8).await? {
                if let Some(lesson) = store.begin_lesson(&agent, &session).await? {
                    self.begin(lesson, stop);
                    break;
                }
                next = next.min(CALM);
            }
        }
        self.weigh().await?;
        Ok(next)
    }

    /// Retires what hurts, of the agents of whose turns something new was said.
    async fn weigh(&mut self) -> Result<(), StoreError> {
        let known = self.learning.store.agents_with_outcomes().await?;
        self.weighed.retain(|agent, _| known.iter().any(|(other, _)| other == agent));
        for (agent, changed) in known {
            let settings = self.evolver.settings(&agent).filter(|settings| settings.enabled);
            let Some(settings) = settings.filter(|_| self.weighed.get(&agent) != Some(&changed)) else { continue };
            match self.learning.demote(&agent, settings).await {
                Ok(harms) => {
                    for harm in harms {
                        if self.reported.len() < MOST_REPORTED
                            && self.reported.insert((agent.clone(), harm.skill.clone()))
                        {
                            tracing::warn!(%agent, skill = %harm.skill, "a skill that is for people to decide on seems to hurt, and stays: {harm}");
                        }
                    }
                    self.weighed.insert(agent, changed);
                }
                // It stays due, and the next look tries it again.
                Err(error) => tracing::error!(%agent, %error, "a skill that hurts could not be retired"),
            }
        }
        Ok(())
    }

    fn begin(&mut self, lesson: Lesson, stop: &CancellationToken) {
        let room = self.lessons.len() < AT_ONCE && !self.busy.contains(&lesson.agent);
        let settings = self.evolver.settings(&lesson.agent).filter(|settings| settings.enabled);
        let (true, Some(settings)) = (room, settings) else { return };
        let agent = lesson.agent.clone();
        self.busy.insert(agent.clone());
        let held = lesson::hold(self.learning.clone(), self.evolver.clone(), settings, lesson, stop.clone());
        self.lessons.spawn(async move {
            held.await;
            agent
        });
    }

    /// What is said while an agent does not learn, is not learned from when it does.
    async fn skip(&mut self, agent: AgentId) -> Result<(), StoreError> {
        let now = Instant::now();
        if self.skipped.get(&agent).is_none_or(|last| now.duration_since(*last) > SKIP_EVERY) {
            self.learning.store.skip_lessons(&agent).await?;
            self.skipped.insert(agent, now);
        }
        Ok(())
    }
}
