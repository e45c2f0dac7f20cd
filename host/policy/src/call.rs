//! An instance, and what it may use while it is asked.

use std::sync::Arc;
use std::time::Duration;

use domain::{AgentId, PolicyGrants};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmtime::component::Instance;
use wasmtime::{PoolConcurrencyLimitError, Store, Trap};

use crate::decision::{Failure, FailureClass, Used};
use crate::engine::Machine;
use crate::hooks::Hook;
use crate::lane::Pace;
use crate::module::Module;
use crate::places::Places;
use crate::source::{CatalogSource, KvChanges};
use crate::state::{CpuMeter, Footprint, LogBudget, MAX_PASSED, MemoryLimit, State, Stopped, Subject};
use crate::ticker::Running;
use crate::wasi::{self, Wasi};

/// What a guest may pass to the host, or return, at once, in bytes.
const HOSTCALL_BYTES: usize = 1 << 20;
/// Resource handles, the guest's own included, that may exist at once.
const MAX_HANDLES: usize = 128;

/// What one call may use.
#[derive(Clone, Copy)]
pub(crate) struct CallLimits {
    pub(crate) cpu: Duration,
    /// In bytes, all memories together.
    pub(crate) memory: u64,
    /// What the guest may do beside deciding.
    pub(crate) grants: PolicyGrants,
}

/// An instance, for the hooks of one turn. Once a call has failed it must not be used again.
pub(crate) struct Live {
    // The store goes first, then the places it took.
    pub(crate) store: Store<State>,
    pub(crate) instance: Instance,
    pub(crate) module: Arc<Module>,
    /// Whether what the start left of its limits is for the first call.
    armed: bool,
    /// How many hooks it has been asked.
    calls: u32,
    /// What it had allocated when its first turn was over.
    settled: Option<Footprint>,
    /// None while it waits for its next turn.
    places: Option<Places>,
    /// From its first turn's end on, if it is one of those that stay.
    warm_place: Option<OwnedSemaphorePermit>,
}

/// A store whose limits are not armed yet.
pub(crate) fn new_store(
    machine: &Machine,
    settings: Arc<str>,
    subject: Subject,
    limits: CallLimits,
    cpu: CpuMeter,
) -> Store<State> {
    let CallLimits { memory, grants, .. } = limits;
    let (memory, log) = (MemoryLimit::new(memory), LogBudget::of(grants.log));
    let state = State {
        settings,
        subject,
        catalog: None,
        memory,
        cpu,
        log,
        passing: MAX_PASSED,
        grants,
        staged: KvChanges::new(),
        wasi: None,
    };
    let mut store = Store::new(&machine.wasm, state);
    store.limiter(|state| &mut state.memory);
    store.set_hostcall_fuel(HOSTCALL_BYTES);
    store.set_max_component_handles(MAX_HANDLES);
    if machine.metered {
        // Nothing is limited by it, so there is always enough. It fails only where fuel is not counted.
        let _ = store.set_fuel(u64::MAX);
    }
    store.epoch_deadline_callback(|mut store| store.data_mut().cpu.slice_ended());
    store
}

impl Live {
    /// Makes an instance. This runs the module's start functions, so it is armed like a call.
    pub(crate) async fn start(
        machine: &Arc<Machine>,
        module: &Arc<Module>,
        settings: &Arc<str>,
        subject: Subject,
        limits: CallLimits,
        places: Places,
        pace: Option<Arc<Pace>>,
    ) -> Result<Self, Failure> {
        let _running = run(machine)?;
        let meter = CpuMeter::yielding(machine.clone(), pace);
        let mut store = new_store(machine, settings.clone(), subject, limits, meter);
        if limits.grants.wasi {
            let files = store.data().files();
            let folders = wasi::folders(limits.grants, files).await;
            let wasi = folders.and_then(Wasi::new).map_err(|e| Failure::new(FailureClass::Link, &e.to_string()))?;
            store.data_mut().wasi = Some(Box::new(wasi));
        }
        store.data().cpu.wait_if_slow().await;
        arm(&mut store, limits.cpu);
        let instance = module.pre.instantiate_async(&mut store).await;
        match instance {
            Ok(instance) => Ok(Live {
                store,
                instance,
                module: module.clone(),
                armed: true,
                calls: 0,
                settled: None,
                places: Some(places),
                warm_place: None,
            }),
            Err(e) => Err(classify(&e, store.data(), FailureClass::Link)),
        }
    }

    /// Asks one hook. The first has what the start has left, every further one has limits of its own.
    pub(crate) async fn ask<H: Hook>(
        &mut self,
        hook: &H,
        machine: &Machine,
        cpu: Duration,
    ) -> Result<H::Decision, Failure> {
        let _running = run(machine)?;
        self.calls = self.calls.saturating_add(1);
        if !std::mem::take(&mut self.armed) {
            self.store.data().cpu.wait_if_slow().await;
            arm(&mut self.store, cpu);
        }
        let decision = hook.ask(self).await.and_then(|decision| self.keep(decision));
        let state = self.store.data();
        state.cpu.ended();
        if state.log.cut > 0 && state.grants.log.is_some() {
            let agent = state.subject.agent().map(tracing::field::display);
            tracing::warn!(target: "policy::guest", agent, bytes = state.log.cut, "the policy's log was cut off");
        }
        decision
    }

