//! What is remembered of an agent's training while the process lives. What must outlive it is in the store.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Instant, SystemTime};

use local_model::Watch;
use tokio_util::sync::CancellationToken;

use crate::backend::{Player, Version};

/// One agent's training.
#[derive(Default)]
pub(crate) struct Lane {
    /// One change at a time of what serves: commits, promotions, rollbacks, swaps.
    pub(crate) swap: tokio::sync::Mutex<()>,
    now: Mutex<Now>,
}

/// How it stands.
#[derive(Default)]
pub(crate) struct Now {
    /// The step under way.
    pub(crate) progress: Option<Progress>,
    /// Ends it.
    pub(crate) stop: Option<CancellationToken>,
    /// An operator wants a step, however few samples there are.
    pub(crate) wanted: bool,
    /// What answers now, and by whom it was loaded.
    pub(crate) served: Option<Served>,
    /// What stands in the way of training or serving, for the operator.
    pub(crate) trouble: Option<String>,
    /// How the last step went.
    pub(crate) last: Option<Last>,
    /// How many samples of the adapter that serves there were when it was last compared with its parent.
    pub(crate) watched: (u64, u64),
}

/// What a player was told.
pub(crate) struct Served {
    pub(crate) by: Weak<dyn Player>,
    pub(crate) version: Option<Version>,
    /// When it is told again: it could not load the version, and serves the model alone.
    pub(crate) again: Option<Instant>,
}

/// A step under way.
#[derive(Clone)]
pub(crate) struct Progress {
    pub(crate) batch: uuid::Uuid,
    pub(crate) generation: u64,
    pub(crate) samples: usize,
    pub(crate) phase: Phase,
    pub(crate) began: Instant,
    /// The tokens of the pass.
    pub(crate) watch: Arc<Watch>,
}

/// How a step went.
#[derive(Clone, Debug)]
pub(crate) struct Last {
    pub(crate) outcome: &'static str,
    pub(crate) generation: u64,
    pub(crate) seconds: f64,
    pub(crate) tokens: u64,
    pub(crate) ended: SystemTime,
}

/// Where a step is. Each begins when what is before it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The parent's checkpoint is opened.
    Open,
    /// Further answers are drawn and graded.
    Draw,
    /// The gradient is computed.
    Pass,
    /// The parameters move.
    Step,
    /// The new adapter's files are written.
    Save,
    /// It is compared with its parent.
    Gate,
    /// What came of it is written down.
    Commit,
}

impl Phase {
    /// Its word in JSON and on the terminal.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Phase::Open => "open",
            Phase::Draw => "candidates",
            Phase::Pass => "forward-backward",
            Phase::Step => "optim-step",
            Phase::Save => "save",
            Phase::Gate => "gate",
            Phase::Commit => "commit",
        }
    }
}

impl Lane {
    /// How it stands, to be looked at or changed for a moment.
    pub(crate) fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes where the step under way is.
    pub(crate) fn enter(&self, phase: Phase) {
        if let Some(progress) = &mut self.now().progress {
            progress.phase = phase;
        }
    }

    /// Ends the step under way; it leaves nothing behind but its batch.
    pub(crate) fn interrupt(&self) {
        if let Some(stop) = &self.now().stop {
            stop.cancel();
        }
    }
}

impl Served {
    /// Whether this player was told to serve this, and need not be told again.
    pub(crate) fn is(&self, by: &Arc<dyn Player>, version: Option<&Version>) -> bool {
        let again = self.again.is_some_and(|again| again <= Instant::now());
        !again && self.version.as_ref() == version && Weak::ptr_eq(&self.by, &Arc::downgrade(by))
    }
}
