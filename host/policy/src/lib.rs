//! Runs policies: WebAssembly components that route an agent's turns, select its skills and lay them out, gate tool calls, and judge
//! finished turns.
//!
//! An [`Engine`] makes [`Module`]s of components, which a [killable child](ChildCompiler) compiles for it; an [`AgentPolicy`] says which modules decide for an agent, and
//! within which limits. Every call has an answer: when the agent's module fails, the built-in policy decides instead,
//! and [`Decided`] says so.
//!
//! A guest is taken to be hostile. It runs in a store of its own that lives for one turn, sees nothing but what the
//! [sources](TurnSource) offer, and is stopped when it exceeds its CPU time, its wall time, its memory, its stack, or
//! the bytes it may pass. It runs on the caller's thread, which costs least, and yields to the other tasks of that
//! thread every millisecond.

mod agent;
mod anatomy;
mod bindings;
mod breaker;
mod call;
mod compile;
mod decision;
mod engine;
mod error;
mod grants;
mod hooks;
mod host;
mod inspect;
mod lane;
mod module;
mod older;
mod parts;
mod places;
mod question;
mod source;
mod state;
mod storage;
mod text;
mod ticker;
mod warm;
mod wasi;

pub use agent::{AgentPolicy, TurnCall};
pub use anatomy::{Anatomy, Producer};
pub use compile::{Cache, CacheLimits, ChildCompiler, Code, Compile, CompileLimits, Recipe, run_compiler};
pub use decision::{DENIED, Decided, Failure, FailureClass, Permission, Rendering, RouteDecision, Selection, Used};
pub use engine::{Engine, EngineOptions};
pub use error::{EngineError, LoadError};
pub use grants::Asks;
pub use inspect::{MAX_FUNCTION, MAX_FUNCTIONS, MAX_MODULE};
pub use module::{ConfigProblem, Description, Module};
pub use parts::{AgentPolicyParts, HookModules};
pub use source::{
    CatalogSource, FileEntry, FileRoot, FileSource, KvChanges, KvSource, MAX_HITS, MAX_LIST, MAX_READ, MAX_TEXT,
    Message, Preopened, Refused, SampleSource, Scored, SkillSummary, Target, TurnSource,
};
