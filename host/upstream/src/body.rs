use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use crate::error::{UpstreamError, root_cause};

/// A request body in pieces that are never copied together: the connection writes them with one vectored call.
#[derive(Debug)]
pub struct Pieces {
    left: VecDeque<Bytes>,
    len: u64,
}

/// An answer's body as it comes, within its times.
///
/// One timer serves all of them: it stands at the last moment for the first byte, then for the next pause. It is looked at
/// only while nothing comes, and moved only when it runs out, so that a piece does not pay for a clock; hence a pause may
/// last between one and two of what is configured.
#[derive(Debug)]
pub(crate) struct UpstreamBody {
    name: Arc<str>,
    inner: reqwest::Body,
    timer: Pin<Box<Sleep>>,
    idle: Duration,
    /// When the whole answer must be there.
    deadline: Instant,
    pieces: u32,
    /// Whether something came since the timer was set.
    heard: bool,
}

/// After so many pieces the clock is read even though they come without a pause.
const PIECES_BETWEEN_LOOKS: u32 = 256;

impl Pieces {
    /// A body of these pieces, `len` bytes in all.
    pub fn new(parts: Vec<Bytes>, len: usize) -> Self {
        Pieces { left: parts.into(), len: len as u64 }
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = self.left.pop_front();
        if let Some(piece) = &next {
            self.len -= piece.len() as u64;
        }
        Poll::Ready(next.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.len)
    }
}

impl UpstreamBody {
    /// A body that has not begun; `timer` stands at the last moment for its first byte.
    pub(crate) fn new(
        name: Arc<str>,
        inner: reqwest::Body,
        timer: Pin<Box<Sleep>>,
        idle: Duration,
        deadline: Instant,
    ) -> Self {
        UpstreamBody { name, inner, timer, idle, deadline, pieces: 0, heard: false }
    }

    /// The next bytes, never none; trailers are skipped.
    pub(crate) fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, UpstreamError>>> {
        while let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(cx) {
            let frame = match frame {
                None => return Poll::Ready(None),
                Some(Ok(frame)) => frame,
                Some(Err(error)) => {
                    let broken = UpstreamError::Broken { name: self.name.to_string(), reason: root_cause(&error) };
                    return Poll::Ready(Some(Err(broken)));
                }
            };
            let Ok(data) = frame.into_data() else { continue };
            if data.is_empty() {
                continue;
            }
            if self.pieces == 0 {
                self.rest(self.idle);
            } else if self.pieces.is_multiple_of(PIECES_BETWEEN_LOOKS) && Instant::now() >= self.deadline {
                return Poll::Ready(Some(Err(self.late())));
            }
            self.pieces = self.pieces.wrapping_add(1).max(1);
            self.heard = true;
            return Poll::Ready(Some(Ok(data)));
        }
        loop {
            std::task::ready!(self.timer.as_mut().poll(cx));
            if !std::mem::take(&mut self.heard) || Instant::now() >= self.deadline {
                return Poll::Ready(Some(Err(self.late())));
            }
            self.rest(self.idle);
        }
    }

    /// The next bytes.
    pub(crate) async fn next(&mut self) -> Option<Result<Bytes, UpstreamError>> {
        poll_fn(|cx| self.poll_data(cx)).await
    }

    /// Nothing of worth comes any more: whatever does must come soon.
    pub(crate) fn hurry(&mut self, within: Duration) {
        self.deadline = self.deadline.min(Instant::now() + within);
        self.rest(within);
    }

    fn rest(&mut self, pause: Duration) {
        let until = (Instant::now() + pause).min(self.deadline);
        self.timer.as_mut().reset(until);
    }

    fn late(&self) -> UpstreamError {
        UpstreamError::Timeout { name: self.name.to_string() }
    }
}
