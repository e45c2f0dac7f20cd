//! What the host itself asks an agent's model, beside all turns: no policy, no skills, no record.

use std::future::poll_fn;
use std::sync::Arc;

use bytes::Bytes;
use config::LearningConfig;
use domain::{AgentId, Mode};
use policy::Target;
use protocol::{Answer, Block, ChatRequest};
use serde_json::{Value, json};
use skills::SkillTree;
use store::Store;
use upstream::{Credential, Trace};

use crate::adapters::Slot;
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
    /// Who is asked.
    pub whom: Whom,
    /// The chat request, without a model: messages, and tools if there are any.
    pub body: &'a Value,
    /// What goes into the prompt as skills do.
    pub block: Option<&'a str>,
    /// The JSON schema that the answer is to keep to, where the provider can hold a model to one.
    pub schema: Option<&'a Value>,
    /// How much chance there is in the answer; none: as the provider likes it.
    pub temperature: Option<f32>,
    /// How long the answer may be; none: as the provider likes it.
    pub max_tokens: Option<u32>,
    /// Whom to ask where neither the agent nor its upstream names a model.
    pub model: &'a str,
}

/// Who is asked a question of the host's own about an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whom {
    /// Whoever answers its turns.
    Own,
    /// Whoever writes its skills.
    Evolver,
    /// Whoever judges its answers.
    Judge,
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

    /// Asks a model something that is no turn.
    pub async fn ask_aside(&self, id: &AgentId, aside: Aside<'_>) -> Result<AsideAnswer, AsideError> {
        let settled = self.registry.load().settled(id);
        let agent = settled.ok_or_else(|| TurnError::Agent(crate::UnknownAgent::Rejected(id.clone())))?;
        let elsewhere = match aside.whom {
            Whom::Own => None,
            Whom::Evolver => agent.config.learning.evolver.as_ref(),
            Whom::Judge => agent.config.judge.as_ref().and_then(|judge| judge.target.as_ref()),
        };
        let agent = match elsewhere {
            Some(other) => {
                let target = Target { upstream: other.upstream.as_str().into(), model: other.model.as_str().into() };
                Arc::new(Agent { targets: [target].into(), fallbacks: [].into(), ..Agent::clone(&agent) })
            }
            None => agent,
        };
        let target = agent.targets[0].clone();
        let model = if target.model.is_empty() { aside.model.to_owned() } else { target.model.to_string() };
        let backend = agent.upstreams.backend(&target);
        let by_schema = aside.schema.is_some()
            && backend.is_some_and(|backend| matches!(&**backend, Backend::Http(http) if http.quirks().json_schema));
        // One that has not spoken since the start has none yet, and `_default`'s is not its.
        let trained = aside.whom == Whom::Own && agent.config.mode != Mode::SkillsOnly;
        let adapter = (trained && self.registry.load().known(id).is_some()).then(|| agent.adapter.clone());
        let wishes = by_schema || aside.temperature.is_some() || aside.max_tokens.is_some();
        let answered = match ask(&agent, &aside, by_schema, adapter.as_ref()).await {
            // Not every model of a provider can be held to a schema, and some have a temperature of their own.
            Err(AsideError::Turn(error)) if wishes && !error.is_transient() => {
                let plain = Aside { schema: None, temperature: None, max_tokens: None, ..aside };
                ask(&agent, &plain, false, adapter.as_ref()).await
            }
            answered => answered,
        };
        Ok(AsideAnswer { answer: answered?, model })
    }
}

async fn ask(
    agent: &Arc<Agent>,
    aside: &Aside<'_>,
    by_schema: bool,
    adapter: Option<&Arc<Slot>>,
) -> Result<Answer, AsideError> {
    let mut body = aside.body.clone();
    body["model"] = Value::from(aside.model);
    if let Some(schema) = aside.schema.filter(|_| by_schema) {
        let schema = json!({"name": "answer", "strict": true, "schema": schema});
        body["response_format"] = json!({"type": "json_schema", "json_schema": schema});
    }
    if let Some(temperature) = aside.temperature {
        body["temperature"] = Value::from(temperature);
    }
    if let Some(most) = aside.max_tokens {
        body["max_tokens"] = Value::from(most);
    }
    let request = Arc::new(ChatRequest::parse(Bytes::from(body.to_string())).map_err(TurnError::from)?);
    let ask = Ask {
        request,
        block: aside.block.map(|text| Arc::new(Block::new(text))),
        conversation: format!("{}/({})", agent.id, aside.whom.word()),
        // Who judges and teaches an agent is not what it has trained.
        adapter: adapter.cloned(),
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

impl Whom {
    /// Tells their conversations apart.
    fn word(self) -> &'static str {
        match self {
            Whom::Own => "replay",
            Whom::Evolver => "learning",
            Whom::Judge => "judge",
        }
    }
}

impl Registry {
    /// The agent of this id as it would be if it spoke, without letting it come into being.
    pub(crate) fn settled(&self, id: &AgentId) -> Option<Arc<Agent>> {
        self.known(id).or_else(|| {
            let own = self.unknown.rule == config::UnknownRule::Own;
            own.then(|| Arc::new(Agent { id: id.clone(), ..Agent::clone(&self.default) }))
        })
    }
}
