//! What one store holds: what the guest may look at, and how much it may still use.

use std::sync::Arc;
use std::time::Duration;

use domain::{AgentId, ByteSize, PolicyGrants};
use wasmtime::{ResourceLimiter, UpdateDeadline};

use crate::engine::{CORE_INSTANCES, MEMORIES, Machine, TABLES};
use crate::lane::{Pace, Place};
use crate::source::{CatalogSource, KvChanges, SampleSource, TurnSource};
use crate::ticker::TICK;
use crate::wasi::Wasi;

/// All tables of one call together, in elements.
const MAX_TABLE_ELEMENTS: usize = 10_000;
/// What a guest may pass to the host in one call, in bytes, however many times it calls an import. A single time is limited
/// by the engine.
pub(crate) const MAX_PASSED: usize = 16 << 20;
/// A guest that is done within so many ticks is never interrupted at all.
const FIRST_SLICE: u64 = 2;

/// A store's data.
pub(crate) struct State {
    pub(crate) settings: Arc<str>,
    pub(crate) subject: Subject,
    pub(crate) catalog: Option<Arc<dyn CatalogSource>>,
    pub(crate) memory: MemoryLimit,
    pub(crate) cpu: CpuMeter,
    pub(crate) log: LogBudget,
    /// How many bytes the guest may still pass to the host, in all calls of imports together.
    pub(crate) passing: usize,
    /// What the guest may do beside deciding.
    pub(crate) grants: PolicyGrants,
    /// What it has written to `kv` in this call.
    pub(crate) staged: KvChanges,
    /// For modules that import it.
    pub(crate) wasi: Option<Box<Wasi>>,
}

/// How much a guest may write to the log in one call.
pub(crate) struct LogBudget {
    /// Bytes that are still shown.
    pub(crate) left: usize,
    /// Bytes that were not.
    pub(crate) cut: usize,
}

/// What a store's instances have allocated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Footprint {
    bytes: usize,
    table_elements: usize,
}

/// What the guest is asked about.
#[derive(Clone)]
pub(crate) enum Subject {
    Turn(Arc<dyn TurnSource>),
    Sample(Arc<dyn SampleSource>),
    /// Nothing: the module is being loaded.
    Probe,
}

/// Keeps the *sum* of everything that a store's instances allocate within the limit. `wasmtime`'s own limits count each
/// memory by itself, which a component with several gets around.
pub(crate) struct MemoryLimit {
    limit: usize,
    used: usize,
    table_elements: usize,
    /// Whether something was refused: the trap that follows is then no mystery.
    pub(crate) refused: bool,
}

/// Lets a guest run in slices of one tick, and gives way to the runtime's other tasks in between.
pub(crate) struct CpuMeter {
    machine: Arc<Machine>,
    slices_left: u64,
    manner: Manner,
    place: Place,
    /// Of the agent's policy, unless it is the built-in one.
    pace: Option<Arc<Pace>>,
    /// How often this call was interrupted.
    interrupted: u32,
}

/// How a guest is called.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// On a runtime, where it must give way.
    Yielding,
    /// It has given way and is about to go on.
    Resuming,
    /// On a thread that may be blocked.
    Blocking,
}

/// Why the meter stopped a guest.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub(crate) enum Stopped {
    #[error("the policy used up its CPU time")]
    CpuUsedUp,
    #[error("the policy passed the host more than {} bytes in one call", MAX_PASSED)]
    PassedTooMuch,
    #[error("the policy engine has been shut down")]
    Closing,
}

impl Footprint {
    /// Of all memories together.
    pub(crate) fn bytes(self) -> u64 {
        self.bytes as u64
    }
}

impl Subject {
    /// Whose turn or sample it is.
    pub(crate) fn agent(&self) -> Option<&AgentId> {
        match self {
            Subject::Turn(turn) => Some(turn.agent()),
            Subject::Sample(sample) => Some(sample.agent()),
            Subject::Probe => None,
        }
    }
}

impl State {
    /// The guest has passed so many bytes to an import.
    pub(crate) fn passed(&mut self, bytes: usize) -> wasmtime::Result<()> {
        self.passing = self.passing.checked_sub(bytes).ok_or(Stopped::PassedTooMuch)?;
        Ok(())
    }
}

impl LogBudget {
    /// What this grant allows; nothing without one.
    pub(crate) fn of(granted: Option<ByteSize>) -> Self {
        LogBudget { left: granted.map_or(0, |size| usize::try_from(size.0).unwrap_or(usize::MAX)), cut: 0 }
    }
}

impl MemoryLimit {
    pub(crate) fn new(limit: u64) -> Self {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        MemoryLimit { limit, used: 0, table_elements: 0, refused: false }
    }

    pub(crate) fn footprint(&self) -> Footprint {
        Footprint { bytes: self.used, table_elements: self.table_elements }
    }

    /// Adds `wanted - current` to `sum` if that keeps it within `limit`.
    fn grow(&mut self, current: usize, wanted: usize, sum: fn(&mut Self) -> &mut usize, limit: usize) -> bool {
        let after = sum(self).checked_add(wanted.saturating_sub(current)).filter(|after| *after <= limit);
        match after {
            Some(after) => *sum(self) = after,
            None => self.refused = true,
        }
        after.is_some()
    }
}

