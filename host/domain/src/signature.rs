use std::fmt;
use std::str::FromStr;

/// An ed25519 key to check signatures with, as in the last line of `minisign.pub`: `RW` and 54 more characters.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    text: String,
    key: minisign_verify::PublicKey,
}

/// Somebody whose signature an operator trusts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustRoot {
    /// What the configuration calls them.
    pub name: String,
    /// What they sign with.
    pub key: PublicKey,
}

/// Why a text is not a public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a public key is one line of 56 characters that begins with RW: the last of the file minisign.pub")]
pub struct InvalidPublicKey;

/// Why a signature does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// Not a file that `minisign -S` writes.
    #[error("the signature is not one of minisign's: make it with `minisign -Sm MODULE`")]
    Malformed,
    /// The old kind, over the bytes and not over their hash.
    #[error("the signature is of minisign's legacy kind: make it anew, without `-l`")]
    Legacy,
    /// Made with another key.
    #[error("the signature was made with another key")]
    OtherKey,
    /// Made of other bytes, or altered itself.
    #[error("the signature does not fit the bytes: one of the two was altered")]
    Wrong,
}

impl PublicKey {
    /// Checks a signature of `bytes`: the text of the file that `minisign -S` writes.
    pub fn verify(&self, bytes: &[u8], signature: &str) -> Result<(), SignatureError> {
        use minisign_verify::Error;
        let signature = minisign_verify::Signature::decode(signature).map_err(|_| SignatureError::Malformed)?;
        self.key.verify(bytes, &signature, false).map_err(|error| match error {
            Error::UnexpectedKeyId => SignatureError::OtherKey,
            Error::UnexpectedAlgorithm | Error::UnsupportedLegacyMode => SignatureError::Legacy,
            Error::InvalidEncoding | Error::UnsupportedAlgorithm => SignatureError::Malformed,
            Error::InvalidSignature | Error::IoError(_) => SignatureError::Wrong,
        })
    }
}

impl FromStr for PublicKey {
    type Err = InvalidPublicKey;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let key = minisign_verify::PublicKey::from_base64(text).map_err(|_| InvalidPublicKey)?;
        Ok(PublicKey { text: text.to_owned(), key })
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of the key that made the signatures.
    const TEAM_A: &str = "RWS2CmvI5orYkZkFjlAVxGmukLvdS4X558D3EeytVD2Esq+eCbGPxt0v";
    /// Of another one.
    const TEAM_B: &str = "RWTrix3EEkNIUt9t2+o/Ka226Z70XFEXLpTi6BAqTOo44BpsVpOphEsk";
    /// Of `a module`.
    const SIGNATURE: &str = "\
        untrusted comment: signature from minisign secret key\n\
        RUS2CmvI5orYkWTa7qQoEPSNy8uoxb+sDwlvZnPrJRanXAOYD2LJutdQSIQUxXOa+2NNlIA8tOP6XBEOoti64PPIkWRiHLVzBA4=\n\
        trusted comment: timestamp:1795166000\tfile:m.wasm\thashed\n\
        of6yEPjpWYwltyLWzciT9q0BiF7lO6MYWrg8uMChjaRzzkdRNjsvF9k6tOPZ2XMpr0XA4mfzRzz6UUKoWTYtBw==\n";
    /// As `minisign -S -l` makes it.
    const LEGACY: &str = "\
        untrusted comment: signature from minisign secret key\n\
        RWS2CmvI5orYka2ufg5J8jEcrMU1QsfN4PKmdT9FDFhnsUfUCXl119YI8VV3nwcdecTmwfV7Q1rKN/ROF/+J842/TQya/LeJhgo=\n\
        trusted comment: timestamp:1795166000\tfile:m.wasm\thashed\n\
        dSDTFSWKBQUhElFJZ20DuGc0D0Tr/2b/NYKQx2J+oOo6L3fWkH0AHXsgsXfrp6gMUscjCAgAz46i67YgYGLzBg==\n";

    fn team_a() -> PublicKey {
        TEAM_A.parse().unwrap()
    }

    #[test]
    fn a_signature_counts_for_its_key_and_its_bytes_only() {
        assert_eq!(team_a().verify(b"a module", SIGNATURE), Ok(()));
        assert_eq!(team_a().verify(b"a Module", SIGNATURE), Err(SignatureError::Wrong));
        assert_eq!(team_a().verify(b"", SIGNATURE), Err(SignatureError::Wrong));
        assert_eq!(team_a().verify(b"a module", LEGACY), Err(SignatureError::Legacy));
        let team_b: PublicKey = TEAM_B.parse().unwrap();
        assert_eq!(team_b.verify(b"a module", SIGNATURE), Err(SignatureError::OtherKey));
        for text in ["", "words", "\n\n\n\n", &SIGNATURE[..200]] {
            assert_eq!(team_a().verify(b"a module", text), Err(SignatureError::Malformed), "{text:?}");
        }
    }

    /// But for the first line, which says itself that it is untrusted.
    #[test]
    fn no_altered_signature_counts() {
        let first = SIGNATURE.find('\n').unwrap() + 1;
        for at in (first..SIGNATURE.len()).filter(|at| !SIGNATURE[*at..=*at].trim().is_empty()) {
            let other = if &SIGNATURE[at..=at] == "A" { "B" } else { "A" };
            let altered = [&SIGNATURE[..at], other, &SIGNATURE[at + 1..]].concat();
            assert!(team_a().verify(b"a module", &altered).is_err(), "{altered}");
        }
    }

    #[test]
    fn keys_read_and_print() {
        assert_eq!(team_a().to_string(), TEAM_A);
        for bad in ["", "RW", &TEAM_A[..55], &TEAM_A.to_lowercase(), &format!("{TEAM_A}\n"), &format!(" {TEAM_A}")] {
            assert!(bad.parse::<PublicKey>().is_err(), "{bad:?}");
        }
    }
}
