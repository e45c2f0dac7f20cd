use std::collections::BTreeMap;

use bytes::Bytes;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use super::Lifting;
use super::choice::{self, Choice, Ids, Shape};

/// Lifts what has fields of its own out of the text of an event stream, as it passes. An event in which nothing changes stays
/// as it was, byte for byte. The outcome does not depend on how the stream is cut into chunks.
pub struct StreamLifter {
    lifting: Lifting,
    choices: BTreeMap<u64, Choice>,
    ids: Ids,
    /// A line whose end has not come.
    line: Vec<u8>,
    /// The line is too long to be held, and passes as it is.
    passing: bool,
    /// The last event while something is held back, to make another one like it.
    pattern: Option<String>,
    /// Whether an event may begin here.
    at_event: bool,
}

/// The longest line that is looked into.
const MAX_LINE: usize = 1 << 20;
/// More choices than this are not looked into.
const MAX_CHOICES: usize = 16;

impl StreamLifter {
    /// At the beginning of a stream.
    pub fn new(lifting: Lifting) -> Self {
        let ids = Ids::new(lifting.ids.clone());
        StreamLifter {
            lifting,
            choices: BTreeMap::new(),
            ids,
            line: Vec::new(),
            passing: false,
            pattern: None,
            at_event: true,
        }
    }

    /// Takes the next bytes; gives those that can go on, perhaps none.
    pub fn push(&mut self, chunk: &[u8]) -> Bytes {
        let mut out = Vec::with_capacity(chunk.len() + 64);
        for part in chunk.split_inclusive(|b| *b == b'\n') {
            let ends = part.ends_with(b"\n");
            if self.passing {
                out.extend_from_slice(part);
                self.passing = !ends;
            } else if !ends {
                self.line.extend_from_slice(part);
                if self.line.len() > MAX_LINE {
                    out.append(&mut self.line);
                    (self.passing, self.at_event) = (true, false);
                }
            } else if self.line.is_empty() {
                self.take(part, &mut out);
            } else {
                let mut line = std::mem::take(&mut self.line);
                line.extend_from_slice(part);
                self.take(&line, &mut out);
            }
        }
        out.into()
    }

    /// The stream is over: gives what was held back.
    pub fn finish(&mut self) -> Bytes {
        let mut out = Vec::new();
        let line = std::mem::take(&mut self.line);
        let data = line.strip_prefix(b"data:").map(<[u8]>::trim_ascii);
        let whole = data.is_some_and(|d| d == b"[DONE]" || serde_json::from_slice::<IgnoredAny>(d).is_ok());
        if whole {
            // Only its end is missing.
            self.take(&line, &mut out);
            if self.choices.values().any(Choice::holds) {
                out.push(b'\n');
            }
            self.release(&mut out);
        } else {
            // What broke off comes last, for whoever says that it did.
            self.release(&mut out);
            out.extend_from_slice(&line);
        }
        out.into()
    }

    fn take(&mut self, line: &[u8], out: &mut Vec<u8>) {
        let data = line.strip_prefix(b"data:").map(<[u8]>::trim_ascii);
        if data == Some(b"[DONE]") {
            self.release(out);
        }
        let text = data.filter(|_| line.len() <= MAX_LINE + 1).and_then(|data| str::from_utf8(data).ok());
        match text.and_then(|json| self.event(json).map(|lifted| (json.len(), lifted))) {
            Some((len, lifted)) => {
                // What is around the JSON stays as well.
                let start = line.iter().position(|b| *b == b'{').unwrap_or_default();
                out.extend_from_slice(&line[..start]);
                out.extend_from_slice(lifted.as_bytes());
                out.extend_from_slice(&line[start + len..]);
            }
            None => out.extend_from_slice(line),
        }
        self.at_event = line.trim_ascii().is_empty();
    }

    /// The event with what was lifted in its place; none when it stays as it is.
    fn event(&mut self, json: &str) -> Option<String> {
        let found = choice::find(json, Shape::Stream)?;
        let mut edits = Vec::new();
        for found in &found {
            if self.choices.len() >= MAX_CHOICES && !self.choices.contains_key(&found.index) {
                continue;
            }
            let choice = self.choices.entry(found.index).or_insert_with(|| Choice::new(&self.lifting));
            choice.take(json, found, Shape::Stream, &mut self.ids, &mut edits);
        }
        if self.choices.values().any(Choice::holds) {
            self.pattern = Some(json.to_owned());
        }
        choice::apply(json, edits)
    }

    /// Says what is held back, in an event of its own.
    fn release(&mut self, out: &mut Vec<u8>) {
        let rests: Vec<Value> = self.choices.iter_mut().filter_map(|(index, choice)| choice.rest(*index)).collect();
        let pattern = self.pattern.take().and_then(|json| serde_json::from_str::<Map<String, Value>>(&json).ok());
        let Some(mut event) = pattern.filter(|_| !rests.is_empty()) else { return };
        event.retain(|key, _| matches!(key.as_str(), "id" | "object" | "created" | "model"));
        event.insert("choices".to_owned(), rests.into());
        let ended: &[u8] = match (self.at_event, self.passing) {
            (true, _) => b"",
            (false, false) => b"\n",
            (false, true) => b"\n\n",
        };
        out.extend_from_slice(ended);
        out.extend_from_slice(format!("data: {}\n\n", Value::Object(event)).as_bytes());
        self.at_event = true;
    }
}
