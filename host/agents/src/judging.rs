//! Who judges an agent's answers, as the judge's questions reach them.

use std::sync::Arc;
use std::time::Duration;

use domain::AgentId;
use judge::{Ask, Bench, Question, Telling, Told};
use serde_json::json;

use crate::aside::{Aside, Whom};
use crate::host::Host;

/// How long one question to a judge may take, whatever its upstream is allowed.
const PATIENCE: Duration = Duration::from_secs(300);
/// How many votes about one answer are asked for at once.
const AT_ONCE: u32 = 3;

/// Asks whoever judges this agent's answers.
pub struct HostJudge {
    host: Arc<Host>,
    agent: AgentId,
    model: String,
    bench: Bench,
}

impl Host {
    /// Who judges this agent's answers; none: nobody. `model` is asked where the agent's own upstream judges and nothing names a
    /// model: the one that answered the turn.
    pub fn judge_of(self: &Arc<Self>, agent: &AgentId, model: &str) -> Option<HostJudge> {
        let config = self.registry.load().settled(agent)?.config.judge.clone()?;
        let bench = Bench { votes: config.votes, at_once: AT_ONCE };
        Some(HostJudge { host: self.clone(), agent: agent.clone(), model: model.to_owned(), bench })
    }
}

impl HostJudge {
    /// How it is asked.
    pub fn bench(&self) -> Bench {
        self.bench
    }
}

impl Ask for HostJudge {
    fn ask<'a>(&'a self, question: &'a Question) -> Telling<'a> {
        Box::pin(async move {
            let body = json!({"messages": question.messages});
            let aside = Aside {
                whom: Whom::Judge,
                body: &body,
                block: None,
                schema: Some(&question.schema),
                temperature: Some(question.temperature),
                max_tokens: Some(question.max_tokens),
                model: &self.model,
            };
            let asked = tokio::time::timeout(PATIENCE, self.host.ask_aside(&self.agent, aside)).await;
            let told = asked
                .map_err(|_| format!("the judge has not answered within {} s", PATIENCE.as_secs()))?
                .map_err(|error| format!("the judge cannot be asked: {error}"))?;
            Ok(Told { whole: told.answer.finish_reason != "length", text: told.answer.text })
        })
    }
}
