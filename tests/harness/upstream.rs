use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Response};
use axum::routing::{get, post};
use futures_util::stream;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// An upstream whose words are fixed, and which writes down what reaches it.
pub struct Upstream {
    address: std::net::SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    /// Stops when it is dropped.
    _server: JoinSet<()>,
}

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Headers.
    pub headers: HeaderMap,
    /// The bytes.
    pub raw: Bytes,
    /// The bytes, read.
    pub body: Value,
}

/// What the upstream answers.
pub enum Reply {
    /// These words, streamed word by word when a stream was asked for.
    Words(String),
    /// A call of this tool with these arguments, JSON.
    Call(&'static str, String),
    /// Nothing, for ever.
    Silence,
    /// This status and body.
    Status(u16, String),
    /// This status, and where to go instead.
    Redirect(u16, String),
    /// These bytes, each piece in a frame of its own as it comes; the stream ends when the sender is dropped, and breaks
    /// off on an `Err`.
    Pieces(&'static str, mpsc::Receiver<Result<Bytes, std::io::Error>>),
}

/// What it says that it has: one model to talk to, and one for something else.
const MODELS: &str = r#"{"object":"list","data":[{"id":"nomic-embed-text"},{"id":"test-model"}]}"#;

type Script = Arc<dyn Fn(&Seen) -> Reply + Send + Sync>;

#[derive(Clone)]
struct Shared {
    seen: Arc<Mutex<Vec<Seen>>>,
    script: Script,
}

impl Upstream {
    /// Answers every request with its user's last words behind `echo: `.
    pub async fn echo() -> Self {
        Self::scripted(|seen| Reply::Words(format!("echo: {}", seen.user()))).await
    }

    /// Answers as `script` says.
    pub async fn scripted(script: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        let seen = Arc::<Mutex<Vec<Seen>>>::default();
        let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let shared = Shared { seen: seen.clone(), script: Arc::new(script) };
        let router = Router::new()
            .route("/v1/chat/completions", post(answer))
            .route("/v1/models", get(async || MODELS))
            .with_state(shared);
        let mut server = JoinSet::new();
        server.spawn(async move {
            axum::serve(socket, router.layer(axum::extract::DefaultBodyLimit::disable())).await.unwrap();
        });
        Upstream { address, seen, _server: server }
    }

    /// The `llm` section of a configuration that leads here.
    pub fn llm(&self) -> String {
        format!(
            "llm: {{ provider: custom, model_id: test-model, api_base: \"{}\", api_key: \"env:TEST_KEY\" }}\n",
            self.base()
        )
    }

    /// Its base address.
    pub fn base(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// Every request so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// The last request.
    pub fn last(&self) -> Seen {
        self.seen.lock().unwrap().last().expect("nothing has arrived").clone()
    }
}

impl Seen {
    /// What the user asked last: the last user message with a text of its own, parts left out.
    pub fn asked(&self) -> String {
        let messages = self.body["messages"].as_array().cloned().unwrap_or_default();
        let mut texts = messages.iter().rev().filter(|m| m["role"] == "user").filter_map(|m| m["content"].as_str());
        texts.next().unwrap_or_default().into()
    }

    /// The text of the last user message.
    pub fn user(&self) -> String {
        let messages = self.body["messages"].as_array().cloned().unwrap_or_default();
        messages
            .iter()
            .rev()
            .find(|m| m["role"] == "user")
            .and_then(|m| m["content"].as_str())
            .unwrap_or_default()
            .into()
    }

    /// The text of the first system message.
    pub fn system(&self) -> String {
        let messages = self.body["messages"].as_array().cloned().unwrap_or_default();
        messages.iter().find(|m| m["role"] == "system").and_then(|m| m["content"].as_str()).unwrap_or_default().into()
    }
}

async fn answer(State(shared): State<Shared>, headers: HeaderMap, raw: Bytes) -> Response<Body> {
    let seen = Seen { headers, body: serde_json::from_slice(&raw).unwrap_or(Value::Null), raw };
    shared.seen.lock().unwrap().push(seen.clone());
    let respond = |status: u16, kind: &str, body: Body| {
        Response::builder().status(status).header("content-type", kind).body(body).unwrap()
    };
    match (shared.script)(&seen) {
        Reply::Silence => std::future::pending().await,
        Reply::Redirect(status, to) => {
            let mut response = respond(status, "text/plain", Body::empty());
            response.headers_mut().insert("location", to.parse().unwrap());
            response
        }
        Reply::Status(status, body) => respond(status, "application/json", body.into()),
        Reply::Words(words) if seen.body["stream"] == true => {
            let words = words.split_inclusive(' ').map(|w| json!({"content": w}));
            streamed(events(&seen.body, words, "stop"))
        }
        Reply::Call(tool, arguments) => {
            let number = shared.seen.lock().unwrap().len();
            let call = |function: Value| json!({"tool_calls": [{"index": 0, "id": format!("call_{number}"), "type": "function", "function": function}]});
            let pieces = [call(json!({"name": tool, "arguments": ""})), call(json!({"arguments": arguments}))];
            streamed(events(&seen.body, pieces, "tool_calls"))
        }
        Reply::Words(words) => respond(200, "application/json", completion(&words).to_string().into()),
        Reply::Pieces(kind, pieces) => {
            let stream = stream::unfold(pieces, |mut pieces| async { pieces.recv().await.map(|p| (p, pieces)) });
            respond(200, kind, Body::from_stream(stream))
        }
    }
}

fn completion(words: &str) -> Value {
    json!({
        "id": "chatcmpl-up", "object": "chat.completion", "created": 1, "model": "test-model",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": words}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 11, "completion_tokens": 3, "total_tokens": 14},
    })
}

fn streamed(events: Vec<Bytes>) -> Response<Body> {
    let events = events.into_iter().map(Ok::<_, Infallible>);
    let body = Body::from_stream(stream::iter(events));
    Response::builder().header("content-type", "text/event-stream").body(body).unwrap()
}

fn events(body: &Value, pieces: impl IntoIterator<Item = Value>, finish: &str) -> Vec<Bytes> {
    let chunk = |delta: Value, finish: Value| {
        json!({"id": "chatcmpl-up", "object": "chat.completion.chunk", "created": 1, "model": "test-model",
               "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})
    };
    let mut chunks = vec![chunk(json!({"role": "assistant", "content": ""}), Value::Null)];
    chunks.extend(pieces.into_iter().map(|piece| chunk(piece, Value::Null)));
    chunks.push(chunk(json!({}), finish.into()));
    if body["stream_options"]["include_usage"] == true {
        chunks.push(json!({"id": "chatcmpl-up", "object": "chat.completion.chunk", "created": 1, "model": "test-model", "choices": [],
                           "usage": {"prompt_tokens": 11, "completion_tokens": 3, "total_tokens": 14}}));
    }
    chunks.iter().map(|c| Bytes::from(format!("data: {c}\n\n"))).chain([Bytes::from("data: [DONE]\n\n")]).collect()
}
