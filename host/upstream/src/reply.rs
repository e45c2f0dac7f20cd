use std::fmt;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use protocol::{Answer, BOM, EventGate, Flaw, Passed};

use crate::body::UpstreamBody;
use crate::error::UpstreamError;
use crate::health::Watch;

/// What the client wants to have.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Server-sent events, not one JSON object.
    pub stream: bool,
    /// At the end of a stream the tokens used.
    pub usage: bool,
}

/// An answer that has begun, of the kind that was wanted, whatever kind the upstream sent.
pub enum Reply {
    /// All of it.
    Whole(Bytes),
    /// A stream as it comes.
    Events(Box<Events>),
}

/// A stream of which something has come. What it gives is whole events; it gives `[DONE]` last, or an error.
pub struct Events {
    gate: EventGate,
    /// Passed already.
    ready: Option<Bytes>,
    failed: Option<UpstreamError>,
    /// To be told how it ends.
    watch: Option<Watch>,
    body: UpstreamBody,
    name: String,
    trailing: usize,
    hurried: bool,
    over: bool,
}

/// How much white space may come before anything is said. Some providers send an empty line now and then while they think.
const MAX_BLANK: usize = 16 << 10;
/// The longest answer that comes in one piece.
const MAX_WHOLE: usize = 64 << 20;
/// What may follow `[DONE]` before the connection is given up.
const MAX_TRAILING: usize = 64 << 10;
/// How long the end of the body may take after `[DONE]`.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Reads on until the client can be told something: a whole answer, or the first event of a stream. Until then the upstream
/// can be asked again.
pub(crate) async fn open(
    name: &str,
    mut body: UpstreamBody,
    says_events: bool,
    wanted: Wanted,
) -> Result<Reply, UpstreamError> {
    let malformed = |flaw| UpstreamError::Malformed { name: name.to_owned(), flaw };
    let mut first = body.next().await.ok_or_else(|| malformed(Flaw::Empty))??;
    let is_stream = loop {
        if let Some(is_stream) = looks_like_events(&first, says_events) {
            break is_stream;
        }
        if first.len() > MAX_BLANK {
            return Err(malformed(Flaw::TooLong));
        }
        match body.next().await.transpose()? {
            Some(more) => first = [first, more].concat().into(),
            None => break false,
        }
    };
    match (is_stream, wanted.stream) {
        (true, true) => begin(name, body, first).await.map(Box::new).map(Reply::Events),
        (true, false) => {
            let raw = read_events(&malformed, body, first).await?;
            let answer = Answer::from_stream(&raw).ok_or_else(|| malformed(Flaw::Empty))?;
            Ok(Reply::Whole(answer.json))
        }
        (false, stream) => {
            let whole = read_whole(&malformed, body, first).await?;
            let whole = protocol::checked(&whole).map_err(malformed)?;
            if !stream {
                return Ok(Reply::Whole(whole));
            }
            let stream = protocol::stream_of(&whole, wanted.usage);
            stream.map(Reply::Whole).ok_or_else(|| malformed(Flaw::Kind))
        }
    }
}

/// By its first character, for a content type may be wrong. None while there is none.
fn looks_like_events(begins: &[u8], says_events: bool) -> Option<bool> {
    if begins.len() < BOM.len() && BOM.starts_with(begins) {
        return None;
    }
    let text = begins.strip_prefix(BOM).unwrap_or(begins);
    match text.iter().find(|b| !b.is_ascii_whitespace())? {
        // `data:`, `event:`, `id:`, `retry:`, and comments.
        b'd' | b'e' | b'i' | b'r' | b':' => Some(true),
        b'{' => Some(false),
        _ => Some(says_events),
    }
}

async fn read_whole(
    malformed: &impl Fn(Flaw) -> UpstreamError,
    mut body: UpstreamBody,
    first: Bytes,
) -> Result<Bytes, UpstreamError> {
    let Some(second) = body.next().await.transpose()? else { return Ok(first) };
    let mut whole = BytesMut::from([first, second].concat().as_slice());
    while let Some(more) = body.next().await.transpose()? {
        if whole.len() + more.len() > MAX_WHOLE {
            return Err(malformed(Flaw::TooLong));
        }
        whole.extend_from_slice(&more);
    }
    Ok(whole.freeze())
}

