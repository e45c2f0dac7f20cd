use std::io::{BufRead, IsTerminal, Read};

use ::config::{LoadOptions, Paths};
use anyhow::{Context, bail};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::cli::ChatArgs;
use crate::output;
use crate::running::Running;

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
    let key = super::load(paths, LoadOptions::default())?.config.server.api_key.filter(|_| host.wants_key);
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
        let mut request = self.client.post(self.host.url("/v1/chat/completions")).header("content-type", "application/json");
        request = request.header("x-session-id", &self.session).header("x-turn-type", "main");
        if let Some(agent) = &self.agent {
            request = request.header("x-agent-id", agent);
        }
        if let Some(key) = &self.key {
            request = request.bearer_auth(key.expose());
        }
        let mut answer = request.body(body).send().await.context("the host does not answer")?;
        if !answer.status().is_success() {
            let error: Value = serde_json::from_slice(&answer.bytes().await?).unwrap_or_default();
            bail!("{}", error["error"]["message"].as_str().unwrap_or("the host refused without a reason"));
        }
        let (mut pending, mut said) = (Vec::new(), String::new());
        while let Some(bytes) = answer.chunk().await.context("the answer broke off")? {
            pending.extend_from_slice(&bytes);
            while let Some(end) = pending.windows(2).position(|w| w == b"\n\n") {
                let event: Vec<u8> = pending.drain(..end + 2).collect();
                let data: Value = serde_json::from_slice(event.strip_prefix(b"data: ").unwrap_or_default().trim_ascii()).unwrap_or_default();
                if let Some(problem) = data["error"]["message"].as_str() {
                    bail!("{problem}");
                }
                let text = data["choices"][0]["delta"]["content"].as_str().unwrap_or_default();
                output::piece(text);
                said.push_str(text);
            }
        }
        output::line("");
        self.messages.push(json!({"role": "assistant", "content": said}));
        Ok(())
    }
}
