use std::collections::HashMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use domain::ArtifactRef;
use tokio_util::sync::CancellationToken;

use crate::{Limits, ModuleCache, Pulled, RegistryError, login_for, pull};

/// How long a registry that did not answer is left alone: as long as one reading of a configuration may ask it in vain.
const REST: Duration = Duration::from_secs(10);
/// More registries than a configuration names; beyond that none is left alone.
const MAX_RESTING: usize = 64;

/// A home's modules from registries: from the cache, or from the network if they are not there.
#[derive(Debug)]
pub struct Modules {
    cache: ModuleCache,
    limits: Option<Limits>,
    stop: CancellationToken,
    resting: Mutex<HashMap<String, (Instant, String)>>,
}

impl Modules {
    /// Those of a home, fetched if need be.
    pub fn new(home: &Path, limits: Limits) -> Self {
        Modules { limits: Some(limits), ..Modules::offline(home) }
    }

    /// Those that a home has already.
    pub fn offline(home: &Path) -> Self {
        Modules {
            cache: ModuleCache::of(home),
            limits: None,
            stop: CancellationToken::new(),
            resting: Mutex::default(),
        }
    }

    /// Where they are kept.
    pub fn cache(&self) -> &ModuleCache {
        &self.cache
    }

    /// Ends every fetch, now and from now on.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// The module that a reference means. One that it pins comes from the cache, if it is there; one that only a tag names is
    /// asked for each time. `auth_file` has the logins. Blocks; not for a thread of a runtime.
    pub fn fetch(&self, reference: &ArtifactRef, auth_file: Option<&Path>) -> Result<Pulled, RegistryError> {
        if let Some(pulled) = reference.digest().and_then(|digest| self.cache.find(digest)) {
            return Ok(pulled);
        }
        let limits = self.limits.as_ref().ok_or(RegistryError::NotCached)?;
        let registry = reference.registry();
        self.check_rest(registry)?;
        let login = match auth_file {
            Some(file) => login_for(file, registry)?,
            None => None,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| RegistryError::Machine(error.to_string()))?;
        let fetched = runtime.block_on(async {
            let stopped = self.stop.run_until_cancelled(pull(reference, login, limits)).await;
            stopped.unwrap_or(Err(RegistryError::Stopped))
        });
        // The system's look-up of a name cannot be broken off; it ends by itself, and nobody should wait for it.
        runtime.shutdown_background();
        let pulled = fetched.inspect_err(|error| self.let_rest(registry, error))?;
        tracing::info!(%reference, bytes = pulled.module.len(), "a policy module was fetched");
        // It can serve all the same.
        if let Err(error) = self.cache.keep(&pulled) {
            tracing::warn!(%error, "a fetched module is not kept, and fetched again at the next start");
        }
        Ok(pulled)
    }

    fn check_rest(&self, registry: &str) -> Result<(), RegistryError> {
        let resting = self.resting.lock().unwrap_or_else(PoisonError::into_inner);
        match resting.get(registry).filter(|(since, _)| since.elapsed() < REST) {
            Some((_, reason)) => Err(RegistryError::Resting { registry: registry.to_owned(), reason: reason.clone() }),
            None => Ok(()),
        }
    }

    fn let_rest(&self, registry: &str, error: &RegistryError) {
        if !error.is_of_the_registry() {
            return;
        }
        let reason = match error {
            RegistryError::Unreachable { reason, .. } => reason.clone(),
            _ => "it was too slow".to_owned(),
        };
        let mut resting = self.resting.lock().unwrap_or_else(PoisonError::into_inner);
        resting.retain(|_, (since, _)| since.elapsed() < REST);
        if resting.len() < MAX_RESTING {
            resting.insert(registry.to_owned(), (Instant::now(), reason));
        }
    }
}
