//! How many calls there may be at once: of one agent, of agents whose calls are slow, and altogether.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::decision::{Failure, FailureClass};
use crate::engine::Machine;

/// Permits that a live instance holds.
pub(crate) struct Places {
    _of_agent: Option<OwnedSemaphorePermit>,
    _of_slow: Option<OwnedSemaphorePermit>,
    _of_engine: OwnedSemaphorePermit,
}

/// Where a call waits for its places.
pub(crate) struct Door<'a> {
    /// The agent's own places, if the call is to be counted there.
    pub(crate) of_agent: Option<&'a Arc<Semaphore>>,
    pub(crate) machine: &'a Machine,
    /// Whether the agent's calls have been slow.
    pub(crate) is_slow: bool,
}

impl Door<'_> {
    /// Waits for all places, no longer than this.
    pub(crate) async fn enter(self, patience: Duration) -> Result<Places, Failure> {
        // Nearly always there is room, and then no clock is needed.
        if let Some(places) = self.enter_now() {
            return Ok(places);
        }
        timeout(patience, self.wait()).await.ok().flatten().ok_or_else(|| {
            Failure::new(FailureClass::Queue, "too many turns are waiting for a place in this agent's policy")
        })
    }

    fn enter_now(&self) -> Option<Places> {
        let now = |places: &Arc<Semaphore>| places.clone().try_acquire_owned().ok();
        Some(Places {
            _of_agent: match self.of_agent {
                Some(places) => Some(now(places)?),
                None => None,
            },
            _of_slow: match self.is_slow {
                true => Some(now(&self.machine.slow_places)?),
                false => None,
            },
            _of_engine: now(&self.machine.places)?,
        })
    }

    /// None of the semaphores is ever closed.
    async fn wait(&self) -> Option<Places> {
        let of_agent = match self.of_agent {
            Some(places) => Some(places.clone().acquire_owned().await.ok()?),
            None => None,
        };
        let of_slow = match self.is_slow {
            true => Some(self.machine.slow_places.clone().acquire_owned().await.ok()?),
            false => None,
        };
        let of_engine = self.machine.places.clone().acquire_owned().await.ok()?;
        Some(Places { _of_agent: of_agent, _of_slow: of_slow, _of_engine: of_engine })
    }
}
