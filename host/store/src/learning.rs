//! What is learned from sessions: which are due, the lessons held, and the versions of skills that came of them.
//!
//! ```text
//! due ─► begin ─► begun ──(a model is asked)──► propose ─► proposed ──(files are written)──► finish ─► done
//!                   ▲  └──────── postpone ◄───── a failure ─────┘ ▲                            └ the session's turns
//!                   └── retry ◄── failed (after the last attempt) └ note: what came of trying it out   are learned from
//! ```
//!
//! Each arrow is one transaction, so after a crash a lesson goes on where it was: what was proposed is not asked for again, and
//! what was learned from is not learned from twice.

pub(crate) mod read;
pub(crate) mod write;

use std::time::SystemTime;

use domain::{AgentId, Digest, SessionId, TurnId};
use uuid::Uuid;

use crate::error::StoreError;
use crate::queue::Job;
use crate::{Archive, Store};

pub(crate) use write::{LearnJob, Step};

/// Names a lesson; a UUIDv7, so lessons sort by time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LessonId(pub Uuid);

/// What is learned from one stretch of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lesson {
    /// Its name.
    pub id: LessonId,
    /// Whose.
    pub agent: AgentId,
    /// From which conversation.
    pub session: SessionId,
    /// The position of its first turn.
    pub from: u64,
    /// The position after its last turn.
    pub to: u64,
    /// Where it stands.
    pub state: LessonState,
    /// How many attempts have failed.
    pub attempts: u32,
    /// When it is tried, or tried again.
    pub not_before: SystemTime,
    /// When it began.
    pub began: SystemTime,
    /// When it last changed.
    pub changed: SystemTime,
    /// Why the last attempt failed.
    pub error: Option<String>,
    /// Which model was asked.
    pub model: Option<String>,
    /// What was proposed and checked, JSON of whoever holds the lessons.
    pub proposals: Option<String>,
}

/// Where a lesson stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LessonState {
    /// A model is to be asked.
    Begun,
    /// It has answered; what it proposed is to be applied.
    Proposed,
    /// Applied.
    Done,
    /// Given up after too many attempts, until somebody wants it tried again.
    Failed,
}

/// One version of a learned skill.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SkillVersion {
    /// Whose.
    pub agent: AgentId,
    /// The skill's name.
    pub name: String,
    /// Of the text: what names this version.
    pub digest: Digest,
    /// The whole `SKILL.md`.
    pub text: String,
    /// Where it stands.
    pub state: VersionState,
    /// What it came of; none when a person made it.
    pub lesson: Option<LessonId>,
    /// Where it comes from, JSON of whoever made it.
    pub provenance: String,
    /// When it was made.
    pub created: SystemTime,
    /// When its state last changed.
    pub changed: SystemTime,
    /// The version whose place it takes.
    pub parent: Option<Digest>,
    /// Why it stands where it stands, where no person has decided that.
    pub reason: Option<String>,
}

/// Where a version stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VersionState {
    /// It waits for a person's word, and is in no prompt.
    Candidate,
    /// It is the one in use.
    Active,
    /// It was in use.
    Retired,
    /// A person does not want it.
    Rejected,
}

/// A change of an agent's versions. A version that becomes active retires the one that was.
#[derive(Clone, Debug)]
pub enum VersionChange {
    /// A version that is new, or comes again: then its state is what changes.
    Put(Box<SkillVersion>),
    /// Where a version stands from now on.
    Stands {
        /// The skill.
        name: String,
        /// The version.
        digest: Digest,
        /// The new state.
        state: VersionState,
        /// Why, where no person has decided it.
        reason: Option<String>,
    },
}

/// How learning stands for an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LessonCount {
    /// Whose.
    pub agent: AgentId,
    /// Which state.
    pub state: LessonState,
    /// How many lessons.
    pub count: u64,
    /// When the last of them changed.
    pub last: SystemTime,
}

impl Store {
    /// Returns after a commit in which turns, ends of sessions or outcomes were: something may be due. One that happened since the last
    /// call counts.
    pub async fn news(&self) {
        self.shared.news.notified().await;
    }

    /// The agents with sessions that have turns nobody has learned from.
    pub async fn agents_to_learn(&self) -> Result<Vec<AgentId>, StoreError> {
        self.reader.agents_to_learn().await
    }

    /// The agent's sessions from which is to be learned now, the longest silent first: they have ended, or, unless `every` is
    /// 0, have so many main turns since the last lesson. Those with a lesson under way are not among them.
    pub async fn due_sessions(&self, agent: &AgentId, every: u64, limit: usize) -> Result<Vec<SessionId>, StoreError> {
        self.reader.due_sessions(agent, every, limit).await
    }

    /// Begins the lesson about all turns of a session that were not learned from. None when there is one already, and when
    /// there is nothing to learn from: then those turns count as learned from.
    pub async fn begin_lesson(&self, agent: &AgentId, session: &SessionId) -> Result<Option<Lesson>, StoreError> {
        self.learn(Step::Begin { agent: agent.clone(), session: session.clone() }).await
    }

    /// Keeps what a model has proposed, so that it is not asked again. None when the lesson does not wait for that.
    pub async fn propose(&self, lesson: LessonId, model: &str, proposals: &str) -> Result<Option<Lesson>, StoreError> {
        self.learn(Step::Propose { lesson, model: model.to_owned(), proposals: proposals.to_owned() }).await
    }

