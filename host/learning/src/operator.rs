//! What operators see of learning, and what they decide.

use std::time::SystemTime;

use domain::{AgentId, Digest};
use serde_json::{Value, json};
use skills::Placed;
use store::{Lesson, LessonId, LessonState, SkillVersion, StoreError, VersionChange, VersionState};

use crate::Learning;
use crate::apply::{ApplyError, active, retired};

/// How many lessons are shown.
const SHOWN: usize = 100;
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
    /// The agent's lessons and the versions of its learned skills, the newest first.
    pub async fn history(&self, agent: &AgentId) -> Result<Value, OperatorError> {
        let lessons = self.store.lessons(agent, SHOWN).await?;
        let versions = self.store.skill_versions(agent).await?;
        let library = self.skills.library(agent);
        let shown = versions.iter().map(|version| {
            let mut value = version_json(version);
            // A person may have changed or removed the file of a version that was put there.
            let served = library.get(&version.name).is_some_and(|skill| skill.digest == version.digest);
            value["served"] = Value::from(served);
            value
        });
        let versions: Vec<Value> = shown.collect();
        let lessons: Vec<Value> = lessons.iter().map(lesson_json).collect();
        Ok(json!({"agent": agent.as_str(), "lessons": lessons, "versions": versions}))
    }

    /// How learning stands, for all agents.
    pub async fn status(&self) -> Result<Value, OperatorError> {
        let open = self.store.open_lessons().await?;
        let counts = self.store.lesson_counts().await?;
        let of = |state| counts.iter().filter(move |count| count.state == state);
        let last = of(LessonState::Done).max_by_key(|count| count.last);
        let last = last.map(|count| json!({"agent": count.agent.as_str(), "time": time(count.last)}));
        let late: Vec<Value> = open.iter().filter(|lesson| lesson.error.is_some()).map(lesson_json).collect();
        let failed: Vec<Value> =
            of(LessonState::Failed).map(|count| json!({"agent": count.agent.as_str(), "count": count.count})).collect();
        let done: u64 = of(LessonState::Done).map(|count| count.count).sum();
        Ok(json!({"last": last, "done": done, "waiting": open.len(), "late": late, "failed": failed}))
    }

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
                changes.extend(retired(other, &versions));
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
        self.stands(agent, &chosen, VersionState::Rejected).await
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
        self.stands(agent, &chosen, VersionState::Retired).await
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
            Placed::Done | Placed::Same => self.stands(agent, chosen, VersionState::Active).await.map(drop),
        }
    }

    async fn stands(
        &self,
        agent: &AgentId,
        chosen: &SkillVersion,
        state: VersionState,
    ) -> Result<Value, OperatorError> {
        let change = VersionChange::Stands { name: chosen.name.clone(), digest: chosen.digest, state };
        self.store.change_versions(agent, vec![change]).await?;
        Ok(version_json(&SkillVersion { state, ..chosen.clone() }))
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

fn time(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}

fn lesson_json(lesson: &Lesson) -> Value {
    let proposals: Value =
        lesson.proposals.as_deref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    json!({
        "lesson": lesson.id.to_string(), "agent": lesson.agent.as_str(), "session": lesson.session.as_str(),
        "turns": [lesson.from, lesson.to], "state": lesson.state.as_str(), "attempts": lesson.attempts,
        "not_before": time(lesson.not_before), "began": time(lesson.began), "changed": time(lesson.changed),
        "error": lesson.error, "model": lesson.model, "proposals": proposals,
    })
}

fn version_json(version: &SkillVersion) -> Value {
    let provenance: Value = serde_json::from_str(&version.provenance).unwrap_or_default();
    json!({
        "name": version.name, "digest": version.digest.to_string(), "state": version.state.as_str(),
        "created": time(version.created), "changed": time(version.changed),
        "parent": version.parent.as_ref().map(Digest::to_string), "provenance": provenance, "text": version.text,
    })
}
