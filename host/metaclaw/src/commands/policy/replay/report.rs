use std::collections::BTreeMap;

use domain::{AgentId, TurnRecord};
use serde::Serialize;

use super::{Cause, Change};
use crate::commands::policy::subject::Subject;
use crate::output;

/// What a replay comes to.
#[derive(Serialize)]
pub(super) struct Report {
    agent: String,
    module: String,
    sha256: String,
    /// How many were asked anew.
    turns: u64,
    /// How many of them the module would decide differently.
    different: u64,
    by_hook: BTreeMap<&'static str, u64>,
    /// How many differ for other reasons only.
    otherwise: u64,
    /// How many the module failed on.
    pub(super) failures: u64,
    /// Records that are no requests any more.
    pub(super) unreadable: u64,
    changes: Vec<Differing>,
    notes: Vec<String>,
}

/// A turn that would be decided differently.
#[derive(Serialize)]
pub(super) struct Differing {
    turn: String,
    session: String,
    started: String,
    changes: Vec<Change>,
    failures: Vec<String>,
}

impl Differing {
    pub(super) fn of(record: &TurnRecord, changes: Vec<Change>, failures: &[String]) -> Self {
        let started =
            jiff::Timestamp::try_from(record.started).map(|time| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
        Differing {
            turn: record.id.to_string(),
            session: record.session.to_string(),
            started: started.unwrap_or_default(),
            changes,
            failures: failures.to_vec(),
        }
    }

    fn is_due_to_the_module(&self) -> bool {
        self.changes.iter().any(|change| change.cause == Cause::Module)
    }
}

impl Report {
    pub(super) fn new(agent: &AgentId, subject: &Subject, notes: Vec<String>) -> Self {
        Report {
            agent: agent.to_string(),
            module: subject.path.display().to_string(),
            sha256: subject.digest.to_string(),
            turns: 0,
            different: 0,
            by_hook: BTreeMap::new(),
            otherwise: 0,
            failures: 0,
            unreadable: 0,
            changes: Vec::new(),
            notes,
        }
    }

    pub(super) fn count(&mut self, turn: Differing) {
        self.turns += 1;
        if turn.changes.is_empty() {
            return;
        }
        for change in turn.changes.iter().filter(|change| change.cause == Cause::Module) {
            *self.by_hook.entry(change.hook).or_default() += 1;
        }
        *(if turn.is_due_to_the_module() { &mut self.different } else { &mut self.otherwise }) += 1;
        self.changes.push(turn);
    }

    pub(super) fn print(&self, all: bool) {
        for turn in self.changes.iter().filter(|turn| all || turn.is_due_to_the_module()) {
            output::line(format_args!("{}  {}  session {}", turn.turn, turn.started, turn.session));
            for change in turn.changes.iter().filter(|change| all || change.cause == Cause::Module) {
                let why = if change.cause == Cause::Other { "  (not due to the module)" } else { "" };
                let (recorded, new) = (output::harmless(&change.recorded), output::harmless(&change.new));
                output::line(format_args!("  {:<7} {recorded} → {new}{why}", change.hook));
            }
            turn.failures.iter().for_each(|failure| output::line(format_args!("  failed  {failure}")));
        }
        if self.different > 0 || (all && self.otherwise > 0) {
            output::line("");
        }
        let by_hook: Vec<String> = self.by_hook.iter().map(|(hook, count)| format!("{hook} {count}")).collect();
        let by_hook = if by_hook.is_empty() { String::new() } else { format!(" ({})", by_hook.join(", ")) };
        output::line(format_args!("{} turns, {} would be decided differently{by_hook}", self.turns, self.different));
        if self.otherwise > 0 {
            output::line(format_args!(
                "{} more differ for other reasons: skills or settings of now, or an upstream that stood in (--all lists them)",
                self.otherwise
            ));
        }
        if self.failures > 0 {
            output::line(format_args!("the module failed on {} of them", self.failures));
        }
        if self.unreadable > 0 {
            output::line(format_args!("{} records could not be read as requests", self.unreadable));
        }
        self.notes.iter().for_each(|note| output::note(format_args!("note: {note}")));
        if self.turns == 0 {
            output::note(format_args!("note: nothing is recorded of agent `{}` in that time", self.agent));
        }
    }
}
