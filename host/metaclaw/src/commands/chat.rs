use std::io::{BufRead, IsTerminal, Read};

use ::config::Paths;
use anyhow::{Context, bail};
use domain::AgentId;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::cli::ChatArgs;
use crate::output;
use crate::running::Running;

/// The longest line of a stream, in bytes.
const MAX_EVENT: usize = 1 << 20;

/// A conversation with one agent of the running host.
struct Chat {
    client: reqwest::Client,
    host: Running,
    key: Option<domain::Secret>,
    agent: Option<String>,
    session: String,
    messages: Vec<Value>,
}

/// `metaclaw chat`
pub(crate) async fn run(args: ChatArgs, paths: &Paths) -> anyhow::Result<()> {
    let host = Running::find(&paths.home, args.port)?;
    let server = super::load(paths, super::lenient())?.config.server;
    let agent = args.agent.as_deref().map_or(Ok(AgentId::Default), |a| a.parse().map(AgentId::Named))?;
    let key = args.key.map(domain::Secret::new).or_else(|| server.key_of(&agent).cloned());
    let key = key.filter(|_| host.wants_key);
    let client = reqwest::Client::builder().no_proxy().build()?;
    let session = format!("chat-{}", Uuid::now_v7().simple());
    let mut chat = Chat { client, host, key, agent: args.agent, session, messages: Vec::new() };
    if let Some(message) = args.message {
        return chat.say(message).await;
    }
    let input = std::io::stdin();
    if !input.is_terminal() {
        let mut message = String::new();
        input.lock().read_to_string(&mut message)?;
        return chat.say(message).await;
    }
    let who = chat.agent.clone().unwrap_or_else(|| "_default".into());
    output::note(format_args!("talking to {who} at {}; an empty line or Ctrl-D ends", chat.host.address));
    loop {
        output::piece("> ");
        // Nothing else runs on this thread while the user thinks.
        let mut line = String::new();
        if input.lock().read_line(&mut line)? == 0 || line.trim().is_empty() {
            return Ok(());
        }
        if let Err(error) = chat.say(line.trim().to_owned()).await {
            output::note(format_args!("{error:#}"));
            chat.messages.pop();
        }
    }
}

impl Chat {
    async fn say(&mut self, message: String) -> anyhow::Result<()> {
        self.messages.push(json!({"role": "user", "content": message}));
        let body = json!({"messages": self.messages, "stream": true}).to_string();
        let mut request =
            self.client.post(self.host.url("/v1/chat/completions")).header("content-type", "application/json");
        request = request.header("x-session-id", &self.session).header("x-turn-type", "main");
        if let Some(agent) = &self.agent {
            request = request.header("x-agent-id", agent);
        }
        if let Some(key) = &self.key {
            request = request.bearer_auth(key.expose());
        }
        let answer = request.body(body).send().await.context("the host does not answer")?;
        if !answer.status().is_success() {
            let error: Value = serde_json::from_slice(&answer.bytes().await?).unwrap_or_default();
            let reason = error["error"]["message"].as_str().unwrap_or("the host refused without a reason");
            bail!("{}", output::harmless(reason));
        }
        let said = match is_stream(&answer) {
            true => print_stream(answer).await?,
            false => {
                let whole: Value = serde_json::from_slice(&answer.bytes().await.context("the answer broke off")?)?;
                let said = whole["choices"][0]["message"]["content"].as_str().unwrap_or_default().to_owned();
                output::piece(output::harmless(&said));
                said
            }
        };
        output::line("");
        self.messages.push(json!({"role": "assistant", "content": said}));
        Ok(())
    }
}

/// An upstream that does not stream answers in one piece, whatever it was asked for.
fn is_stream(answer: &reqwest::Response) -> bool {
    let kind = answer.headers().get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.starts_with("text/event-stream")
}

/// Prints a stream's words as they come, and gives them back.
async fn print_stream(mut answer: reqwest::Response) -> anyhow::Result<String> {
    let (mut pending, mut said) = (Vec::new(), String::new());
    while let Some(bytes) = answer.chunk().await.context("the answer broke off")? {
        pending.extend_from_slice(&bytes);
        while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = pending.drain(..=end).collect();
            let Some(data) = line.strip_prefix(b"data:") else { continue };
            let data: Value = serde_json::from_slice(data).unwrap_or_default();
            if let Some(problem) = data["error"]["message"].as_str() {
                bail!("{}", output::harmless(problem));
            }
            let text = data["choices"][0]["delta"]["content"].as_str().unwrap_or_default();
            output::piece(output::harmless(text));
            said.push_str(text);
        }
        if pending.len() > MAX_EVENT {
            bail!("the upstream sent an event of more than {MAX_EVENT} bytes");
        }
    }
    Ok(said)
}