    /// Keeps how far trying out what was proposed has come, so that nothing is asked twice, and counts `questions` that are going to
    /// be asked on `day` (days since 1970). None when the lesson does not wait for that.
    pub async fn note_tryout(
        &self,
        lesson: LessonId,
        proposals: &str,
        day: u64,
        questions: u32,
    ) -> Result<Option<Lesson>, StoreError> {
        self.learn(Step::Note { lesson, proposals: proposals.to_owned(), day, questions }).await
    }

    /// How many questions trying the agent's skills out has been given on `day`, the present one or a later one.
    pub async fn tryout_questions(&self, agent: &AgentId, day: u64) -> Result<u64, StoreError> {
        self.reader.questions_on(agent, day).await
    }

    /// Notes that an attempt has failed, and when the next one is; none: it is given up, and its turns count as learned from.
    pub async fn postpone(
        &self,
        lesson: LessonId,
        error: &str,
        until: Option<SystemTime>,
    ) -> Result<Option<Lesson>, StoreError> {
        self.learn(Step::Postpone { lesson, error: error.to_owned(), until }).await
    }

    /// Lets a lesson that was given up, or waits, be tried at once. None when it does neither.
    pub async fn retry_lesson(&self, agent: &AgentId, lesson: LessonId) -> Result<Option<Lesson>, StoreError> {
        self.learn(Step::Retry { agent: agent.clone(), lesson }).await
    }

    /// Ends a lesson: its versions are kept, and its turns count as learned from. None when it does not wait for that.
    pub async fn finish_lesson(
        &self,
        lesson: LessonId,
        proposals: &str,
        changes: Vec<VersionChange>,
    ) -> Result<Option<Lesson>, StoreError> {
        self.learn(Step::Finish { lesson, proposals: proposals.to_owned(), changes }).await
    }

    /// Changes an agent's versions, all or none.
    pub async fn change_versions(&self, agent: &AgentId, changes: Vec<VersionChange>) -> Result<(), StoreError> {
        self.learn(Step::Change { agent: agent.clone(), changes }).await.map(drop)
    }

    /// Lets all turns of an agent so far count as learned from.
    pub async fn skip_lessons(&self, agent: &AgentId) -> Result<(), StoreError> {
        self.learn(Step::Skip { agent: agent.clone() }).await.map(drop)
    }

    async fn learn(&self, step: Step) -> Result<Option<Lesson>, StoreError> {
        self.queue.ask(|reply| Job::Learn(Box::new(LearnJob { step, reply }))).await
    }

    /// Lessons that are begun or proposed, of all agents, those first that are tried first.
    pub async fn open_lessons(&self) -> Result<Vec<Lesson>, StoreError> {
        self.reader.open_lessons().await
    }

    /// The agent's lessons, the newest first.
    pub async fn lessons(&self, agent: &AgentId, limit: usize) -> Result<Vec<Lesson>, StoreError> {
        self.reader.lessons(agent, limit).await
    }

    /// The agents that have learned skills in use and turns of which something was said, and when that was last.
    pub async fn agents_with_outcomes(&self) -> Result<Vec<(AgentId, SystemTime)>, StoreError> {
        self.reader.agents_with_outcomes().await
    }

    /// How many lessons there are, by agent and state.
    pub async fn lesson_counts(&self) -> Result<Vec<LessonCount>, StoreError> {
        self.reader.lesson_counts().await
    }

    /// All versions of the agent's learned skills, by name, the newest of each first.
    pub async fn skill_versions(&self, agent: &AgentId) -> Result<Vec<SkillVersion>, StoreError> {
        self.reader.skill_versions(agent).await
    }

    /// The last `limit` main turns of a lesson, in order.
    pub async fn turns_of_lesson(&self, lesson: &Lesson, limit: usize) -> Result<Vec<TurnId>, StoreError> {
        self.reader.turns_of_lesson(lesson, limit).await
    }
}

impl Archive {
    /// The agent's lessons, the newest first.
    pub async fn lessons(&self, agent: &AgentId, limit: usize) -> Result<Vec<Lesson>, StoreError> {
        self.reader.lessons(agent, limit).await
    }

    /// All versions of the agent's learned skills, by name, the newest of each first.
    pub async fn skill_versions(&self, agent: &AgentId) -> Result<Vec<SkillVersion>, StoreError> {
        self.reader.skill_versions(agent).await
    }
}

impl std::fmt::Display for LessonId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::str::FromStr for LessonId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::try_parse(text).map(LessonId)
    }
}

impl VersionState {
    /// Its word in the database, in JSON and on the terminal.
    pub fn as_str(self) -> &'static str {
        match self {
            VersionState::Candidate => "candidate",
            VersionState::Active => "active",
            VersionState::Retired => "retired",
            VersionState::Rejected => "rejected",
        }
    }
}

impl LessonState {
    /// Its word in the database, in JSON and on the terminal.
    pub fn as_str(self) -> &'static str {
        match self {
            LessonState::Begun => "begun",
            LessonState::Proposed => "proposed",
            LessonState::Done => "done",
            LessonState::Failed => "failed",
        }
    }
}

impl crate::codes::Code for VersionState {
    const ALL: &'static [Self] =
        &[VersionState::Candidate, VersionState::Active, VersionState::Retired, VersionState::Rejected];

    fn code(self) -> &'static str {
        self.as_str()
    }
}

impl crate::codes::Code for LessonState {
    const ALL: &'static [Self] = &[LessonState::Begun, LessonState::Proposed, LessonState::Done, LessonState::Failed];

    fn code(self) -> &'static str {
        self.as_str()
    }
}
