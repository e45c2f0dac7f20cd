//! Provider clients: the only sockets that the host opens by itself, and the only place that shows a provider its key.
//!
//! Where a request goes and with which credential is decided by config alone and bound together in one [`HttpUpstream`].
//! Nothing in a request, an answer or a redirect changes it: redirects are not followed and ambient proxy variables are
//! not read.

mod body;
mod client;
mod credential;
mod error;

pub use body::{Pieces, UpstreamBody};
pub use client::{ContentKind, HttpUpstream, Reply, Settings, Trace, install_crypto};
pub use credential::Credential;
pub use error::{BuildError, UpstreamError};
