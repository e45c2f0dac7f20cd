use std::task::{Context, Poll};

use bytes::Bytes;
use protocol::{Lifting, StreamLifter};
use upstream::{Events, UpstreamError};

/// A stream whose words may hold what has fields of its own: what goes on, and is recorded, has it there.
pub(crate) struct Lifted {
    events: Box<Events>,
    lifter: StreamLifter,
    over: bool,
    /// Why it is over, when something had to be said before.
    error: Option<UpstreamError>,
}

/// Answers above this are looked into off the async threads.
const LIFT_INLINE: usize = 256 << 10;

impl Lifted {
    pub(crate) fn new(events: Box<Events>, lifting: Lifting) -> Self {
        Lifted { events, lifter: StreamLifter::new(lifting), over: false, error: None }
    }

    pub(crate) fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, UpstreamError>>> {
        while !self.over {
            let out = match std::task::ready!(self.events.poll_events(cx)) {
                Some(Ok(data)) => self.lifter.push(&data),
                end => {
                    self.over = true;
                    self.error = end.and_then(Result::err);
                    self.lifter.finish()
                }
            };
            if !out.is_empty() {
                return Poll::Ready(Some(Ok(out)));
            }
        }
        Poll::Ready(self.error.take().map(Err))
    }

    /// Whether the closing `[DONE]` has been given: it passes at once, behind whatever was held back.
    pub(crate) fn is_done(&self) -> bool {
        self.events.is_done()
    }
}

/// An answer that is all there, lifted; `stream`: it is a stream of events.
pub(crate) async fn at_once(answer: Bytes, stream: bool, lifting: Lifting) -> Bytes {
    let (as_it_is, large) = (answer.clone(), answer.len() > LIFT_INLINE);
    let lift = move || {
        if !stream {
            return lifting.whole(answer);
        }
        let mut lifter = StreamLifter::new(lifting);
        [lifter.push(&answer), lifter.finish()].concat().into()
    };
    if large { tokio::task::spawn_blocking(lift).await.unwrap_or(as_it_is) } else { lift() }
}
