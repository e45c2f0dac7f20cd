use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use domain::Digest;
use tokio::sync::Semaphore;
use wasmtime::component::{Component, HasSelf, Linker};
use wasmtime::{Config, Enabled, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig, Strategy};

use crate::bindings::Policy;
use crate::error::{EngineError, LoadError};
use crate::inspect::inspect;
use crate::module::Module;
use crate::state::State;
use crate::ticker::Ticker;

/// The component that decides when no other does. Built by `build.rs` from `policies/default`.
const BUILTIN: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/default.wasm"));
/// Settings of a module that is given none.
pub(crate) const NO_SETTINGS: &str = "{}";

/// A guest's own stack, in bytes.
const WASM_STACK: usize = 512 << 10;
/// The stack of a call, the host's functions included.
const CALL_STACK: usize = 2 << 20;
/// How much of a used memory is wiped by writing zeros; beyond that, the pages are given back to the system.
const KEEP_RESIDENT: usize = 2 << 20;
/// What one component may consist of: the largest known (CPython) has 38 core instances, QuickJS has 3 memories.
const CORE_INSTANCES: u32 = 40;
const MEMORIES: u32 = 4;
const TABLES: u32 = 16;

/// What the engine is sized for.
#[derive(Clone, Copy, Debug)]
pub struct EngineOptions {
    /// How many turns and samples may be in policies at once, over all agents. Each takes 16 GiB of address space when
    /// all are in use, but memory only for what its guest has written. 1 to 1,000.
    pub concurrency: u32,
}

impl Default for EngineOptions {
    fn default() -> Self {
        EngineOptions { concurrency: 256 }
    }
}

/// Compiles and runs policies. One per process.
pub struct Engine {
    machine: Arc<Machine>,
    /// Modules in use, so that agents with the same module share its code. Locked while one is compiled: that takes
    /// much memory, so there is one at a time.
    modules: Mutex<HashMap<Digest, Weak<Module>>>,
    builtin: Arc<Module>,
}

/// What guests run on. Every store keeps it alive.
pub(crate) struct Machine {
    pub(crate) wasm: wasmtime::Engine,
    linker: Linker<State>,
    pub(crate) ticker: Ticker,
    /// How many stores there may be.
    pub(crate) places: Arc<Semaphore>,
    /// How many guests may run that have used up their first slice; see [`crate::state::CpuMeter`].
    pub(crate) slow_lane: Arc<Semaphore>,
}

impl Engine {
    /// Sets the engine up and compiles the built-in policy. Takes some tenths of a second: do not call it on a runtime.
    pub fn new(options: EngineOptions) -> Result<Self, EngineError> {
        let machine = Machine::new(options)?;
        let builtin = machine.compile(BUILTIN, Digest::of(BUILTIN)).map_err(EngineError::Builtin)?;
        Ok(Engine { machine, modules: Mutex::default(), builtin: Arc::new(builtin) })
    }

    /// The built-in policy, which has every hook.
    pub fn builtin(&self) -> Arc<Module> {
        self.builtin.clone()
    }

    /// Makes a module of a component's bytes: checks size, digest and imports, compiles, and tries it out with the
    /// settings (`config_json`) that it is to have. Compiling can take seconds: do not call this on a runtime.
    ///
    /// The bytes of a module that is in use already are not compiled again.
    pub fn load(&self, bytes: &[u8], pin: Option<Digest>, config_json: &str) -> Result<Arc<Module>, LoadError> {
        let digest = Digest::of(bytes);
        if let Some(pinned) = pin.filter(|pinned| *pinned != digest) {
            return Err(LoadError::WrongDigest { pinned, actual: digest });
        }
        let module = if digest == self.builtin.digest() { self.builtin() } else { self.shared(bytes, digest)? };
        module.check_config(&self.machine, config_json)?;
        Ok(module)
    }

    /// Asks the built-in policy whether it accepts these settings, as [`Engine::load`] asks a module.
    pub fn check_builtin_config(&self, config_json: &str) -> Result<(), LoadError> {
        self.builtin.check_config(&self.machine, config_json)
    }

