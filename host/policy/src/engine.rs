use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use domain::Digest;
use tokio::sync::Semaphore;
use wasmtime::component::{Component, HasSelf, Linker};
use wasmtime::{Config, Enabled, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::bindings::{Policy, v0};
use crate::compile::{Compile, Memories, Recipe, config, runnable};
use crate::error::{EngineError, LoadError};
use crate::inspect::inspect;
use crate::module::{ConfigProblem, Module};
use crate::state::State;
use crate::ticker::Ticker;

/// The component that decides when no other does. Built by `build.rs` from `policies/default`.
const BUILTIN: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/default.wasm"));
/// Settings of a module that is given none.
pub(crate) const NO_SETTINGS: &str = "{}";

/// How much of a used memory is wiped by writing zeros; beyond that, the pages are given back to the system.
const KEEP_RESIDENT: usize = 2 << 20;
/// What one call may consist of: the largest known component (CPython) has 38 core instances, QuickJS has 3 memories. The pool has so
/// many for each call that there may be, so that no guest takes another one's.
pub(crate) const CORE_INSTANCES: u32 = 40;
pub(crate) const MEMORIES: u32 = 4;
pub(crate) const TABLES: u32 = 16;
/// Room in the pool for a module that is tried out, however many calls there are.
const TRIALS: u32 = 1;

/// What the engine is sized for.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// How many turns and samples may be in policies at once, over all agents. Each takes 16 GiB of address space when
    /// all are in use, but memory only for what its guest has written. 1 to 1,000.
    pub concurrency: u32,
    /// How many instances may wait for their next turn, over all agents that keep some. Each takes address space as above,
    /// and the memory that its guest has written, at most the agent's limit. At most 1,000.
    pub warm: u32,
    /// Who compiles modules. Without one this process does, where nothing can stop a compilation: enough for modules that
    /// one has written oneself. The built-in policy is always compiled here.
    pub compiler: Option<Arc<dyn Compile>>,
    /// Whether instructions are counted, for tools that measure a policy. Guests are slower then, and the same everywhere.
    pub metered: bool,
}

impl Default for EngineOptions {
    fn default() -> Self {
        EngineOptions { concurrency: 256, warm: 64, compiler: None, metered: false }
    }
}

/// Compiles and runs policies. One per process.
pub struct Engine {
    machine: Arc<Machine>,
    /// Modules in use, so that agents with the same module share its code.
    modules: Mutex<Modules>,
    builtin: Arc<Module>,
}

/// What guests run on. Every store keeps it alive.
pub(crate) struct Machine {
    pub(crate) wasm: wasmtime::Engine,
    /// Whether stores count fuel.
    pub(crate) metered: bool,
    recipe: Recipe,
    compiler: Option<Arc<dyn Compile>>,
    /// Held while this process compiles. That takes much memory, so there is one module at a time.
    compiling: Mutex<()>,
    linker: Linker<State>,
    /// The same, with an empty WASI beside it.
    wasi_linker: Linker<State>,
    pub(crate) ticker: Ticker,
    /// How many stores there may be.
    pub(crate) places: Arc<Semaphore>,
    /// How many of them may be those of agents whose calls are slow: half, so that the others find one.
    pub(crate) slow_places: Arc<Semaphore>,
    /// How many of them may stay when their turn is over.
    pub(crate) warm_places: Arc<Semaphore>,
    /// How many guests may run that have used up their first slice; see [`crate::lane`].
    pub(crate) slow_lane: Arc<Semaphore>,
}

impl Engine {
    /// Sets the engine up and compiles the built-in policy. Takes some tenths of a second: do not call it on a runtime.
    pub fn new(options: EngineOptions) -> Result<Self, EngineError> {
        let machine = Machine::new(options)?;
        let builtin = machine.compile(BUILTIN, Digest::of(BUILTIN), None).map_err(EngineError::Builtin)?;
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
        let module = self.module(bytes)?;
        module.check_config(&self.machine, config_json)?;
        Ok(module)
    }

    /// As [`Engine::load`], for tools: nobody has said which digest it must have, and its settings are not tried.
    pub fn module(&self, bytes: &[u8]) -> Result<Arc<Module>, LoadError> {
        let digest = Digest::of(bytes);
        if digest == self.builtin.digest() { Ok(self.builtin()) } else { self.shared(bytes, digest) }
    }

    /// Asks a module what is wrong with these settings; it need not have been loaded with them.
    pub fn config_problems(&self, module: &Module, config_json: &str) -> Result<Vec<ConfigProblem>, LoadError> {
        module.config_problems(&self.machine, config_json)
    }

    /// Asks the built-in policy whether it accepts these settings, as [`Engine::load`] asks a module.
    pub fn check_builtin_config(&self, config_json: &str) -> Result<(), LoadError> {
        self.builtin.check_config(&self.machine, config_json)
    }

