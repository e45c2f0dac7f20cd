//! The words of the house: ids, turns, skills, samples, verdicts, limits and secrets.
//!
//! Nothing here does I/O. A value of one of these types has already been checked: an [`AgentId`] cannot hold a path
//! separator, a [`Secret`] cannot print itself, a [`ByteSize`] is never negative.

mod artifact;
mod digest;
mod grants;
mod hooks;
mod ids;
mod limits;
mod network;
mod sample;
mod secret;
mod signature;
mod size;
mod turn;

pub use artifact::{ArtifactRef, InvalidArtifactRef, is_loopback_host};
pub use digest::{Digest, InvalidDigest};
pub use grants::{FileGrant, PolicyGrants};
pub use hooks::{Hook, PerHook};
pub use ids::{AgentId, AgentName, InvalidAgentName, InvalidSessionId, SessionId, TurnId};
pub use limits::{
    BreakerLimits, EjectionLimits, Fallback, PolicyLimits, RetryLimits, UpstreamLimits, UpstreamTimeouts, WarmInstances,
};
pub use network::{AddressKind, InvalidReach, Reach};
pub use sample::{RewardSource, Sample, SampleState, SampledWith, Score, TokenTrace, ToolCall, Verdict};
pub use secret::Secret;
pub use signature::{InvalidPublicKey, PublicKey, SignatureError, TrustRoot};
pub use size::{ByteSize, InvalidByteSize};
pub use turn::{DecisionSource, EndReason, Mode, RetrievalMode, SkillScope, TurnKind, TurnOutcome, TurnRecord, Usage};
