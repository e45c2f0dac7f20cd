//! Whom learning asks: the agents' own upstreams, or the one of `rl.evolver_*`.

use std::sync::Arc;

use agents::{Aside, Host};
use domain::AgentId;
use learning::{Evolver, Question, Settings, Telling, Told};

/// The running host.
pub(crate) struct HostEvolver(pub(crate) Arc<Host>);

impl Evolver for HostEvolver {
    fn settings(&self, agent: &AgentId) -> Option<Settings> {
        let config = self.0.learning_of(agent)?;
        Some(Settings {
            enabled: config.enabled,
            every: config.every.into(),
            review: config.review,
            max_skills: config.max_learned as usize,
            retry_wait: config.retry_wait,
        })
    }

    fn ask<'a>(&'a self, agent: &'a AgentId, question: &'a Question) -> Telling<'a> {
        Box::pin(async move {
            let aside = Aside { messages: &question.messages, schema: &question.schema, model: &question.model };
            let told = self.0.ask_aside(agent, aside).await.map_err(|error| error.to_string())?;
            let whole = told.answer.finish_reason != "length";
            Ok(Told { text: told.answer.text, model: told.model, whole })
        })
    }
}
