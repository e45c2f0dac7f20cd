use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use domain::TokenTrace;
use serde_json::Value;
use tokio::sync::{mpsc, watch};

use crate::adapter::Adapter;
use crate::chat::ChatMessage;
use crate::model::{Model, ModelInfo};
use crate::sample::Sampling;
use crate::worker::{Job, Worker};
use crate::{ModelError, SubmitError};

/// The largest context, in tokens, whatever a model's file says.
const MAX_CONTEXT: usize = 1 << 20;

/// How much an engine may take.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// Compute threads, at least 1. More than the machine has free makes it slower, not faster.
    pub threads: usize,
    /// Requests answered at the same time, at least 1; they share the threads, token by token.
    pub max_active: usize,
    /// Requests that may wait, at least 1; more are refused as busy.
    pub queue: usize,
    /// Past conversations whose computation is kept.
    pub cache_entries: usize,
    /// Memory they may take, in bytes.
    pub cache_bytes: usize,
    /// Tokens of prompt and answer together, but no more than the model was made for. Each takes
    /// [`ModelInfo::bytes_per_token`] of memory in each active request.
    pub context: usize,
}

impl Default for EngineOptions {
    fn default() -> Self {
        EngineOptions { threads: 1, max_active: 4, queue: 32, cache_entries: 16, cache_bytes: 512 << 20, context: 8192 }
    }
}

/// A conversation to be continued.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The conversation so far.
    pub messages: Vec<ChatMessage>,
    /// Tools the model may call, in OpenAI's form; left out if its template takes none.
    pub tools: Option<Value>,
    /// The prompt itself, in the place of messages and tools: what was answered once can be answered again, token by token.
    pub tokens: Option<Arc<[u32]>>,
    /// How the answer is drawn.
    pub sampling: Sampling,
    /// Names this conversation, its agent included, so that the next turn computes only what is new. Two agents must
    /// never use the same one.
    pub session: Option<String>,
    /// The changes to the model to answer with.
    pub adapter: Option<Arc<Adapter>>,
}

/// What happens while a request is answered: any number of texts, then one `Done` or `Failed`.
#[derive(Debug)]
pub enum Event {
    /// More of the answer, never empty.
    Text(String),
    /// The answer is complete.
    Done(Finish),
    /// There is no answer, or it broke off.
    Failed(ModelError),
}

/// How an answer ended.
#[derive(Clone, Debug)]
pub struct Finish {
    /// Why there.
    pub reason: FinishReason,
    /// Tokens of the conversation.
    pub prompt_tokens: usize,
    /// How many of them were known from an earlier turn.
    pub cached_tokens: usize,
    /// Tokens of the answer, the end token included.
    pub completion_tokens: usize,
    /// The tokens themselves, as sampled.
    pub trace: TokenTrace,
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinishReason {
    /// The model ended it, or a stop text came.
    Stop,
    /// `max_tokens` or the context was reached.
    Length,
}

/// Answers requests with one model, on a thread of its own.
pub struct Engine {
    info: ModelInfo,
    queue: Mutex<Option<SyncSender<Job>>>,
    waiting: usize,
    /// Held by each request that waits or is answered.
    under_way: Arc<()>,
    /// Tokens of a prompt and its answer.
    context: usize,
    stop: Arc<AtomicBool>,
    /// Closed when the thread ends.
    ended: watch::Receiver<()>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Engine {
    /// Starts the engine's thread.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(model: Arc<Model>, options: &EngineOptions) -> Result<Self, ModelError> {
        let (queue, jobs) = sync_channel(options.queue.max(1));
        let (ending, ended) = watch::channel(());
        let stop = Arc::new(AtomicBool::new(false));
        let context = options.context.min(model.info().context).clamp(2, MAX_CONTEXT);
        let info = model.info().clone();
        let worker = Worker::new(model, options, context, jobs, Arc::clone(&stop));
        let thread = std::thread::Builder::new()
            .name("local-model".to_owned())
            .spawn(move || {
                worker.run();
                drop(ending);
            })
            .map_err(ModelError::io("start the thread of", "the embedded model"))?;
        Ok(Engine {
            info,
            queue: Mutex::new(Some(queue)),
            waiting: options.queue.max(1),
            under_way: Arc::default(),
            context,
            stop,
            ended,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// What the model is.
    pub fn info(&self) -> &ModelInfo {
        &self.info
    }

    /// How many tokens a prompt and its answer may have together.
    pub fn context(&self) -> usize {
        self.context
    }

    /// Whether no request waits or is answered just now.
    pub fn is_idle(&self) -> bool {
        Arc::strong_count(&self.under_way) == 1
    }

    /// Queues a request. Its events come on the receiver; dropping that cancels the request.
    ///
    /// # Errors
    /// When too many are waiting already, or the engine was shut down. What is wrong with the request itself comes as
    /// its only event.
    pub fn submit(&self, request: Request) -> Result<mpsc::Receiver<Event>, SubmitError> {
        // Room for all events there can be, so that the engine never waits for a reader. It is only taken as they come.
        let (events, receiver) = mpsc::channel(self.context + 2);
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let sent = queue.as_ref().ok_or(SubmitError::Stopped)?.try_send(Job {
            request,
            events,
            counted: self.under_way.clone(),
        });
        sent.map_err(|error| match error {
            TrySendError::Full(_) => SubmitError::Busy { waiting: self.waiting },
            TrySendError::Disconnected(_) => SubmitError::Stopped,
        })?;
        Ok(receiver)
    }

    /// Ends all requests, which then fail with [`ModelError::Stopped`], and waits for the thread.
    pub async fn shutdown(&self) {
        self.tell_to_stop();
        let mut ended = self.ended.clone();
        // Nothing is ever sent: this returns when the thread drops its end.
        let _ = ended.changed().await;
        self.join();
    }

    fn tell_to_stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    fn join(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the embedded model's thread panicked");
        }
    }
}

impl Drop for Engine {
    /// As [`Engine::shutdown`], waiting on this thread for the step under way: a fraction of a second.
    fn drop(&mut self) {
        self.tell_to_stop();
        self.join();
    }
}
