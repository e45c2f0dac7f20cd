use std::sync::Arc;
use std::time::Duration;

use agents::Host;
use arc_swap::ArcSwap;
use prometheus_client::registry::Registry;
use training::Training;

use crate::access::Access;

/// What the routes share.
#[derive(Clone)]
pub struct App {
    /// The turn pipeline.
    pub host: Arc<Host>,
    /// What agents are trained with.
    pub training: Arc<Training>,
    /// What is measured.
    pub registry: Arc<Registry>,
    /// Who may come in.
    pub access: Access,
    /// What a client may send, and how long it is waited for. A reload may change it.
    pub bounds: Arc<ArcSwap<Bounds>>,
}

/// Bounds on clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The largest body, in bytes.
    pub max_body: usize,
    /// How long answers may go on after the stop signal.
    pub shutdown_grace: Duration,
}
