use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use domain::{AddressKind, ArtifactRef, Reach, is_loopback_host};
use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Decides where a registry may lead: no nearer to this machine than it is itself, and out of TLS only if it is on this machine.
#[derive(Clone)]
pub(crate) struct Guard {
    registry: Arc<ArtifactRef>,
    /// How near the registry turned out to be. Nothing but its own name is looked up before that is known.
    reach: Arc<Mutex<Reach>>,
}

/// A name leads to no allowed address.
#[derive(Debug, thiserror::Error)]
#[error("the name leads to a {0} address")]
struct Refused(&'static str);

impl Guard {
    pub(crate) fn new(registry: &ArtifactRef) -> Self {
        let own = literal(registry.host()).and_then(AddressKind::reach);
        let reach = own.filter(|reach| *reach <= Reach::Local).unwrap_or(Reach::Public);
        Guard { registry: Arc::new(registry.clone()), reach: Arc::new(Mutex::new(reach)) }
    }

    fn reach(&self) -> Reach {
        *self.reach.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is wrong with an address that the registry has given, if anything is.
    pub(crate) fn objection(&self, url: &Url) -> Option<&'static str> {
        let host = url.host_str().unwrap_or_default();
        if !url.username().is_empty() || url.password().is_some() {
            return Some("with a name or password in it");
        }
        match url.scheme() {
            "https" => {}
            "http" if self.registry.is_loopback() && is_loopback_host(host) => {}
            _ => return Some("which is not HTTPS"),
        }
        match literal(host) {
            Some(kind) if !self.allows(kind, host.eq_ignore_ascii_case(self.registry.host())) => {
                Some("an address that is nearer than its own")
            }
            _ => None,
        }
    }

    /// Whether a place is the registry's own to judge by its name: the same host, or one of the same domain, as `auth.example.com`
    /// and `example.com` are for `registry.example.com`. Loopback is one host.
    pub(crate) fn is_of_the_registry(&self, url: &Url) -> bool {
        let (own, host) = (self.registry.host(), url.host_str().unwrap_or_default());
        if host == own || (self.registry.is_loopback() && is_loopback_host(host)) {
            return true;
        }
        // Whoever has `example.com` has all below it, and nobody has `com` alone.
        let domain = own.split_once('.').map(|(_, parent)| parent).filter(|parent| parent.contains('.')).unwrap_or(own);
        let is_name = literal(own).is_none() && literal(host).is_none() && own.contains('.');
        is_name && (host == domain || host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.')))
    }

    fn allows(&self, kind: AddressKind, is_own: bool) -> bool {
        match is_own {
            true if self.registry.is_loopback() => kind == AddressKind::Loopback,
            true => Reach::Local.has(kind),
            false => self.reach().has(kind),
        }
    }

    fn note(&self, kind: AddressKind) {
        let mut reach = self.reach.lock().unwrap_or_else(PoisonError::into_inner);
        *reach = kind.reach().map_or(*reach, |own| own.max(*reach));
    }

    fn sift(&self, is_own: bool, found: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, Refused> {
        let of = |address: &SocketAddr| AddressKind::of(address.ip());
        let first = found.first().map(of);
        let allowed: Vec<_> = found.into_iter().filter(|address| self.allows(of(address), is_own)).collect();
        if is_own {
            allowed.iter().for_each(|address| self.note(of(address)));
        }
        match (allowed.is_empty(), first) {
            (true, Some(kind)) => Err(Refused(kind.name())),
            _ => Ok(allowed),
        }
    }
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.clone();
        Box::pin(async move {
            let is_own = name.as_str().eq_ignore_ascii_case(guard.registry.host());
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            Ok(Box::new(guard.sift(is_own, found)?.into_iter()) as Addrs)
        })
    }
}

/// The kind of the address that stands in place of a name.
fn literal(host: &str) -> Option<AddressKind> {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    bare.parse::<IpAddr>().ok().map(AddressKind::of)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(registry: &str) -> Guard {
        Guard::new(&format!("oci://{registry}/p:1").parse().unwrap())
    }

    #[test]
    fn a_registry_leads_nowhere_nearer_than_itself_and_never_out_of_tls() {
        for (registry, url, fine) in [
            ("ghcr.io", "https://cdn.example.com/b", true),
            ("ghcr.io", "http://cdn.example.com/b", false),
            ("ghcr.io", "http://ghcr.io/b", false),
            ("ghcr.io", "http://127.0.0.1/b", false),
            ("ghcr.io", "https://127.0.0.1/b", false),
            ("ghcr.io", "https://10.0.0.1/b", false),
            ("ghcr.io", "https://169.254.169.254/b", false),
            ("ghcr.io", "https://[::ffff:10.0.0.1]/b", false),
            ("ghcr.io", "https://8.8.8.8/b", true),
            ("ghcr.io", "https://ada:pw@cdn.example.com/b", false),
            ("ghcr.io", "file:///etc/passwd", false),
            ("ghcr.io", "ftp://cdn.example.com/b", false),
            ("10.0.0.1:5000", "https://10.0.0.1:5000/b", true),
            ("10.0.0.1", "https://10.9.9.9/b", true),
            ("10.0.0.1", "http://10.0.0.1/b", false),
            ("10.0.0.1", "https://127.0.0.1/b", false),
            ("169.254.169.254", "https://169.254.169.254/b", false),
            ("localhost:5000", "http://localhost:5001/b", true),
            ("127.0.0.1:5000", "http://127.0.0.1:5001/b", true),
            ("127.0.0.1:5000", "http://10.0.0.1/b", false),
            ("127.0.0.1:5000", "http://example.com/b", false),
        ] {
            let objection = guard(registry).objection(&url.parse().unwrap());
            assert_eq!(objection.is_none(), fine, "{registry} → {url}: {objection:?}");
        }
    }

    #[test]
    fn a_login_stays_in_the_domain_of_its_registry() {
        for (registry, place, own) in [
            ("ghcr.io", "https://ghcr.io/token", true),
            ("ghcr.io:8443", "https://ghcr.io/token", true),
            ("ghcr.io", "https://auth.ghcr.io/token", true),
            ("ghcr.io", "https://quay.io/token", false),
            ("ghcr.io", "https://notghcr.io/token", false),
            ("ghcr.io", "https://ghcr.io.example.com/token", false),
            ("registry-1.docker.io", "https://auth.docker.io/token", true),
            ("registry.gitlab.com", "https://gitlab.com/jwt/auth", true),
            ("registry.gitlab.com", "https://evilgitlab.com/jwt/auth", false),
            ("a.b.example.com", "https://c.b.example.com/", true),
            ("a.b.example.com", "https://example.com/", false),
            ("corp", "https://corp/", true),
            ("corp", "https://auth.corp/", false),
            ("10.0.0.1", "https://10.0.0.1:5001/", true),
            ("10.0.0.1", "https://1.0.0.1/", false),
            ("10.0.0.1", "https://10.0.0.2/", false),
            ("localhost:5000", "http://127.0.0.1:5001/token", true),
            ("localhost:5000", "https://example.com/token", false),
        ] {
            assert_eq!(guard(registry).is_of_the_registry(&place.parse().unwrap()), own, "{registry} → {place}");
        }
    }

    #[test]
    fn names_are_held_against_where_the_registry_itself_is() {
        let at = |ip: &str| vec![SocketAddr::new(ip.parse().unwrap(), 0)];
        let public = guard("ghcr.io");
        assert!(public.sift(true, at("140.82.121.34")).is_ok());
        assert!(public.sift(false, at("10.0.0.1")).is_err() && public.sift(false, at("127.0.0.1")).is_err());
        assert_eq!(public.sift(false, [at("10.0.0.1"), at("8.8.8.8")].concat()).unwrap(), at("8.8.8.8"));

        let inner = guard("registry.corp");
        assert!(inner.sift(false, at("10.0.0.1")).is_err(), "nothing is known of it yet");
        assert!(inner.sift(true, at("10.0.0.7")).is_ok());
        assert!(inner.sift(false, at("10.0.0.1")).is_ok() && inner.sift(false, at("127.0.0.1")).is_err());
        assert!(guard("registry.corp").sift(true, at("169.254.169.254")).is_err(), "no name should lead there");
        assert!(guard("localhost").sift(true, at("10.0.0.1")).is_err(), "it would be asked without TLS");
    }
}
