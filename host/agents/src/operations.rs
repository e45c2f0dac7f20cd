//! What clients and operators do to a running host beside turns: sessions are ended, breakers closed.

use std::sync::Arc;

use config::{RlConfig, UnknownRule};
use domain::{AgentId, Mode, SessionId};
use serde::Serialize;
use store::{StoreError, StoredSession};

use crate::adapters::{AdaptersStatus, ServedAdapter};
use crate::error::TurnError;
use crate::host::Host;
use crate::identity::{HeaderClaims, Identity, IdentityError};
use crate::recorder::MAX_IN_FLIGHT;
use crate::registry::Agent;
use crate::sessions::{SessionState, lock};

/// How many sessions are shown at most, those that spoke last.
const MAX_SHOWN: usize = 1_000;

/// One session of an agent's. Times are in RFC 3339.
#[derive(Clone, Debug, Serialize)]
pub struct SessionStatus {
    /// Its name with the client, or the one that the host gave it.
    pub session: String,
    /// Where it happens, in the client's words.
    pub place: Option<String>,
    /// When its first turn came.
    pub started: String,
    /// When its last turn ended.
    pub last_active: String,
    /// How many turns are recorded of it.
    pub turns: u64,
    /// Whether it goes on.
    pub open: bool,
}

impl Host {
    /// How this agent trains; none when there is no such agent and none could come into being.
    pub fn training_of(&self, id: &AgentId) -> Option<RlConfig> {
        let registry = self.registry.load();
        let own = |agent: &Agent| agent.config.rl.clone();
        match registry.named.get(id) {
            Some(named) => Some(own(named)),
            None if *id == AgentId::Default => Some(own(&registry.default)),
            // It has the settings of `_default`, but for its folder.
            None if registry.unknown.rule == UnknownRule::Own => {
                Some(RlConfig { lora_output: self.possessions.usual_lora(id), ..own(&registry.default) })
            }
            None => None,
        }
    }

    /// The agents whose mode asks for training, as far as they are configured or have spoken.
    pub fn trained_agents(&self) -> Vec<AgentId> {
        let trains = |agent: &Arc<Agent>| agent.config.mode != Mode::SkillsOnly;
        self.registry.load().all().into_iter().filter(trains).map(|agent| agent.id.clone()).collect()
    }

    /// Lets this adapter answer for the agent from now on, or none. Turns that have begun keep theirs.
    pub fn serve_adapter(&self, agent: &AgentId, served: Option<ServedAdapter>) {
        self.possessions.adapter(agent).put(served);
    }

    /// The adapters that answer now.
    pub fn adapters(&self) -> AdaptersStatus {
        self.possessions.adapters.status()
    }

    /// Lets an agent's policy be asked again though it failed again and again. Says whether it was left alone; none when no
    /// such agent is configured or has spoken.
    pub fn reset_breaker(&self, agent: &AgentId) -> Option<bool> {
        let agent = self.registry.load().known(agent)?;
        // What could not be loaded is not mended by asking it.
        Some(agent.policy.as_ref().is_ok_and(|policy| policy.reset_breakers()))
    }

    /// The agent's sessions, the last active ones first, at most 1,000.
    pub async fn sessions_of(&self, agent: &AgentId) -> Result<Vec<SessionStatus>, StoreError> {
        Ok(self.store.sessions(agent, MAX_SHOWN).await?.into_iter().map(SessionStatus::from).collect())
    }

    /// The skills that a session has in its prompt, as far as it is remembered: in the order in which they are there.
    pub fn skills_in(&self, agent: &AgentId, session: &SessionId) -> Vec<String> {
        let state = self.sessions.get(agent, session);
        let names = |state: &SessionState| {
            let skills = state.injected.iter().flat_map(|injected| injected.skills.iter());
            skills.map(|skill| skill.name.to_string()).collect()
        };
        state.map(|state| names(&lock(&state))).unwrap_or_default()
    }

    /// Ends the session that the claims name, after the turns of it that are over. False when it was not open.
    pub async fn end_session(&self, owners: Option<&[AgentId]>, claims: &HeaderClaims) -> Result<bool, TurnError> {
        let identity = Identity::settle(owners, claims, &Default::default())?;
        let session = identity.session.clone().ok_or(IdentityError::NoSession)?;
        let agent = self.agent_for(owners, &identity)?;
        self.end_session_of(&agent.id, &session).await
    }

    /// Ends an agent's session, after the turns of it that are over. False when it was not open.
    pub async fn end_session_of(&self, agent: &AgentId, session: &SessionId) -> Result<bool, TurnError> {
        self.sessions.forget(agent, session);
        let ended = self.recorder.end_session(agent.clone(), session.clone()).await;
        ended.ok_or(TurnError::Busy(MAX_IN_FLIGHT))
    }
}

impl From<StoredSession> for SessionStatus {
    fn from(stored: StoredSession) -> Self {
        let time = |time| humantime::format_rfc3339_seconds(time).to_string();
        SessionStatus {
            session: stored.session.to_string(),
            place: stored.client_key,
            started: time(stored.started),
            last_active: time(stored.last_active),
            turns: stored.turns,
            open: stored.ended.is_none(),
        }
    }
}
