//! The slow lane: where guests run that take longer than a moment. It has fewer places than the runtime has threads, so such guests
//! never hold all of them, and one whose calls are quick does not wait behind them.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What a slow call adds to an agent's debt, and how many quick ones it takes to work that off.
const SLOW_CALL: u32 = 32;
/// The greatest debt.
const MOST: u32 = 32 * SLOW_CALL;

/// How quick the calls of one agent's policy have been lately. One that is slow again and again begins in the slow lane, or the
/// first moments of its calls would fill the others' threads.
#[derive(Default)]
pub(crate) struct Pace {
    debt: AtomicU32,
}

/// A guest's place in the lane, while it has one.
#[derive(Clone)]
pub(crate) struct Place {
    lane: Arc<Semaphore>,
    permit: Arc<Mutex<Option<OwnedSemaphorePermit>>>,
}

impl Pace {
    /// Whether the next call has to begin in the slow lane. A single slow call is forgiven: it may have been the machine.
    pub(crate) fn is_slow(&self) -> bool {
        self.debt.load(Relaxed) > SLOW_CALL
    }

    /// A call has taken longer than a moment.
    pub(crate) fn was_slow(&self) {
        self.change(|debt| debt.saturating_add(SLOW_CALL).min(MOST));
    }

    /// A call has not.
    pub(crate) fn was_quick(&self) {
        if self.debt.load(Relaxed) > 0 {
            self.change(|debt| debt.saturating_sub(1));
        }
    }

    fn change(&self, new: impl Fn(u32) -> u32) {
        // Never refuses.
        let _ = self.debt.fetch_update(Relaxed, Relaxed, |debt| Some(new(debt)));
    }
}

impl Place {
    pub(crate) fn none_yet(lane: Arc<Semaphore>) -> Self {
        Place { lane, permit: Arc::default() }
    }

    /// Lets other tasks and the I/O driver go first, then waits for a place.
    pub(crate) async fn give_way(self) {
        tokio::task::yield_now().await;
        // The lane is never closed; if it were, running without a place would be right.
        let permit = self.lane.clone().acquire_owned().await.ok();
        *self.permit.lock().unwrap_or_else(PoisonError::into_inner) = permit;
    }

    pub(crate) fn is_taken(&self) -> bool {
        self.permit.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    pub(crate) fn leave(&self) {
        self.permit.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_slow_again_and_again_begins_in_the_lane_until_it_has_been_quick_for_long() {
        let pace = Pace::default();
        pace.was_slow();
        assert!(!pace.is_slow(), "once may be the machine's fault");
        pace.was_slow();
        assert!(pace.is_slow());
        (0..SLOW_CALL - 1).for_each(|_| pace.was_quick());
        assert!(pace.is_slow());
        pace.was_quick();
        assert!(!pace.is_slow());
        (0..1_000).for_each(|_| pace.was_slow());
        (0..MOST - SLOW_CALL - 1).for_each(|_| pace.was_quick());
        assert!(pace.is_slow(), "debts are bounded, and large");
        pace.was_quick();
        assert!(!pace.is_slow());
    }

    #[test]
    fn now_and_then_a_slow_call_is_nothing() {
        let pace = Pace::default();
        for _ in 0..1_000 {
            pace.was_slow();
            assert!(!pace.is_slow());
            (0..SLOW_CALL).for_each(|_| pace.was_quick());
        }
    }
}
