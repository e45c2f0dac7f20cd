use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use crate::Digest;

/// The scheme of a reference to an artifact in a registry.
const SCHEME: &str = "oci://";
/// The prefix of the only kind of digest that counts here.
const ALGORITHM: &str = "sha256:";
/// What registries agree on for host and repository together.
const MAX_NAME: usize = 255;
/// As the distribution specification has it.
const MAX_TAG: usize = 128;

/// An artifact in an OCI registry: `oci://REGISTRY/REPOSITORY[:TAG][@sha256:DIGEST]`, with a tag, a digest or both. The digest is
/// that of the artifact's manifest, and decides where there is one; the tag is then for people.
///
/// Every part holds only the characters that the specification allows it, so that none can change the meaning of a URL.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ArtifactRef {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// Why a text is not a reference to an artifact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidArtifactRef {
    /// A login, or something like one, before the registry.
    #[error("there is a name or a password in it, which belongs in `registry.auth_file`")]
    Login,
    /// It begins otherwise.
    #[error("it does not begin with `oci://`")]
    Scheme,
    /// No registry, or a strange one.
    #[error("the registry is not a host with an optional port, such as `registry.example.com:5000`")]
    Registry,
    /// No repository, or a strange one.
    #[error("the repository is not lower-case names between slashes, such as `team/policy`")]
    Repository,
    /// A strange tag.
    #[error("the tag is not one to 128 letters, digits, dots, dashes and underlines")]
    Tag,
    /// A strange digest.
    #[error("the digest is not `sha256:` and 64 lower-case hexadecimal digits")]
    Digest,
    /// Neither tag nor digest.
    #[error("it has neither a tag nor a digest")]
    Loose,
    /// Longer than registries take.
    #[error("registry and repository have more than 255 characters")]
    Long,
}

impl ArtifactRef {
    /// Whether a text is meant as one.
    pub fn is_meant(text: &str) -> bool {
        text.starts_with(SCHEME)
    }

    /// `HOST` or `HOST:PORT`; an IPv6 address is in brackets.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The host of the registry alone.
    pub fn host(&self) -> &str {
        split_port(&self.registry).0
    }

    /// Such as `team/policy`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// Such as `1.2.0`.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The manifest's.
    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// The same, with this manifest.
    pub fn pinned(&self, digest: Digest) -> Self {
        ArtifactRef { digest: Some(digest), ..self.clone() }
    }

    /// Whether the registry is on this machine by its very name: then, and only then, it may be asked without TLS.
    pub fn is_loopback(&self) -> bool {
        is_loopback_host(self.host())
    }
}

/// Whether a host, as it stands in a URL, is this machine without anybody's having to be asked.
pub fn is_loopback_host(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

impl FromStr for ArtifactRef {
    type Err = InvalidArtifactRef;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let rest = text.strip_prefix(SCHEME).ok_or(InvalidArtifactRef::Scheme)?;
        let (name, digest) = match rest.split_once('@') {
            // A digest has no slash, and what it is the digest of has one.
            Some((before, after)) if after.contains('/') || !before.contains('/') => {
                return Err(InvalidArtifactRef::Login);
            }
            Some((name, digest)) => (name, Some(parse_digest(digest)?)),
            None => (rest, None),
        };
        let (registry, path) = name.split_once('/').ok_or(InvalidArtifactRef::Repository)?;
        // Repositories have no colon, so the first one after the registry begins the tag.
        let (repository, tag) = match path.split_once(':') {
            Some((repository, tag)) => (repository, Some(tag)),
            None => (path, None),
        };
        if registry.len() + repository.len() >= MAX_NAME {
            return Err(InvalidArtifactRef::Long);
        }
        if !is_registry(registry) {
            return Err(InvalidArtifactRef::Registry);
        }
        if !repository.split('/').all(is_component) {
            return Err(InvalidArtifactRef::Repository);
        }
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(InvalidArtifactRef::Tag);
        }
        if tag.is_none() && digest.is_none() {
            return Err(InvalidArtifactRef::Loose);
        }
        let (registry, repository) = (registry.to_ascii_lowercase(), repository.to_owned());
        Ok(ArtifactRef { registry, repository, tag: tag.map(str::to_owned), digest })
    }
}

