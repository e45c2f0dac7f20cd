//! Provider clients: the only sockets that the host opens by itself, and the only place that shows a provider its key.
//!
//! Where a request goes and with which credential is decided by config alone and bound together in one [`HttpUpstream`].
//! Nothing in a request, an answer or a redirect changes it: redirects are not followed and ambient proxy variables are
//! not read. A name is asked only at an address as near as config says, whatever it leads to today: the addresses that were
//! looked at are the ones that are connected to.
//!
//! What comes back is a chat completion, or a stream of whole events that are pieces of one, or an error: see [`Reply`].

mod body;
mod client;
mod credential;
mod error;
mod guard;
mod health;
mod reply;
mod retry;

pub use body::Pieces;
pub use client::{HttpUpstream, Question, Settings, Trace, install_crypto};
pub use credential::Credential;
pub use error::{BuildError, UpstreamError};
pub use reply::{Events, Reply, Wanted};
