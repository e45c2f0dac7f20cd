use bytes::{Buf, Bytes, BytesMut};
use memchr::{memchr2, memchr2_iter, memmem};

use crate::verdict::{self, BOM, Flaw, Piece};

/// Lets the events of an upstream's stream through, whole and well-formed or not at all, so that whoever listens can always
/// be told how it went on: at any moment, what has passed is a run of complete events.
///
/// Bytes that come as whole events, which is nearly always, pass as they are. An event is read only when it differs from
/// the last one that was read in more than one string: the events of an answer hardly ever do.
#[derive(Debug, Default)]
pub struct EventGate {
    /// The beginning of an event.
    held: BytesMut,
    /// How much of `held` has been searched for its end.
    searched: usize,
    /// What the last event that was read looked like.
    like: Option<Template>,
    /// Whether anything at all has passed.
    opened: bool,
    begun: bool,
    finished: bool,
    done: bool,
    /// The last event ended with a lone CR: an LF that follows belongs to it.
    after_cr: bool,
}

/// What passes of the bytes that came.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// Whole events; may be empty.
    pub events: Bytes,
    /// Why nothing more will pass.
    pub flaw: Option<Flaw>,
}

/// A piece of a stream around the text of its `content`. What has another text there, without quotes or escapes, is as
/// well-formed and says the same otherwise.
#[derive(Debug)]
struct Template {
    before: Box<[u8]>,
    after: Box<[u8]>,
}

/// What becomes of one event.
enum Fate {
    Pass,
    Drop,
    Replace(Bytes),
    Done,
}

/// The longest event.
const MAX_EVENT: usize = 1 << 20;
const CONTENT: &[u8] = br#""content":""#;
const DONE: &[u8] = b"data: [DONE]\n\n";

impl EventGate {
    /// Takes the next bytes. After a flaw, and after the end, nothing passes.
    pub fn take(&mut self, mut chunk: Bytes) -> Passed {
        if self.done {
            return Passed::default();
        }
        if std::mem::take(&mut self.after_cr) && chunk.first() == Some(&b'\n') {
            chunk.advance(1);
        }
        if self.held.is_empty() {
            return self.pass(&chunk);
        }
        self.held.extend_from_slice(&chunk);
        if end_of_event(&self.held, self.searched.saturating_sub(3)).is_none() {
            self.searched = self.held.len();
            return Passed { flaw: (self.held.len() > MAX_EVENT).then_some(Flaw::TooLong), ..Passed::default() };
        }
        let data = self.held.split().freeze();
        self.pass(&data)
    }

    /// The upstream has ended its answer in good order. What has all its words but no `[DONE]` gets one.
    pub fn end(&mut self) -> Passed {
        let last = if self.held.is_empty() { Passed::default() } else { self.take(Bytes::from_static(b"\n\n")) };
        match (self.done, self.finished) {
            (true, _) => Passed { flaw: None, ..last },
            (false, true) => {
                self.done = true;
                Passed { events: [&last.events[..], DONE].concat().into(), flaw: None }
            }
            (false, false) => {
                let error = last.flaw.filter(|flaw| matches!(flaw, Flaw::Error { .. }));
                Passed { events: last.events, flaw: Some(error.unwrap_or(Flaw::Cut)) }
            }
        }
    }

    /// Whether something of the answer has passed.
    pub fn has_begun(&self) -> bool {
        self.begun
    }

    /// Whether the closing `[DONE]` has passed.
    pub fn is_done(&self) -> bool {
        self.done
    }

    fn pass(&mut self, data: &Bytes) -> Passed {
        let (mut from, mut at) = (0, 0);
        let mut changed: Option<BytesMut> = None;
        let mut flaw = None;
        while at < data.len() {
            if matches!(data[at], b'\n' | b'\r') {
                at += 1;
                continue;
            }
            let Some(end) = end_of_event(data, at) else { break };
            if !std::mem::replace(&mut self.opened, true) && data[at..].starts_with(BOM) {
                (from, at) = (at + BOM.len(), at + BOM.len());
            }
            let fate = if end - at > MAX_EVENT { Err(Flaw::TooLong) } else { self.judge(&data[at..end]) };
            let replaced = match fate {
                Ok(Fate::Pass) => None,
                Ok(Fate::Drop) => Some(Bytes::new()),
                Ok(Fate::Replace(with)) => Some(with),
                Ok(Fate::Done) => {
                    self.done = true;
                    at = end;
                    break;
                }
                Err(found) => {
                    flaw = Some(found);
                    break;
                }
            };
            if let Some(with) = replaced {
                let changed = changed.get_or_insert_default();
                changed.extend_from_slice(&data[from..at]);
                changed.extend_from_slice(&with);
                from = end;
            }
            at = end;
        }
        let events = match changed {
            None => data.slice(from..at),
            Some(mut changed) => {
                changed.extend_from_slice(&data[from..at]);
                changed.freeze()
            }
        };
        if flaw.is_none() && !self.done {
            self.after_cr = at == data.len() && data.ends_with(b"\r");
            self.held.extend_from_slice(&data[at..]);
            self.searched = self.held.len();
            flaw = (self.held.len() > MAX_EVENT).then_some(Flaw::TooLong);
        }
        Passed { events, flaw }
    }

