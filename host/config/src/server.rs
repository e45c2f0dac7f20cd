use std::net::IpAddr;
use std::time::Duration;

use domain::{ByteSize, Secret};

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
    /// The address. Anything but loopback comes with an `api_key`.
    pub host: IpAddr,
    /// The port; 0 takes a free one.
    pub port: u16,
    /// What clients must send as their bearer token.
    pub api_key: Option<Secret>,
    /// The largest request body.
    pub max_body: ByteSize,
    /// How long answers may go on after the stop signal.
    pub shutdown_grace: Duration,
}

pub(crate) fn build(reader: &mut Reader<'_>) -> ServerConfig {
    let server = ServerConfig {
        host: reader.value("proxy.host").unwrap_or(IpAddr::from([127, 0, 0, 1])),
        port: reader.options.port.or_else(|| reader.value("proxy.port")).unwrap_or_default(),
        api_key: reader.secret("proxy.api_key"),
        max_body: reader.value("proxy.max_body").unwrap_or(ByteSize(0)),
        shutdown_grace: reader.value("proxy.shutdown_grace").unwrap_or_default(),
    };
    check_exposure(&server, reader);
    server
}

/// A proxy that strangers can reach without a key spends its owner's money and shows them the owner's skills.
fn check_exposure(server: &ServerConfig, reader: &mut Reader<'_>) {
    const REMEDY: &str = "set proxy.host to 127.0.0.1, or set proxy.api_key to the reference (env:NAME, file:PATH) of \
                          a random key (`openssl rand -hex 32`)";
    let exposed = !server.host.to_canonical().is_loopback();
    let host = server.host;
    match &server.api_key {
        // A key that is there but cannot be had has been reported already.
        None if exposed && !reader.settings.mentions("proxy.api_key") => {
            let message = format!("{host} opens the proxy to the network, and proxy.api_key is not set");
            reader.report.error("proxy.host", reader.place("proxy.host"), message, REMEDY);
        }
        Some(key) if is_weak(key) => {
            let place = reader.place("proxy.api_key");
            if exposed {
                let message = format!("the key is too easy to guess for {host}, which is open to the network");
                reader.report.error("proxy.api_key", place, message, REMEDY);
            } else {
                let remedy = "use a random key (`openssl rand -hex 32`)";
                reader.report.warning("proxy.api_key", place, "the key is easy to guess", remedy);
            }
        }
        _ => {}
    }
}

fn is_weak(key: &Secret) -> bool {
    let key = key.expose().to_ascii_lowercase();
    let mut characters: Vec<char> = key.chars().collect();
    characters.sort_unstable();
    characters.dedup();
    key.len() < MIN_KEY || characters.len() < MIN_VARIETY || KNOWN_WEAK.iter().any(|weak| key.contains(weak))
}
