use std::fmt;
use std::str::FromStr;

use domain::Secret;
use sha2::{Digest as _, Sha256};

use crate::KeysError;

/// Crockford's alphabet in lower case: digits and letters without i, l, o and u, which are read for others.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// By which a key is known for what it is: by people, and by programs that look for leaked ones.
const PREFIX: &[u8] = b"mck_";
/// Characters of five bits each: 80 bits, so that no two keys share an id.
const ID: usize = 16;
/// 260 bits.
const SECRET: usize = 52;
/// 30 bits: of a thousand million typos, one passes.
const CHECKSUM: usize = 6;
/// Between id and secret.
const SEPARATOR: u8 = b'_';
const LENGTH: usize = PREFIX.len() + ID + 1 + SECRET + CHECKSUM;

/// The public half of a key: fit for lists and logs.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PublicId([u8; ID]);

/// A key that has just been made. Its text is nowhere else.
#[derive(Debug)]
pub struct NewKey {
    /// Its public half.
    pub id: PublicId,
    /// All of it, as clients show it.
    pub text: Secret,
}

/// Why a text is no key, as far as that can be told without knowing any key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAKey {
    /// It has another form.
    #[error("it does not have the form of this host's keys")]
    Other,
    /// It was one once.
    #[error("it is mistyped or cut short")]
    Mistyped,
}

impl PublicId {
    /// As it stands in lists and in the key.
    pub fn as_str(&self) -> &str {
        // The alphabet is ASCII.
        str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl NewKey {
    /// Makes a key of the system's random numbers.
    pub(crate) fn generate() -> Result<Self, KeysError> {
        let mut random = [0; ID + SECRET];
        getrandom::fill(&mut random).map_err(|error| KeysError::Random(error.to_string()))?;
        // 256 is a multiple of 32, so each character is as likely as any other.
        let [id, secret] = [&random[..ID], &random[ID..]].map(|part| part.iter().map(|byte| letter(*byte)));
        let mut text: Vec<u8> = PREFIX.iter().copied().chain(id).chain([SEPARATOR]).chain(secret).collect();
        text.extend(checksum(&text));
        let id = shape(&text).ok_or_else(|| KeysError::Random("a key of a wrong form was made".to_owned()))?;
        Ok(NewKey { id, text: Secret::new(text.into_iter().map(char::from).collect()) })
    }
}

fn letter(number: u8) -> u8 {
    ALPHABET[usize::from(number % 32)]
}

fn checksum(rest: &[u8]) -> [u8; CHECKSUM] {
    let digest = Sha256::new().chain_update(b"metaclaw key\n").chain_update(rest).finalize();
    std::array::from_fn(|at| letter(digest[at]))
}

/// The id in a text that has a key's form. Whether the checksum is right is not asked: the hash of the whole text says more.
pub(crate) fn shape(text: &[u8]) -> Option<PublicId> {
    let rest = text.strip_prefix(PREFIX).filter(|_| text.len() == LENGTH)?;
    let (id, rest) = rest.split_first_chunk::<ID>()?;
    let well_formed = rest.first() == Some(&SEPARATOR) && id.iter().all(|byte| ALPHABET.contains(byte));
    well_formed.then_some(PublicId(*id))
}

/// Whether a text could be a key: without the file, so that a typo is told from a key that is not known.
pub fn check(text: &[u8]) -> Result<PublicId, NotAKey> {
    if !text.starts_with(PREFIX) {
        return Err(NotAKey::Other);
    }
    let id = shape(text).ok_or(NotAKey::Mistyped)?;
    let (rest, sum) = text.split_at(LENGTH - CHECKSUM);
    if sum == checksum(rest) { Ok(id) } else { Err(NotAKey::Mistyped) }
}

/// The id that somebody means: the id, `mck_` and the id, or the key itself, when all one has is a key that leaked. The error
/// repeats nothing of the text, which may be a key.
pub fn named_id(text: &str) -> Result<PublicId, KeysError> {
    let rest = text.trim().strip_prefix("mck_").unwrap_or(text.trim());
    rest.split('_').next().unwrap_or_default().parse()
}

impl FromStr for PublicId {
    type Err = KeysError;

    fn from_str(text: &str) -> Result<Self, KeysError> {
        let id: [u8; ID] = text.as_bytes().try_into().map_err(|_| KeysError::NotAnId)?;
        if id.iter().all(|byte| ALPHABET.contains(byte)) { Ok(PublicId(id)) } else { Err(KeysError::NotAnId) }
    }
}

impl fmt::Display for PublicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for PublicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
