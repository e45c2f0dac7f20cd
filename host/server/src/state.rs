use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use agents::Host;
use arc_swap::ArcSwap;
use axum::http::HeaderMap;
use axum::http::header::{AUTHORIZATION, HOST, ORIGIN};
use axum::http::uri::Authority;
use domain::{AgentId, Digest, Secret};
use prometheus_client::registry::Registry;

use crate::error::HttpError;
use crate::forward::METACLAW_KEY;

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

/// Who may come in, and as whom.
#[derive(Clone, Debug)]
pub struct Access {
    /// Whose each key is, by the key's digest: finding one takes the same time however much of a guess is right. Without keys,
    /// anybody who reaches the socket may come in; config allows this on loopback only.
    keys: Arc<ArcSwap<HashMap<Digest, Caller>>>,
}

/// Who a client is by its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    /// One who may speak as any agent: the host's own key, or nobody has one.
    Operator,
    /// One who speaks as this agent.
    Agent(AgentId),
}

/// Bounds on what a client may send.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The largest body, in bytes.
    pub max_body: usize,
}

impl Access {
    /// From the key for all agents, and the keys of single ones. Config has made sure that all differ.
    pub fn new(operator: Option<&Secret>, agents: &BTreeMap<AgentId, Secret>) -> Self {
        Access { keys: Arc::new(ArcSwap::from_pointee(by_digest(operator, agents))) }
    }

    /// Other keys from now on, in every clone of this.
    pub fn replace(&self, operator: Option<&Secret>, agents: &BTreeMap<AgentId, Secret>) {
        self.keys.store(Arc::new(by_digest(operator, agents)));
    }

    /// Whether anybody on this machine may come in without a key.
    pub(crate) fn is_open(&self) -> bool {
        self.keys.load().is_empty()
    }

    /// Who sends a request with these headers; refuses those who may not.
    pub(crate) fn admit(&self, headers: &HeaderMap) -> Result<Caller, HttpError> {
        let keys = self.keys.load();
        if keys.is_empty() {
            return if is_local(headers) { Ok(Caller::Operator) } else { Err(HttpError::Foreign) };
        }
        let bearer = || headers.get(AUTHORIZATION).and_then(|v| v.as_bytes().strip_prefix(b"Bearer "));
        let shown = headers.get(METACLAW_KEY).map(|v| v.as_bytes()).or_else(bearer);
        shown.and_then(|key| keys.get(&Digest::of(key))).cloned().ok_or(HttpError::Unauthorized)
    }
}

fn by_digest(operator: Option<&Secret>, agents: &BTreeMap<AgentId, Secret>) -> HashMap<Digest, Caller> {
    let digest = |key: &Secret| Digest::of(key.expose().as_bytes());
    let operator = operator.map(|key| (digest(key), Caller::Operator));
    let agents = agents.iter().map(|(id, key)| (digest(key), Caller::Agent(id.clone())));
    operator.into_iter().chain(agents).collect()
}

impl Caller {
    /// The agent that it speaks for; none when it may be any.
    pub(crate) fn agent(&self) -> Option<&AgentId> {
        match self {
            Caller::Operator => None,
            Caller::Agent(agent) => Some(agent),
        }
    }

    /// Whether it may see what is this agent's.
    pub(crate) fn may_see(&self, agent: &str) -> bool {
        self.agent().is_none_or(|own| own.as_str() == agent)
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
            let open = Access::new(None, &BTreeMap::new());
            assert_eq!(open.admit(&headers).is_ok(), local, "{host} {origin:?}");
        }
    }

    #[test]
    fn a_key_says_who_comes_in() {
        let secret = |text: &str| Secret::new(text.to_owned());
        let agent = AgentId::Named("a".parse().unwrap());
        let agents = BTreeMap::from([(agent.clone(), secret("key-of-a"))]);
        for (operator, shown, want) in [
            (Some(secret("key-of-all")), Some("Bearer key-of-all"), Some(Caller::Operator)),
            (Some(secret("key-of-all")), Some("Bearer key-of-a"), Some(Caller::Agent(agent.clone()))),
            (Some(secret("key-of-all")), Some("Bearer key-of-al"), None),
            (Some(secret("key-of-all")), Some("Bearer key-of-all "), None),
            (Some(secret("key-of-all")), Some("Basic key-of-all"), None),
            (Some(secret("key-of-all")), Some("Bearer "), None),
            (Some(secret("key-of-all")), None, None),
            (None, Some("Bearer key-of-a"), Some(Caller::Agent(agent))),
            (None, None, None),
        ] {
            let mut headers = HeaderMap::new();
            headers.extend(shown.map(|s| (AUTHORIZATION, HeaderValue::from_static(s))));
            assert_eq!(Access::new(operator.as_ref(), &agents).admit(&headers).ok(), want, "{shown:?}");
        }
    }
}
