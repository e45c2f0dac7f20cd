use reqwest::header::HeaderMap;
use serde_json::{Value, json};

use crate::Host;

/// A request being put together.
pub struct Turn<'a> {
    host: &'a Host,
    headers: Vec<(String, String)>,
    body: Value,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// The body as it came.
    pub text: String,
}

impl<'a> Turn<'a> {
    pub(crate) fn new(host: &'a Host, text: &str) -> Self {
        Turn {
            host,
            headers: Vec::new(),
            body: json!({"model": "asked-model", "messages": [{"role": "user", "content": text}]}),
        }
    }

    /// Names the agent.
    pub fn agent(self, id: &str) -> Self {
        self.header("x-agent-id", id)
    }

    /// Names the session, as a `main` turn.
    pub fn session(self, id: &str) -> Self {
        self.header("x-session-id", id).header("x-turn-type", "main")
    }

    /// Adds a header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Puts a system message in front.
    pub fn system(mut self, text: &str) -> Self {
        self.body["messages"].as_array_mut().unwrap().insert(0, json!({"role": "system", "content": text}));
        self
    }

    /// Sets a field of the body.
    pub fn with(mut self, key: &str, value: Value) -> Self {
        self.body[key] = value;
        self
    }

    /// Sends it and waits for the head of the answer.
    pub async fn begin(self) -> reqwest::Response {
        let mut request = self.host.client.post(self.host.url("/v1/chat/completions"));
        for (name, value) in &self.headers {
            request = request.header(name, reqwest::header::HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        request.header("content-type", "application/json").body(self.body.to_string()).send().await.unwrap()
    }

    /// Sends it and waits for the whole answer.
    pub async fn send(self) -> Answer {
        let response = self.begin().await;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Answer { status, headers, text: response.text().await.unwrap_or_else(|e| format!("broken off: {e}")) }
    }
}

impl Answer {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("not JSON: {}", self.text))
    }

    /// The assistant's words, of an answer in one piece or of a stream.
    pub fn words(&self) -> String {
        match serde_json::from_str::<Value>(&self.text) {
            Ok(whole) => whole["choices"][0]["message"]["content"].as_str().unwrap_or_default().into(),
            Err(_) => self.events().iter().filter_map(|e| e["choices"][0]["delta"]["content"].as_str()).collect(),
        }
    }

    /// The events of a stream, `[DONE]` left out.
    pub fn events(&self) -> Vec<Value> {
        let data = self.text.lines().filter_map(|l| l.strip_prefix("data: ")).filter(|d| *d != "[DONE]");
        data.map(|d| serde_json::from_str(d).unwrap()).collect()
    }

    /// A header as text.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|v| v.to_str().unwrap()).unwrap_or_default()
    }

    /// `error.code` of an error.
    pub fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap_or_default().into()
    }
}