    /// Stops every guest, then the ticker thread, and waits for it. Hooks that are asked later get the host's last
    /// resort: the first target, no skills, no sample.
    pub fn shutdown(&self) {
        self.machine.ticker.stop();
    }

    /// Whether guests can run: false after [`Engine::shutdown`], and should the ticker thread ever die.
    pub fn is_healthy(&self) -> bool {
        self.machine.ticker.is_open()
    }

    pub(crate) fn machine(&self) -> &Arc<Machine> {
        &self.machine
    }

    /// The module of these bytes: the one that others use, or a new one.
    fn shared(&self, bytes: &[u8], digest: Digest) -> Result<Arc<Module>, LoadError> {
        let mut modules = self.modules.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(module) = modules.get(&digest).and_then(Weak::upgrade) {
            return Ok(module);
        }
        let module = Arc::new(self.machine.compile(bytes, digest)?);
        modules.retain(|_, module| module.strong_count() > 0);
        modules.insert(digest, Arc::downgrade(&module));
        Ok(module)
    }
}

impl Machine {
    fn new(options: EngineOptions) -> Result<Arc<Self>, EngineError> {
        let setup = |e: wasmtime::Error| EngineError::Setup(format!("{e:#}"));
        let concurrency = options.concurrency.clamp(1, 1000);
        let wasm = match wasmtime::Engine::new(&pooled(concurrency)) {
            Ok(wasm) => wasm,
            Err(error) => {
                tracing::info!(%error, "no address space for a pool of policy instances; allocating them one by one");
                wasmtime::Engine::new(&unpooled()).map_err(setup)?
            }
        };
        let mut linker = Linker::new(&wasm);
        Policy::add_to_linker::<_, HasSelf<_>>(&mut linker, |state: &mut State| state).map_err(setup)?;
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Arc::new(Machine {
            ticker: Ticker::start(wasm.clone()).map_err(EngineError::Thread)?,
            wasm,
            linker,
            places: Arc::new(Semaphore::new(concurrency as usize)),
            slow_lane: Arc::new(Semaphore::new(threads.saturating_sub(1).max(1))),
        }))
    }

    fn compile(self: &Arc<Self>, bytes: &[u8], digest: Digest) -> Result<Module, LoadError> {
        let asks = inspect(bytes)?;
        let component = Component::new(&self.wasm, bytes).map_err(|e| LoadError::invalid(&e))?;
        let pre = self.linker.instantiate_pre(&component).map_err(|e| LoadError::shape(&e))?;
        Module::new(self, digest, pre, asks)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.ticker.stop();
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("healthy", &self.is_healthy()).finish_non_exhaustive()
    }
}

/// What holds for every engine: what guests may be made of, and how they are interrupted.
fn common() -> Config {
    let mut config = Config::new();
    config
        .strategy(Strategy::Cranelift)
        .cranelift_opt_level(OptLevel::Speed)
        .epoch_interruption(true)
        .max_wasm_stack(WASM_STACK)
        .async_stack_size(CALL_STACK)
        // Nothing here prints guests' backtraces, and unwind tables are slow to register.
        .generate_address_map(false)
        .native_unwind_info(false)
        // Features that policies have no use for are so much less to get wrong. Threads, garbage collection, exceptions
        // and stack switching are not even compiled into this wasmtime.
        .concurrency_support(false)
        .wasm_multi_memory(false)
        .wasm_memory64(false)
        .relaxed_simd_deterministic(true);
    config
}

fn pooled(concurrency: u32) -> Config {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(concurrency)
        .total_stacks(concurrency)
        .total_core_instances(concurrency * CORE_INSTANCES)
        .total_memories(concurrency * MEMORIES)
        .total_tables(concurrency * TABLES)
        .max_tables_per_module(MEMORIES)
        .linear_memory_keep_resident(KEEP_RESIDENT)
        .table_keep_resident(KEEP_RESIDENT)
        .pagemap_scan(Enabled::Auto);
    let mut config = common();
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    config
}

/// For systems that limit a process's address space: slower, since every access is checked in code.
fn unpooled() -> Config {
    let mut config = common();
    config.allocation_strategy(InstanceAllocationStrategy::OnDemand).memory_reservation(0).memory_guard_size(64 << 10);
    config
}
