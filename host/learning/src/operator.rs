//! What operators decide about what was learned.

use domain::AgentId;
use serde_json::Value;
use skills::Placed;
use store::{LessonId, SkillVersion, StoreError, VersionChange, VersionState};

use crate::Learning;
use crate::apply::{ApplyError, active, retired};
use crate::demotion::WANTED;
use crate::history::{lesson_json, version_json};

/// The shortest beginning of a digest that names a version.
const SHORTEST: usize = 6;

/// Why a decision could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// There is nothing to decide on.
    #[error("agent `{agent}` has no {what} of a skill `{name}`: see `metaclaw skills log --agent {agent}`")]
    Nothing {
        /// Whose.
        agent: AgentId,
        /// The skill.
        name: String,
        /// What was looked for.
        what: &'static str,
    },
    /// More than one version fits.
    #[error("{count} versions of `{name}` fit: name one by the beginning of its digest")]
    Several {
        /// The skill.
        name: String,
        /// How many.
        count: usize,
    },
    /// There is no such lesson, or it is done.
    #[error("agent `{agent}` has no lesson {lesson} that could be tried again")]
    NoLesson {
        /// Whose.
        agent: AgentId,
        /// As it was named.
        lesson: String,
    },
    /// The file there is nobody's version.
    #[error(
        "`{0}` is a skill that a person wrote or changed, and it stays: remove or rename it, or say that it is to be replaced"
    )]
    Foreign(String),
    /// The disk or the database.
    #[error("{0}")]
    Failed(String),
}

impl From<StoreError> for OperatorError {
    fn from(error: StoreError) -> Self {
        OperatorError::Failed(error.to_string())
    }
}

impl From<ApplyError> for OperatorError {
    fn from(error: ApplyError) -> Self {
        OperatorError::Failed(error.to_string())
    }
}

impl Learning {
    /// Puts a candidate to use: the newest, or the one whose digest begins so. With `replace`, whatever stands there goes.
    pub async fn approve(
        &self,
        agent: &AgentId,
        name: &str,
        digest: Option<&str>,
        replace: bool,
    ) -> Result<Value, OperatorError> {
        let folder = self.folder_of(agent);
        let _held = folder.lock().await;
        let versions = self.store.skill_versions(agent).await?;
        let chosen =
            self.chosen(agent, name, digest, "candidate", &versions, |v| v.state == VersionState::Candidate)?;
        self.put_to_use(agent, &chosen, &versions, replace).await?;
        // What it was proposed to take the place of.
        let provenance: Value = serde_json::from_str(&chosen.provenance).unwrap_or_default();
        let mut changes = Vec::new();
        for other in provenance["replaces"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if !matches!(self.remove(agent, other, &versions).await?, Placed::Foreign(_)) {
                changes.extend(retired(other, &versions, None));
            }
        }
        self.store.change_versions(agent, changes).await?;
        Ok(version_json(&SkillVersion { state: VersionState::Active, ..chosen }))
    }

    /// Wants a candidate never to be used.
    pub async fn reject(&self, agent: &AgentId, name: &str, digest: Option<&str>) -> Result<Value, OperatorError> {
        let folder = self.folder_of(agent);
        let _held = folder.lock().await;
        let versions = self.store.skill_versions(agent).await?;
        let chosen =
            self.chosen(agent, name, digest, "candidate", &versions, |v| v.state == VersionState::Candidate)?;
        self.stands(agent, &chosen, VersionState::Rejected, None).await
    }

