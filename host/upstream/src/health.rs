use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use domain::{EjectionLimits, RetryLimits};

use crate::error::UpstreamError;

/// Whether an upstream is worth asking. One that fails again and again is ejected: left alone for a while, longer each time,
/// and then tried by one turn.
#[derive(Debug)]
pub(crate) struct Health {
    limits: EjectionLimits,
    /// Failures in a row.
    failures: AtomicU32,
    /// Says without a lock what is nearly always so: it is not ejected.
    ejected: AtomicBool,
    state: Mutex<Ejected>,
}

#[derive(Debug)]
struct Ejected {
    until: Instant,
    /// The last one; none since an answer was complete.
    pause: Option<Duration>,
    /// A turn is under way to see whether it answers again.
    trying: bool,
}

/// One turn's question to an upstream. Dropped without a report, as when the client goes away, it says nothing about it.
#[derive(Debug)]
pub(crate) struct Trial<'a> {
    health: &'a Health,
    tries: bool,
}

/// A stream that has begun, and may yet break. Dropped without a report, as when the client goes away, it says nothing about
/// its upstream.
#[derive(Debug)]
pub(crate) struct Watch {
    health: Arc<Health>,
    upstream: Arc<str>,
}

/// Keeps an outage from being multiplied: turns save up for retries, and a retry costs. After gRPC's retry throttling.
#[derive(Debug)]
pub(crate) struct Budget {
    /// In hundredths of a retry.
    saved: AtomicI64,
    share: i64,
}

/// So many retries may be saved up.
const MAX_SAVED: i64 = 10 * RETRY;
const RETRY: i64 = 100;

impl Health {
    pub(crate) fn new(limits: EjectionLimits) -> Self {
        let state = Ejected { until: Instant::now(), pause: None, trying: false };
        Health { limits, failures: AtomicU32::new(0), ejected: AtomicBool::new(false), state: Mutex::new(state) }
    }

    /// Whether it has been ejected and has not answered since.
    pub(crate) fn is_ejected(&self) -> bool {
        self.ejected.load(Ordering::Acquire)
    }

    /// Whether a turn should rather go elsewhere.
    pub(crate) fn is_resting(&self, now: Instant) -> bool {
        let rests = |state: MutexGuard<'_, Ejected>| state.trying || now < state.until;
        self.is_ejected() && rests(self.state())
    }

    /// A turn asks.
    pub(crate) fn begin(&self, now: Instant) -> Trial<'_> {
        let mut tries = false;
        if self.is_ejected() {
            let mut state = self.state();
            tries = !state.trying && now >= state.until;
            state.trying |= tries;
        }
        Trial { health: self, tries }
    }

    fn state(&self) -> MutexGuard<'_, Ejected> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All of an answer has come.
    fn completed(&self) {
        self.taken_back();
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
            self.state().pause = None;
        }
    }

    fn taken_back(&self) {
        if self.is_ejected() {
            let _state = self.state();
            self.ejected.store(false, Ordering::Release);
        }
    }

    /// It has failed, by its own fault. Says for how long it is left alone from now on, if it was not before.
    fn failed(&self, now: Instant, tries: bool) -> Option<Duration> {
        let limits = &self.limits;
        let failures = self.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if limits.failures == 0 || failures < limits.failures {
            return None;
        }
        let mut state = self.state();
        // One that is asked though it rests, for want of another, has failed as expected.
        if self.is_ejected() && !tries {
            return None;
        }
        let pause = state.pause.map_or(limits.backoff, |last| last.saturating_mul(2).min(limits.longest));
        state.pause = Some(pause);
        state.until = now + pause;
        self.ejected.store(true, Ordering::Release);
        Some(pause)
    }
}

impl Trial<'_> {
    /// It has answered, in whole.
    pub(crate) fn succeeded(self) {
        self.health.completed();
    }

    /// It has begun to answer: turns may go there again, but what it was counted it is counted still, until all has come.
    pub(crate) fn begun(self) {
        self.health.taken_back();
    }

    /// It has failed, by its own fault. Says for how long it is left alone from now on, if it was not before.
    pub(crate) fn failed(self, now: Instant) -> Option<Duration> {
        self.health.failed(now, self.tries)
    }
}

impl Watch {
    pub(crate) fn new(health: Arc<Health>, upstream: Arc<str>) -> Self {
        Watch { health, upstream }
    }

    /// The stream has come to its end.
    pub(crate) fn completed(self) {
        self.health.completed();
    }

    /// It ended otherwise.
    pub(crate) fn broke(self, error: &UpstreamError) {
        if error.is_its_fault() {
            let pause = self.health.failed(Instant::now(), false);
            report(&self.upstream, error, pause);
        }
    }
}

