//! The keys that clients show: making them, keeping their hashes in one private file, and telling whose one is.
//!
//! A key is `mck_`, a public id, `_`, a secret of 260 random bits and six characters that tell a typo. The file holds the id and
//! the SHA-256 of the whole text, never the text. A fast hash is right here: a slow one is for passwords, which can be guessed;
//! 260 random bits cannot, however fast each guess is checked, and every request pays for the check.

mod edit;
mod error;
mod file;
mod format;
mod key;
mod record;
mod ring;
#[cfg(test)]
mod tests;

pub use edit::Wish;
pub use error::KeysError;
pub use file::{KeyFile, Stamp};
pub use key::{NewKey, NotAKey, PublicId, check, named_id};
pub use record::{KeyRecord, KeyState, Scope};
pub use ring::Keyring;
