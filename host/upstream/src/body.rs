use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
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

/// An answer's body as it comes. Frames are passed on as the connection read them.
///
/// An upstream that says nothing for a whole [`SILENCE`] is given up. The timer is looked at only while nothing comes, and
/// moved only when it runs out, so that a chunk does not pay for a clock: the silence lasts between one and two `SILENCE`s.
#[derive(Debug)]
pub struct UpstreamBody {
    name: String,
    inner: reqwest::Body,
    timer: Pin<Box<Sleep>>,
    /// Whether something came since the timer was set.
    heard: bool,
}

/// How long an upstream may be silent. MetaClaw allows 600 s for a whole answer.
pub(crate) const SILENCE: Duration = Duration::from_secs(600);

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
    pub(crate) fn new(name: String, inner: reqwest::Body) -> Self {
        UpstreamBody { name, inner, timer: Box::pin(tokio::time::sleep(SILENCE)), heard: false }
    }
}

impl Body for UpstreamBody {
    type Data = Bytes;
    type Error = UpstreamError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, UpstreamError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(cx) {
            self.heard = true;
            let broken = |e| UpstreamError::Broken { name: self.name.clone(), reason: root_cause(&e) };
            return Poll::Ready(frame.map(|f| f.map_err(broken)));
        }
        loop {
            std::task::ready!(self.timer.as_mut().poll(cx));
            if !std::mem::take(&mut self.heard) {
                return Poll::Ready(Some(Err(UpstreamError::Timeout { name: self.name.clone() })));
            }
            self.timer.as_mut().reset(Instant::now() + SILENCE);
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
