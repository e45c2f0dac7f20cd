use std::future::Future;

use bytes::Bytes;
use domain::{ArtifactRef, Digest};
use reqwest::{Method, StatusCode};
use tokio::time::timeout;

use crate::manifest::{MANIFEST, Manifest};
use crate::session::{Ask, Session};
use crate::{Artifact, Limits, Login, MAX_MANIFEST, RegistryError};

/// A module as a registry has it, checked against its reference and its manifest.
#[derive(Clone, Debug)]
pub struct Pulled {
    /// The manifest's digest: what a reference pins.
    pub digest: Digest,
    /// The manifest's own bytes.
    pub manifest: Vec<u8>,
    /// The component.
    pub module: Vec<u8>,
    /// The signature that was pushed with it, as minisign writes it. Nobody has looked whether it is true.
    pub signature: Option<String>,
}

/// Fetches a module: the manifest that the reference pins, or that its tag means now, and the component that this names.
pub async fn pull(reference: &ArtifactRef, login: Option<Login>, limits: &Limits) -> Result<Pulled, RegistryError> {
    within(reference, limits, async {
        let mut session = Session::new(reference, login, "pull", limits)?;
        let what = reference.to_string();
        let manifest = get_manifest(&mut session, reference, &what).await?;
        let digest = Digest::of(&manifest);
        if reference.digest().is_some_and(|wanted| wanted != digest) {
            return Err(RegistryError::WrongDigest { what, actual: digest });
        }
        let read = Manifest::read(&manifest).map_err(|why| RegistryError::Manifest { what, why })?;
        let module = get_module(&mut session, &read).await?;
        Ok(Pulled { digest, manifest, module, signature: read.signature })
    })
    .await
}

/// Puts a module there under the reference's tag. Gives the digest of its manifest.
pub async fn push(
    reference: &ArtifactRef,
    artifact: &Artifact<'_>,
    login: Option<Login>,
    limits: &Limits,
) -> Result<Digest, RegistryError> {
    let what = || reference.to_string();
    let written = artifact.written().map_err(|e| RegistryError::Manifest { what: what(), why: e.to_string() });
    let (config, manifest) = written?;
    let digest = Digest::of(&manifest);
    within(reference, limits, async {
        let mut session = Session::new(reference, login, "pull,push", limits)?;
        put_blob(&mut session, Bytes::from(config), "the config").await?;
        put_blob(&mut session, Bytes::copy_from_slice(artifact.module), "the module").await?;
        let name = reference.tag().map_or_else(|| format!("sha256:{digest}"), str::to_owned);
        let url = session.url(&format!("manifests/{name}"))?;
        let content = Some((MANIFEST, Bytes::from(manifest)));
        let ask = Ask { method: Method::PUT, url, what: "the manifest", accept: None, content };
        let response = session.ask(&ask).await?;
        match response.status() {
            StatusCode::CREATED => Ok(digest),
            _ => Err(session.unexpected(response, ask.what).await),
        }
    })
    .await
}

async fn within<T>(
    reference: &ArtifactRef,
    limits: &Limits,
    work: impl Future<Output = Result<T, RegistryError>>,
) -> Result<T, RegistryError> {
    let late = |_| RegistryError::Timeout { registry: reference.registry().to_owned(), what: reference.to_string() };
    timeout(limits.total, work).await.map_err(late)?
}

async fn get_manifest(session: &mut Session, reference: &ArtifactRef, what: &str) -> Result<Vec<u8>, RegistryError> {
    let name = match (reference.digest(), reference.tag()) {
        (Some(digest), _) => format!("sha256:{digest}"),
        (None, tag) => tag.unwrap_or_default().to_owned(),
    };
    let url = session.url(&format!("manifests/{name}"))?;
    let ask = Ask { method: Method::GET, url, what, accept: Some(MANIFEST), content: None };
    let response = session.ask(&ask).await?;
    match response.status() {
        StatusCode::OK => session.body(response, MAX_MANIFEST, &format!("the manifest of {what}")).await,
        _ => Err(session.unexpected(response, what).await),
    }
}

async fn get_module(session: &mut Session, manifest: &Manifest) -> Result<Vec<u8>, RegistryError> {
    let what = format!("the module sha256:{}", manifest.layer);
    let url = session.url(&format!("blobs/sha256:{}", manifest.layer))?;
    let ask = Ask { method: Method::GET, url, what: &what, accept: None, content: None };
    let response = session.follow(ask).await?;
    if response.status() != StatusCode::OK {
        return Err(session.unexpected(response, &what).await);
    }
    let module = session.body(response, manifest.size, &what).await?;
    let actual = Digest::of(&module);
    match actual == manifest.layer {
        true => Ok(module),
        false => Err(RegistryError::WrongDigest { what, actual }),
    }
}

/// What the registry has already is not sent again.
async fn put_blob(session: &mut Session, bytes: Bytes, what: &str) -> Result<(), RegistryError> {
    let digest = format!("sha256:{}", Digest::of(&bytes));
    let ask = |method, url| Ask { method, url, what, accept: None, content: None };
    let there = session.follow(ask(Method::HEAD, session.url(&format!("blobs/{digest}"))?)).await?;
    if there.status() == StatusCode::OK {
        return Ok(());
    }
    let begun = session.ask(&ask(Method::POST, session.url("blobs/uploads/")?)).await?;
    if begun.status() != StatusCode::ACCEPTED {
        return Err(session.unexpected(begun, what).await);
    }
    let mut url = session.location(&begun)?;
    url.query_pairs_mut().append_pair("digest", &digest);
    let put = Ask { content: Some(("application/octet-stream", bytes)), ..ask(Method::PUT, url) };
    let done = session.ask(&put).await?;
    match done.status() {
        StatusCode::CREATED => Ok(()),
        _ => Err(session.unexpected(done, what).await),
    }
}
