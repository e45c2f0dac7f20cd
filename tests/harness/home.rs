use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::{Host, Upstream};

/// A MetaClaw home of its own, gone when it and every host on it are.
#[derive(Clone)]
pub struct Home {
    dir: Arc<tempfile::TempDir>,
}

impl Home {
    /// An empty home.
    pub fn new() -> Self {
        Home { dir: Arc::new(tempfile::tempdir().unwrap()) }
    }

    /// A home whose configuration sends everything to `upstream`, and says `more`.
    pub fn with(upstream: &Upstream, more: &str) -> Self {
        let home = Home::new();
        home.config(&format!("{}{more}", upstream.llm()));
        home
    }

    /// Its folder.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Writes `config.yaml`.
    pub fn config(&self, yaml: &str) {
        let file = self.path().join("config.yaml");
        fs::write(&file, yaml).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// Writes a skill; `shelf` is `_shared`, an agent, or empty for MetaClaw's flat layout.
    pub fn skill(&self, shelf: &str, name: &str, description: &str, body: &str) -> PathBuf {
        let dir = self.path().join("skills").join(shelf).join(name);
        fs::create_dir_all(&dir).unwrap();
        let file = dir.join("SKILL.md");
        fs::write(&file, format!("---\nname: {name}\ndescription: {description}\n---\n\n{body}\n")).unwrap();
        file
    }

    /// Starts a host on this home.
    pub async fn start(&self) -> Host {
        Host::start(self, &[], &[]).await
    }

    /// Starts a host with these variables in its environment.
    pub async fn start_in(&self, environment: &[(&str, &str)]) -> Host {
        Host::start(self, &[], environment).await
    }

    /// Starts a host with more words on its command line.
    pub async fn start_with(&self, words: &[&str]) -> Host {
        Host::start(self, words, &[]).await
    }
}

impl Default for Home {
    fn default() -> Self {
        Home::new()
    }
}
