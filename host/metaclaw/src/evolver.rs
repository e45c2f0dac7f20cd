//! Whom learning asks: the agents' own upstreams, or the one of `rl.evolver_*`.

use std::sync::Arc;

use agents::{Aside, Host, Whom};
use domain::AgentId;
use judge::Pair;
use learning::{Evolver, Judging, Question, Replay, Settings, Telling, Told, Verify};
use protocol::Answer;
use serde_json::{Value, json};

/// How long the answer to a turn that is replayed may be.
const REPLAY_TOKENS: u32 = 512;

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
            verify: match config.verify {
                config::Verify::Off => Verify::Off,
                config::Verify::Sample => Verify::Sample,
                config::Verify::Always => Verify::Always,
            },
            verify_budget: config.verify_budget.into(),
            retry_wait: config.retry_wait,
        })
    }

    fn ask<'a>(&'a self, agent: &'a AgentId, question: &'a Question) -> Telling<'a> {
        Box::pin(async move {
            let body = json!({"messages": question.messages});
            let aside = Aside {
                whom: Whom::Evolver,
                body: &body,
                block: None,
                schema: Some(&question.schema),
                temperature: None,
                max_tokens: None,
                model: &question.model,
            };
            let told = self.0.ask_aside(agent, aside).await.map_err(|error| error.to_string())?;
            let whole = told.answer.finish_reason != "length";
            Ok(Told { text: told.answer.text, model: told.model, whole })
        })
    }

    fn replay<'a>(&'a self, agent: &'a AgentId, replay: &'a Replay) -> Telling<'a> {
        Box::pin(async move {
            let aside = Aside {
                whom: Whom::Own,
                body: &replay.body,
                block: replay.block.as_deref(),
                schema: None,
                temperature: Some(0.0),
                max_tokens: Some(REPLAY_TOKENS),
                model: &replay.model,
            };
            let told = self.0.ask_aside(agent, aside).await.map_err(|error| error.to_string())?;
            let whole = told.answer.finish_reason != "length";
            Ok(Told { text: words_and_calls(&told.answer), model: told.model, whole })
        })
    }

    fn prefer<'a>(&'a self, agent: &'a AgentId, pair: &'a Pair, model: &'a str) -> Judging<'a> {
        Box::pin(async move {
            let judge = self.0.judge_of(agent, model).ok_or("nobody judges this agent's answers: set rl.judge")?;
            judge.bench().better(pair, &judge).await.map_err(|error| error.to_string())
        })
    }
}

/// An answer may be nothing but calls of tools; a judge is to see them.
fn words_and_calls(answer: &Answer) -> String {
    let json: Value = serde_json::from_slice(&answer.json).unwrap_or_default();
    let calls = json["choices"][0]["message"]["tool_calls"].as_array().cloned().unwrap_or_default();
    let call = |call: &Value| {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let function = &call["function"];
        format!("(it calls the tool {} with {})", text(&function["name"]), text(&function["arguments"]))
    };
    let said = (!answer.text.trim().is_empty()).then(|| answer.text.clone());
    said.into_iter().chain(calls.iter().map(call)).collect::<Vec<_>>().join("\n")
}
