use std::time::Duration;

use domain::RetryLimits;
use tokio::time::Instant;
use tower::retry::backoff::{Backoff, ExponentialBackoff, ExponentialBackoffMaker, MakeBackoff};
use tower::util::rng::HasherRng;

use crate::error::UpstreamError;

/// The pauses of one turn before it asks again: random, and longer each time.
pub(crate) struct Pauses {
    backoff: Option<ExponentialBackoff>,
    wait: Duration,
    taken: u32,
    max: u32,
}

/// The first pause, unless the longest is shorter.
const FIRST: Duration = Duration::from_millis(250);
/// By what part of itself a pause may be longer, at random.
const JITTER: f64 = 1.0;

impl Pauses {
    pub(crate) fn new(limits: &RetryLimits) -> Self {
        Pauses { backoff: None, wait: limits.wait, taken: 0, max: limits.max }
    }

    /// Until when to wait after this failure; none when the turn should not ask again.
    pub(crate) fn after(&mut self, error: &UpstreamError) -> Option<Instant> {
        if self.taken == self.max || !error.is_transient() {
            return None;
        }
        let wanted = error.retry_after().unwrap_or_default();
        if wanted > self.wait {
            return None;
        }
        self.taken += 1;
        // The usual reason is that the upstream has closed a kept connection.
        if self.taken == 1 && matches!(error, UpstreamError::Broken { .. }) {
            return Some(Instant::now());
        }
        let usual = match &mut self.backoff {
            Some(backoff) => backoff,
            none => none.insert(backoff(self.wait)?),
        };
        Some(usual.next_backoff().deadline().max(Instant::now() + wanted))
    }
}

/// None when no pause is wanted at all.
fn backoff(longest: Duration) -> Option<ExponentialBackoff> {
    let maker = ExponentialBackoffMaker::new(FIRST.min(longest), longest, JITTER, HasherRng::default());
    maker.ok().map(|mut maker| maker.make_backoff())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rejected(status: u16, retry_after: Option<&str>) -> UpstreamError {
        let retry_after = retry_after.map(str::to_owned);
        UpstreamError::Rejected { name: "u".into(), status, body: bytes::Bytes::new(), retry_after }
    }

    /// How long from now, in seconds.
    fn pause(until: Option<Instant>) -> Option<f64> {
        until.map(|until| until.duration_since(Instant::now()).as_secs_f64())
    }

    #[tokio::test]
    async fn pauses_grow_and_end() {
        let limits = RetryLimits { max: 3, wait: Duration::from_secs(10), budget: 20 };
        let mut pauses = Pauses::new(&limits);
        let mut after = |error: &UpstreamError| pause(pauses.after(error));
        let near = |got: Option<f64>, least: f64, most: f64| {
            assert!(got.is_some_and(|got| got > least - 0.1 && got <= most), "{got:?}");
        };
        near(after(&rejected(503, None)), 0.25, 0.5);
        near(after(&rejected(503, None)), 0.5, 1.0);
        near(after(&rejected(429, Some("7"))), 7.0, 7.0);
        assert_eq!(after(&rejected(503, None)), None, "three at most");
    }

    #[tokio::test]
    async fn what_the_upstream_wants_is_done_or_left() {
        let limits = RetryLimits { max: 3, wait: Duration::from_secs(2), budget: 20 };
        let after = |error: &UpstreamError| pause(Pauses::new(&limits).after(error)).map(f64::round);
        assert_eq!(after(&rejected(429, Some("2"))), Some(2.0));
        assert_eq!(after(&rejected(429, Some("3"))), None);
        assert_eq!(after(&rejected(404, None)), None);
        let broken = UpstreamError::Broken { name: "u".into(), reason: String::new() };
        assert_eq!(after(&broken), Some(0.0), "a kept connection may have been stale");
    }
}
