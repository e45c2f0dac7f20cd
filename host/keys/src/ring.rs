use std::collections::HashMap;

use domain::Digest;
use jiff::Timestamp;
use subtle::ConstantTimeEq;

use crate::key::shape;
use crate::{KeyRecord, KeyState, PublicId, Scope};

/// The keys of one version of the file.
#[derive(Clone, Debug, Default)]
pub struct Keyring {
    /// Grows with each change, so that an old copy of the file is known for one.
    pub(crate) revision: u64,
    pub(crate) keys: HashMap<PublicId, KeyRecord>,
}

/// Compared with when there is no key of that id, so that this takes as long.
const NOBODY: [u8; 32] = [0; 32];

impl Keyring {
    /// What this text is good for now. `digest` is the SHA-256 of all of it.
    pub fn find(&self, shown: &[u8], digest: &Digest) -> Option<&Scope> {
        let record = self.keys.get(&shape(shown)?);
        let known = record.map_or(&NOBODY, |record| record.hash.as_bytes());
        let same = bool::from(known.ct_eq(digest.as_bytes()));
        // The time is asked only for what can end by itself.
        let lives = |r: &&KeyRecord| r.revoked.is_none() && r.expires.is_none_or(|end| Timestamp::now() < end);
        record.filter(|_| same).filter(lives).map(|record| &record.scope)
    }

    /// Whether clients must show a key. Revoking the last one shuts the door; it does not take it away.
    pub fn is_wanted(&self) -> bool {
        self.keys.values().any(|key| key.scope != Scope::Admin)
    }

    /// Whether some key can speak now.
    pub fn can_speak(&self) -> bool {
        self.has_live(|scope| *scope != Scope::Admin)
    }

    /// Whether some key can change the host's state now.
    pub fn can_administer(&self) -> bool {
        self.has_live(|scope| *scope == Scope::Admin)
    }

    fn has_live(&self, kind: impl Fn(&Scope) -> bool) -> bool {
        let now = Timestamp::now();
        self.keys.values().any(|key| kind(&key.scope) && key.state(now) == KeyState::Live)
    }

    /// Every key, the oldest first.
    pub fn records(&self) -> Vec<&KeyRecord> {
        let mut records: Vec<&KeyRecord> = self.keys.values().collect();
        records.sort_by_key(|key| (key.created, key.id));
        records
    }

    /// Whether this is the same file at an earlier time. Keys that were revoked since would be good again.
    pub fn is_older_than(&self, other: &Keyring) -> bool {
        self.revision < other.revision
    }
}
