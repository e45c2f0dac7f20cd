//! What operators see of learning, of a running host or of the state that one has left.

use std::time::SystemTime;

use domain::{AgentId, Digest};
use serde_json::{Value, json};
use skills::Library;
use store::{Archive, Lesson, LessonState, SkillUse, SkillVersion, StoreError};

use crate::Learning;
use crate::demotion::{hurting, may_go};
use crate::operator::OperatorError;

/// How many lessons are shown.
const SHOWN: usize = 100;

impl Learning {
    /// The agent's lessons and the versions of its learned skills, the newest first, and the skills that seem to hurt.
    pub async fn history(&self, agent: &AgentId) -> Result<Value, OperatorError> {
        let lessons = self.store.lessons(agent, SHOWN).await?;
        let versions = self.store.skill_versions(agent).await?;
        let uses = self.store.skill_uses(agent).await?;
        Ok(told(agent, &lessons, &versions, &uses, &self.skills.library(agent)))
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
}

/// As [`Learning::history`], of what a host has left in its state directory and its skill folder.
///
/// # Errors
/// When the archive cannot be read.
pub async fn archived(archive: &Archive, agent: &AgentId, library: &Library) -> Result<Value, StoreError> {
    let lessons = archive.lessons(agent, SHOWN).await?;
    let versions = archive.skill_versions(agent).await?;
    let uses = archive.skill_uses(agent).await?;
    Ok(told(agent, &lessons, &versions, &uses, library))
}

fn told(agent: &AgentId, lessons: &[Lesson], versions: &[SkillVersion], uses: &[SkillUse], library: &Library) -> Value {
    let shown = versions.iter().map(|version| {
        let mut value = version_json(version);
        // A person may have changed or removed the file of a version that was put there.
        let served = library.get(&version.name).is_some_and(|skill| skill.digest == version.digest);
        value["served"] = Value::from(served);
        value
    });
    let versions_json: Vec<Value> = shown.collect();
    let lessons: Vec<Value> = lessons.iter().map(lesson_json).collect();
    let hurts = hurting(library, versions, uses, SystemTime::now()).into_iter().map(|harm| {
        let stays = may_go(&harm.skill, library, versions).is_none();
        json!({"skill": harm.skill, "stays": stays, "why": harm.to_string()})
    });
    let hurts: Vec<Value> = hurts.collect();
    json!({"agent": agent.as_str(), "lessons": lessons, "versions": versions_json, "hurts": hurts})
}

fn time(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}

pub(crate) fn lesson_json(lesson: &Lesson) -> Value {
    let proposals: Value =
        lesson.proposals.as_deref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    json!({
        "lesson": lesson.id.to_string(), "agent": lesson.agent.as_str(), "session": lesson.session.as_str(),
        "turns": [lesson.from, lesson.to], "state": lesson.state.as_str(), "attempts": lesson.attempts,
        "not_before": time(lesson.not_before), "began": time(lesson.began), "changed": time(lesson.changed),
        "error": lesson.error, "model": lesson.model, "proposals": proposals,
    })
}

pub(crate) fn version_json(version: &SkillVersion) -> Value {
    let provenance: Value = serde_json::from_str(&version.provenance).unwrap_or_default();
    json!({
        "name": version.name, "digest": version.digest.to_string(), "state": version.state.as_str(),
        "created": time(version.created), "changed": time(version.changed),
        "parent": version.parent.as_ref().map(Digest::to_string), "provenance": provenance, "text": version.text,
        "reason": version.reason,
    })
}