    fn judge(&mut self, event: &[u8]) -> Result<Fate, Flaw> {
        if simdutf8::basic::from_utf8(event).is_err() {
            return Err(Flaw::Utf8);
        }
        let first = memchr2(b'\n', b'\r', event).unwrap_or(event.len());
        if let Some(data) = event[..first].strip_prefix(b"data:")
            && event[first..].iter().all(|b| matches!(b, b'\n' | b'\r'))
        {
            return self.data(data);
        }
        let lines = event.split(|b| matches!(b, b'\n' | b'\r')).filter(|line| !line.is_empty());
        let mut data: Vec<&[u8]> = Vec::new();
        for line in lines {
            let (name, value) = match line.iter().position(|b| *b == b':') {
                Some(at) => (&line[..at], &line[at + 1..]),
                None => (line, &line[line.len()..]),
            };
            match name {
                b"data" => data.push(value),
                b"" | b"event" | b"id" | b"retry" => {}
                _ => return Err(Flaw::Events),
            }
        }
        match data[..] {
            [] => Ok(Fate::Pass),
            [one] => self.data(one),
            // Lawful, but not every client puts the lines together again.
            _ => {
                let joined = data.join(&b' ');
                match self.data(&joined)? {
                    Fate::Pass => Ok(Fate::Replace([b"data:", &joined[..], b"\n\n"].concat().into())),
                    other => Ok(other),
                }
            }
        }
    }

    fn data(&mut self, data: &[u8]) -> Result<Fate, Flaw> {
        let data = data.trim_ascii();
        if self.like.as_ref().is_some_and(|like| like.fits(data)) {
            return Ok(Fate::Pass);
        }
        match data {
            b"" => return Ok(Fate::Drop),
            b"[DONE]" => return Ok(Fate::Done),
            _ => {}
        }
        match verdict::chunk(data)? {
            Piece::Foreign => return Ok(Fate::Drop),
            Piece::Finish => self.finished = true,
            Piece::Words => self.like = Template::of(data).or(self.like.take()),
        }
        self.begun = true;
        Ok(Fate::Pass)
    }
}

impl Template {
    /// Of a piece that has been read and found good. The quote that ends `CONTENT` opens a string there: within a string it
    /// would need a backslash, and after one a comma would have to follow.
    fn of(data: &[u8]) -> Option<Template> {
        let start = memmem::find(data, CONTENT)? + CONTENT.len();
        let end = start + memchr2(b'"', b'\\', &data[start..])?;
        (data[end] == b'"').then(|| Template { before: data[..start].into(), after: data[end..].into() })
    }

    fn fits(&self, data: &[u8]) -> bool {
        let text = || {
            let rest = data.strip_prefix(&*self.before)?;
            rest.strip_suffix(&*self.after)
        };
        text().is_some_and(|text| text.iter().all(|b| *b >= b' ' && *b != b'"' && *b != b'\\'))
    }
}

/// Where the event ends whose beginning is at `from` or before: behind the first empty line. A line ends with LF, CRLF or
/// CR; a CR at the very end is an end of line only where the line before ended with a lone CR too.
fn end_of_event(data: &[u8], from: usize) -> Option<usize> {
    for at in memchr2_iter(b'\n', b'\r', &data[from..]).map(|at| from + at) {
        let crlf = data[at] == b'\r' && data.get(at + 1) == Some(&b'\n');
        let next = at + if crlf { 2 } else { 1 };
        match (data.get(next)?, data.get(next + 1)) {
            (b'\n', _) => return Some(next + 1),
            (b'\r', Some(b'\n')) => return Some(next + 2),
            (b'\r', Some(_)) => return Some(next + 1),
            (b'\r', None) if data[at] == b'\r' && !crlf => return Some(next + 1),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
#[path = "gate/tests.rs"]
mod tests;
