use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use agents::ReplyBody;
use bytes::Bytes;
use domain::TurnId;
use http_body::{Body, Frame};

use crate::error::HttpError;

/// A stream for the client. What goes wrong when its head is out already is said in an event, the last one: no `[DONE]`
/// follows it.
pub(crate) struct EventBody {
    events: ReplyBody,
    turn: TurnId,
}

impl EventBody {
    pub(crate) fn new(events: ReplyBody, turn: TurnId) -> Self {
        EventBody { events, turn }
    }
}

impl Body for EventBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let frame = std::task::ready!(Pin::new(&mut self.events).poll_frame(cx));
        let said = |error| Frame::data(HttpError::Turn(error).to_event(&self.turn.to_string()));
        Poll::Ready(frame.map(|frame| Ok(frame.unwrap_or_else(said))))
    }

    fn is_end_stream(&self) -> bool {
        self.events.is_end_stream()
    }
}