impl fmt::Display for ArtifactRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}/{}", self.registry, self.repository)?;
        self.tag.iter().try_for_each(|tag| write!(f, ":{tag}"))?;
        self.digest.iter().try_for_each(|digest| write!(f, "@{ALGORITHM}{digest}"))
    }
}

fn parse_digest(text: &str) -> Result<Digest, InvalidArtifactRef> {
    let hex = text.strip_prefix(ALGORITHM).ok_or(InvalidArtifactRef::Digest)?;
    let lower = hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    hex.parse().ok().filter(|_| lower).ok_or(InvalidArtifactRef::Digest)
}

fn split_port(registry: &str) -> (&str, Option<&str>) {
    let after_host = registry.rfind(']').map_or(0, |end| end + 1);
    match registry[after_host..].find(':') {
        Some(colon) => (&registry[..after_host + colon], Some(&registry[after_host + colon + 1..])),
        None => (registry, None),
    }
}

fn is_registry(text: &str) -> bool {
    let (host, port) = split_port(text);
    let port_is_fine = port.is_none_or(|port| {
        port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|number| number > 0)
    });
    port_is_fine && is_host(host)
}

fn is_host(host: &str) -> bool {
    if let Some(inner) = host.strip_prefix('[') {
        return inner.strip_suffix(']').is_some_and(|inner| inner.parse::<Ipv6Addr>().is_ok());
    }
    let is_label = |label: &str| {
        let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
        label.len() <= 63
            && edge(label.bytes().next())
            && edge(label.bytes().last())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    // A last label of digits is an IPv4 address, and URLs know more ways to write one (`127.1`, `0x7f.1`) than people do.
    let last = host.rsplit('.').next().unwrap_or_default();
    let numeric = last.starts_with(|c: char| c.is_ascii_digit());
    host.split('.').all(is_label) && (!numeric || host.parse::<std::net::Ipv4Addr>().is_ok())
}

/// Lower-case letters and digits, with single dots, one or two underlines or any number of dashes between them.
fn is_component(text: &str) -> bool {
    let is_word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let (Some(first), Some(last)) = (text.bytes().next(), text.bytes().last()) else { return false };
    let separators = text.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    is_word(first)
        && is_word(last)
        && separators.into_iter().all(|s| matches!(s, "" | "." | "_" | "__") || s.bytes().all(|b| b == b'-'))
}

fn is_tag(text: &str) -> bool {
    let is_word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    text.len() <= MAX_TAG
        && text.bytes().next().is_some_and(is_word)
        && text.bytes().all(|b| is_word(b) || matches!(b, b'.' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::InvalidArtifactRef::{Digest as BadDigest, Login, Long, Loose, Registry, Repository, Scheme, Tag};
    use super::*;

    const HEX: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn references_are_read_and_written_alike() {
        for (text, registry, repository, tag, pinned) in [
            ("oci://ghcr.io/team/policy:1.2", "ghcr.io", "team/policy", Some("1.2"), false),
            ("oci://ghcr.io/p@D", "ghcr.io", "p", None, true),
            ("oci://ghcr.io/p:v1@D", "ghcr.io", "p", Some("v1"), true),
            ("oci://localhost:5000/a/b-c/d__e.f:latest", "localhost:5000", "a/b-c/d__e.f", Some("latest"), false),
            ("oci://[::1]:5000/p:_x", "[::1]:5000", "p", Some("_x"), false),
            ("oci://127.0.0.1/p---q:1", "127.0.0.1", "p---q", Some("1"), false),
        ] {
            let text = text.replace('D', &format!("sha256:{HEX}"));
            let read: ArtifactRef = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!((read.registry(), read.repository(), read.tag()), (registry, repository, tag), "{text}");
            assert_eq!(read.digest().is_some(), pinned, "{text}");
            assert_eq!(read.to_string(), text);
        }
        let upper: ArtifactRef = "oci://GHCR.io/p:V1".parse().unwrap();
        assert_eq!(upper.to_string(), "oci://ghcr.io/p:V1", "hosts have no case, tags have");
    }

    #[test]
    fn what_could_mean_something_else_is_refused() {
        let long = format!("oci://ghcr.io/{}:1", "a".repeat(255));
        let tag = format!("oci://ghcr.io/p:{}", "a".repeat(129));
        let upper = format!("oci://ghcr.io/p@sha256:{}", HEX.to_uppercase());
        let twice = format!("oci://ghcr.io/p@sha256:{HEX}@sha256:{HEX}");
        for (text, why) in [
            ("ghcr.io/p:1", Scheme),
            ("https://ghcr.io/p:1", Scheme),
            ("oci:ghcr.io/p:1", Scheme),
            ("OCI://ghcr.io/p:1", Scheme),
            ("oci://", Repository),
            ("oci://ghcr.io", Repository),
            ("oci:///p:1", Registry),
            ("oci://ghcr.io/", Repository),
            ("oci://ghcr.io/p", Loose),
            ("oci://ghcr.io/p:", Tag),
            ("oci://ghcr.io/p:-x", Tag),
            ("oci://ghcr.io/p:a b", Tag),
            ("oci://ghcr.io/p:a/b", Tag),
            ("oci://ghcr.io/p:a?x=1", Tag),
            ("oci://ghcr.io/p:a\n", Tag),
            (&tag, Tag),
            ("oci://user@ghcr.io/p:1", Login),
            ("oci://user:pass@ghcr.io/p:1", Login),
            ("oci://user:pa/ss@ghcr.io/p:1", Login),
            ("oci://user:pass@ghcr.io", Login),
            ("oci://ghcr.io:/p:1", Registry),
            ("oci://ghcr.io:0/p:1", Registry),
            ("oci://ghcr.io:99999/p:1", Registry),
            ("oci://ghcr.io:+80/p:1", Registry),
            ("oci://-a/p:1", Registry),
            ("oci://a..b/p:1", Registry),
            ("oci://a_b/p:1", Registry),
            ("oci://münchen.de/p:1", Registry),
            ("oci://127.1/p:1", Registry),
            ("oci://0x7f.0.0.1x/p:1", Registry),
            ("oci://0x7f.1/p:1", Registry),
            ("oci://2130706433/p:1", Registry),
            ("oci://[::1/p:1", Registry),
            ("oci://[::1%25eth0]/p:1", Registry),
            ("oci://[127.0.0.1]/p:1", Registry),
            ("oci://::1/p:1", Registry),
            ("oci://ghcr.io#/p:1", Registry),
            ("oci://ghcr.io\\@evil/p:1", Login),
            ("oci://ghcr.io/P:1", Repository),
            ("oci://ghcr.io/../p:1", Repository),
            ("oci://ghcr.io/a/./p:1", Repository),
            ("oci://ghcr.io/a//p:1", Repository),
            ("oci://ghcr.io/a/:1", Repository),
            ("oci://ghcr.io/a%2fb:1", Repository),
            ("oci://ghcr.io/a...b:1", Repository),
            ("oci://ghcr.io/a___b:1", Repository),
            ("oci://ghcr.io/a._b:1", Repository),
            ("oci://ghcr.io/a?b:1", Repository),
            ("oci://ghcr.io/_a:1", Repository),
            (&long, Long),
            ("oci://ghcr.io/p@", BadDigest),
            ("oci://ghcr.io/p@sha256:", BadDigest),
            ("oci://ghcr.io/p@sha512:00", BadDigest),
            ("oci://ghcr.io/p@sha256:ba78", BadDigest),
            (&upper, BadDigest),
            (&twice, BadDigest),
        ] {
            assert_eq!(text.parse::<ArtifactRef>(), Err(why), "{text:?}");
        }
    }

    #[test]
    fn only_this_machine_by_name_is_loopback() {
        let is = |registry: &str| format!("oci://{registry}/p:1").parse::<ArtifactRef>().unwrap().is_loopback();
        for registry in ["localhost", "localhost:5000", "LOCALHOST", "127.0.0.1", "127.9.9.9:80", "[::1]:5000"] {
            assert!(is(registry), "{registry}");
        }
        for registry in ["localhost.example.com", "10.0.0.1", "0.0.0.0", "[::]", "[::2]:1", "a.localhost", "ghcr.io"] {
            assert!(!is(registry), "{registry}");
        }
    }
}
