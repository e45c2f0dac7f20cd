use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use local_model::{ModelError, Watch};
use tokio::sync::{mpsc, oneshot, watch};

use crate::backend::BackendError;

/// How far the thread stands behind everything else (`nice`): it and whatever threads it starts.
const NICE: i32 = 10;
/// How much work may wait: one step at a time is under way, and a look at an adapter or two beside it.
const WAITING: usize = 8;

type Job = Box<dyn FnOnce() + Send>;

/// A thread that does one piece of work after another.
pub(super) struct Desk {
    jobs: Mutex<Option<mpsc::Sender<Job>>>,
    /// Of the work under way, if it can be stopped.
    under_way: Arc<Mutex<Option<Arc<Watch>>>>,
    /// Closed when the thread ends.
    ended: watch::Receiver<()>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// Stops work that nobody waits for any more.
struct Wanted(Option<Arc<Watch>>);

impl Drop for Wanted {
    fn drop(&mut self) {
        if let Some(watch) = &self.0 {
            watch.stop();
        }
    }
}

impl Desk {
    pub(super) fn start() -> Result<Self, BackendError> {
        let (sender, mut jobs) = mpsc::channel::<Job>(WAITING);
        let (ending, ended) = watch::channel(());
        let run = move || {
            // On Linux a thread has its own niceness, and those it starts inherit it. Without it training still works.
            if let Err(error) = rustix::process::nice(NICE) {
                tracing::warn!(%error, "training cannot stand back behind answering");
            }
            while let Some(job) = jobs.blocking_recv() {
                // Whoever waits for it is told, for the reply is dropped with it.
                if std::panic::catch_unwind(AssertUnwindSafe(job)).is_err() {
                    tracing::error!("a piece of training panicked");
                }
            }
            drop(ending);
        };
        let thread = std::thread::Builder::new().name("training".to_owned()).spawn(run);
        let thread = thread.map_err(|error| BackendError::Failed(format!("no thread for training: {error}")))?;
        Ok(Desk { jobs: Mutex::new(Some(sender)), under_way: Arc::default(), ended, thread: Mutex::new(Some(thread)) })
    }

    /// Does some work on the thread. Whoever stops waiting for it stops it, if it has a watch.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        watch: Option<Arc<Watch>>,
        work: impl FnOnce() -> Result<T, ModelError> + Send + 'static,
    ) -> Result<T, BackendError> {
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner).clone().ok_or(BackendError::Stopped)?;
        let mut wanted = Wanted(watch.clone());
        let under_way = self.under_way.clone();
        let (reply, done) = oneshot::channel();
        let job = move || {
            *under_way.lock().unwrap_or_else(PoisonError::into_inner) = watch;
            // Nobody waits for it any more: it is not begun.
            if !reply.is_closed() {
                let _ = reply.send(work());
            }
            *under_way.lock().unwrap_or_else(PoisonError::into_inner) = None;
        };
        jobs.send(Box::new(job)).await.map_err(|_| BackendError::Stopped)?;
        let done = done.await.map_err(|_| BackendError::Failed("a part of the trainer has failed".to_owned()))?;
        wanted.0 = None;
        Ok(done?)
    }

    /// Takes no more work, stops what can be stopped, and waits for the thread.
    pub(super) async fn close(&self) {
        self.tell_to_stop();
        let mut ended = self.ended.clone();
        // Nothing is ever sent: this returns when the thread drops its end.
        let _ = ended.changed().await;
        self.join();
    }

    fn tell_to_stop(&self) {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(watch) = &*self.under_way.lock().unwrap_or_else(PoisonError::into_inner) {
            watch.stop();
        }
    }

    fn join(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread of training panicked");
        }
    }
}

impl Drop for Desk {
    /// As [`Desk::close`], waiting on this thread for the work under way: a fraction of a second.
    fn drop(&mut self) {
        self.tell_to_stop();
        self.join();
    }
}
