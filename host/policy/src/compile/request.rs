use std::io::{self, Read};

use domain::Digest;

use super::code::Key;
use super::recipe::{Memories, Recipe};

/// Twelve bytes, the last for the version.
const MAGIC: &[u8; 12] = b"mc-compile\n1";

/// What the child is asked: the bytes before the component on its standard input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) recipe: Recipe,
    /// Of the component.
    pub(super) digest: Digest,
    /// The component's bytes that follow.
    pub(super) length: u64,
    /// What to seal the code with.
    pub(super) key: Key,
    /// Processor time, in seconds.
    pub(super) cpu: u64,
    /// Address space, in bytes.
    pub(super) memory: u64,
    /// Machine code, in bytes.
    pub(super) output: u64,
}

impl Request {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let memories = match self.recipe.memories {
            Memories::Spacious => 0_u64,
            Memories::Narrow => 1,
        };
        let mut bytes = MAGIC.to_vec();
        for number in [memories, self.recipe.fingerprint, self.length, self.cpu, self.memory, self.output] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(self.digest.as_bytes());
        bytes.extend_from_slice(self.key.as_bytes());
        bytes
    }

    pub(super) fn read(input: &mut impl Read) -> io::Result<Self> {
        let foreign = || io::Error::new(io::ErrorKind::InvalidData, "this is no request to compile a policy");
        if array::<12>(input)? != *MAGIC {
            return Err(foreign());
        }
        let mut number = || array(input).map(u64::from_le_bytes);
        let memories = match number()? {
            0 => Memories::Spacious,
            1 => Memories::Narrow,
            _ => return Err(foreign()),
        };
        Ok(Request {
            recipe: Recipe { memories, fingerprint: number()? },
            length: number()?,
            cpu: number()?,
            memory: number()?,
            output: number()?,
            digest: array::<32>(input)?.into(),
            key: array(input)?.into(),
        })
    }
}

fn array<const N: usize>(input: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    input.read_exact(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_arrives_as_it_was_sent_or_not_at_all() {
        let request = Request {
            recipe: Recipe { memories: Memories::Narrow, fingerprint: u64::MAX - 1 },
            digest: Digest::of(b"a module"),
            length: 1,
            key: Key::random().unwrap(),
            cpu: 2,
            memory: 3,
            output: 4,
        };
        let bytes = request.to_bytes();
        assert_eq!(Request::read(&mut &bytes[..]).unwrap(), request);
        for end in 0..bytes.len() {
            assert!(Request::read(&mut &bytes[..end]).is_err(), "cut at {end}");
        }
        for at in 0..13 {
            let mut other = bytes.clone();
            other[at] ^= 0x20;
            assert!(Request::read(&mut &other[..]).is_err(), "byte {at}");
        }
    }
}
