//! Recorded decisions beside those that a policy makes today.

use domain::{Digest, Hook, SampleState, TurnOutcome, Verdict};
use policy::Decided;
use protocol::Answer;
use serde::Serialize;
use store::{StoredSample, StoredTurn};

/// Numbers that differ by less are the same: they have been through a database.
const TOLERANCE: f32 = 1e-6;

/// What was decided on a turn then.
pub(super) struct Then {
    /// Upstream and model, or the words of a refusal.
    route: String,
    refused: bool,
    skills: Vec<String>,
    /// Whether the session's turn before had the same skills, whose order then stays; also when that is not known.
    order_was_kept: bool,
    decided_by: Digest,
    judgement: Option<Judgement>,
}

/// What a policy decides on a turn today.
#[derive(Default)]
pub(super) struct Decisions {
    /// Upstream and model, or the words of a refusal.
    pub(super) route: Option<String>,
    pub(super) refuses: bool,
    /// Those that fit; none when that was not asked.
    pub(super) skills: Option<Vec<String>>,
    /// Of the module that selected, or else routed: the one that is recorded.
    pub(super) decided_by: Option<Digest>,
    pub(super) judgement: Option<Judgement>,
    /// `hook: why`.
    pub(super) failures: Vec<String>,
}

/// What became of a finished turn.
#[derive(Clone, Debug)]
pub(super) struct Judgement {
    /// None: it was dropped.
    pub(super) weight: Option<f32>,
    pub(super) reason: String,
    pub(super) reward: Option<f32>,
    pub(super) by: Digest,
}

/// One decision that would be another.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Change {
    pub(super) hook: &'static str,
    pub(super) recorded: String,
    pub(super) new: String,
    pub(super) cause: Cause,
}

/// Why a decision would be another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Cause {
    /// The new module.
    Module,
    /// The module that was asked then would not decide so today either: skills or settings have changed, or another upstream
    /// stood in.
    Other,
}

impl Then {
    pub(super) fn of(turn: &StoredTurn, sample: Option<&StoredSample>, before: Option<&Vec<String>>) -> Self {
        let record = &turn.record;
        let refused = record.outcome == TurnOutcome::Refused;
        let route = match refused {
            true => Answer::from_json(&record.answer).map(|answer| answer.text).unwrap_or_default(),
            false => format!("{}/{}", record.upstream, record.model),
        };
        Then {
            route,
            refused,
            skills: record.skills.clone(),
            order_was_kept: before.map_or(turn.position > 0, |before| same_set(before, &record.skills)),
            decided_by: record.policy.0,
            judgement: sample.map(Judgement::recorded),
        }
    }

    /// What `now` decides otherwise, given what the agent's present policy decides today.
    pub(super) fn changes(&self, now: &Decisions, present: Option<&Decisions>) -> Vec<Change> {
        // Whether the present policy is the one that was asked.
        let same = present.filter(|present| present.decided_by == Some(self.decided_by));
        let mut changes = Vec::new();
        if let Some(route) = &now.route
            && (now.refuses, route) != (self.refused, &self.route)
        {
            let elsewhere = same.is_some_and(|present| (present.refuses, &present.route) == (now.refuses, &now.route));
            let shown =
                |refuses: bool, words: &str| if refuses { format!("refuse {words:?}") } else { words.to_owned() };
            changes.push(Change {
                hook: Hook::Route.as_str(),
                recorded: shown(self.refused, &self.route),
                new: shown(now.refuses, route),
                cause: Cause::other(elsewhere),
            });
        }
        // A refused turn gets no skills whatever the policy thinks of them.
        if let Some(skills) = now.skills.as_ref().filter(|_| !self.refused)
            && !self.has_same_skills(skills)
        {
            let elsewhere = same.and_then(|present| present.skills.as_ref()) == Some(skills);
            changes.push(Change {
                hook: Hook::Select.as_str(),
                recorded: listed(&self.skills),
                new: listed(skills),
                cause: Cause::other(elsewhere),
            });
        }
        if let (Some(then), Some(now)) = (&self.judgement, &now.judgement) {
            let judged = present.and_then(|present| present.judgement.as_ref()).filter(|present| present.by == then.by);
            if !then.keeps_like(now) {
                changes.push(Change {
                    hook: Hook::Filter.as_str(),
                    recorded: then.verdict(),
                    new: now.verdict(),
                    cause: Cause::other(judged.is_some_and(|present| present.keeps_like(now))),
                });
            } else if now.weight.is_some() && !alike(then.reward, now.reward) {
                let shown = |reward: Option<f32>| reward.map_or_else(|| "none".to_owned(), |reward| reward.to_string());
                changes.push(Change {
                    hook: Hook::Reward.as_str(),
                    recorded: shown(then.reward),
                    new: shown(now.reward),
                    cause: Cause::other(judged.is_some_and(|present| alike(present.reward, now.reward))),
                });
            }
        }
        changes
    }

    fn has_same_skills(&self, now: &[String]) -> bool {
        self.skills == now || (self.order_was_kept && same_set(&self.skills, now))
    }
}

impl Decisions {
    pub(super) fn note<T>(&mut self, hook: Hook, decided: &Decided<T>) {
        if let Some(failure) = &decided.failure {
            self.failures.push(format!("{}: {failure}", hook.as_str()));
        }
    }
}

impl Judgement {
    pub(super) fn of(verdict: &Verdict, by: Digest) -> Self {
        match verdict {
            Verdict::Keep { weight } => Judgement { weight: Some(*weight), reason: String::new(), reward: None, by },
            Verdict::Drop { reason } => Judgement { weight: None, reason: reason.clone(), reward: None, by },
        }
    }

    fn recorded(sample: &StoredSample) -> Self {
        let dropped = sample.state == SampleState::Dropped;
        Judgement {
            weight: (!dropped).then_some(sample.sample.weight),
            // What became of a kept one afterwards has reasons of its own.
            reason: sample.reason.clone().filter(|_| dropped).unwrap_or_default(),
            reward: sample.sample.reward,
            by: sample.sample.policy,
        }
    }

    /// Another reason for dropping is the same decision.
    fn keeps_like(&self, other: &Judgement) -> bool {
        alike(self.weight, other.weight)
    }

    fn verdict(&self) -> String {
        match self.weight {
            Some(weight) => format!("keep {weight}"),
            None => format!("drop {:?}", self.reason),
        }
    }
}

impl Cause {
    fn other(elsewhere: bool) -> Self {
        if elsewhere { Cause::Other } else { Cause::Module }
    }
}

fn alike(a: Option<f32>, b: Option<f32>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => (a - b).abs() < TOLERANCE,
        (a, b) => a.is_none() && b.is_none(),
    }
}

fn same_set(a: &[String], b: &[String]) -> bool {
    a.len() == b.len() && a.iter().all(|name| b.contains(name))
}

fn listed(names: &[String]) -> String {
    format!("[{}]", names.join(", "))
}
