use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::error::{UpstreamError, root_cause};

/// A request body in pieces that are never copied together: the connection writes them with one vectored call.
#[derive(Debug)]
pub struct Pieces {
    left: VecDeque<Bytes>,
    len: u64,
}

/// An answer's body as it comes. Frames are passed on as the connection read them.
#[derive(Debug)]
pub struct UpstreamBody {
    name: String,
    inner: reqwest::Body,
}

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
        UpstreamBody { name, inner }
    }
}

impl Body for UpstreamBody {
    type Data = Bytes;
    type Error = UpstreamError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, UpstreamError>>> {
        let frame = std::task::ready!(Pin::new(&mut self.inner).poll_frame(cx));
        Poll::Ready(frame.map(|f| {
            f.map_err(|e| match e.is_timeout() {
                true => UpstreamError::Timeout { name: self.name.clone() },
                false => UpstreamError::Broken { name: self.name.clone(), reason: root_cause(&e) },
            })
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
