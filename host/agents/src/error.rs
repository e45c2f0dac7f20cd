use domain::AgentId;
use protocol::RequestError;

use crate::backend::BackendError;
use crate::identity::IdentityError;
use crate::registry::UnknownAgent;

/// Why a turn got no answer. `server` gives each its status.
#[derive(Debug, thiserror::Error)]
pub enum TurnError {
    /// The body.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The claims.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The agent.
    #[error(transparent)]
    Agent(#[from] UnknownAgent),
    /// The agent's policy could not be loaded. It is not passed over: whoever gave an agent a policy wants it obeyed.
    #[error("the policy of agent `{agent}` is not available: {reason}")]
    Policy {
        /// Whose.
        agent: AgentId,
        /// What is wrong with it.
        reason: std::sync::Arc<str>,
    },
    /// Too much is under way.
    #[error("{0} turns are under way, which is the most this host takes: try again shortly")]
    Busy(usize),
    /// The upstream.
    #[error(transparent)]
    Upstream(#[from] BackendError),
    /// An upstream that a policy chose is not there; config checks prevent this.
    #[error("agent `{agent}` was routed to upstream `{upstream}`, which is not configured")]
    NoUpstream {
        /// Whose turn.
        agent: AgentId,
        /// Where to.
        upstream: String,
    },
    /// The host is shutting down, or a part of it failed.
    #[error("the host is shutting down: try again shortly")]
    Closing,
}

impl TurnError {
    /// Whether another upstream may do better.
    pub(crate) fn may_fall_back(&self) -> bool {
        matches!(self, TurnError::NoUpstream { .. }) || matches!(self, TurnError::Upstream(e) if e.may_fall_back())
    }

    /// Whether the client may be luckier a little later.
    pub(crate) fn is_transient(&self) -> bool {
        matches!(self, TurnError::Upstream(error) if error.is_transient())
    }
}
