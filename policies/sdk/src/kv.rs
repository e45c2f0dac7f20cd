//! Values that this agent's policy keeps from call to call. Using it asks for the grant `kv`. What a hook has written counts when the hook succeeds.

use crate::{Error, Result};

#[cfg(target_arch = "wasm32")]
use crate::bindings::imports::metaclaw::policy::kv as host;
#[cfg(not(target_arch = "wasm32"))]
use crate::mock::kv as host;

/// The value of a key.
pub fn get(key: &str) -> Result<Option<Vec<u8>>> {
    host::get(key).map_err(Error::of)
}

/// The value of a key, as text; what is no text counts as nothing.
pub fn text(key: &str) -> Result<Option<String>> {
    Ok(get(key)?.and_then(|bytes| String::from_utf8(bytes).ok()))
}

/// The value of a key, as a number; 0 when there is none, or something else.
pub fn number(key: &str) -> Result<u64> {
    Ok(text(key)?.and_then(|text| text.parse().ok()).unwrap_or(0))
}

/// Keeps a value, at most 64 KiB, under a key of 1 to 128 bytes.
pub fn set(key: &str, value: impl AsRef<[u8]>) -> Result<()> {
    host::set(key, value.as_ref()).map_err(Error::of)
}

/// Forgets a key, if it is there.
pub fn delete(key: &str) -> Result<()> {
    host::delete(key).map_err(Error::of)
}

/// The keys that begin so, in order, at most 1,024.
pub fn keys(prefix: &str) -> Result<Vec<String>> {
    host::keys(prefix).map_err(Error::of)
}
