//! One real request to an upstream, through the code that the host itself uses, and what its outcome means for whoever set
//! the upstream up.

mod reading;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::config::{Config, UpstreamConfig, UpstreamKind};
use agents::Backend;
use bytes::Bytes;
use domain::AgentId;
use local_model::{ChatMessage, Engine, EngineOptions, Event, Model, Request, Sampling};
use protocol::{Answer, ChatRequest, Splice};
use serde_json::json;
use upstream::{Credential, Question, Reply, Trace, UpstreamError, Wanted};

use crate::wiring;

pub(crate) use reading::Trouble;

/// What the model is asked. There is no token limit in the request: some providers refuse the field that others want.
const QUESTION: &str = "Reply with one word: ready";
/// How many tokens the embedded model may answer with.
const EMBEDDED_TOKENS: usize = 8;

/// An upstream that answered.
#[derive(Debug)]
pub(crate) struct Answered {
    /// Its words, or the beginning of them.
    pub(crate) words: String,
    /// How long it took.
    pub(crate) took: Duration,
}

/// Asks the model that the agent of requests without a name would get.
pub(crate) async fn default_agent(config: &Config, limit: Duration) -> Result<Answered, Trouble> {
    let agent = config.agent(&AgentId::Default);
    let target = agent.targets.first();
    let upstream = target.and_then(|t| config.upstreams.get(&t.upstream));
    let (Some(target), Some(upstream)) = (target, upstream) else {
        return Err(Trouble::new("no upstream is configured", "`metaclaw setup` sets one up"));
    };
    ask(upstream, &target.model, &config.home, limit).await
}

/// Asks one model of an upstream. `limit` is for everything together.
pub(crate) async fn ask(
    upstream: &UpstreamConfig,
    model: &str,
    home: &Path,
    limit: Duration,
) -> Result<Answered, Trouble> {
    let began = Instant::now();
    let asked = async {
        match &upstream.kind {
            UpstreamKind::Http { base, api_key, .. } => {
                if model.is_empty() {
                    let what = "no model is named, so there is nothing to ask for";
                    return Err(Trouble::new(what, "set llm.model_id (`metaclaw config set llm.model_id MODEL`)"));
                }
                let about = reading::About {
                    base: base.as_str(),
                    model,
                    key: api_key.as_ref(),
                    provider: upstream.name.as_str(),
                };
                over_http(upstream, model, home).await.map_err(|failure| reading::read(&failure, &about))
            }
            UpstreamKind::Embedded { model } => embedded(home, model.as_deref()).await,
        }
    };
    let words = tokio::time::timeout(limit, asked).await.unwrap_or_else(|_| Err(reading::too_slow(limit)))?;
    Ok(Answered { words: shortened(&words), took: began.elapsed() })
}

/// Why a provider gave no answer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The client's word.
    Upstream(UpstreamError),
    /// It said something, which is no chat answer.
    NoAnswer,
    /// The request could not even be made.
    Unusable(String),
}

async fn over_http(upstream: &UpstreamConfig, model: &str, home: &Path) -> Result<String, Failure> {
    let unusable = |error: &dyn std::fmt::Display| Failure::Unusable(error.to_string());
    let (Backend::Http(client), _) = wiring::backend(upstream, home).map_err(|e| unusable(&e))? else {
        return Err(Failure::NoAnswer);
    };
    let body = json!({"model": model, "messages": [{"role": "user", "content": QUESTION}]}).to_string();
    let request = ChatRequest::parse(Bytes::from(body)).map_err(|e| unusable(&e))?;
    let body = || request.splice(&Splice { model: Some(model), quirks: Some(client.quirks()), ..Splice::default() });
    let wanted = Wanted { stream: false, usage: false };
    let question =
        Question { body: &body, credential: &Credential::default(), trace: &Trace::default(), wanted, note: &|_| {} };
    match client.chat(question).await.map_err(Failure::Upstream)? {
        Reply::Whole(bytes) => Answer::from_json(&bytes).map(|answer| answer.text).ok_or(Failure::NoAnswer),
        // Not what was wanted, and so never given.
        Reply::Events(_) => Err(Failure::NoAnswer),
    }
}

async fn embedded(home: &Path, model: Option<&str>) -> Result<String, Trouble> {
    let fetch = "`metaclaw models fetch` gets one (93 MB)";
    let path = super::models::locate(home, model).map_err(|e| Trouble::new(format!("{e:#}"), fetch))?;
    let damaged = |error: &dyn std::fmt::Display| {
        let remedy = "`metaclaw models verify` compares it with what was installed; `metaclaw models fetch --force` gets it anew";
        Trouble::new(format!("the model {} cannot be used: {error}", path.display()), remedy)
    };
    let file = path.clone();
    let loaded = tokio::task::spawn_blocking(move || Model::load(&file)).await;
    let model = loaded.map_err(|e| damaged(&e))?.map_err(|e| damaged(&e))?;
    let engine = Engine::start(Arc::new(model), &EngineOptions::default()).map_err(|e| damaged(&e))?;
    let sampling = Sampling { temperature: 0.0, max_tokens: Some(EMBEDDED_TOKENS), ..Sampling::default() };
    let request = Request { messages: vec![ChatMessage::new("user", QUESTION)], sampling, ..Request::default() };
    let mut events = engine.submit(request).map_err(|e| damaged(&e))?;
    let mut words = String::new();
    let mut outcome = Err(damaged(&"it gave no answer"));
    while let Some(event) = events.recv().await {
        match event {
            Event::Text(text) => words.push_str(&text),
            Event::Done(_) => outcome = Ok(()),
            Event::Failed(error) => outcome = Err(damaged(&error)),
        }
    }
    engine.shutdown().await;
    outcome.map(|()| words)
}

/// The first words of an answer, harmless on a terminal.
fn shortened(words: &str) -> String {
    const MOST: usize = 60;
    let line = crate::output::harmless(words).split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}
