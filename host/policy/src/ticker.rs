use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{JoinHandle, Thread};
use std::time::{Duration, Instant};

/// The resolution of every CPU limit.
pub(crate) const TICK: Duration = Duration::from_millis(1);
/// Without a guest for this many ticks the thread sleeps until there is one: an idle host wakes nobody.
const TICKS_TO_SLEEP: u32 = 100;
/// How long a stopping ticker waits for guests, which its ticks are ending.
const LAST_GUESTS: Duration = Duration::from_secs(1);

/// The thread that advances the engine's epoch, which is what interrupts guests.
pub(crate) struct Ticker {
    shared: Arc<Shared>,
    waker: Thread,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// A permission to run guest code: while one is held, the epoch advances.
pub(crate) struct Running(Arc<Shared>);

struct Shared {
    /// No guest starts, and those that run are stopped, once this is false. It becomes so however the thread ends:
    /// without ticks nothing would stop a guest.
    open: AtomicBool,
    running: AtomicUsize,
    asleep: AtomicBool,
}

impl Ticker {
    /// Starts the thread; fails when the system has no thread to give.
    pub(crate) fn start(engine: wasmtime::Engine) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            open: AtomicBool::new(true),
            running: AtomicUsize::new(0),
            asleep: AtomicBool::new(false),
        });
        let ticking = Ticking(shared.clone());
        let thread = std::thread::Builder::new().name("policy-ticker".into()).spawn(move || ticking.run(&engine))?;
        Ok(Ticker { shared, waker: thread.thread().clone(), thread: Mutex::new(Some(thread)) })
    }

    /// Permission to run guest code, unless the ticker has stopped.
    pub(crate) fn run(&self) -> Option<Running> {
        self.shared.running.fetch_add(1, SeqCst);
        let running = Running(self.shared.clone());
        // Either the thread sees that one is running before it falls asleep, or we see that it is asleep.
        if self.shared.asleep.load(SeqCst) {
            self.waker.unpark();
        }
        self.shared.open.load(SeqCst).then_some(running)
    }

    /// Whether guests may run.
    pub(crate) fn is_open(&self) -> bool {
        self.shared.open.load(SeqCst)
    }

    /// Stops all guests and the thread, and waits for it. The second call does nothing.
    pub(crate) fn stop(&self) {
        self.shared.open.store(false, SeqCst);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            thread.thread().unpark();
            // A panic in the thread has already closed the engine; there is nothing left to undo.
            let _ = thread.join();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, SeqCst);
    }
}

/// Closes the engine when the thread ends, even by a panic.
struct Ticking(Arc<Shared>);

impl Ticking {
    fn run(&self, engine: &wasmtime::Engine) {
        let mut idle = 0;
        while self.0.open.load(SeqCst) {
            idle = if self.is_idle() { idle + 1 } else { 0 };
            if idle > TICKS_TO_SLEEP {
                self.0.asleep.store(true, SeqCst);
                if self.is_idle() && self.0.open.load(SeqCst) {
                    std::thread::park();
                }
                self.0.asleep.store(false, SeqCst);
                idle = 0;
            }
            std::thread::park_timeout(TICK);
            engine.increment_epoch();
        }
        let end = Instant::now() + LAST_GUESTS;
        while !self.is_idle() && Instant::now() < end {
            std::thread::park_timeout(TICK);
            engine.increment_epoch();
        }
    }

    fn is_idle(&self) -> bool {
        self.0.running.load(SeqCst) == 0
    }
}

impl Drop for Ticking {
    fn drop(&mut self) {
        self.0.open.store(false, SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn eventually(condition: impl Fn() -> bool) -> bool {
        let end = Instant::now() + Duration::from_secs(10);
        while Instant::now() < end {
            if condition() {
                return true;
            }
            std::thread::park_timeout(TICK);
        }
        false
    }

    #[test]
    fn it_sleeps_while_nothing_runs_and_wakes_for_a_guest() {
        let ticker = Ticker::start(wasmtime::Engine::default()).unwrap();
        for _ in 0..3 {
            assert!(eventually(|| ticker.shared.asleep.load(SeqCst)), "it ticks although nothing runs");
            let running = ticker.run().unwrap();
            assert!(eventually(|| !ticker.shared.asleep.load(SeqCst)), "it sleeps although a guest runs");
            drop(running);
        }
    }

    #[test]
    fn nothing_runs_once_it_has_stopped() {
        let ticker = Ticker::start(wasmtime::Engine::default()).unwrap();
        assert!(ticker.is_open() && ticker.run().is_some());
        ticker.stop();
        assert!(!ticker.is_open() && ticker.run().is_none());
        ticker.stop();
    }

    #[test]
    fn a_thread_that_dies_closes_the_engine() {
        let ticker = Ticker::start(wasmtime::Engine::default()).unwrap();
        let dying = Ticking(ticker.shared.clone());
        assert!(
            std::thread::spawn(move || -> () {
                let _dying = dying;
                panic!("on purpose")
            })
            .join()
            .is_err()
        );
        assert!(ticker.run().is_none());
    }
}
