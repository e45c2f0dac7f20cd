//! A turn's way through the house: who speaks, what the policy decides, which skills go in, which upstream answers, and
//! what is kept of it. This crate orchestrates; it opens no socket, file or database of its own.

mod aside;
mod backend;
mod build;
mod embedded;
mod errand;
mod error;
mod gatekeeper;
mod held_calls;
mod host;
mod identity;
mod injection;
mod judging;
mod lifted;
mod metrics;
mod open_turn;
mod operations;
mod possessions;
mod question;
mod recorder;
mod registry;
mod reload;
mod reply;
mod sampler;
mod sessions;
mod status;
mod values;
mod views;
mod window;

pub use aside::{Aside, AsideAnswer, AsideError, Whom};
pub use backend::{Backend, BackendError};
pub use build::{AgentParts, Configured, HostParts, Reached};
pub use embedded::{Embedded, EmbeddedError};
pub use error::TurnError;
pub use held_calls::HeldCall;
pub use host::{Host, Incoming};
pub use identity::{HeaderClaims, Identity, IdentityError, MemoryScope};
pub use judging::HostJudge;
pub use metrics::Metrics;
pub use operations::SessionStatus;
pub use possessions::agent_files;
pub use registry::{Agent, UnknownAgent};
pub use reload::Reloads;
pub use reply::{Reply, ReplyBody};
pub use status::{SampleStatus, TurnStatus};
pub use views::{CatalogView, template_sizes};
