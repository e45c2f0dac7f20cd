//! The key file beside a running host: what is added, rotated or revoked counts within a second, and what cannot be trusted changes
//! nothing.

use std::sync::Arc;
use std::time::Duration;

use ::config::Paths;
use arc_swap::ArcSwapOption;
use keys::{KeyFile, Keyring, Stamp};
use server::Access;
use tokio_util::sync::CancellationToken;

use crate::exit::Exit;
use crate::output;

/// How often the file is looked at: often enough that a revoked key opens nothing a second later.
const LOOK: Duration = Duration::from_millis(250);

/// The paths, with the word whether clients must show a key of the key file. One that cannot be read may hold some.
pub(crate) fn noted(paths: Paths) -> Paths {
    let ring = KeyFile::of(&paths.home).read();
    let keyed = ring.map_or(true, |ring| ring.is_some_and(|ring| ring.is_wanted()));
    paths.with_keys(keyed)
}

/// The keys to start with. A file that is damaged or open to others ends the command with 64: to start without it could let
/// anybody in.
pub(crate) fn read(paths: &Paths) -> anyhow::Result<Keyring> {
    let read = KeyFile::of(&paths.home).read().map(Option::unwrap_or_default);
    read.map_err(|error| {
        output::note(format_args!("metaclaw: {error}"));
        Exit::Config.into()
    })
}

/// Takes each new version of the key file over.
pub(crate) struct KeyWatch {
    file: KeyFile,
    access: Access,
    /// Why the file, as it is now, does not serve.
    trouble: Arc<ArcSwapOption<String>>,
    /// The version that serves.
    taken: Stamp,
}

impl KeyWatch {
    pub(crate) fn new(paths: &Paths, access: Access, trouble: Arc<ArcSwapOption<String>>) -> Self {
        // Not the version that was read at the start, which may have changed since: the first look takes it over once more.
        KeyWatch { file: KeyFile::of(&paths.home), access, trouble, taken: None }
    }

    /// Works until `stop`.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        while stop.run_until_cancelled(tokio::time::sleep(LOOK)).await.is_some() {
            let looked = tokio::task::spawn_blocking(move || {
                self.look();
                self
            });
            match looked.await {
                Ok(back) => self = back,
                Err(error) => {
                    tracing::error!(%error, "keys are not taken over any more: restart the host");
                    return;
                }
            }
        }
    }

    fn look(&mut self) {
        let now = self.file.stamp();
        if now == self.taken {
            return;
        }
        match self.take_over() {
            Ok(count) => {
                self.taken = now;
                self.trouble.store(None);
                tracing::info!(keys = count, "the key file was taken over");
            }
            // It is tried again at each look, and said once.
            Err(trouble) => {
                let known = self.trouble.swap(Some(Arc::new(trouble.clone())));
                if known.is_none_or(|known| *known != trouble) {
                    tracing::error!(%trouble, "the key file does not serve");
                }
            }
        }
    }

    fn take_over(&self) -> Result<usize, String> {
        const STAYS: &str = "the keys from before it still serve, and those revoked stay revoked";
        let ring = match self.file.read() {
            Ok(Some(ring)) => ring,
            Ok(None) => {
                return Err(format!(
                    "`{}` is gone; {STAYS}: restart the host to do without",
                    self.file.path().display()
                ));
            }
            Err(error) => return Err(format!("{error}; {STAYS}")),
        };
        if ring.is_older_than(&self.access.ring()) {
            return Err(format!(
                "`{}` is an older copy, in which revoked keys would be good; {STAYS}: restart the host if that is meant",
                self.file.path().display()
            ));
        }
        let count = ring.records().len();
        self.access.replace_ring(ring);
        Ok(count)
    }
}
