//! The cases of a policy, `cases.yaml` beside its module: a turn, a catalog, a finished turn; and what the policy must decide on them.
//!
//! A [`Suite`] is read from YAML, with everything that is wrong in it reported together. Whoever runs a [`Case`], natively or as
//! WebAssembly, asks the hooks of [`Case::asks`] in order, puts the answers into an [`Outcome`], and has it [compared](compare) with
//! what the case expects. The format is described in `README.md`.

mod case;
mod compare;
mod expect;
mod node;
mod outcome;
mod problem;
mod read;
mod search;
mod section;
mod show;
mod skills;
mod suite;
mod units;
mod within;

pub use case::{Case, Files, Hit, Message, Sample, Skill, Suite, Target, ToolCall, Turn};
pub use compare::{Difference, compare};
pub use expect::{Expect, Expected, ExpectedGate, ExpectedRoute, ExpectedVerdict, Words};
pub use outcome::{Answer, Complaint, Gate, Hook, Outcome, Route, Verdict};
pub use problem::{Problem, Problems};
pub use search::{overlap, words};
pub use within::Within;
