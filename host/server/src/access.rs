use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::http::HeaderMap;
use axum::http::header::{HOST, ORIGIN};
use axum::http::uri::Authority;
use domain::{AgentId, Digest, Secret};
use keys::{Keyring, NotAKey, Scope};

use crate::credentials::{NoKey, shown};
use crate::error::HttpError;

/// Who may come in, and as whom. The same in every clone.
#[derive(Clone, Debug)]
pub struct Access {
    doors: Arc<ArcSwap<Doors>>,
}

/// The keys at one moment.
#[derive(Debug)]
struct Doors {
    /// Whose each key of the configuration is, by its digest: finding one takes the same time however much of a guess is right.
    configured: Arc<HashMap<Digest, Caller>>,
    /// The keys of the key file.
    ring: Arc<Keyring>,
    /// Without keys, anybody who reaches the socket may come in; off loopback no host is started so.
    is_shut: bool,
}

/// Who a client is by its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    /// One who may speak as any agent: the key is for all, or nobody has one.
    Operator,
    /// One who may speak as one of these.
    Agents(Arc<[AgentId]>),
}

/// Why a key does not open the door. It says nothing of the keys that would.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    #[error("this host wants an API key: send it as `Authorization: Bearer …`, or in the header `x-metaclaw-key`")]
    Missing,
    #[error("several API keys are shown, and it is not plain which one counts: send one, once")]
    Several,
    #[error("the API key is mistyped or cut short: copy it again")]
    Mistyped,
    #[error("this host does not know the API key, or it has ended: ask its operator for another")]
    Unknown,
    #[error("this is a key for administration, which speaks for no agent: use an agent's key")]
    Admin,
    #[error("this needs a key for administration: `metaclaw keys add --admin` makes one")]
    NotAdmin,
}

impl Access {
    /// From the configuration's key for all agents, its keys of single ones, and the key file's. Config has made sure that its
    /// own differ.
    pub fn new(operator: Option<&Secret>, agents: &BTreeMap<AgentId, Secret>, ring: Keyring) -> Self {
        let doors = Doors::new(Arc::new(by_digest(operator, agents)), Arc::new(ring));
        Access { doors: Arc::new(ArcSwap::from_pointee(doors)) }
    }

    /// Other keys of the configuration from now on.
    pub fn replace_configured(&self, operator: Option<&Secret>, agents: &BTreeMap<AgentId, Secret>) {
        let configured = Arc::new(by_digest(operator, agents));
        self.doors.rcu(|doors| Doors::new(configured.clone(), doors.ring.clone()));
    }

    /// Other keys of the key file from now on.
    pub fn replace_ring(&self, ring: Keyring) {
        let ring = Arc::new(ring);
        self.doors.rcu(|doors| Doors::new(doors.configured.clone(), ring.clone()));
    }

    /// The keys of the key file.
    pub fn ring(&self) -> Arc<Keyring> {
        self.doors.load().ring.clone()
    }

    /// Whether anybody on this machine may come in without a key.
    pub(crate) fn is_open(&self) -> bool {
        !self.doors.load().is_shut
    }

    /// Who sends a request with these headers; refuses those who may not.
    pub(crate) fn admit(&self, headers: &HeaderMap) -> Result<Caller, HttpError> {
        let doors = self.doors.load();
        if !doors.is_shut {
            return if is_local(headers) { Ok(Caller::Operator) } else { Err(HttpError::Foreign) };
        }
        let key = shown(headers).map_err(Refused::from)?;
        let digest = Digest::of(key);
        if let Some(caller) = doors.configured.get(&digest) {
            return Ok(caller.clone());
        }
        match doors.ring.find(key, &digest) {
            Some(Scope::AllAgents) => Ok(Caller::Operator),
            Some(Scope::Agents(agents)) => Ok(Caller::Agents(agents.clone())),
            Some(Scope::Admin) => Err(Refused::Admin.into()),
            None => Err(Refused::because(key).into()),
        }
    }

    /// Refuses who shows no key for administration. The configuration has none: its keys speak for agents.
    pub(crate) fn admit_admin(&self, headers: &HeaderMap) -> Result<(), HttpError> {
        let key = shown(headers).map_err(Refused::from)?;
        match self.doors.load().ring.find(key, &Digest::of(key)) {
            Some(Scope::Admin) => Ok(()),
            Some(_) => Err(Refused::NotAdmin.into()),
            None => Err(Refused::because(key).into()),
        }
    }
}

impl Doors {
    fn new(configured: Arc<HashMap<Digest, Caller>>, ring: Arc<Keyring>) -> Self {
        Doors { is_shut: !configured.is_empty() || ring.is_wanted(), configured, ring }
    }
}

