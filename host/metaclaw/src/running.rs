//! The note that a running host leaves for `stop`, `status` and `chat`: who and where it is.

use std::fs;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::exit::Exit;

/// A running host.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Running {
    /// Its process.
    pub(crate) pid: u32,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// Which build it is.
    pub(crate) version: String,
    /// Whether callers must show a key.
    pub(crate) wants_key: bool,
    /// Where operators reach it: `unix:PATH` or an address; nothing when nowhere.
    #[serde(default)]
    pub(crate) admin: Option<String>,
}

/// How long a local host may take to say that it lives.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(2);

impl Running {
    fn file(home: &Path) -> PathBuf {
        home.join("state").join("running.json")
    }

    /// Leaves the note; 0600, written whole or not at all.
    pub(crate) fn announce(&self, home: &Path) -> io::Result<()> {
        let file = Self::file(home);
        let folder = file.parent().unwrap_or(home);
        let mut beside = tempfile::Builder::new().prefix(".running-").tempfile_in(folder)?;
        beside.write_all(&serde_json::to_vec(self)?)?;
        beside.as_file().sync_all()?;
        beside.persist(file)?;
        Ok(())
    }

    /// Takes the note away.
    pub(crate) fn withdraw(home: &Path) {
        // It may be gone already, and a stale note is recognised as such.
        let _ = fs::remove_file(Self::file(home));
    }

    /// The host that runs on this home, if its process still lives.
    pub(crate) fn find(home: &Path, port: Option<u16>) -> anyhow::Result<Running> {
        let nobody =
            || Exit::Unavailable(format!("no host is running on {}: start one with `metaclaw start`", home.display()));
        let text = match fs::read(Self::file(home)) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(nobody().into()),
            Err(e) => return Err(e).with_context(|| format!("reading {}", Self::file(home).display())),
        };
        let running: Running = serde_json::from_slice(&text).context("the note of the running host cannot be read")?;
        if !running.lives() || port.is_some_and(|p| p != running.address.port()) {
            return Err(nobody().into());
        }
        Ok(running)
    }

    /// Whether the process exists and is this program: a process id may have passed to another one since.
    pub(crate) fn lives(&self) -> bool {
        let name = |exe: PathBuf| exe.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let theirs = fs::read_link(format!("/proc/{}/exe", self.pid)).map(name).unwrap_or_default();
        // A host whose program was built anew under it shows as `metaclaw (deleted)`.
        theirs.split(' ').next() == Some("metaclaw")
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Asks `/readyz`, which says only whether it is ready.
    pub(crate) async fn ready(&self) -> anyhow::Result<serde_json::Value> {
        let client = reqwest::Client::builder().no_proxy().timeout(HEALTH_TIMEOUT).build()?;
        let answer = client.get(self.url("/readyz")).send().await.context("the host does not answer")?;
        Ok(serde_json::from_slice(&answer.bytes().await?)?)
    }
}