async fn read_events(
    malformed: &impl Fn(Flaw) -> UpstreamError,
    mut body: UpstreamBody,
    first: Bytes,
) -> Result<Bytes, UpstreamError> {
    let (mut gate, mut whole, mut next) = (EventGate::default(), BytesMut::new(), Some(first));
    while let Some(chunk) = next {
        let Passed { events, flaw } = gate.take(chunk);
        whole.extend_from_slice(&events);
        if let Some(flaw) = flaw.or((whole.len() > MAX_WHOLE).then_some(Flaw::TooLong)) {
            return Err(malformed(flaw));
        }
        if gate.is_done() {
            return Ok(whole.freeze());
        }
        next = body.next().await.transpose()?;
    }
    let Passed { events, flaw } = gate.end();
    whole.extend_from_slice(&events);
    flaw.map_or(Ok(whole.freeze()), |flaw| Err(malformed(flaw)))
}

async fn begin(name: &str, mut body: UpstreamBody, first: Bytes) -> Result<Events, UpstreamError> {
    let malformed = |flaw| UpstreamError::Malformed { name: name.to_owned(), flaw };
    let mut gate = EventGate::default();
    let mut next = Some(first);
    loop {
        // Comments before the first words are dropped: whoever waits gets the host's own.
        let passed = match next {
            Some(chunk) => gate.take(chunk),
            None => gate.end(),
        };
        if gate.has_begun() {
            let ready = Some(passed.events).filter(|events| !events.is_empty());
            let failed = passed.flaw.map(malformed);
            let name = name.to_owned();
            return Ok(Events {
                gate,
                ready,
                failed,
                watch: None,
                body,
                name,
                trailing: 0,
                hurried: false,
                over: false,
            });
        }
        if let Some(flaw) = passed.flaw {
            return Err(malformed(flaw));
        }
        if gate.is_done() {
            return Err(malformed(Flaw::Empty));
        }
        next = body.next().await.transpose()?;
    }
}

impl Events {
    /// Whether the closing `[DONE]` has been given.
    pub fn is_done(&self) -> bool {
        self.gate.is_done() && self.ready.is_none()
    }

    pub(crate) fn watch(&mut self, watch: Watch) {
        self.watch = Some(watch);
    }

    /// The next whole events; none after `[DONE]`, or after an error.
    pub fn poll_events(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, UpstreamError>>> {
        let next = self.poll_next(cx);
        if let Poll::Ready(Some(Err(error))) = &next {
            self.watch.take().into_iter().for_each(|watch| watch.broke(error));
        } else if self.gate.is_done() {
            self.watch.take().into_iter().for_each(Watch::completed);
        }
        next
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, UpstreamError>>> {
        if let Some(ready) = self.ready.take() {
            return Poll::Ready(Some(Ok(ready)));
        }
        if let Some(error) = self.failed.take() {
            self.over = true;
            return Poll::Ready(Some(Err(error)));
        }
        while !self.over {
            let passed = match self.body.poll_data(cx) {
                Poll::Pending if self.gate.is_done() && !self.hurried => {
                    // The end of the body, which lets the connection be used again, often comes by itself.
                    self.hurried = true;
                    self.body.hurry(LAST_WORDS);
                    continue;
                }
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Ok(rest))) if self.gate.is_done() => {
                    self.trailing += rest.len();
                    self.over = self.trailing > MAX_TRAILING;
                    continue;
                }
                Poll::Ready(_) if self.gate.is_done() => break,
                Poll::Ready(Some(Ok(chunk))) => self.gate.take(chunk),
                Poll::Ready(Some(Err(error))) => {
                    self.over = true;
                    return Poll::Ready(Some(Err(error)));
                }
                Poll::Ready(None) => {
                    self.over = true;
                    self.gate.end()
                }
            };
            let error = passed.flaw.map(|flaw| UpstreamError::Malformed { name: self.name.clone(), flaw });
            self.over |= error.is_some();
            match (passed.events.is_empty(), error) {
                (true, None) => {}
                (true, Some(error)) => return Poll::Ready(Some(Err(error))),
                (false, error) => {
                    self.failed = error;
                    return Poll::Ready(Some(Ok(passed.events)));
                }
            }
        }
        self.over = true;
        Poll::Ready(None)
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reply::Whole(_) => "Whole",
            Reply::Events(_) => "Events",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_character_tells() {
        for (begins, says_events, want) in [
            ("", true, None),
            (" \n", true, None),
            ("\u{feff}", true, None),
            ("d", false, Some(true)),
            (": hello", false, Some(true)),
            ("\u{feff}\nevent", false, Some(true)),
            (" {", true, Some(false)),
            ("<html>", false, Some(false)),
            ("<html>", true, Some(true)),
        ] {
            assert_eq!(looks_like_events(begins.as_bytes(), says_events), want, "{begins:?}");
        }
        assert_eq!(looks_like_events(b"\xEF", true), None);
    }
}