impl ResourceLimiter for MemoryLimit {
    fn memory_growing(&mut self, current: usize, wanted: usize, most: Option<usize>) -> wasmtime::Result<bool> {
        // The module's own maximum is no failure of ours: let wasmtime refuse, and count nothing.
        if most.is_some_and(|most| wanted > most) {
            return Ok(false);
        }
        Ok(self.grow(current, wanted, |s| &mut s.used, self.limit))
    }

    fn table_growing(&mut self, current: usize, wanted: usize, most: Option<usize>) -> wasmtime::Result<bool> {
        if most.is_some_and(|most| wanted > most) {
            return Ok(false);
        }
        Ok(self.grow(current, wanted, |s| &mut s.table_elements, MAX_TABLE_ELEMENTS))
    }

    fn instances(&self) -> usize {
        CORE_INSTANCES as usize
    }

    fn memories(&self) -> usize {
        MEMORIES as usize
    }

    fn tables(&self) -> usize {
        TABLES as usize
    }
}

impl CpuMeter {
    /// For calls on a runtime.
    pub(crate) fn yielding(machine: Arc<Machine>, pace: Option<Arc<Pace>>) -> Self {
        let place = Place::none_yet(machine.slow_lane.clone());
        CpuMeter { machine, slices_left: 0, manner: Manner::Yielding, place, pace, interrupted: 0 }
    }

    /// For calls on a thread that may be blocked.
    pub(crate) fn blocking(machine: Arc<Machine>) -> Self {
        CpuMeter { manner: Manner::Blocking, ..CpuMeter::yielding(machine, None) }
    }

    /// Waits for a place in the slow lane, if this agent's calls have to begin there.
    pub(crate) async fn wait_if_slow(&self) {
        if !self.place.is_taken() && self.pace.as_ref().is_some_and(|pace| pace.is_slow()) {
            self.place.clone().give_way().await;
        }
    }

    /// Allows `cpu` from now on, and says how many ticks ahead the first deadline is.
    pub(crate) fn arm(&mut self, cpu: Duration) -> u64 {
        let ticks = u64::try_from(cpu.as_nanos().div_ceil(TICK.as_nanos())).unwrap_or(u64::MAX).max(1);
        let first = ticks.min(FIRST_SLICE);
        self.slices_left = ticks - first;
        self.interrupted = 0;
        first
    }

    /// A slice has ended: the guest goes on after giving way, or not at all.
    pub(crate) fn slice_ended(&mut self) -> wasmtime::Result<UpdateDeadline> {
        if !self.machine.ticker.is_open() {
            return Err(Stopped::Closing.into());
        }
        if self.manner == Manner::Resuming {
            self.manner = Manner::Yielding;
            return Ok(UpdateDeadline::Continue(1));
        }
        self.slices_left = self.slices_left.checked_sub(1).ok_or(Stopped::CpuUsedUp)?;
        if self.manner == Manner::Blocking {
            return Ok(UpdateDeadline::Continue(1));
        }
        self.interrupted += 1;
        // A deadline of no ticks brings us back here before the guest goes on, to see whether it still may.
        self.manner = Manner::Resuming;
        // The first time it may be the machine that was busy. The built-in policy is ours, and has no reason to wait for others.
        let Some(pace) = self.pace.as_ref().filter(|_| self.interrupted > 1 || self.place.is_taken()) else {
            return Ok(UpdateDeadline::YieldCustom(0, Box::pin(tokio::task::yield_now())));
        };
        if self.interrupted == 2 {
            pace.was_slow();
        }
        self.place.leave();
        Ok(UpdateDeadline::YieldCustom(0, Box::pin(self.place.clone().give_way())))
    }

    /// The call has ended.
    pub(crate) fn ended(&self) {
        self.place.leave();
        if self.interrupted < 2 {
            self.pace.iter().for_each(|pace| pace.was_quick());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Engine, EngineOptions};

    /// A tick is a slice, and however often a guest gives way in between, it has no more of them than its time has ticks.
    #[test]
    fn a_guest_has_as_many_slices_as_its_time_has_ticks() {
        let engine = Engine::new(EngineOptions { concurrency: 1, ..EngineOptions::default() }).unwrap();
        for (cpu, ticks) in [(0, 1), (1, 1), (999, 1), (1_000, 1), (1_001, 2), (2_000, 2), (3_000, 3), (50_000, 50)] {
            let mut meter = CpuMeter::blocking(engine.machine().clone());
            // Armed anew, it begins anew.
            for round in 0..2 {
                let mut used = meter.arm(Duration::from_micros(cpu));
                while let Ok(UpdateDeadline::Continue(more)) = meter.slice_ended() {
                    used += more;
                }
                assert_eq!(used, ticks, "{cpu} us, round {round}");
            }
            let mut meter = CpuMeter::yielding(engine.machine().clone(), None);
            let mut used = meter.arm(Duration::from_micros(cpu));
            loop {
                match meter.slice_ended() {
                    Ok(UpdateDeadline::YieldCustom(ahead, _)) => used += ahead,
                    Ok(UpdateDeadline::Continue(more)) => used += more,
                    Ok(_) => unreachable!("it never does anything else"),
                    Err(error) => {
                        assert!(matches!(error.downcast_ref(), Some(Stopped::CpuUsedUp)), "{error}");
                        break;
                    }
                }
            }
            assert_eq!(used, ticks, "{cpu} us, giving way");
        }
    }
}