    /// Stops every compilation and every guest, then the ticker thread, and waits for it. Hooks that are asked later get the host's last
    /// resort: the first target, no skills, no sample.
    pub fn shutdown(&self) {
        self.stop_compiling();
        self.machine.ticker.stop();
    }

    /// Ends the compilation under way, and refuses all later ones with [`LoadError::Stopped`]: for a host that is about to
    /// shut down while guests still answer. Without a [compiler](EngineOptions::compiler) there is nothing that can be ended.
    pub fn stop_compiling(&self) {
        self.machine.compiler.iter().for_each(|compiler| compiler.stop());
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
        if let Some(module) = in_use(&self.modules(), digest) {
            return Ok(module);
        }
        // Without the lock: a stranger's module may take minutes to be refused, and nobody else should wait for that.
        let module = Arc::new(self.machine.compile(bytes, digest, self.machine.compiler.as_deref())?);
        let mut modules = self.modules();
        // Two may have compiled the same bytes. The first one's module is used.
        if let Some(first) = in_use(&modules, digest) {
            return Ok(first);
        }
        modules.retain(|_, module| module.strong_count() > 0);
        modules.insert(digest, Arc::downgrade(&module));
        Ok(module)
    }

    fn modules(&self) -> MutexGuard<'_, Modules> {
        self.modules.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Modules = HashMap<Digest, Weak<Module>>;

fn in_use(modules: &Modules, digest: Digest) -> Option<Arc<Module>> {
    modules.get(&digest).and_then(Weak::upgrade)
}

impl Machine {
    fn new(options: EngineOptions) -> Result<Arc<Self>, EngineError> {
        let setup = |e: wasmtime::Error| EngineError::Setup(format!("{e:#}"));
        let (concurrency, warm) = (options.concurrency.clamp(1, 1000), options.warm.min(1000));
        let (wasm, memories) = match wasmtime::Engine::new(
            pooled(concurrency + warm + TRIALS).consume_fuel(options.metered),
        ) {
            Ok(wasm) => (wasm, Memories::Spacious),
            Err(error) => {
                tracing::info!(%error, "no address space for a pool of policy instances; allocating them one by one");
                let mut config = unpooled();
                let wasm = wasmtime::Engine::new(config.consume_fuel(options.metered)).map_err(setup)?;
                (wasm, Memories::Narrow)
            }
        };
        let mut linker = Linker::new(&wasm);
        Policy::add_to_linker::<_, HasSelf<_>>(&mut linker, |state: &mut State| state).map_err(setup)?;
        v0::Policy::add_to_linker::<_, HasSelf<_>>(&mut linker, |state: &mut State| state).map_err(setup)?;
        let mut wasi_linker = linker.clone();
        crate::wasi::add_to_linker(&mut wasi_linker).map_err(setup)?;
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Arc::new(Machine {
            ticker: Ticker::start(wasm.clone()).map_err(EngineError::Thread)?,
            recipe: Recipe::of(&wasm, memories),
            // A compiler in another process knows nothing of fuel.
            compiler: options.compiler.filter(|_| !options.metered),
            compiling: Mutex::default(),
            wasm,
            metered: options.metered,
            linker,
            wasi_linker,
            places: Arc::new(Semaphore::new(concurrency as usize)),
            slow_places: Arc::new(Semaphore::new(concurrency.div_ceil(2) as usize)),
            warm_places: Arc::new(Semaphore::new(warm as usize)),
            slow_lane: Arc::new(Semaphore::new(threads.saturating_sub(1).max(1))),
        }))
    }

    /// Looks a component over, has it compiled, and tries it out.
    fn compile(
        self: &Arc<Self>,
        bytes: &[u8],
        digest: Digest,
        compiler: Option<&dyn Compile>,
    ) -> Result<Module, LoadError> {
        let asks = inspect(bytes)?;
        let component = match compiler {
            Some(compiler) => runnable(&self.wasm, &compiler.compile(bytes, digest, self.recipe)?)?,
            None => {
                let _turn = self.compiling.lock().unwrap_or_else(PoisonError::into_inner);
                Component::new(&self.wasm, bytes).map_err(|e| LoadError::invalid(&e))?
            }
        };
        let linker = if asks.wasi { &self.wasi_linker } else { &self.linker };
        let pre = linker.instantiate_pre(&component).map_err(|e| LoadError::shape(&e))?;
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

fn pooled(stores: u32) -> Config {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(stores)
        .total_stacks(stores)
        .total_core_instances(stores * CORE_INSTANCES)
        .total_memories(stores * MEMORIES)
        .total_tables(stores * TABLES)
        .max_tables_per_module(MEMORIES)
        .linear_memory_keep_resident(KEEP_RESIDENT)
        .table_keep_resident(KEEP_RESIDENT)
        .pagemap_scan(Enabled::Auto);
    let mut config = config(Memories::Spacious);
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    config
}

fn unpooled() -> Config {
    let mut config = config(Memories::Narrow);
    config.allocation_strategy(InstanceAllocationStrategy::OnDemand);
    config
}