/// Says that an upstream is left alone from now on, if it is.
pub(crate) fn report(upstream: &str, error: &UpstreamError, pause: Option<Duration>) {
    if let Some(pause) = pause {
        tracing::warn!(%upstream, %error, ?pause, "an upstream keeps failing: turns go elsewhere if they can");
    }
}

impl Drop for Trial<'_> {
    fn drop(&mut self) {
        if self.tries {
            self.health.state().trying = false;
        }
    }
}

impl Budget {
    pub(crate) fn new(limits: &RetryLimits) -> Self {
        let share = i64::from(limits.budget);
        Budget { saved: AtomicI64::new(if share > 0 { MAX_SAVED } else { 0 }), share }
    }

    /// A turn begins.
    pub(crate) fn save(&self) {
        if self.saved.load(Ordering::Relaxed) < MAX_SAVED {
            self.saved.fetch_add(self.share, Ordering::Relaxed);
        }
    }

    /// Whether there is enough for one retry, which is then spent.
    pub(crate) fn spend(&self) -> bool {
        let less = |saved: i64| (saved >= RETRY).then(|| saved - RETRY);
        self.saved.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: EjectionLimits =
        EjectionLimits { failures: 3, backoff: Duration::from_secs(1), longest: Duration::from_secs(3) };

    #[test]
    fn it_is_left_alone_tried_by_one_and_taken_back() {
        let (health, start) = (Health::new(LIMITS), Instant::now());
        let at = |seconds: f64| start + Duration::from_secs_f64(seconds);
        let seconds = |s: u64| Some(Duration::from_secs(s));
        assert_eq!([0.0, 0.1].map(|t| health.begin(at(t)).failed(at(t))), [None, None]);
        health.begin(at(0.2)).succeeded();
        let failed = |t| health.begin(at(t)).failed(at(t));
        assert_eq!([0.3, 0.4, 0.5].map(failed), [None, None, seconds(1)], "three in a row");
        assert!(health.is_resting(at(1.4)));
        assert_eq!(failed(1.0), None, "asked for want of another, it may fail");
        assert!(!health.is_resting(at(1.5)));
        let trial = health.begin(at(1.5));
        assert!(health.is_resting(at(1.5)), "one turn tries, and only one");
        assert_eq!(trial.failed(at(1.6)), seconds(2));
        assert_eq!(failed(3.6), seconds(3), "never longer");
        drop(health.begin(at(6.6)));
        assert!(!health.is_resting(at(6.6)), "a trial that is given up leaves the next turn to try");
        health.begin(at(6.6)).succeeded();
        assert!(!health.is_ejected());
        assert_eq!([7.0, 7.1, 7.2].map(failed), [None, None, seconds(1)], "it counts anew");
        let never = Health::new(EjectionLimits { failures: 0, ..LIMITS });
        assert!((0..100).all(|_| never.begin(start).failed(start).is_none()));
    }

    #[test]
    fn a_stream_counts_by_its_end() {
        let broken = || UpstreamError::Broken { name: "u".into(), reason: String::new() };
        let refused = || UpstreamError::Rejected { name: "u".into(), status: 429, body: "".into(), retry_after: None };
        let health = Arc::new(Health::new(LIMITS));
        let begin = || {
            health.begin(Instant::now()).begun();
            Watch::new(health.clone(), "u".into())
        };
        [begin(), begin()].into_iter().for_each(|watch| watch.broke(&broken()));
        begin().completed();
        [begin(), begin()].into_iter().for_each(|watch| watch.broke(&broken()));
        drop(begin());
        begin().broke(&refused());
        assert!(!health.is_ejected(), "a client that leaves says nothing, nor does who may not ask");
        begin().broke(&broken());
        assert!(health.is_resting(Instant::now()), "three in a row");
        // It begins well and breaks, again and again: it rests longer each time.
        for seconds in [2, 3, 3] {
            let later = Instant::now() + Duration::from_secs(10);
            health.begin(later).begun();
            assert!(!health.is_ejected());
            assert_eq!(health.failed(later, false), Some(Duration::from_secs(seconds)));
        }
        begin().completed();
        assert_eq!([0; 3].map(|_| health.failed(Instant::now(), false).map(|p| p.as_secs())), [None, None, Some(1)]);
    }

    #[test]
    fn an_outage_is_not_multiplied() {
        let budget = Budget::new(&RetryLimits { budget: 20, ..RetryLimits::default() });
        let spent = (0..1000).filter(|_| {
            budget.save();
            budget.spend()
        });
        assert_eq!(spent.count(), 10 + 200 - 1, "what was saved, and one in five");
        let none = Budget::new(&RetryLimits { budget: 0, ..RetryLimits::default() });
        none.save();
        assert!(!none.spend());
    }
}
