use std::net::IpAddr;
use std::sync::Arc;

use agents::Host;
use axum::http::HeaderMap;
use axum::http::header::{AUTHORIZATION, HOST, ORIGIN};
use axum::http::uri::Authority;
use domain::Secret;
use prometheus_client::registry::Registry;
use subtle::ConstantTimeEq;

use crate::error::HttpError;

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
    /// Whether a request with these headers may come in.
    pub(crate) fn admit(&self, headers: &HeaderMap) -> Result<(), HttpError> {
        match self {
            Access::Open if is_local(headers) => Ok(()),
            Access::Open => Err(HttpError::Foreign),
            Access::Key(key) => {
                let shown = headers.get(AUTHORIZATION).and_then(|v| v.as_bytes().strip_prefix(b"Bearer "));
                // The comparison takes the same time wherever the keys differ.
                let fits = shown.is_some_and(|shown| shown.ct_eq(key.expose().as_bytes()).into());
                if fits { Ok(()) } else { Err(HttpError::Unauthorized) }
            }
        }
    }
}

/// Whether the request is meant for this machine. Without a key, a web page that the user happens to look at could otherwise
/// speak to the host: by a form (which names its `Origin`), or by a name of its own that it lets point here (`Host`).
fn is_local(headers: &HeaderMap) -> bool {
    let host = headers.get(HOST).map(|h| h.to_str().is_ok_and(is_loopback));
    let from =
        headers.get(ORIGIN).map(|o| o.to_str().is_ok_and(|o| o.split_once("://").is_some_and(|(_, h)| is_loopback(h))));
    host.unwrap_or(true) && from.unwrap_or(true)
}

fn is_loopback(authority: &str) -> bool {
    let Ok(authority) = authority.parse::<Authority>() else { return false };
    let host = authority.host();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|ip| ip.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn without_a_key_only_this_machine_is_spoken_to() {
        for (host, origin, local) in [
            ("127.0.0.1:30000", None, true),
            ("localhost:30000", None, true),
            ("[::1]:30000", Some("http://localhost:5173"), true),
            ("127.0.0.1:30000", Some("https://evil.example"), false),
            ("127.0.0.1:30000", Some("null"), false),
            ("evil.example:30000", None, false),
            ("127.0.0.1.evil.example", None, false),
            ("localhost.evil.example", None, false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, HeaderValue::from_static(host));
            headers.extend(origin.map(|o| (ORIGIN, HeaderValue::from_static(o))));
            assert_eq!(Access::Open.admit(&headers).is_ok(), local, "{host} {origin:?}");
        }
    }
}
