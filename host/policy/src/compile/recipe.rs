use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;

use domain::Digest;
use rustix::io::Errno;
use wasmtime::error::OutOfMemory;
use wasmtime::{Config, Engine, OptLevel, Strategy};

use super::code::Code;
use crate::error::LoadError;

/// A guest's own stack, in bytes.
const WASM_STACK: usize = 512 << 10;
/// The stack of a call, the host's functions included.
const CALL_STACK: usize = 2 << 20;

/// Everything that machine code depends on beside the component: code made by one recipe runs in no engine of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recipe {
    pub(super) memories: Memories,
    /// Of the compiler's version and settings and the processor's features, as wasmtime hashes them.
    pub(super) fingerprint: u64,
}

/// Where guests' memories are, which decides how code accesses them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Memories {
    /// Far apart in address space, so that the processor finds out when an access is out of bounds.
    Spacious,
    /// For systems that limit a process's address space: slower, since every access is checked in code.
    Narrow,
}

impl Recipe {
    pub(crate) fn of(engine: &Engine, memories: Memories) -> Self {
        // Its keys are fixed. Should another compiler's standard library hash differently, code is made anew.
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        Recipe { memories, fingerprint: hasher.finish() }
    }

    /// Compiles, on this thread alone and with no limit: for a process that has one, and can be killed.
    pub(super) fn follow(self, component: &[u8], digest: Digest) -> Result<Code, LoadError> {
        let mut config = config(self.memories);
        config.parallel_compilation(false);
        let engine = Engine::new(&config).map_err(|e| LoadError::Compiler(format!("cannot be set up: {e:#}")))?;
        if Recipe::of(&engine, self.memories) != self {
            return Err(LoadError::Compiler("is another build than this host, or on another processor".to_owned()));
        }
        let machine_code = engine.precompile_component(component).map_err(|e| match is_out_of_memory(&e) {
            true => LoadError::CompileLimit { limit: "memory".to_owned() },
            false => LoadError::invalid(&e),
        })?;
        Ok(Code::new(&machine_code, digest, self))
    }
}

fn is_out_of_memory(error: &wasmtime::Error) -> bool {
    let of_system = |cause: &(dyn std::error::Error + 'static)| {
        let error = cause.downcast_ref::<io::Error>().map(io::Error::kind);
        error == Some(io::ErrorKind::OutOfMemory) || cause.downcast_ref() == Some(&Errno::NOMEM)
    };
    error.is::<OutOfMemory>() || error.chain().any(of_system)
}

/// What holds for every engine, be it to compile or to run: what guests may be made of, and how they are interrupted.
/// Compiler and host both begin with this, so that the code of the one fits the other.
pub(crate) fn config(memories: Memories) -> Config {
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
        .wasm_memory64(false)
        // What copies between two components that are parts of a third, as QuickJS's are, has the memories of both. How many
        // there are, and how large all together, is limited all the same.
        .wasm_multi_memory(true)
        .relaxed_simd_deterministic(true);
    if memories == Memories::Narrow {
        config.memory_reservation(0).memory_guard_size(64 << 10);
    }
    config
}
