//! Write policies for the MetaClaw host in Rust: what a policy decides is a method, its settings are its fields.
//!
//! ```ignore
//! use metaclaw_policy::prelude::*;
//!
//! /// Long prompts go to a larger model.
//! #[derive(Deserialize)]
//! #[serde(deny_unknown_fields)]
//! struct LongToLarge {
//!     long: u64,
//!     large: String,
//! }
//!
//! impl Policy for LongToLarge {
//!     fn route(&self, turn: &Turn) -> Result<Decision> {
//!         if turn.body_size() > self.long { turn.to(&self.large) } else { turn.to_first() }
//!     }
//! }
//!
//! metaclaw_policy::export!(LongToLarge: route);
//! ```
//!
//! `cargo test` runs the same code natively: [`testing`] answers in the host's place, as the cases of `cases.yaml` say.

#[cfg(all(target_arch = "wasm32", feature = "allocator"))]
mod allocator;
#[doc(hidden)]
pub mod bindings;
mod error;
mod export;
mod policy;
#[doc(hidden)]
pub mod run;
mod types;

pub mod files;
pub mod kv;
pub mod log;

#[cfg(not(target_arch = "wasm32"))]
mod mock;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;

pub use bindings::imports::metaclaw::policy::types::{
    Decision, Description, Message, Permission, Problem, Refusal, Route, Scored, Selection, SkillSummary, Target,
    ToolCall, Verdict,
};
#[cfg(target_arch = "wasm32")]
pub use bindings::imports::metaclaw::policy::{catalog::Catalog, sample::Sample, turn::Turn};
pub use error::{Error, Result};
#[cfg(not(target_arch = "wasm32"))]
pub use mock::{Catalog, Sample, Turn};
pub use policy::{Exported, Policy};
pub use serde;

/// Everything that a policy usually needs.
pub mod prelude {
    pub use serde::Deserialize;

    pub use crate::{
        Catalog, Decision, Error, Message, Permission, Policy, Problem, Result, Sample, Scored, Selection,
        SkillSummary, Target, ToolCall, Turn, Verdict, files, kv, log,
    };
}
