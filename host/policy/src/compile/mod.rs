//! From a component to machine code, wherever that is made.
//!
//! Compiling is the one step of loading that a hostile module can stretch to minutes and gigabytes, and a thread cannot
//! be killed. So a host has it done by a child process that can, and keeps what comes of it:
//!
//! 1. [`Cache`] looks for the code among what it has kept; without it,
//! 2. [`ChildCompiler`] starts this program again, which
//! 3. in [`run_compiler`] limits itself, compiles, seals the code with a key of this one compilation and writes it out;
//! 4. `code` opens the seal, and the cache puts its own in its place and keeps the file;
//! 5. `trusted` makes machine code runnable: the only place that has to trust it.
//!
//! Code always travels [sealed](Code), so what was cut off, altered or made by another build is not taken for code.

mod cache;
mod child;
mod code;
mod folder;
mod parent;
mod recipe;
mod request;
#[cfg(test)]
mod tests;
mod trusted;

use std::fmt;

use domain::Digest;

use crate::error::LoadError;

pub use cache::{Cache, CacheLimits};
pub use child::run_compiler;
pub use code::Code;
pub use parent::{ChildCompiler, CompileLimits};
pub use recipe::Recipe;
pub(crate) use recipe::{Memories, config};
pub(crate) use trusted::runnable;

/// Makes machine code of components, in its own way: in another process, or long ago.
pub trait Compile: fmt::Debug + Send + Sync {
    /// The machine code of the component with these bytes, whose digest the caller has taken, by this recipe.
    ///
    /// May take as long as the implementation allows a compilation to take: do not call it on a runtime. Fails when the
    /// bytes are no component, when compiling exceeds a limit, and when the compiler cannot be had.
    fn compile(&self, component: &[u8], digest: Digest, recipe: Recipe) -> Result<Code, LoadError>;

    /// Ends the compilation that is under way, which fails with [`LoadError::Stopped`], as do all later ones.
    fn stop(&self);
}
