use std::collections::HashMap;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use domain::{ArtifactRef, Digest};
use tokio_util::sync::CancellationToken;

use crate::{Limits, ModuleCache, Pulled, RegistryError, login_for, pull};

/// A home's modules from registries: from the cache, or from the network if they are not there and a reading of the
/// configuration has begun.
#[derive(Debug)]
pub struct Modules {
    cache: ModuleCache,
    stop: CancellationToken,
    reading: Mutex<Option<Reading>>,
}

/// One reading of a configuration: what it names, and how long it waits for it.
#[derive(Debug)]
struct Reading {
    limits: Limits,
    /// When nothing is waited for any more.
    end: Instant,
    /// The manifests that the configuration pins.
    pinned: Vec<Digest>,
    /// The registries that have failed, and how: each is waited for once, however many modules it has.
    failed: HashMap<String, String>,
}

impl Modules {
    /// Those of a home. Until a reading begins no registry is asked.
    pub fn of(home: &Path) -> Self {
        Modules { cache: ModuleCache::of(home), stop: CancellationToken::new(), reading: Mutex::default() }
    }

    /// Where they are kept.
    pub fn cache(&self) -> &ModuleCache {
        &self.cache
    }

    /// Begins a reading of a configuration that pins these manifests: what it pins stays in the cache, and `limits.total` is for
    /// everything that has to be fetched.
    pub fn begin(&self, pinned: Vec<Digest>, limits: Limits) {
        let end = Instant::now() + limits.total;
        *self.reading() = Some(Reading { limits, end, pinned, failed: HashMap::new() });
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
        let limits = self.limits_for(reference.registry())?;
        let login = auth_file.map(|file| login_for(file, reference.registry())).transpose()?.flatten();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| RegistryError::Machine(error.to_string()))?;
        let fetched = runtime.block_on(async {
            let stopped = self.stop.run_until_cancelled(pull(reference, login, &limits)).await;
            stopped.unwrap_or(Err(RegistryError::Stopped))
        });
        // The system's look-up of a name cannot be broken off; it ends by itself, and nobody should wait for it.
        runtime.shutdown_background();
        let pulled = fetched.inspect_err(|error| self.note_failure(reference.registry(), error))?;
        tracing::info!(%reference, bytes = pulled.module.len(), "a policy module was fetched");
        self.keep(&pulled);
        Ok(pulled)
    }

    /// What cannot be kept can serve all the same.
    fn keep(&self, pulled: &Pulled) {
        let mut used = self.reading().as_ref().map(|reading| reading.pinned.clone()).unwrap_or_default();
        used.push(pulled.digest);
        if let Err(error) = self.cache.keep(pulled).and_then(|()| self.cache.prune(&used)) {
            tracing::warn!(%error, "a fetched module may have to be fetched again at the next start");
        }
    }

    /// How long a registry is waited for, if it is.
    fn limits_for(&self, registry: &str) -> Result<Limits, RegistryError> {
        let reading = self.reading();
        let Reading { limits, end, failed, .. } = reading.as_ref().ok_or(RegistryError::NotCached)?;
        if let Some(reason) = failed.get(registry) {
            return Err(RegistryError::Failed { registry: registry.to_owned(), reason: reason.clone() });
        }
        match end.saturating_duration_since(Instant::now()) {
            left if left.is_zero() => Err(RegistryError::Late { seconds: limits.total.as_secs() }),
            left => Ok(Limits { total: left, ..*limits }),
        }
    }

    fn note_failure(&self, registry: &str, error: &RegistryError) {
        let reason = match error {
            RegistryError::Unreachable { reason, .. } => reason.clone(),
            RegistryError::Timeout { .. } => "it was too slow".to_owned(),
            // It may have another module.
            _ => return,
        };
        if let Some(reading) = self.reading().as_mut() {
            reading.failed.insert(registry.to_owned(), reason);
        }
    }

    fn reading(&self) -> MutexGuard<'_, Option<Reading>> {
        self.reading.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::time::Duration;

    use super::*;

    const HASTY: Limits = Limits {
        connect: Duration::from_millis(300),
        idle: Duration::from_millis(300),
        total: Duration::from_millis(700),
    };

    fn words(modules: &Modules, registry: &TcpListener, name: &str) -> String {
        let reference = format!("oci://{}/{name}@sha256:{}", registry.local_addr().unwrap(), Digest::of(b""));
        modules.fetch(&reference.parse().unwrap(), None).unwrap_err().to_string()
    }

    #[test]
    fn silent_registries_are_waited_for_once_each_and_not_longer_than_a_reading_may_take() {
        // A second one is refused, harmlessly.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let home = tempfile::tempdir().unwrap();
        let modules = Modules::of(home.path());
        let silent: Vec<TcpListener> = (0..4).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        assert!(words(&modules, &silent[0], "p").contains("not in the cache"), "no reading has begun");
        for _ in 0..2 {
            modules.begin(Vec::new(), HASTY);
            let began = Instant::now();
            assert!(words(&modules, &silent[0], "p").contains("too slow"));
            let once = began.elapsed();
            assert!(words(&modules, &silent[0], "q").contains("has failed already"));
            assert!(began.elapsed() < once + HASTY.idle, "it is not waited for again");
            let last: Vec<String> = silent[1..].iter().map(|registry| words(&modules, registry, "p")).collect();
            assert!(began.elapsed() < HASTY.total + Duration::from_secs(2), "it took {:?}", began.elapsed());
            assert!(last[2].contains("no time left"), "{last:?}");
        }
    }
}
