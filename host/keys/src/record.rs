use std::sync::Arc;

use domain::{AgentId, Digest};
use jiff::Timestamp;

use crate::PublicId;

/// One key as the file keeps it: everything but the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRecord {
    /// Its public half.
    pub id: PublicId,
    /// SHA-256 of its whole text.
    pub(crate) hash: Digest,
    /// What it is good for.
    pub scope: Scope,
    /// What its owner calls it; may be empty.
    pub label: String,
    /// When it was made.
    pub created: Timestamp,
    /// When it ends by itself.
    pub expires: Option<Timestamp>,
    /// When it was revoked.
    pub revoked: Option<Timestamp>,
    /// The key that was made in its place.
    pub replaced_by: Option<PublicId>,
}

/// What a key is good for. One that changes the host's state speaks for no agent, and the other way round, so that neither is
/// worth more than its task to who steals it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// To see and change the host's state, on the admin listener only.
    Admin,
    /// To speak as any agent.
    AllAgents,
    /// To speak as one of these. Sorted, each once, not empty.
    Agents(Arc<[AgentId]>),
}

/// Whether a key is of use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyState {
    /// It is.
    Live,
    /// Its time is over.
    Expired,
    /// It was taken back.
    Revoked,
}

impl Scope {
    /// For these agents; none when there are none.
    pub fn agents(agents: impl IntoIterator<Item = AgentId>) -> Option<Scope> {
        let mut agents: Vec<AgentId> = agents.into_iter().collect();
        agents.sort();
        agents.dedup();
        if agents.is_empty() { None } else { Some(Scope::Agents(agents.into())) }
    }
}

impl KeyRecord {
    /// Whether it is of use at this time.
    pub fn state(&self, now: Timestamp) -> KeyState {
        if self.revoked.is_some() {
            KeyState::Revoked
        } else if self.expires.is_some_and(|end| end <= now) {
            KeyState::Expired
        } else {
            KeyState::Live
        }
    }

    /// When it ceased to be of use; none while it is.
    pub(crate) fn ended(&self, now: Timestamp) -> Option<Timestamp> {
        self.revoked.into_iter().chain(self.expires.filter(|end| *end <= now)).min()
    }
}
