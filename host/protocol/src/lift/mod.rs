//! Answers whose text holds what has a field of its own: reasoning and tool calls become `reasoning_content` and `tool_calls`.
//!
//! - `text` tells words, reasoning and calls apart in a text that comes in pieces; `calls` and `xml` read the calls' markup;
//! - `choice` puts what was found into the JSON of one choice, by changing those of its bytes that must change;
//! - `stream` does so with each event of a stream, and [`Lifting::whole`] with an answer in one piece.

mod calls;
mod choice;
mod stream;
mod text;
mod xml;

#[cfg(test)]
mod tests;

use bytes::Bytes;

pub use stream::StreamLifter;

use crate::quirks::Lifts;
use crate::request::ChatRequest;
use crate::value;
use calls::Grammar;
use choice::{Choice, Ids, Shape};

/// What is lifted out of the answer to one request.
#[derive(Clone, Debug)]
pub struct Lifting {
    lifts: Lifts,
    grammar: Grammar,
    /// Names the calls that have no name of their own, with a number behind it.
    ids: String,
}

impl Lifting {
    /// For the answer to this request. `ids` is unlike that of any other answer: letters and digits, from which calls are
    /// named that the model itself gave no name.
    pub fn new(lifts: &Lifts, request: &ChatRequest, ids: impl Into<String>) -> Self {
        let offered = if lifts.calls() { request.callable() } else { Vec::new() };
        let grammar = Grammar::new(lifts, offered, request.tools_bytes());
        Lifting { lifts: *lifts, grammar, ids: ids.into() }
    }

    /// An answer that came in one piece, lifted. What is no such answer, or holds nothing to lift, stays as it is.
    pub fn whole(&self, body: Bytes) -> Bytes {
        let lifted = str::from_utf8(&body).ok().and_then(|json| {
            let mut edits = Vec::new();
            let mut ids = Ids::new(self.ids.clone());
            for found in choice::find(json, Shape::Whole)? {
                Choice::new(self).take(json, &found, Shape::Whole, &mut ids, &mut edits);
            }
            choice::apply(json, edits)
        });
        lifted.map_or(body, Bytes::from)
    }
}

impl ChatRequest {
    /// The functions that the model may call: those offered, unless the client forbids all of them.
    fn callable(&self) -> Vec<String> {
        let forbidden = self.entries.iter().any(|entry| {
            value::string(self.raw(&entry.key)).as_deref() == Some("tool_choice")
                && value::string(self.raw(&entry.value)).as_deref() == Some("none")
        });
        if forbidden { Vec::new() } else { self.tool_names() }
    }
}
