use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use domain::{AgentId, ByteSize, Secret};

use crate::load::Reader;

/// Shorter keys can be tried out.
const MIN_KEY: usize = 16;
/// Fewer different characters than this are no random key.
const MIN_VARIETY: usize = 6;
/// What examples and tutorials use as keys, in lower case; a key that holds one of these is weak.
const KNOWN_WEAK: &[&str] = &[
    "changeme",
    "change-me",
    "change_me",
    "your-api-key",
    "your_api_key",
    "yourapikey",
    "password",
    "passw0rd",
    "secret-key",
    "secret_key",
    "example",
    "placeholder",
    "123456",
    "abcdef123",
    "qwerty",
    "letmein",
    "metaclaw-key",
    "metaclaw_key",
    "sk-xxxx",
    "sk-test",
    "testtest",
];

/// Where and how to listen.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// The address. Anything but loopback comes with a key.
    pub host: IpAddr,
    /// The port; 0 takes a free one.
    pub port: u16,
    /// The key of clients that may speak as any agent, sent as their bearer token.
    pub api_key: Option<Secret>,
    /// The keys of clients that speak as one agent. No two keys are the same. When there is any key, everybody needs one.
    pub agent_keys: BTreeMap<AgentId, Secret>,
    /// Whether clients have keys of the key file.
    pub keyed: bool,
    /// The largest request body.
    pub max_body: ByteSize,
    /// How long answers may go on after the stop signal.
    pub shutdown_grace: Duration,
    /// After which silence the client of a stream is told to wait on; zero: never.
    pub keep_alive: Duration,
}

impl ServerConfig {
    /// Whether clients must show a key.
    pub fn wants_key(&self) -> bool {
        self.keyed || self.api_key.is_some() || !self.agent_keys.is_empty()
    }

    /// A key with which to speak as this agent: its own, else the one for all. Those of the key file nobody can know.
    pub fn key_of(&self, agent: &AgentId) -> Option<&Secret> {
        self.agent_keys.get(agent).or(self.api_key.as_ref())
    }
}

pub(crate) fn build(reader: &mut Reader<'_>) -> ServerConfig {
    let server = ServerConfig {
        host: reader.value("proxy.host").unwrap_or(IpAddr::from([127, 0, 0, 1])),
        port: reader.options.port.or_else(|| reader.value("proxy.port")).unwrap_or_default(),
        api_key: reader.secret("proxy.api_key"),
        agent_keys: agent_keys(reader),
        keyed: reader.paths.keyed,
        max_body: reader.value("proxy.max_body").unwrap_or(ByteSize(0)),
        shutdown_grace: reader.value("proxy.shutdown_grace").unwrap_or_default(),
        keep_alive: reader.value("proxy.keep_alive").unwrap_or_default(),
    };
    check_exposure(&server, reader);
    check_different(&server, reader);
    server
}

fn agent_keys(reader: &mut Reader<'_>) -> BTreeMap<AgentId, Secret> {
    let agents: Vec<AgentId> = reader.settings.agents.keys().cloned().collect();
    // Not inherited: `_default`'s key is that of the agent `_default`.
    agents.into_iter().filter_map(|id| Some((reader.secret(&agent_key(&id))?, id))).map(|(key, id)| (id, key)).collect()
}

fn agent_key(id: &AgentId) -> String {
    format!("agents.{id}.client_key")
}

/// A proxy that strangers can reach without a key spends its owner's money and shows them the owner's skills.
fn check_exposure(server: &ServerConfig, reader: &mut Reader<'_>) {
    const REMEDY: &str = "set proxy.host to 127.0.0.1, or make a key (`metaclaw keys add --agent NAME`), or set \
                          proxy.api_key to the reference (env:NAME, file:PATH) of a random key (`openssl rand -hex 32`)";
    let exposed = !server.host.to_canonical().is_loopback();
    let host = server.host;
    // A key that is there but cannot be had has been reported already.
    if exposed && !server.wants_key() && !reader.settings.mentions("proxy.api_key") {
        let message = format!("{host} opens the proxy to the network, and there is no key");
        reader.report.error("proxy.host", reader.place("proxy.host"), message, REMEDY);
    }
    for (path, _) in keys(server).filter(|(_, key)| is_weak(key)) {
        let place = reader.place(&path);
        if exposed {
            let message = format!("the key is too easy to guess for {host}, which is open to the network");
            reader.report.error(&path, place, message, REMEDY);
        } else {
            let remedy = "use a random key (`openssl rand -hex 32`)";
            reader.report.warning(&path, place, "the key is easy to guess", remedy);
        }
    }
}

/// A key that two share says of neither who speaks.
fn check_different(server: &ServerConfig, reader: &mut Reader<'_>) {
    let mut holders = BTreeMap::new();
    for (path, key) in keys(server) {
        if let Some(other) = holders.insert(key.expose(), path.clone()) {
            let message = format!("this is the key at {other} too, so it does not say who speaks");
            reader.report.error(
                &path,
                reader.place(&path),
                message,
                "give each a key of its own (`openssl rand -hex 32`)",
            );
        }
    }
}

/// Every key with its place in the file.
fn keys(server: &ServerConfig) -> impl Iterator<Item = (String, &Secret)> {
    let host = server.api_key.iter().map(|key| ("proxy.api_key".to_owned(), key));
    host.chain(server.agent_keys.iter().map(|(id, key)| (agent_key(id), key)))
}

fn is_weak(key: &Secret) -> bool {
    let key = key.expose().to_ascii_lowercase();
    let mut characters: Vec<char> = key.chars().collect();
    characters.sort_unstable();
    characters.dedup();
    key.len() < MIN_KEY || characters.len() < MIN_VARIETY || KNOWN_WEAK.iter().any(|weak| key.contains(weak))
}
