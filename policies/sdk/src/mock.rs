//! What answers in the host's place when a policy runs natively: the values of a case, with the methods that the generated types have in a module.

use std::rc::Rc;

use policy_cases as cases;

use crate::{Message, Scored, SkillSummary, Target, ToolCall};

pub(crate) mod files;
mod host;
pub(crate) mod kv;
pub(crate) mod log;

pub(crate) use host::{Host, with};

/// The most of one text that a policy is shown, in bytes.
const MAX_TEXT: usize = 1 << 20;
/// The most summaries on a page.
const MAX_LIST: u32 = 256;
/// The most hits of a search.
const MAX_HITS: u32 = 64;

/// The turn that is to be decided on.
pub struct Turn(pub(crate) Rc<cases::Case>);

/// The skills that this agent may be given: everybody's and its own, its own winning by name.
pub struct Catalog(pub(crate) Rc<cases::Case>);

/// A finished turn.
pub struct Sample(pub(crate) Rc<cases::Case>);

impl Turn {
    /// The agent's id; `_default` when the client named none.
    pub fn agent(&self) -> String {
        self.0.turn.agent.clone()
    }

    /// The client's session id, or the one the host gave.
    pub fn session(&self) -> String {
        self.0.turn.session.clone()
    }

    /// How many turns this session has had before, 0 for the first.
    pub fn index(&self) -> u32 {
        self.0.turn.index
    }

    /// `main` or `side`: titles, summaries and the like, for which clients ask beside the conversation.
    pub fn kind(&self) -> String {
        self.0.turn.kind.clone()
    }

    /// `skills_only`, `rl` or `auto`.
    pub fn mode(&self) -> String {
        self.0.turn.mode.clone()
    }

    /// When the host had the whole request, in milliseconds since 1970-01-01 UTC. It is part of the turn, not a clock.
    pub fn received_at(&self) -> u64 {
        self.0.turn.received_at
    }

    /// The model that the client asked for; may be empty.
    pub fn requested_model(&self) -> String {
        self.0.turn.requested_model.clone()
    }

    /// The text of the last user message, without what the client added around it.
    pub fn user_text(&self) -> String {
        cut(&self.0.turn.user_text)
    }

    /// Size of the request body, in bytes.
    pub fn body_size(&self) -> u64 {
        self.0.turn.body_size
    }

    /// How many messages the request has.
    pub fn message_count(&self) -> u32 {
        count(self.0.turn.messages.len())
    }

    /// From 0, the oldest; none past the end.
    pub fn message(&self, index: u32) -> Option<Message> {
        message(&self.0.turn.messages, index)
    }

    /// Names of the tools that the client offers, in its order.
    pub fn tool_names(&self) -> Vec<String> {
        self.0.turn.tools.clone()
    }

    /// The upstreams and models that this agent may use; the first is the configured choice. Never empty.
    pub fn targets(&self) -> Vec<Target> {
        let targets = self.0.turn.targets.iter();
        targets.map(|target| Target { upstream: target.upstream.clone(), model: target.model.clone() }).collect()
    }

    /// Anything else; no names are defined yet.
    pub fn attr(&self, _name: &str) -> Option<String> {
        None
    }
}

impl Catalog {
    /// How many there are.
    #[expect(clippy::len_without_is_empty, reason = "the contract has it so")]
    pub fn len(&self) -> u32 {
        count(self.0.skills.len())
    }

    /// A page of summaries, ordered by name; at most 256 at once.
    pub fn list(&self, offset: u32, limit: u32) -> Vec<SkillSummary> {
        let page = self.0.skills.iter().skip(offset as usize).take(limit.min(MAX_LIST) as usize);
        page.map(|skill| SkillSummary {
            name: skill.name.clone(),
            description: skill.description.clone(),
            category: skill.category.clone(),
            scope: skill.scope.clone(),
            tokens: skill.tokens,
        })
        .collect()
    }

    /// The best `k` (at most 64) for these words, best first. May be empty. In tests: what the case says, else the skills that share words with the
    /// query; in the host, its own index.
    pub fn search(&self, query: &str, k: u32) -> Vec<Scored> {
        let most = k.min(MAX_HITS) as usize;
        let found: Vec<(String, f32)> = match self.0.found(query) {
            Some(hits) => hits.iter().take(most).map(|hit| (hit.name.clone(), hit.score)).collect(),
            None => {
                let hits = cases::overlap(&self.0, query, most);
                hits.into_iter().map(|(at, score)| (self.0.skills[at].name.clone(), score)).collect()
            }
        };
        let tokens = |name: &str| self.0.skill(name).map_or(0, |skill| skill.tokens);
        found.into_iter().map(|(name, score)| Scored { tokens: tokens(&name), name, score }).collect()
    }

    /// The body of a skill; none when there is no such skill.
    pub fn read(&self, name: &str) -> Option<String> {
        self.0.skill(name).map(|skill| cut(&skill.body))
    }
}

impl Sample {
    /// The agent's id.
    pub fn agent(&self) -> String {
        self.0.sample.agent.clone()
    }

    /// The session's id.
    pub fn session(&self) -> String {
        self.0.sample.session.clone()
    }

    /// When the host had the whole request, in milliseconds since 1970-01-01 UTC.
    pub fn received_at(&self) -> u64 {
        self.0.sample.received_at
    }

    /// The model that answered.
    pub fn model(&self) -> String {
        self.0.sample.model.clone()
    }

    /// The user's last words.
    pub fn user_text(&self) -> String {
        cut(&self.0.sample.user_text)
    }

    /// How many messages the request has.
    pub fn message_count(&self) -> u32 {
        count(self.0.sample.messages.len())
    }

    /// A message of the request: from 0, the oldest; none past the end.
    pub fn message(&self, index: u32) -> Option<Message> {
        message(&self.0.sample.messages, index)
    }

    /// The assistant's words.
    pub fn answer_text(&self) -> String {
        cut(&self.0.sample.answer)
    }

    /// The tools that the answer calls.
    pub fn tool_calls(&self) -> Vec<ToolCall> {
        self.0.sample.calls.iter().map(tool_call).collect()
    }

    /// As the upstream said it: `stop`, `length`, `tool_calls`, …
    pub fn finish_reason(&self) -> String {
        self.0.sample.finish_reason.clone()
    }

    /// 0 when the upstream does not say.
    pub fn prompt_tokens(&self) -> u64 {
        self.0.sample.prompt_tokens
    }

    /// 0 when the upstream does not say.
    pub fn completion_tokens(&self) -> u64 {
        self.0.sample.completion_tokens
    }

    /// Skills that were injected.
    pub fn skills(&self) -> Vec<String> {
        self.0.sample.skills.clone()
    }

    /// Whether token ids and log-probabilities were captured.
    pub fn has_tokens(&self) -> bool {
        self.0.sample.has_tokens
    }

    /// Anything else; no names are defined yet.
    pub fn attr(&self, _name: &str) -> Option<String> {
        None
    }
}

pub(crate) fn tool_call(call: &cases::ToolCall) -> ToolCall {
    ToolCall { id: call.id.clone(), name: call.name.clone(), arguments: call.arguments.clone() }
}

fn message(messages: &[cases::Message], index: u32) -> Option<Message> {
    let message = messages.get(index as usize)?;
    Some(Message { role: message.role.clone(), text: cut(&message.text) })
}

fn cut(text: &str) -> String {
    text[..text.floor_char_boundary(MAX_TEXT)].to_owned()
}

fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
