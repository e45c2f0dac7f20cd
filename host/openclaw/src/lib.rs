//! OpenClaw's configuration: finding it, letting its agents use this host, and giving it back.
//!
//! The way there and back, each step in its own file:
//!
//! 1. [`find`]: where OpenClaw keeps its file;
//! 2. `document`: JSON5 text → a value and a tree that keeps comments and spelling; edits of the text;
//! 3. `include`: what the file's `$include`s say, for reading only;
//! 4. `plan`: a value and what is [`Wanted`] → [`Edit`]s, or why that cannot be;
//! 5. `edit`: what one edit does to a text, and how it is taken back;
//! 6. `shown`: what changes, for people, without secrets;
//! 7. `record`: what is remembered of a connection;
//! 8. `base`: the file without our edits;
//! 9. [`Connection`]: how connecting and disconnecting are worked out;
//! 10. [`Job`]: their steps, in an order in which a crash between any two can be mended.
//!
//! Nothing here trusts its own editing: before a file is written, the new text is read again and must say exactly what
//! the old one said with the edits made. This crate reads no environment and talks to nobody.

mod base;
mod connection;
mod document;
mod edit;
mod error;
mod files;
mod find;
mod include;
mod job;
mod plan;
mod record;
mod roster;
mod shown;

#[cfg(test)]
mod tests;

pub use connection::{Connection, PluginFile, Status};
pub use error::OpenclawError;
pub use find::{Hints, find};
pub use job::Job;
pub use plan::{ApiKey, Choice, Model, Offer, Wanted, is_variable_name};
pub use shown::{Change, Line};

/// The id of our provider and of our plugin in OpenClaw's configuration.
pub const ID: &str = "metaclaw";
