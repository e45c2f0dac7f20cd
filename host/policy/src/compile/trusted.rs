#![expect(unsafe_code, reason = "wasmtime cannot check machine code; the seal says where it comes from")]

use wasmtime::Engine;
use wasmtime::component::Component;

use super::code::Code;
use crate::error::LoadError;

/// Makes code runnable.
pub(crate) fn runnable(engine: &Engine, code: &Code) -> Result<Component, LoadError> {
    // SAFETY: `deserialize` wants bytes that `Engine::precompile_component` has returned, unaltered. It copies them
    // before it reads them, so nobody can change them afterwards. A `Code` holds nothing else:
    //
    // - `Code::new` is called in one place, with what `precompile_component` has just returned (recipe.rs).
    // - `Code::open` takes bytes only with a seal, a BLAKE3 hash under a key of 256 random bits over these very bytes.
    //   One kind of key is made for a single compilation and told to the child alone, which runs this program's
    //   `run_compiler` (parent.rs); it seals nothing but the former. The other kind is the cache's, in a file and a
    //   folder that are nobody else's (cache.rs), never told to a child; it seals nothing but opened `Code`.
    //
    // So what an outsider writes, what was cut off, and what bits were flipped in does not get here. Two assumptions
    // remain, without which this process would be lost anyway: that nobody acts with this user's rights, who might as
    // well replace this program; and that compiling a hostile component does not make the compiler itself run hostile
    // code, which here as with `Component::new` would end up in this process. That the code fits this engine,
    // `deserialize` checks by itself.
    let component = unsafe { Component::deserialize(engine, code.machine_code()) };
    component.map_err(|e| LoadError::Compiler(format!("has made code that this engine refuses: {e:#}")))
}
