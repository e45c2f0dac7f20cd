use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use protocol::{Lifting, StreamLifter};
use upstream::ContentKind;

use crate::backend::{BackendBody, BackendError};

/// An answer whose text may hold what has fields of its own: what goes on, and is recorded, has it there.
pub(crate) struct Lifted {
    inner: BackendBody,
    how: How,
    over: bool,
    /// Why it is over, when something had to be said before.
    error: Option<BackendError>,
}

enum How {
    Stream(StreamLifter),
    /// An answer in one piece, until all of it is there.
    Whole(Lifting, BytesMut),
    /// One that is too long to be looked into.
    Pass,
}

/// The longest answer in one piece that is looked into.
const MAX_WHOLE: usize = 4 << 20;

impl Lifted {
    pub(crate) fn new(inner: BackendBody, kind: ContentKind, lifting: Lifting) -> Self {
        let how = match kind {
            ContentKind::Events => How::Stream(StreamLifter::new(lifting)),
            ContentKind::Whole => How::Whole(lifting, BytesMut::new()),
        };
        Lifted { inner, how, over: false, error: None }
    }

    pub(crate) fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BackendError>>> {
        while !self.over {
            let out = match std::task::ready!(self.inner.poll_data(cx)) {
                Some(Ok(data)) => self.how.take(data),
                end => {
                    self.over = true;
                    self.error = end.and_then(Result::err);
                    self.how.finish()
                }
            };
            if !out.is_empty() {
                return Poll::Ready(Some(Ok(out)));
            }
        }
        Poll::Ready(self.error.take().map(Err))
    }
}

impl From<Lifted> for BackendBody {
    fn from(lifted: Lifted) -> Self {
        BackendBody::Lifted(Box::new(lifted))
    }
}

impl How {
    fn take(&mut self, data: Bytes) -> Bytes {
        match self {
            How::Stream(lifter) => lifter.push(&data),
            How::Pass => data,
            How::Whole(_, held) => {
                held.extend_from_slice(&data);
                if held.len() <= MAX_WHOLE {
                    return Bytes::new();
                }
                let held = std::mem::take(held).freeze();
                *self = How::Pass;
                held
            }
        }
    }

    fn finish(&mut self) -> Bytes {
        match std::mem::replace(self, How::Pass) {
            How::Stream(mut lifter) => lifter.finish(),
            How::Whole(lifting, held) => lifting.whole(held.freeze()),
            How::Pass => Bytes::new(),
        }
    }
}