fn by_digest(operator: Option<&Secret>, agents: &BTreeMap<AgentId, Secret>) -> HashMap<Digest, Caller> {
    let digest = |key: &Secret| Digest::of(key.expose().as_bytes());
    let operator = operator.map(|key| (digest(key), Caller::Operator));
    let agents = agents.iter().map(|(id, key)| (digest(key), Caller::Agents([id.clone()].into())));
    operator.into_iter().chain(agents).collect()
}

impl Caller {
    /// The agents that it may speak as; none when it may be any.
    pub(crate) fn agents(&self) -> Option<&Arc<[AgentId]>> {
        match self {
            Caller::Operator => None,
            Caller::Agents(agents) => Some(agents),
        }
    }

    /// Whether it may see what is this agent's.
    pub(crate) fn may_see(&self, agent: &str) -> bool {
        self.agents().is_none_or(|own| own.iter().any(|own| own.as_str() == agent))
    }
}

impl Refused {
    fn because(key: &[u8]) -> Self {
        match keys::check(key) {
            Err(NotAKey::Mistyped) => Refused::Mistyped,
            Ok(_) | Err(NotAKey::Other) => Refused::Unknown,
        }
    }
}

impl From<NoKey> for Refused {
    fn from(no_key: NoKey) -> Self {
        match no_key {
            NoKey::Missing => Refused::Missing,
            NoKey::Several => Refused::Several,
        }
    }
}

/// Whether the request is meant for this machine. Without a key, a web page that the user happens to look at could otherwise
/// speak to the host: by a form (which names its `Origin`), or by a name of its own that it lets point here (`Host`).
pub(crate) fn is_local(headers: &HeaderMap) -> bool {
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
    use axum::http::header::AUTHORIZATION;
    use keys::{KeyFile, Wish};

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
            let open = Access::new(None, &BTreeMap::new(), Keyring::default());
            assert_eq!(open.admit(&headers).is_ok(), local, "{host} {origin:?}");
            assert!(open.admit_admin(&headers).is_err(), "nobody administers without a key");
        }
    }

    fn with(key: &str) -> HeaderMap {
        HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::try_from(format!("Bearer {key}")).unwrap())])
    }

    #[test]
    fn a_key_says_who_comes_in() {
        let secret = |text: &str| Secret::new(text.to_owned());
        let agent = AgentId::Named("a".parse().unwrap());
        let alone = Caller::Agents([agent.clone()].into());
        let agents = BTreeMap::from([(agent, secret("key-of-a"))]);
        for (operator, shown, want) in [
            (Some(secret("key-of-all")), "key-of-all", Some(Caller::Operator)),
            (Some(secret("key-of-all")), "key-of-a", Some(alone.clone())),
            (Some(secret("key-of-all")), "key-of-al", None),
            (Some(secret("key-of-all")), "key-of-all ", None),
            (Some(secret("key-of-all")), "", None),
            (None, "key-of-a", Some(alone)),
            (None, "key-of-all", None),
        ] {
            let access = Access::new(operator.as_ref(), &agents, Keyring::default());
            assert_eq!(access.admit(&with(shown)).ok(), want, "{shown:?}");
            assert!(access.admit(&HeaderMap::new()).is_err() && access.admit_admin(&with(shown)).is_err());
        }
    }

    #[test]
    fn a_key_of_the_file_opens_its_own_door_only() {
        let home = tempfile::tempdir().unwrap();
        let file = KeyFile::of(home.path());
        let add = |scope| file.add(&Wish { scope, label: String::new(), lifetime: None }).unwrap().0;
        let agent = |name| AgentId::from_trusted(name).unwrap();
        let access = Access::new(None, &BTreeMap::new(), Keyring::default());
        let take_over = || access.replace_ring(file.read().unwrap().unwrap());
        let admin = add(Scope::Admin);
        take_over();
        assert_eq!(access.admit(&HeaderMap::new()).ok(), Some(Caller::Operator), "an admin key shuts no agent out");
        let (one, two, all) = (
            add(Scope::agents([agent("a")]).unwrap()),
            add(Scope::agents([agent("a"), agent("b")]).unwrap()),
            add(Scope::AllAgents),
        );
        take_over();
        assert!(access.admit(&HeaderMap::new()).is_err());
        for (key, caller, administers) in [
            (&one, Some(Caller::Agents([agent("a")].into())), false),
            (&two, Some(Caller::Agents([agent("a"), agent("b")].into())), false),
            (&all, Some(Caller::Operator), false),
            (&admin, None, true),
        ] {
            let headers = with(key.text.expose());
            assert_eq!((access.admit(&headers).ok(), access.admit_admin(&headers).is_ok()), (caller, administers));
        }
        file.revoke(two.id).unwrap();
        take_over();
        assert!(access.admit(&with(two.text.expose())).is_err() && access.admit(&with(one.text.expose())).is_ok());
    }
}
