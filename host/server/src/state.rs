use std::sync::Arc;

use agents::Host;
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use domain::Secret;
use prometheus_client::registry::Registry;
use subtle::ConstantTimeEq;

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

/// Who may come in.
#[derive(Clone, Debug)]
pub enum Access {
    /// Anybody who reaches the socket; config allows this on loopback only.
    Open,
    /// Those who show this key.
    Key(Secret),
}

/// Bounds on what a client may send.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The largest body, in bytes.
    pub max_body: usize,
}

impl Access {
    /// Whether these headers carry the key. The comparison takes the same time wherever the keys differ.
    pub(crate) fn admits(&self, headers: &HeaderMap) -> bool {
        let Access::Key(key) = self else { return true };
        let shown = headers.get(AUTHORIZATION).and_then(|v| v.as_bytes().strip_prefix(b"Bearer "));
        shown.is_some_and(|shown| shown.ct_eq(key.expose().as_bytes()).into())
    }
}
