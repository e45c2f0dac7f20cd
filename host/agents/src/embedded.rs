use std::future::poll_fn;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::SystemTime;

use bytes::Bytes;
use domain::{TokenTrace, Usage};
use local_model::{ChatMessage, Engine, Event, Finish, FinishReason, ModelError, Request, Sampling, SubmitError};
use protocol::{CompletionHead, Omission, Splice};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::backend::{Answering, Ask, BackendBody};

/// The model in this process, answering in the same words as a provider.
pub struct Embedded {
    engine: Arc<Engine>,
}

/// Why the embedded model has no answer.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    /// It was not taken.
    #[error(transparent)]
    Submit(#[from] SubmitError),
    /// The model, or the request as the model sees it.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// More than the model can do.
    #[error("the embedded model gives one answer to a request: leave `n` out")]
    OneAnswer,
    /// A field that the model needs is not of its type.
    #[error("the embedded model cannot read the request: {0}")]
    Request(#[from] serde_json::Error),
}

/// Bodies above this are read off the async threads.
const READ_INLINE: usize = 256 << 10;

/// The fields of a chat request that steer sampling, with OpenAI's names and defaults.
#[derive(Deserialize)]
struct Wishes {
    messages: Value,
    tools: Option<Value>,
    temperature: Option<f32>,
    top_p: Option<f32>,
    top_k: Option<usize>,
    seed: Option<i64>,
    max_tokens: Option<usize>,
    max_completion_tokens: Option<usize>,
    stop: Option<Stop>,
    presence_penalty: Option<f32>,
    frequency_penalty: Option<f32>,
    n: Option<u32>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Stop {
    One(String),
    Many(Vec<String>),
}

/// An answer on its way from the model's thread.
pub(crate) struct EmbeddedBody {
    events: mpsc::Receiver<Event>,
    /// Received already, to know that the request was accepted.
    first: Option<Event>,
    head: CompletionHead,
    streamed: bool,
    /// Whether a stream ends with a usage chunk.
    usage: bool,
    /// What has been said, when the answer goes out in one piece.
    text: String,
    began: bool,
    ended: bool,
    tokens: Arc<OnceLock<TokenTrace>>,
}

impl Embedded {
    /// Answers with this engine.
    pub fn new(engine: Arc<Engine>) -> Self {
        Embedded { engine }
    }

    /// How many tokens a prompt and its answer may have together.
    pub(crate) fn window(&self) -> Option<u32> {
        u32::try_from(self.engine.context()).ok()
    }

    pub(crate) async fn ask(&self, ask: Ask, model: String, omitted: Omission) -> Result<Answering, EmbeddedError> {
        let (streamed, usage) = (ask.request.stream(), ask.request.include_usage());
        let taken = match &ask.adapter {
            Some(slot) => slot.take(&self.engine.info().sha256).await,
            None => None,
        };
        let generation = taken.as_ref().map_or(0, |taken| taken.generation);
        let (body, block) = (ask.request.clone(), ask.block);
        let read = move || {
            let splice = Splice { block: block.as_deref(), omitted: Some(&omitted), ..Splice::default() };
            let body = body.splice(&splice).to_bytes();
            request(serde_json::from_slice(&body)?, ask.conversation)
        };
        let mut request = match ask.request.body().len() {
            ..=READ_INLINE => read()?,
            _ => tokio::task::spawn_blocking(read).await.map_err(|_| ModelError::Stopped)??,
        };
        request.adapter = taken.map(|taken| taken.adapter);
        let mut events = self.engine.submit(request)?;
        // What is wrong with a request comes as its first event, while a status can still say so.
        let first = match events.recv().await {
            Some(Event::Failed(error)) => return Err(error.into()),
            None => return Err(ModelError::Stopped.into()),
            first => first,
        };
        let created = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_secs());
        let head = CompletionHead { id: format!("chatcmpl-{}", Uuid::now_v7().simple()), created, model };
        let answering = EmbeddedBody::new(events, first, head, streamed, usage).answering().await?;
        Ok(Answering { adapter: generation, ..answering })
    }

    /// Ends every request and waits for the model's thread.
    pub(crate) async fn close(&self) {
        self.engine.shutdown().await;
    }
}

fn request(wishes: Wishes, session: String) -> Result<Request, EmbeddedError> {
    let usual = Sampling::default();
    if wishes.n.is_some_and(|n| n != 1) {
        return Err(EmbeddedError::OneAnswer);
    }
    Ok(Request {
        messages: ChatMessage::from_openai(&wishes.messages)?,
        tools: wishes.tools,
        tokens: None,
        sampling: Sampling {
            temperature: wishes.temperature.unwrap_or(usual.temperature),
            top_p: wishes.top_p.unwrap_or(usual.top_p),
            top_k: wishes.top_k.unwrap_or(usual.top_k),
            seed: wishes.seed.map(i64::cast_unsigned),
            max_tokens: wishes.max_completion_tokens.or(wishes.max_tokens),
            stop: match wishes.stop {
                None => Vec::new(),
                Some(Stop::One(text)) => vec![text],
                Some(Stop::Many(texts)) => texts,
            },
            presence_penalty: wishes.presence_penalty.unwrap_or(usual.presence_penalty),
            frequency_penalty: wishes.frequency_penalty.unwrap_or(usual.frequency_penalty),
        },
        session: Some(session),
        adapter: None,
    })
}

impl EmbeddedBody {
    fn new(
        events: mpsc::Receiver<Event>,
        first: Option<Event>,
        head: CompletionHead,
        streamed: bool,
        usage: bool,
    ) -> Self {
        let (text, began, ended, tokens) = (String::new(), false, false, Arc::default());
        EmbeddedBody { events, first, head, streamed, usage, text, began, ended, tokens }
    }

    /// A stream goes out as it comes. Of an answer in one piece nothing can be sent before its end, and until then a status
    /// can say that there is none.
    async fn answering(mut self) -> Result<Answering, EmbeddedError> {
        let tokens = self.tokens.clone();
        let body = match self.streamed {
            true => BackendBody::Embedded(Box::new(self)),
            false => BackendBody::Whole(poll_fn(|cx| self.poll_data(cx)).await.transpose()?),
        };
        Ok(Answering { body, tokens, adapter: 0 })
    }

    /// Whether the last bytes have been given.
    pub(crate) fn is_done(&self) -> bool {
        self.ended
    }

    pub(crate) fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, EmbeddedError>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        if self.streamed && !self.began {
            self.began = true;
            return Poll::Ready(Some(Ok(self.head.first_event())));
        }
        loop {
            let event = match self.first.take() {
                Some(event) => Some(event),
                None => std::task::ready!(self.events.poll_recv(cx)),
            };
            match event {
                Some(Event::Text(text)) if self.streamed => return Poll::Ready(Some(Ok(self.head.text_event(&text)))),
                Some(Event::Text(text)) => self.text.push_str(&text),
                Some(Event::Done(finish)) => return Poll::Ready(Some(Ok(self.end(finish)))),
                Some(Event::Failed(error)) => {
                    self.ended = true;
                    return Poll::Ready(Some(Err(error.into())));
                }
                None => {
                    self.ended = true;
                    return Poll::Ready(Some(Err(ModelError::Stopped.into())));
                }
            }
        }
    }

    fn end(&mut self, finish: Finish) -> Bytes {
        self.ended = true;
        let usage = Usage { prompt: finish.prompt_tokens as u64, completion: finish.completion_tokens as u64 };
        let reason = match finish.reason {
            FinishReason::Stop => "stop",
            FinishReason::Length => "length",
        };
        // The slot is this answer's alone, and this is its one end.
        let _ = self.tokens.set(finish.trace);
        match self.streamed {
            true => self.head.last_events(reason, self.usage.then_some(usage)),
            false => self.head.whole(&self.text, reason, usage),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The answer of a model that says these events and hangs up.
    async fn answer(events: Vec<Event>, streamed: bool) -> Result<Answering, EmbeddedError> {
        let (sender, receiver) = mpsc::channel(events.len() + 1);
        for event in events {
            sender.send(event).await.unwrap();
        }
        drop(sender);
        let head = CompletionHead { id: "c".into(), created: 0, model: "m".into() };
        EmbeddedBody::new(receiver, None, head, streamed, false).answering().await
    }

    async fn read(body: &mut BackendBody) -> (String, Option<String>) {
        let mut text = String::new();
        loop {
            match poll_fn(|cx| body.poll_data(cx)).await {
                Some(Ok(data)) => text += str::from_utf8(&data).unwrap(),
                Some(Err(error)) => return (text, Some(error.to_string())),
                None => return (text, None),
            }
        }
    }

    #[tokio::test]
    async fn a_model_that_fails_midway_is_an_error_and_no_half_an_answer() {
        let text = || Event::Text("half an ".into());
        let failed = || Event::Failed(ModelError::Name("x".into()));
        for (events, why) in [(vec![text(), failed()], "\"x\""), (vec![text()], "shut down"), (vec![], "shut down")] {
            let error = answer(events, false).await.err().expect("there is no answer").to_string();
            assert!(error.contains(why), "{error}");
        }
        for (events, why) in [(vec![text(), failed()], "\"x\""), (vec![text()], "shut down")] {
            let mut answering = answer(events, true).await.unwrap();
            let (said, error) = read(&mut answering.body).await;
            assert!(said.contains("half an ") && said.ends_with("\n\n") && !said.contains("[DONE]"), "{said}");
            assert!(error.unwrap().contains(why));
            assert!(answering.tokens.get().is_none());
        }
    }

    #[tokio::test]
    async fn an_answer_in_one_piece_is_there_at_its_end_with_its_tokens() {
        let (reason, trace) = (FinishReason::Stop, TokenTrace::default());
        let finish = Finish { reason, prompt_tokens: 3, cached_tokens: 0, completion_tokens: 2, trace };
        for streamed in [false, true] {
            let events = vec![Event::Text("all of ".into()), Event::Text("it".into()), Event::Done(finish.clone())];
            let mut answering = answer(events, streamed).await.unwrap();
            assert_eq!(matches!(answering.body, BackendBody::Whole(_)), !streamed);
            let (said, error) = read(&mut answering.body).await;
            assert_eq!(
                (error, said.contains("all of it"), said.contains("[DONE]")),
                (None, !streamed, streamed),
                "{said}"
            );
            assert!(answering.tokens.get().is_some());
        }
    }
}