    /// Applies what the call has written to `kv`, now that it has succeeded.
    fn keep<T>(&mut self, decision: T) -> Result<T, Failure> {
        let state = self.store.data_mut();
        let changes = std::mem::take(&mut state.staged);
        let most = state.grants.kv.map_or(0, |size| usize::try_from(size.0).unwrap_or(usize::MAX));
        match state.kv_source().filter(|_| !changes.is_empty()) {
            // Another call of this agent's may have written meanwhile.
            Some(kv) if !kv.apply(changes, most) => {
                Err(Failure::new(FailureClass::PolicyError, "what calls wrote to `kv` at once exceeds its size"))
            }
            _ => Ok(decision),
        }
    }

    /// Whether this is an instance of `module` that has these settings.
    pub(crate) fn is_of(&self, module: &Arc<Module>, settings: &Arc<str>) -> bool {
        Arc::ptr_eq(&self.module, module) && self.has_settings(settings)
    }

    /// Whether these are its settings.
    pub(crate) fn has_settings(&self, settings: &Arc<str>) -> bool {
        Arc::ptr_eq(&self.store.data().settings, settings)
    }

    /// How many hooks it has been asked.
    pub(crate) fn calls(&self) -> u32 {
        self.calls
    }

    /// Whose turn or sample it is asked about.
    pub(crate) fn agent(&self) -> Option<&AgentId> {
        self.store.data().subject.agent()
    }

    /// Itself, with nothing of its turn and without the places of a turn, until the next one. None when it must not see another
    /// turn, or when too many wait already: what has grown since its first turn may be leaking, and folders that were looked
    /// through when it began may be others by now.
    pub(crate) fn rested(mut self, warm_places: &Arc<Semaphore>) -> Option<Self> {
        let state = self.store.data_mut();
        let footprint = state.memory.footprint();
        let has_grown = state.memory.refused || self.settled.is_some_and(|settled| settled != footprint);
        if has_grown || state.grants.wasi_fs {
            return None;
        }
        state.subject = Subject::Probe;
        state.catalog = None;
        self.settled = Some(footprint);
        self.places = None;
        if self.warm_place.is_none() {
            self.warm_place = Some(warm_places.clone().try_acquire_owned().ok()?);
        }
        Some(self)
    }

    /// Itself, for another turn.
    pub(crate) fn resumed(mut self, subject: Subject, places: Places) -> Self {
        self.store.data_mut().subject = subject;
        self.places = Some(places);
        self
    }

    /// Lets the guest search these skills.
    pub(crate) fn lend(&mut self, catalog: Arc<dyn CatalogSource>) {
        self.store.data_mut().catalog = Some(catalog);
    }

    /// What it has used so far.
    pub(crate) fn used(&self) -> Used {
        let fuel = self.store.get_fuel().ok().map(|left| u64::MAX - left);
        Used { fuel, memory: self.store.data().memory.footprint().bytes() }
    }

    pub(crate) fn failed(&self, error: &wasmtime::Error) -> Failure {
        classify(error, self.store.data(), FailureClass::BadOutput)
    }
}

/// What became of a call that returned an error. `otherwise` is for errors that are neither traps nor ours: at the start
/// they mean that the module does not fit, later that it passed or returned what cannot be read.
pub(crate) fn classify(error: &wasmtime::Error, state: &State, otherwise: FailureClass) -> Failure {
    let class = match (error.downcast_ref::<Stopped>(), error.downcast_ref::<Trap>()) {
        (Some(Stopped::CpuUsedUp), _) => FailureClass::Cpu,
        (Some(Stopped::PassedTooMuch), _) => FailureClass::BadOutput,
        (Some(Stopped::Closing), _) => FailureClass::Link,
        _ if state.memory.refused => FailureClass::Memory,
        (_, Some(Trap::StackOverflow)) => FailureClass::Stack,
        (_, Some(_)) => FailureClass::Trap,
        _ if error.is::<wasmtime_wasi::I32Exit>() => FailureClass::Trap,
        _ if error.is::<PoolConcurrencyLimitError>() => FailureClass::Queue,
        _ => otherwise,
    };
    // What happened comes before where: only so much of the whole is kept.
    let (what, whole) = (error.root_cause().to_string(), format!("{error}"));
    let message = if what == whole { what } else { format!("{what}; {whole}") };
    Failure::new(class, &message)
}

/// Allows this much from now on.
fn arm(store: &mut Store<State>, cpu: Duration) {
    let state = store.data_mut();
    state.log = LogBudget::of(state.grants.log);
    state.passing = MAX_PASSED;
    let first = state.cpu.arm(cpu);
    store.set_epoch_deadline(first);
}

fn run(machine: &Machine) -> Result<Running, Failure> {
    machine.ticker.run().ok_or_else(|| Failure::new(FailureClass::Link, &Stopped::Closing.to_string()))
}
