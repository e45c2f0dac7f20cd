use std::time::Duration;

use domain::Digest;
use jiff::{SignedDuration, Timestamp};

use crate::{KeyFile, KeyRecord, KeyState, Keyring, KeysError, NewKey, PublicId, Scope};

/// More than anybody can keep track of.
const MAX_KEYS: usize = 10_000;
const MAX_LABEL: usize = 100;
/// How long a dead key stays in the list, so that its end can be looked up.
const REMEMBERED: SignedDuration = SignedDuration::from_hours(30 * 24);

/// The key that somebody wants.
#[derive(Clone, Debug)]
pub struct Wish {
    /// What it is to be good for.
    pub scope: Scope,
    /// What its owner calls it; may be empty.
    pub label: String,
    /// How long it is good; none: until it is revoked.
    pub lifetime: Option<Duration>,
}

impl KeyFile {
    /// Makes a key. Its text is in what is returned and nowhere else.
    pub fn add(&self, wish: &Wish) -> Result<(NewKey, KeyRecord), KeysError> {
        if wish.label.chars().count() > MAX_LABEL || wish.label.chars().any(char::is_control) {
            return Err(KeysError::Label(MAX_LABEL));
        }
        self.change(|ring| {
            let now = Timestamp::now();
            forget_the_long_dead(ring, now);
            let lifetime = wish.lifetime.map(|time| SignedDuration::try_from(time).map_err(|_| KeysError::TooLong));
            insert(ring, wish.scope.clone(), wish.label.clone(), lifetime.transpose()?, now)
        })
    }

    /// Ends a key at once. One that was revoked before stays as it is.
    pub fn revoke(&self, id: PublicId) -> Result<KeyRecord, KeysError> {
        self.change(|ring| {
            let key = ring.keys.get_mut(&id).ok_or(KeysError::Unknown(id))?;
            key.revoked.get_or_insert_with(Timestamp::now);
            Ok(key.clone())
        })
    }

    /// Makes a key like this one, which itself ends after `grace`. Gives the new one, and the old one as it is now.
    pub fn rotate(&self, id: PublicId, grace: Duration) -> Result<(NewKey, KeyRecord, KeyRecord), KeysError> {
        self.change(|ring| {
            let now = Timestamp::now();
            let old = ring.keys.get(&id).ok_or(KeysError::Unknown(id))?.clone();
            if old.state(now) != KeyState::Live {
                return Err(KeysError::Dead(id));
            }
            let lifetime = old.expires.map(|end| end.duration_since(old.created));
            let (new, record) = insert(ring, old.scope.clone(), old.label.clone(), lifetime, now)?;
            let grace = SignedDuration::try_from(grace).map_err(|_| KeysError::TooLong)?;
            let end = now.checked_add(grace).map_err(|_| KeysError::TooLong)?;
            let end = old.expires.map_or(end, |own| own.min(end));
            let old = KeyRecord { expires: Some(end), replaced_by: Some(new.id), ..old };
            ring.keys.insert(id, old.clone());
            Ok((new, record, old))
        })
    }
}

fn insert(
    ring: &mut Keyring,
    scope: Scope,
    label: String,
    lifetime: Option<SignedDuration>,
    now: Timestamp,
) -> Result<(NewKey, KeyRecord), KeysError> {
    if ring.keys.len() >= MAX_KEYS {
        return Err(KeysError::TooMany(MAX_KEYS));
    }
    let expires = lifetime.map(|time| now.checked_add(time).map_err(|_| KeysError::TooLong)).transpose()?;
    let new = NewKey::generate()?;
    let hash = Digest::of(new.text.expose().as_bytes());
    let record = KeyRecord { id: new.id, hash, scope, label, created: now, expires, revoked: None, replaced_by: None };
    ring.keys.insert(new.id, record.clone());
    Ok((new, record))
}

/// One stays at least: the file says by its keys that clients must show one.
fn forget_the_long_dead(ring: &mut Keyring, now: Timestamp) {
    let dead = |key: &KeyRecord| key.ended(now).is_some_and(|end| now.duration_since(end) > REMEMBERED);
    ring.keys.retain(|_, key| key.scope != Scope::Admin || !dead(key));
    if ring.keys.values().any(|key| key.scope != Scope::Admin && !dead(key)) {
        ring.keys.retain(|_, key| !dead(key));
    }
}
