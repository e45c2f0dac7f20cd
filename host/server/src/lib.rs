//! The front door: HTTP in, HTTP out, and the one place where an error becomes a status.
//!
//! Everything here is about the protocol; what a turn means is `agents`' business.

mod chat;
mod claims;
mod error;
mod forward;
mod framing;
mod info;
mod listen;
mod patience;
mod sessions;
mod state;

pub use listen::{ListenError, Listener, serve};
pub use state::{Access, App, Options};
