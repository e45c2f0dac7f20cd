//! Instances that outlive their turn, for agents whose operator wants that.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use domain::{AgentId, WarmInstances};
use tokio::sync::Semaphore;

use crate::call::Live;
use crate::module::Module;

/// The instances of one agent policy that wait for their next turn. One that is taken is the taker's alone; what is not put back
/// again, because its call failed or was given up, is gone.
pub(crate) struct Warm {
    limits: WarmInstances,
    /// For all policies of the engine together.
    places: Arc<Semaphore>,
    /// The one that was used last is at the end.
    waiting: Mutex<Vec<Waiting>>,
}

struct Waiting {
    live: Live,
    /// Policies are shared by agents that config does not name; instances are not.
    agent: AgentId,
    since: Instant,
}

impl Warm {
    pub(crate) fn new(limits: WarmInstances, places: Arc<Semaphore>) -> Self {
        Warm { limits, places, waiting: Mutex::default() }
    }

    /// Whether an instance that has answered so many hooks may be asked once more.
    pub(crate) fn may_ask_again(&self, calls: u32) -> bool {
        self.limits.warm == 0 || calls < self.limits.max_calls
    }

    /// An instance of `module` that has served this agent before. The last one used: if fewer are needed, the others idle out.
    pub(crate) fn take(&self, module: &Arc<Module>, settings: &Arc<str>, agent: Option<&AgentId>) -> Option<Live> {
        if self.limits.warm == 0 {
            return None;
        }
        let mut waiting = self.waiting();
        let fits = |one: &Waiting| {
            one.live.is_of(module, settings) && Some(&one.agent) == agent && one.since.elapsed() < self.limits.idle
        };
        let at = waiting.iter().rposition(fits)?;
        Some(waiting.remove(at).live)
    }

    /// Keeps an instance whose turn is over, if it may stay.
    pub(crate) fn put_back(&self, live: Live) {
        let Some(agent) = live.agent().cloned() else { return };
        if self.limits.warm == 0 || !self.may_ask_again(live.calls()) {
            return;
        }
        let Some(live) = live.rested(&self.places) else { return };
        let oldest = {
            let mut waiting = self.waiting();
            waiting.push(Waiting { live, agent, since: Instant::now() });
            (waiting.len() > self.limits.warm as usize).then(|| waiting.remove(0))
        };
        // Without the lock: this gives memory back.
        drop(oldest);
    }

    /// Gives up those that have waited for too long.
    pub(crate) fn retire_idle(&self) {
        let idle: Vec<_> = self.waiting().extract_if(.., |one| one.since.elapsed() >= self.limits.idle).collect();
        drop(idle);
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, Vec<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
