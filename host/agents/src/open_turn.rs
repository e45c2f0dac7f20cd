use std::time::{Duration, Instant};

use bytes::Bytes;
use domain::{TokenTrace, TurnId, TurnOutcome};

use crate::recorder::{Begun, Finished, Place};
use crate::window::Sent;

/// A turn under way. Whatever becomes of it, it is recorded: dropping it, as happens when the client goes away, records it as
/// cancelled.
pub(crate) struct OpenTurn {
    started: Instant,
    /// Taken when the turn is handed to the recorder.
    held: Option<(Place, Begun)>,
}

/// How a turn ended.
pub(crate) struct Ending {
    pub(crate) outcome: TurnOutcome,
    pub(crate) first_byte: Option<Duration>,
    /// The answer's bytes, empty when there is none or it was too large to keep.
    pub(crate) answer: Bytes,
    pub(crate) streamed: bool,
    pub(crate) tokens: Option<TokenTrace>,
}

impl OpenTurn {
    pub(crate) fn new(place: Place, begun: Begun, started: Instant) -> Self {
        OpenTurn { started, held: Some((place, begun)) }
    }

    /// The turn's id; none once it has ended.
    pub(crate) fn id(&self) -> Option<TurnId> {
        self.held.as_ref().map(|(_, begun)| begun.id)
    }

    /// Notes who answers, where that is another than the first who was asked.
    pub(crate) fn answered_by(&mut self, upstream: &str, model: &str) {
        if let Some((_, begun)) = &mut self.held {
            upstream.clone_into(&mut begun.upstream);
            begun.model = if model.is_empty() { begun.request.model().into_owned() } else { model.to_owned() };
        }
    }

    /// Notes what was sent.
    pub(crate) fn sent(&mut self, sent: Sent) {
        if let Some((_, begun)) = &mut self.held {
            begun.sent = Some(sent);
        }
    }

    /// Notes the generation of the adapter that the answer is made with.
    pub(crate) fn answered_with(&mut self, adapter: u64) {
        if let Some((_, begun)) = &mut self.held {
            begun.adapter = adapter;
        }
    }

    /// Time since the whole request was there.
    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Hands the turn to the recorder. Only the first call counts.
    pub(crate) fn end(&mut self, ending: Ending) {
        if let Some((place, begun)) = self.held.take() {
            place.take(Finished { begun, duration: self.started.elapsed(), ending });
        }
    }
}

impl Ending {
    /// An ending without an answer.
    pub(crate) fn without_answer(outcome: TurnOutcome) -> Self {
        Ending { outcome, first_byte: None, answer: Bytes::new(), streamed: false, tokens: None }
    }
}

impl Drop for OpenTurn {
    fn drop(&mut self) {
        self.end(Ending::without_answer(TurnOutcome::Cancelled));
    }
}