    /// Goes back to the version before the one in use, or to the one whose digest begins so.
    pub async fn rollback(&self, agent: &AgentId, name: &str, digest: Option<&str>) -> Result<Value, OperatorError> {
        let folder = self.folder_of(agent);
        let _held = folder.lock().await;
        let versions = self.store.skill_versions(agent).await?;
        let present = active(name, &versions);
        let parent = present.and_then(|version| version.parent);
        let earlier = versions.iter().filter(|v| v.name == name && v.state == VersionState::Retired);
        let before = match (digest, parent) {
            (None, Some(parent)) => earlier.clone().find(|v| v.digest == parent).cloned(),
            _ => None,
        };
        let newest = earlier.max_by_key(|version| version.changed).cloned().filter(|_| digest.is_none());
        let chosen = match before.or(newest) {
            Some(chosen) => chosen,
            None => {
                self.chosen(agent, name, digest, "earlier version", &versions, |v| v.state == VersionState::Retired)?
            }
        };
        self.put_to_use(agent, &chosen, &versions, false).await?;
        Ok(version_json(&SkillVersion { state: VersionState::Active, ..chosen }))
    }

    /// Takes a learned skill out of use.
    pub async fn retire(&self, agent: &AgentId, name: &str) -> Result<Value, OperatorError> {
        let folder = self.folder_of(agent);
        let _held = folder.lock().await;
        let versions = self.store.skill_versions(agent).await?;
        let chosen =
            self.chosen(agent, name, None, "version in use", &versions, |v| v.state == VersionState::Active)?;
        if let Placed::Foreign(_) = self.remove(agent, name, &versions).await? {
            return Err(OperatorError::Foreign(name.to_owned()));
        }
        self.stands(agent, &chosen, VersionState::Retired, None).await
    }

    /// Tries a lesson that waits or was given up again, at once.
    pub async fn retry(&self, agent: &AgentId, lesson: &str) -> Result<Value, OperatorError> {
        let none = || OperatorError::NoLesson { agent: agent.clone(), lesson: lesson.chars().take(64).collect() };
        let id: LessonId = lesson.parse().map_err(|_| none())?;
        let lesson = self.store.retry_lesson(agent, id).await?.ok_or_else(none)?;
        self.asked.notify_one();
        Ok(lesson_json(&lesson))
    }

    /// The file first: a crash in between leaves a file that is known as a version, and the command can be given again.
    async fn put_to_use(
        &self,
        agent: &AgentId,
        chosen: &SkillVersion,
        versions: &[SkillVersion],
        replace: bool,
    ) -> Result<(), OperatorError> {
        match self.place(agent, &chosen.name, &chosen.text, versions, replace).await? {
            Placed::Foreign(_) => Err(OperatorError::Foreign(chosen.name.clone())),
            Placed::Done | Placed::Same => {
                self.stands(agent, chosen, VersionState::Active, Some(WANTED)).await.map(drop)
            }
        }
    }

    async fn stands(
        &self,
        agent: &AgentId,
        chosen: &SkillVersion,
        state: VersionState,
        reason: Option<&str>,
    ) -> Result<Value, OperatorError> {
        let reason = reason.map(str::to_owned);
        let (name, digest) = (chosen.name.clone(), chosen.digest);
        let change = VersionChange::Stands { name, digest, state, reason: reason.clone() };
        self.store.change_versions(agent, vec![change]).await?;
        Ok(version_json(&SkillVersion { state, reason, ..chosen.clone() }))
    }

    /// The version that is meant, of those that fit.
    fn chosen(
        &self,
        agent: &AgentId,
        name: &str,
        digest: Option<&str>,
        what: &'static str,
        versions: &[SkillVersion],
        fits: impl Fn(&SkillVersion) -> bool,
    ) -> Result<SkillVersion, OperatorError> {
        let nothing = || OperatorError::Nothing { agent: agent.clone(), name: name.to_owned(), what };
        let begins = |version: &SkillVersion| match digest {
            None => true,
            Some(start) => start.len() >= SHORTEST && version.digest.to_string().starts_with(start),
        };
        let fitting: Vec<_> = versions.iter().filter(|v| v.name == name && fits(v) && begins(v)).collect();
        match fitting.as_slice() {
            [] => Err(nothing()),
            [one] => Ok((*one).clone()),
            several => Err(OperatorError::Several { name: name.to_owned(), count: several.len() }),
        }
    }
}
