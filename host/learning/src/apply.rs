//! What was proposed and checked is done: files first, then, in one transaction, the versions and the lesson's end. Doing it twice,
//! as after a crash, does it once: a version's digest is its identity.

use std::time::SystemTime;

use domain::{AgentId, Digest};
use serde_json::json;
use skills::{Placed, SkillName, SkillsError, put_version, remove_version};
use store::{Lesson, SkillVersion, StoreError, VersionChange, VersionState};

use crate::Learning;
use crate::checks::{Checked, Fate};

/// Why a change could not be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApplyError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the skill cannot be written: {0}")]
    Skills(#[from] SkillsError),
    #[error("a part of the host has failed")]
    Failed,
}

/// What a lesson has changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) applied: usize,
    pub(crate) held: usize,
    pub(crate) refused: usize,
}

impl Learning {
    /// Does what a lesson's proposals say, and ends it.
    pub(crate) async fn apply(&self, lesson: &Lesson, mut checked: Vec<Checked>) -> Result<Outcome, ApplyError> {
        let folder = self.folder_of(&lesson.agent);
        let _held = folder.lock().await;
        let versions = self.store.skill_versions(&lesson.agent).await?;
        let (mut changes, mut outcome) = (Vec::new(), Outcome::default());
        for one in &mut checked {
            if one.fate == Fate::Apply {
                self.do_one(lesson, one, &versions, &mut changes).await?;
            }
            match one.fate {
                Fate::Apply => outcome.applied += 1,
                Fate::Refuse => outcome.refused += 1,
                Fate::Hold => {
                    outcome.held += 1;
                    changes.extend(version(lesson, one, &versions, VersionState::Candidate).map(put));
                }
            }
        }
        let proposals = serde_json::to_string(&checked).unwrap_or_default();
        self.store.finish_lesson(lesson.id, &proposals, changes).await?;
        Ok(outcome)
    }

    /// Writes or removes the files of one proposal. What a person has put in the way meanwhile stays.
    async fn do_one(
        &self,
        lesson: &Lesson,
        one: &mut Checked,
        versions: &[SkillVersion],
        changes: &mut Vec<VersionChange>,
    ) -> Result<(), ApplyError> {
        if let Some(text) = &one.text {
            match self.place(&lesson.agent, &one.name, text, versions, false).await? {
                Placed::Foreign(_) => {
                    one.fate = Fate::Hold;
                    one.reason = Some("a person has written a skill of this name meanwhile".to_owned());
                    return Ok(());
                }
                Placed::Done | Placed::Same => {
                    changes.extend(version(lesson, one, versions, VersionState::Active).map(put));
                }
            }
        }
        for name in &one.retires {
            // One that a person has changed meanwhile stays.
            if !matches!(self.remove(&lesson.agent, name, versions).await?, Placed::Foreign(_)) {
                let why = if one.text.is_some() { format!("{} takes its place", one.name) } else { one.why.clone() };
                changes.extend(retired(name, versions, Some(why)));
            } else if one.text.is_none() {
                one.fate = Fate::Refuse;
                one.reason = Some("a person has changed it meanwhile".to_owned());
            }
        }
        Ok(())
    }

    /// Makes `text` the agent's skill. `anything` that stands there is replaced when an operator wants that.
    pub(crate) async fn place(
        &self,
        agent: &AgentId,
        name: &str,
        text: &str,
        versions: &[SkillVersion],
        anything: bool,
    ) -> Result<Placed, ApplyError> {
        let (root, agent, text) = (self.skills_dir.clone(), agent.clone(), text.to_owned());
        let mut known = known(name, versions);
        let write = move || match put_version(&root, &agent, &text, &known)? {
            Placed::Foreign(there) if anything => {
                known.push(there);
                put_version(&root, &agent, &text, &known)
            }
            placed => Ok(placed),
        };
        Ok(tokio::task::spawn_blocking(write).await.map_err(|_| ApplyError::Failed)??)
    }

    /// Takes a learned skill away.
    pub(crate) async fn remove(
        &self,
        agent: &AgentId,
        name: &str,
        versions: &[SkillVersion],
    ) -> Result<Placed, ApplyError> {
        let Ok(skill) = name.parse::<SkillName>() else { return Ok(Placed::Same) };
        let (root, agent, known) = (self.skills_dir.clone(), agent.clone(), known(name, versions));
        let remove = move || remove_version(&root, &agent, &skill, &known);
        Ok(tokio::task::spawn_blocking(remove).await.map_err(|_| ApplyError::Failed)??)
    }
}

/// The versions of a skill, whatever became of them.
fn known(name: &str, versions: &[SkillVersion]) -> Vec<Digest> {
    versions.iter().filter(|version| version.name == name).map(|version| version.digest).collect()
}

pub(crate) fn active<'a>(name: &str, versions: &'a [SkillVersion]) -> Option<&'a SkillVersion> {
    versions.iter().find(|version| version.name == name && version.state == VersionState::Active)
}

/// The version in use, as it stands when it goes.
pub(crate) fn retired(name: &str, versions: &[SkillVersion], reason: Option<String>) -> Option<VersionChange> {
    let digest = active(name, versions)?.digest;
    Some(VersionChange::Stands { name: name.to_owned(), digest, state: VersionState::Retired, reason })
}

fn put(version: SkillVersion) -> VersionChange {
    VersionChange::Put(Box::new(version))
}

/// The version that a proposal makes, with where it comes from.
fn version(lesson: &Lesson, one: &Checked, versions: &[SkillVersion], state: VersionState) -> Option<SkillVersion> {
    let text = one.text.clone()?;
    let now = SystemTime::now();
    let provenance = json!({
        "agent": lesson.agent.as_str(), "session": lesson.session.as_str(), "turns": [lesson.from, lesson.to],
        "lesson": lesson.id.to_string(), "model": lesson.model, "action": one.action, "why": one.why,
        "replaces": one.retires, "time": humantime::format_rfc3339_seconds(now).to_string(), "tryout": one.tryout,
    });
    Some(SkillVersion {
        agent: lesson.agent.clone(),
        name: one.name.clone(),
        digest: Digest::of(text.as_bytes()),
        text,
        state,
        lesson: Some(lesson.id),
        provenance: provenance.to_string(),
        created: now,
        changed: now,
        parent: active(&one.name, versions).map(|version| version.digest),
        reason: None,
    })
}
