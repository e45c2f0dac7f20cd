use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;

use domain::{AddressKind, Reach};
use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Looks names up, and lets only addresses through that are as near as config says. What it gives is what is connected to, so
/// that a name which leads elsewhere the next moment leads nowhere.
pub(crate) struct Guarded<R> {
    upstream: Arc<str>,
    reach: Reach,
    resolver: Arc<R>,
}

/// The machine's own way to look up names.
pub(crate) struct SystemResolver;

/// A name leads to no allowed address.
#[derive(Debug, thiserror::Error)]
#[error("the name leads to a {} address", kind.name())]
pub(crate) struct Refused {
    pub(crate) kind: AddressKind,
}

impl<R: Resolve> Guarded<R> {
    pub(crate) fn new(upstream: Arc<str>, reach: Reach, resolver: R) -> Self {
        Guarded { upstream, reach, resolver: Arc::new(resolver) }
    }
}

impl<R: Resolve + 'static> Resolve for Guarded<R> {
    fn resolve(&self, name: Name) -> Resolving {
        let (upstream, reach, resolver) = (self.upstream.clone(), self.reach, self.resolver.clone());
        Box::pin(async move {
            let found = resolver.resolve(name).await?;
            let of = |address: &SocketAddr| AddressKind::of(address.ip());
            let (allowed, refused): (Vec<_>, Vec<_>) = found.partition(|address| reach.has(of(address)));
            if let Some(first) = refused.first() {
                let (address, kind) = (first.ip(), of(first));
                let allowed_up_to = reach.name();
                if allowed.is_empty() {
                    tracing::warn!(%upstream, %address, kind = kind.name(), allowed_up_to, "an upstream's name leads where it must not: if this is meant, let its `addresses` say so");
                    return Err(Refused { kind }.into());
                }
                tracing::debug!(%upstream, %address, kind = kind.name(), allowed_up_to, "one address of an upstream is not used");
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

impl Resolve for SystemResolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found: Vec<_> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// The kind of the address that stands in place of a name.
pub(crate) fn literal(url: &Url) -> Option<AddressKind> {
    let host = url.host_str()?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    bare.parse().ok().map(AddressKind::of)
}

/// Finds the guard's word among the causes.
pub(crate) fn refused(error: &reqwest::Error) -> Option<&Refused> {
    let mut cause: Option<&(dyn Error + 'static)> = error.source();
    while let Some(this) = cause {
        if let Some(refused) = this.downcast_ref() {
            return Some(refused);
        }
        cause = this.source();
    }
    None
}

#[cfg(test)]
mod tests;
