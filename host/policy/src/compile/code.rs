use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;

use domain::Digest;

use super::recipe::Recipe;

const MAGIC: &[u8; 8] = b"mc-code\n";
/// Of the layout below. Another number is another file name in the cache.
pub(super) const FORMAT: u32 = 1;

// The header: what the code is, and the seal over all but itself.
const VERSION_AT: Range<usize> = 8..12;
const FINGERPRINT_AT: Range<usize> = 12..20;
const DIGEST_AT: Range<usize> = 20..52;
const LENGTH_AT: Range<usize> = 52..60;
const SEAL_AT: Range<usize> = 60..92;
pub(super) const HEADER: usize = SEAL_AT.end;

/// Machine code with what it was made of, how, and a keyed checksum over all of that: the seal.
///
/// Nobody outside this crate can make one: each comes from our compiler, or from bytes whose seal was found whole.
pub struct Code(Vec<u8>);

/// What seals are made with. Who knows it can have any bytes run as code.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Key([u8; 32]);

/// Why bytes are not taken for code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Broken {
    #[error("it is not sealed machine code")]
    Foreign,
    #[error("it is shorter or longer than it says")]
    Length,
    #[error("it is the code of something else")]
    Other,
    #[error("its checksum is wrong")]
    Seal,
}

impl Code {
    /// What the compiler has made.
    pub(super) fn new(machine_code: &[u8], digest: Digest, recipe: Recipe) -> Self {
        let mut bytes = Vec::with_capacity(HEADER + machine_code.len());
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&FORMAT.to_le_bytes());
        bytes.extend_from_slice(&recipe.fingerprint.to_le_bytes());
        bytes.extend_from_slice(digest.as_bytes());
        bytes.extend_from_slice(&(machine_code.len() as u64).to_le_bytes());
        bytes.extend_from_slice(&[0; SEAL_AT.end - SEAL_AT.start]);
        bytes.extend_from_slice(machine_code);
        Code(bytes)
    }

    /// The bytes to hand on, sealed with this key.
    pub(super) fn seal(&mut self, key: &Key) -> &[u8] {
        let seal = seal_of(&self.0, key);
        self.0[SEAL_AT].copy_from_slice(seal.as_bytes());
        &self.0
    }

    /// Takes bytes for the code of this component by this recipe, if they were sealed as that with this key.
    pub(super) fn open(bytes: Vec<u8>, key: &Key, digest: Digest, recipe: Recipe) -> Result<Self, Broken> {
        if bytes.len() < HEADER || !bytes.starts_with(MAGIC) || bytes[VERSION_AT] != FORMAT.to_le_bytes() {
            return Err(Broken::Foreign);
        }
        if bytes[LENGTH_AT] != ((bytes.len() - HEADER) as u64).to_le_bytes() {
            return Err(Broken::Length);
        }
        if bytes[FINGERPRINT_AT] != recipe.fingerprint.to_le_bytes() || bytes[DIGEST_AT] != *digest.as_bytes() {
            return Err(Broken::Other);
        }
        // Compared in constant time.
        let seal: [u8; 32] = bytes[SEAL_AT].try_into().map_err(|_| Broken::Foreign)?;
        if seal_of(&bytes, key) != blake3::Hash::from_bytes(seal) {
            return Err(Broken::Seal);
        }
        Ok(Code(bytes))
    }

    /// How many bytes of code follow, if this is the beginning of sealed code.
    pub(super) fn announced_length(header: &[u8; HEADER]) -> Result<u64, Broken> {
        if !header.starts_with(MAGIC) {
            return Err(Broken::Foreign);
        }
        header[LENGTH_AT].try_into().map(u64::from_le_bytes).map_err(|_| Broken::Foreign)
    }

    pub(super) fn machine_code(&self) -> &[u8] {
        &self.0[HEADER..]
    }
}

fn seal_of(bytes: &[u8], key: &Key) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new_keyed(&key.0);
    hasher.update(&bytes[..SEAL_AT.start]).update(&bytes[SEAL_AT.end..]).finalize()
}

impl Key {
    pub(super) const LENGTH: usize = 32;

    /// A key that nobody has had before.
    pub(super) fn random() -> io::Result<Self> {
        let mut bytes = [0; Key::LENGTH];
        File::open("/dev/urandom")?.read_exact(&mut bytes)?;
        Ok(Key(bytes))
    }

    pub(super) fn as_bytes(&self) -> &[u8; Key::LENGTH] {
        &self.0
    }
}

impl From<[u8; Key::LENGTH]> for Key {
    fn from(bytes: [u8; Key::LENGTH]) -> Self {
        Key(bytes)
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Code({} bytes)", self.machine_code().len())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::super::recipe::Memories;
    use super::*;

    const RECIPE: Recipe = Recipe { memories: Memories::Spacious, fingerprint: 7 };

    #[test]
    fn code_comes_back_only_as_what_it_was_sealed_as() {
        let key = Key::random().unwrap();
        let digest = Digest::of(b"a module");
        let sealed = Code::new(b"machine code", digest, RECIPE).seal(&key).to_vec();
        let opened = Code::open(sealed.clone(), &key, digest, RECIPE).unwrap();
        assert_eq!(opened.machine_code(), b"machine code");

        let open = |bytes: &[u8], key: &Key, digest, recipe| Code::open(bytes.to_vec(), key, digest, recipe).err();
        let other_recipe = Recipe { fingerprint: 8, ..RECIPE };
        let other_key = Key::random().unwrap();
        assert_eq!(open(&sealed, &other_key, digest, RECIPE), Some(Broken::Seal));
        assert_eq!(open(&sealed, &key, Digest::of(b"another"), RECIPE), Some(Broken::Other));
        assert_eq!(open(&sealed, &key, digest, other_recipe), Some(Broken::Other));
        assert_eq!(open(&[&sealed[..], b"x"].concat(), &key, digest, RECIPE), Some(Broken::Length));
        for end in 0..sealed.len() {
            assert!(open(&sealed[..end], &key, digest, RECIPE).is_some(), "cut at {end}");
        }
    }

    #[test]
    fn no_flipped_bit_passes() {
        let key = Key::random().unwrap();
        let digest = Digest::of(b"a module");
        let sealed = Code::new(b"machine code", digest, RECIPE).seal(&key).to_vec();
        for bit in 0..8 * sealed.len() {
            let mut altered = sealed.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            assert!(Code::open(altered, &key, digest, RECIPE).is_err(), "bit {bit}");
        }
    }
}
