use std::sync::Arc;

use agents::Host;
use prometheus_client::registry::Registry;

use crate::access::Access;

/// What the routes share.
#[derive(Clone)]
pub struct App {
    /// The turn pipeline.
    pub host: Arc<Host>,
    /// What is measured.
    pub registry: Arc<Registry>,
    /// Who may come in.
    pub access: Access,
    /// Bounds.
    pub options: Options,
}

/// Bounds on what a client may send.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The largest body, in bytes.
    pub max_body: usize,
}
