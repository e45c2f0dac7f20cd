//! Policy modules in OCI registries: [`pull`]ed, [`push`]ed, and kept in the home by what they hash to ([`ModuleCache`]).
//!
//! An artifact is laid out as the CNCF's "Wasm OCI Artifact layout" has it, so that other tools read ours and we theirs: a
//! manifest with one layer `application/wasm` and a config `application/vnd.wasm.config.v0+json`. A reference pins the manifest,
//! the manifest the component: whoever runs a registry, or stands before it, can withhold a module but not exchange it.
//!
//! Why not `oci-client`, which is well kept: it reads manifests, tokens and errors whole, however long they are; goes wherever a
//! registry redirects it, out of TLS and into inner networks too; takes a proxy from the environment; and panics on an upload
//! address that is none. Its HTTP client cannot be given, so none of that can be bounded from outside. What is needed here of the
//! distribution specification is small; challenges are read by `http-auth`, and the rest is `reqwest`.
//!
//! This is the only crate that talks to registries. A TLS provider must have been installed for the process.

mod auth_file;
mod cache;
mod error;
mod guard;
mod login;
mod manifest;
mod modules;
mod session;
mod transfer;

use std::time::Duration;

pub use auth_file::login_for;
pub use cache::ModuleCache;
pub use error::RegistryError;
pub use login::Login;
pub use manifest::{Artifact, MAX_SIGNATURE};
pub use modules::Modules;
pub use transfer::{Pulled, pull, push};

/// The largest manifest that is read, in bytes.
pub const MAX_MANIFEST: usize = 1 << 20;
/// The largest module, in bytes: what the policy engine takes.
pub const MAX_MODULE: usize = 32 << 20;

/// How patient to be with registries.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Until a connection stands.
    pub connect: Duration,
    /// Between two pieces of an answer.
    pub idle: Duration,
    /// For the whole of a pull or a push; for all the modules of a configuration together when that is read.
    pub total: Duration,
}

impl Limits {
    /// For whoever can wait: a person, or a host that serves meanwhile.
    pub const PATIENT: Limits = Limits::seconds(10, 20, 120);
    /// For a host that starts and serves nobody before: a registry that is silent leaves time for another one.
    pub const STARTING: Limits = Limits::seconds(4, 4, 10);

    const fn seconds(connect: u64, idle: u64, total: u64) -> Self {
        let of = Duration::from_secs;
        Limits { connect: of(connect), idle: of(idle), total: of(total) }
    }
}
