//! What the host itself asks an agent's model, beside all turns: no policy, no skills, no record.

use std::future::poll_fn;
use std::sync::Arc;

use bytes::Bytes;
use config::LearningConfig;
use domain::AgentId;
use policy::Target;
use protocol::{Answer, ChatRequest};
use serde_json::{Value, json};
use skills::SkillTree;
use store::Store;
use upstream::{Credential, Trace};

use crate::backend::{Ask, Backend};
use crate::errand::Errand;
use crate::error::TurnError;
use crate::host::Host;
use crate::registry::{Agent, Registry};

/// The largest answer, in bytes.
const MAX_ANSWER: usize = 4 << 20;

/// A question of the host's own.
#[derive(Clone, Copy, Debug)]
pub struct Aside<'a> {
    /// The chat messages.
    pub messages: &'a Value,
    /// The JSON schema that the answer is to keep to, where the provider can hold a model to one.
    pub schema: &'a Value,
    /// Whom to ask where neither the agent nor its upstream names a model.
    pub model: &'a str,
}

/// Why such a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum AsideError {
    /// As for a turn.
    #[error(transparent)]
    Turn(#[from] TurnError),
    /// What came is no chat completion.
    #[error("the answer is no chat completion")]
    NoCompletion,
    /// It goes on and on.
    #[error("the answer has more than {MAX_ANSWER} bytes")]
    TooLong,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct AsideAnswer {
    /// As for a turn.
    pub answer: Answer,
    /// Which model was asked.
    pub model: String,
}

impl Host {
    /// What is recorded of turns.
    pub fn store(&self) -> Arc<Store> {
        self.store.clone()
    }

    /// Every agent's skills.
    pub fn skills(&self) -> Arc<SkillTree> {
        self.skills.clone()
    }

    /// How this agent learns; none when there is no such agent and none could come into being.
    pub fn learning_of(&self, id: &AgentId) -> Option<LearningConfig> {
        self.registry.load().settled(id).map(|agent| agent.config.learning.clone())
    }

    /// Asks the model that writes this agent's skills.
    pub async fn ask_aside(&self, id: &AgentId, aside: Aside<'_>) -> Result<AsideAnswer, AsideError> {
        let settled = self.registry.load().settled(id);
        let agent = settled.ok_or_else(|| TurnError::Agent(crate::UnknownAgent::Rejected(id.clone())))?;
        let agent = match &agent.config.learning.evolver {
            Some(evolver) => {
                let target =
                    Target { upstream: evolver.upstream.as_str().into(), model: evolver.model.as_str().into() };
                Arc::new(Agent { targets: [target].into(), fallbacks: [].into(), ..Agent::clone(&agent) })
            }
            None => agent,
        };
        let target = agent.targets[0].clone();
        let model = if target.model.is_empty() { aside.model.to_owned() } else { target.model.to_string() };
        let backend = agent.upstreams.backend(&target);
        let by_schema =
            backend.is_some_and(|backend| matches!(&**backend, Backend::Http(http) if http.quirks().json_schema));
        let answered = match ask(&agent, &aside, by_schema).await {
            // Not every model of a provider can be held to a schema.
            Err(AsideError::Turn(error)) if by_schema && !error.is_transient() => ask(&agent, &aside, false).await,
            answered => answered,
        };
        Ok(AsideAnswer { answer: answered?, model })
    }
}

async fn ask(agent: &Arc<Agent>, aside: &Aside<'_>, by_schema: bool) -> Result<Answer, AsideError> {
    let mut body = json!({"model": aside.model, "messages": aside.messages});
    if by_schema {
        let schema = json!({"name": "proposals", "strict": true, "schema": aside.schema});
        body["response_format"] = json!({"type": "json_schema", "json_schema": schema});
    }
    let request = Arc::new(ChatRequest::parse(Bytes::from(body.to_string())).map_err(TurnError::from)?);
    let ask = Ask {
        request,
        block: None,
        conversation: format!("{}/(learning)", agent.id),
        // Who judges and teaches an agent is not what it has trained.
        adapter: None,
        trace: Trace::default(),
        credential: Credential::default(),
    };
    let errand = Errand { agent: agent.clone(), chosen: 0, ask, gatekeeper: None };
    let mut body = errand.run().await?.answering.body;
    let mut bytes = Vec::new();
    while let Some(more) = poll_fn(|cx| body.poll_data(cx)).await {
        bytes.extend_from_slice(&more.map_err(TurnError::from)?);
        if bytes.len() > MAX_ANSWER {
            return Err(AsideError::TooLong);
        }
    }
    Answer::from_json(&bytes.into()).ok_or(AsideError::NoCompletion)
}

impl Registry {
    /// The agent of this id as it would be if it spoke, without letting it come into being.
    fn settled(&self, id: &AgentId) -> Option<Arc<Agent>> {
        self.known(id).or_else(|| {
            let own = self.unknown.rule == config::UnknownRule::Own;
            own.then(|| Arc::new(Agent { id: id.clone(), ..Agent::clone(&self.default) }))
        })
    }
}
