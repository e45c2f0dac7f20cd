//! The front door: HTTP in, HTTP out, and the one place where an error becomes a status. And the back door, for operators.
//!
//! Everything here is about the protocol; what a turn means is `agents`' business.

mod access;
mod admin;

mod admin_listener;
mod chat;
mod claims;
mod credentials;
mod error;
mod event_body;
mod feedback;
mod forward;
mod framing;
mod info;
mod listen;
mod once;
mod patience;
mod sessions;
mod state;
mod train_step;

pub use access::Access;
pub use admin::{AdminApp, Reload};
pub use admin_listener::{AdminError, AdminListener};
pub use listen::{ListenError, Listener, serve};
pub use state::{App, Bounds};
