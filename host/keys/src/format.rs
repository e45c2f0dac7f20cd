//! The file's text. It is JSON, so that a person can read it; what it says is checked whole, for half a key file is none.

use std::collections::HashMap;

use domain::AgentId;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{KeyRecord, Keyring, Scope};

/// The only version there is.
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    version: u32,
    revision: u64,
    keys: Vec<StoredKey>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredKey {
    id: String,
    sha256: String,
    /// Names of agents; `*` alone for all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    agents: Vec<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    admin: bool,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    label: String,
    created: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    revoked: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    replaced_by: Option<String>,
}

const ALL: &str = "*";

pub(crate) fn write(ring: &Keyring) -> Result<Vec<u8>, String> {
    let keys = ring.records().into_iter().map(stored).collect();
    let stored = Stored { version: VERSION, revision: ring.revision, keys };
    let mut text = serde_json::to_vec_pretty(&stored).map_err(|error| error.to_string())?;
    text.push(b'\n');
    Ok(text)
}

/// The error says what is wrong where, and repeats no hash.
pub(crate) fn read(text: &[u8]) -> Result<Keyring, String> {
    let stored: Stored = serde_json::from_slice(text)
        .map_err(|error| format!("it is not as expected at line {}, column {}", error.line(), error.column()))?;
    if stored.version != VERSION {
        return Err(format!("it has version {}, and this metaclaw knows version {VERSION}", stored.version));
    }
    let mut keys = HashMap::with_capacity(stored.keys.len());
    for (at, key) in stored.keys.into_iter().enumerate() {
        let record = record(key).map_err(|problem| format!("key {}: {problem}", at + 1))?;
        if let Some(twice) = keys.insert(record.id, record) {
            return Err(format!("the id {} is there twice", twice.id));
        }
    }
    Ok(Keyring { revision: stored.revision, keys })
}

fn stored(key: &KeyRecord) -> StoredKey {
    StoredKey {
        id: key.id.to_string(),
        sha256: key.hash.to_string(),
        agents: match &key.scope {
            Scope::Admin => Vec::new(),
            Scope::AllAgents => vec![ALL.to_owned()],
            Scope::Agents(agents) => agents.iter().map(AgentId::to_string).collect(),
        },
        admin: key.scope == Scope::Admin,
        label: key.label.clone(),
        created: key.created,
        expires: key.expires,
        revoked: key.revoked,
        replaced_by: key.replaced_by.map(|id| id.to_string()),
    }
}

fn record(key: StoredKey) -> Result<KeyRecord, String> {
    let scope = match (key.admin, key.agents.as_slice()) {
        (true, []) => Scope::Admin,
        (true, _) => return Err("a key for agents cannot be an admin key as well".to_owned()),
        (false, [all]) if all == ALL => Scope::AllAgents,
        (false, agents) => {
            let ids = agents.iter().map(|name| AgentId::from_trusted(name).map_err(|e| format!("{name:?}: {e}")));
            Scope::agents(ids.collect::<Result<Vec<_>, _>>()?).ok_or("it is for no agent")?
        }
    };
    let id = |text: &str| text.parse().map_err(|_| "an id is not one");
    Ok(KeyRecord {
        id: id(&key.id)?,
        hash: key.sha256.parse().map_err(|_| "its sha256 is not one")?,
        scope,
        label: key.label,
        created: key.created,
        expires: key.expires,
        revoked: key.revoked,
        replaced_by: key.replaced_by.as_deref().map(id).transpose()?,
    })
}
