//! Files in this agent's own folders. Needs the grants that [`Policy::GRANTS`](crate::Policy::GRANTS) then names: `skills:read`, `skills:write`,
//! `lora:read`. A path is relative, with `/` between its parts, and never leaves its folder.

use crate::{Error, Result};

#[cfg(target_arch = "wasm32")]
use crate::bindings::imports::metaclaw::policy::files as host;
#[cfg(not(target_arch = "wasm32"))]
use crate::mock::files as host;

pub use crate::bindings::imports::metaclaw::policy::files::Entry;

/// Which of the agent's folders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Root {
    /// Its own skills.
    Skills,
    /// The skills that all agents have.
    Shared,
    /// Its adapters.
    Lora,
}

/// What passes between a module and the host at once, in bytes.
const PART: u32 = 512 << 10;

impl Root {
    fn name(self) -> &'static str {
        match self {
            Root::Skills => "skills",
            Root::Shared => "shared",
            Root::Lora => "lora",
        }
    }
}

/// What is in a folder, by name; the path of the root itself is empty.
pub fn list(root: Root, path: &str) -> Result<Vec<Entry>> {
    host::list(root.name(), path).map_err(Error::of)
}

/// What is there.
pub fn stat(root: Root, path: &str) -> Result<Entry> {
    host::stat(root.name(), path).map_err(Error::of)
}

/// A whole file; the code of the error is `not-found` when there is none.
pub fn read(root: Root, path: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    loop {
        let part = host::read(root.name(), path, bytes.len() as u64, PART).map_err(Error::of)?;
        let is_last = part.len() < PART as usize;
        if bytes.is_empty() {
            bytes = part;
        } else {
            bytes.extend(part);
        }
        if is_last {
            return Ok(bytes);
        }
    }
}

/// A whole file as text; what is not UTF-8 is replaced. None when there is no such file.
pub fn text(root: Root, path: &str) -> Result<Option<String>> {
    match read(root, path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if error.code() == "not-found" => Ok(None),
        Err(error) => Err(error),
    }
}

/// Puts a file in the place of whatever file is there, whole or not at all. At most 256 KiB.
pub fn write(root: Root, path: &str, bytes: impl AsRef<[u8]>) -> Result<()> {
    host::write(root.name(), path, bytes.as_ref()).map_err(Error::of)
}

/// Removes a file, or a folder with nothing in it.
pub fn remove(root: Root, path: &str) -> Result<()> {
    host::remove(root.name(), path).map_err(Error::of)
}
