//! What is left out of a conversation that does not fit the model's window.
//!
//! The oldest goes first, in steps: a conversation that grows keeps its beginning for many turns, so that the provider's prompt cache stays warm. System
//! messages stay, and so do the user's last words and what came last. A tool's result never stays without its call, nor the call without its results.

use std::ops::Range;

use crate::message::{MessageSpan, Role};
use crate::request::ChatRequest;
use crate::value;

/// What an image or a recording counts as, in bytes of text. Its own bytes say nothing of its tokens.
const MEDIUM: usize = 3_000;
/// What a message costs beside its words: its role and the model's marks around it.
const FRAME: usize = 16;
/// What is left out grows by this part of the window.
const STEP: usize = 4;

/// Which messages of a request are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Omission {
    /// Runs of messages by index, in order; each is followed by a message that stays.
    runs: Vec<Range<usize>>,
}

/// Messages that stay or go together: a user's words, or an answer with the results of its tool calls.
struct Unit {
    messages: Range<usize>,
    weight: usize,
    kind: Role,
}

impl Omission {
    /// How many messages are left out.
    pub fn len(&self) -> usize {
        self.runs.iter().map(Range::len).sum()
    }

    /// Whether everything stays.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// The messages that go, by the bytes that they take in the body.
    pub(crate) fn spans<'a>(&'a self, messages: &'a [MessageSpan]) -> impl Iterator<Item = Range<usize>> + 'a {
        let start = |index: usize| messages.get(index).map(|message| message.whole.start);
        self.runs.iter().filter_map(move |run| Some(start(run.start)?..start(run.end)?))
    }
}

impl ChatRequest {
    /// What the request weighs: bytes of text, from which tokens can be estimated. Images and recordings count as a fixed number.
    pub fn weight(&self) -> usize {
        self.beside_messages() + self.messages.iter().map(|message| self.weight_of(message)).sum::<usize>()
    }

    fn beside_messages(&self) -> usize {
        self.body.len() - self.messages.iter().map(|message| message.whole.len()).sum::<usize>()
    }

    /// What the request weighs without these messages.
    pub fn weight_without(&self, omitted: &Omission) -> usize {
        let gone = omitted.runs.iter().flat_map(|run| self.messages.get(run.clone()).unwrap_or_default());
        self.weight() - gone.map(|message| self.weight_of(message)).sum::<usize>()
    }

    /// How many tokens the answer may have, when the client says so.
    pub fn max_answer(&self) -> Option<u32> {
        const NAMES: [&str; 2] = ["max_completion_tokens", "max_tokens"];
        let named =
            |name: &str| self.entries.iter().find(|entry| value::string(self.raw(&entry.key)).as_deref() == Some(name));
        NAMES.into_iter().find_map(|name| self.raw(&named(name)?.value).parse().ok())
    }

    /// What to leave out so that the rest weighs `room` at most, as [`weight`](Self::weight) counts. It may weigh more all the same: what must stay
    /// stays.
    pub fn omit(&self, room: usize) -> Omission {
        let units = self.units();
        let total = self.beside_messages() + units.iter().map(|unit| unit.weight).sum::<usize>();
        if total <= room {
            return Omission::default();
        }
        // Rounded up, so that the next turns need no further step.
        let step = (room / STEP).max(1);
        let excess = (total - room).div_ceil(step) * step;
        let mut gone = vec![false; self.messages.len()];
        let mut shed = 0;
        let last_words = units.iter().rposition(|unit| unit.kind == Role::User).unwrap_or(0);
        let last = units.len().saturating_sub(1);
        for (at, unit) in units.iter().enumerate() {
            let stays = unit.kind == Role::System || at == last_words || at == last;
            // What is left of an exchange whose question has gone would begin the conversation with an answer.
            let dangles = at < last_words && unit.kind != Role::User && shed > 0;
            if stays {
                continue;
            }
            if shed >= excess && !dangles {
                break;
            }
            unit.messages.clone().for_each(|message| gone[message] = true);
            shed += unit.weight;
        }
        Omission { runs: runs(&gone) }
    }

    fn units(&self) -> Vec<Unit> {
        let mut units: Vec<Unit> = Vec::new();
        for (index, message) in self.messages.iter().enumerate() {
            let weight = self.weight_of(message);
            match units.last_mut() {
                // A result belongs to the answer that called for it, and to nothing else.
                Some(unit) if message.kind == Role::Tool && unit.kind != Role::User && unit.kind != Role::System => {
                    unit.messages.end = index + 1;
                    unit.weight += weight;
                }
                _ => units.push(Unit { messages: index..index + 1, weight, kind: message.kind }),
            }
        }
        units
    }

    fn weight_of(&self, message: &MessageSpan) -> usize {
        let whole = FRAME + message.whole.len();
        let Some(content) = message.content.as_ref().filter(|content| self.body[content.start] == b'[') else {
            return whole;
        };
        let parts = value::elements(self.raw(content));
        let weigh = |part: &&str| value::member(part, "text").map_or(MEDIUM, str::len);
        whole - content.len() + parts.iter().map(weigh).sum::<usize>()
    }
}

fn runs(gone: &[bool]) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for index in (0..gone.len()).filter(|index| gone[*index]) {
        match runs.last_mut().filter(|run| run.end == index) {
            Some(run) => run.end += 1,
            None => runs.push(index..index + 1),
        }
    }
    runs
}

#[cfg(test)]
mod tests;
