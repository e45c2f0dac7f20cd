use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use domain::BreakerLimits;

/// Keeps one agent from asking a module that keeps failing: its turns would only wait for the next failure.
#[derive(Debug)]
pub(crate) struct Breaker {
    limits: BreakerLimits,
    /// Nothing has failed lately: calls need no lock.
    quiet: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    /// Every call passes; when the last calls failed.
    Closed(VecDeque<Instant>),
    /// No call passes until then; how long that was.
    Open(Instant, Duration),
    /// One call is under way to see whether the module works again.
    Trying,
}

/// A call's right to ask the module. Dropped without a report, as when the client goes away, it says nothing about the module.
#[derive(Debug)]
pub(crate) struct Ticket {
    breaker: Arc<Breaker>,
    tries: Option<Duration>,
}

impl Breaker {
    pub(crate) fn new(limits: BreakerLimits) -> Arc<Self> {
        Arc::new(Breaker { limits, quiet: AtomicBool::new(true), state: Mutex::new(State::Closed(VecDeque::new())) })
    }

    /// Lets a call pass; none while the module is left alone.
    pub(crate) fn admit(self: &Arc<Self>, now: Instant) -> Option<Ticket> {
        let pass = |tries| Some(Ticket { breaker: self.clone(), tries });
        if self.quiet.load(Ordering::Acquire) {
            return pass(None);
        }
        let mut state = self.state();
        match *state {
            State::Closed(_) => pass(None),
            State::Open(until, backoff) if now >= until => {
                *state = State::Trying;
                pass(Some(backoff))
            }
            State::Open(..) | State::Trying => None,
        }
    }

    /// Whether the module is left alone at the moment.
    pub(crate) fn is_open(&self) -> bool {
        !self.quiet.load(Ordering::Acquire) && !matches!(*self.state(), State::Closed(_))
    }

    /// Lets calls pass again, as if none had failed. Says whether the module was left alone.
    pub(crate) fn reset(&self) -> bool {
        let was_open = self.is_open();
        self.close();
        was_open
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self) {
        *self.state() = State::Closed(VecDeque::new());
        self.quiet.store(true, Ordering::Release);
    }

    /// Notes a failure; says for how long the module is left alone from now on, if it is.
    fn failed(&self, tries: Option<Duration>, now: Instant) -> Option<Duration> {
        if self.limits.failures == 0 {
            return None;
        }
        let mut state = self.state();
        self.quiet.store(false, Ordering::Release);
        let backoff = match (&mut *state, tries) {
            (_, Some(backoff)) => backoff.saturating_mul(2).min(self.limits.longest),
            (State::Closed(failures), None) => {
                failures.push_back(now);
                while failures.front().is_some_and(|first| now.duration_since(*first) > self.limits.window) {
                    failures.pop_front();
                }
                if failures.len() < self.limits.failures as usize {
                    return None;
                }
                self.limits.backoff
            }
            // A call that began before the breaker opened.
            (_, None) => return None,
        };
        *state = State::Open(now + backoff, backoff);
        Some(backoff)
    }
}

impl Ticket {
    /// The module has answered.
    pub(crate) fn succeeded(mut self) {
        if self.tries.take().is_some() {
            self.breaker.close();
        }
    }

    /// The module has failed, by its own fault. Says for how long it is left alone from now on, if it is.
    pub(crate) fn failed(mut self, now: Instant) -> Option<Duration> {
        let tries = self.tries.take();
        self.breaker.failed(tries, now)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        // The next call tries instead.
        if let Some(backoff) = self.tries {
            *self.breaker.state() = State::Open(Instant::now(), backoff);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: BreakerLimits = BreakerLimits {
        failures: 3,
        window: Duration::from_secs(30),
        backoff: Duration::from_secs(1),
        longest: Duration::from_secs(4),
    };

    fn fails(breaker: &Arc<Breaker>, at: Instant) -> Option<Duration> {
        breaker.admit(at).expect("it lets calls pass").failed(at)
    }

    #[test]
    fn it_opens_tries_again_and_closes() {
        let (breaker, start) = (Breaker::new(LIMITS), Instant::now());
        let at = |seconds: f64| start + Duration::from_secs_f64(seconds);
        let seconds = |s: u64| Some(Duration::from_secs(s));
        assert_eq!(
            [fails(&breaker, at(0.0)), fails(&breaker, at(1.0)), fails(&breaker, at(2.0))],
            [None, None, seconds(1)]
        );
        assert!(breaker.admit(at(2.9)).is_none() && breaker.is_open());
        let tries = breaker.admit(at(3.0)).expect("one call tries");
        assert!(breaker.admit(at(3.0)).is_none(), "and only one");
        assert_eq!(tries.failed(at(3.1)), seconds(2));
        assert!(breaker.admit(at(5.0)).is_none());
        assert_eq!(breaker.admit(at(5.1)).unwrap().failed(at(5.1)), seconds(4));
        assert_eq!(breaker.admit(at(9.1)).unwrap().failed(at(9.1)), seconds(4), "never longer");
        breaker.admit(at(13.1)).unwrap().succeeded();
        assert!(!breaker.is_open());
        assert_eq!(fails(&breaker, at(13.2)), None, "it counts anew");
    }

    #[test]
    fn it_is_closed_by_hand() {
        let (breaker, start) = (Breaker::new(LIMITS), Instant::now());
        (0..3).for_each(|_| {
            fails(&breaker, start);
        });
        assert!(breaker.admit(start).is_none());
        assert!(breaker.reset() && !breaker.reset(), "it says what it was");
        assert_eq!([0; 3].map(|_| fails(&breaker, start)), [None, None, Some(LIMITS.backoff)], "it counts anew");
    }

    #[test]
    fn old_failures_and_good_calls_do_not_open_it() {
        let (breaker, start) = (Breaker::new(LIMITS), Instant::now());
        for step in 0..10 {
            let at = start + Duration::from_secs(16) * step;
            assert_eq!(fails(&breaker, at), None, "two within the window at most");
            breaker.admit(at).unwrap().succeeded();
        }
        let never = Breaker::new(BreakerLimits { failures: 0, ..LIMITS });
        assert!((0..100).all(|_| fails(&never, start).is_none()));
    }

    #[test]
    fn a_try_that_is_given_up_leaves_the_next_call_to_try() {
        let (breaker, start) = (Breaker::new(LIMITS), Instant::now());
        (0..3).for_each(|_| {
            fails(&breaker, start);
        });
        let later = start + Duration::from_secs(2);
        drop(breaker.admit(later).expect("one call tries"));
        let tries = breaker.admit(Instant::now().max(later)).expect("the next one tries");
        assert_eq!(tries.failed(later), Some(Duration::from_secs(2)));
    }
}
