use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError};

use domain::{SampledWith, TokenTrace};
use tokio::sync::mpsc::Sender;

use crate::adapter::Adapter;
use crate::compute::Compute;
use crate::engine::{EngineOptions, Event, Finish, FinishReason, Request};
use crate::forward::Segment;
use crate::kv::KvCache;
use crate::model::Model;
use crate::sample::Sampler;
use crate::sessions::{CacheKey, SessionCaches};
use crate::text::TextStream;
use crate::{ModelError, PREFILL_CHUNK};

/// Prompt tokens computed per step while other answers are being written, so that those keep moving.
const SHARED_CHUNK: usize = 32;
/// No prompt gets fewer per step, however many are being read.
const SMALLEST_CHUNK: usize = 8;

/// A request on its way to the engine's thread.
pub(crate) struct Job {
    pub(crate) request: Request,
    pub(crate) events: Sender<Event>,
    /// Held as long as it is under way.
    pub(crate) counted: Arc<()>,
}

/// The engine's thread: in each step, every active request gets one more token, or reads on in its prompt.
pub(crate) struct Worker {
    model: Arc<Model>,
    compute: Compute,
    context: usize,
    max_active: usize,
    jobs: Receiver<Job>,
    stop: Arc<AtomicBool>,
    active: Vec<Active>,
    caches: SessionCaches,
}

/// A request being answered.
struct Active {
    events: Sender<Event>,
    _counted: Arc<()>,
    sampler: Sampler,
    text: TextStream,
    key: Option<CacheKey>,
    adapter: Option<Arc<Adapter>>,
    /// Keys and values of the first of `tokens`.
    cache: KvCache,
    /// The prompt, then the answer so far.
    tokens: Vec<u32>,
    prompt: usize,
    cached: usize,
    /// The most tokens the answer may have.
    limit: usize,
    logprobs: Vec<f32>,
    sampled_with: SampledWith,
    reason: Option<FinishReason>,
}

impl Worker {
    pub(crate) fn new(
        model: Arc<Model>,
        options: &EngineOptions,
        context: usize,
        jobs: Receiver<Job>,
        stop: Arc<AtomicBool>,
    ) -> Self {
        Worker {
            model,
            compute: Compute::new(options.threads),
            context,
            max_active: options.max_active.max(1),
            jobs,
            stop,
            active: Vec::new(),
            caches: SessionCaches::new(options.cache_entries, options.cache_bytes),
        }
    }

    /// Works until the engine is told to stop and hangs up.
    pub(crate) fn run(mut self) {
        while self.admit() {
            // A panic here is our bug. It must not take the model away from everybody else until the next restart.
            if catch_unwind(AssertUnwindSafe(|| self.step())).is_err() {
                tracing::error!(requests = self.active.len(), "the embedded model panicked; its requests are lost");
                self.fail_active();
            }
        }
        self.fail_active();
    }

    fn fail_active(&mut self) {
        for active in self.active.drain(..) {
            let _ = active.events.try_send(Event::Failed(ModelError::Stopped));
        }
    }

    /// Takes requests as far as there is room, waiting for one if there are none. False when it is time to stop.
    fn admit(&mut self) -> bool {
        while self.active.len() < self.max_active {
            let next = if self.active.is_empty() {
                self.jobs.recv().map_err(|_| TryRecvError::Disconnected)
            } else {
                self.jobs.try_recv()
            };
            match next {
                Ok(job) if self.stop.load(Ordering::Acquire) => {
                    let _ = job.events.try_send(Event::Failed(ModelError::Stopped));
                }
                Ok(job) if job.events.is_closed() => {}
                Ok(job) => self.begin(job),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return !self.active.is_empty() && !self.stopping(),
            }
        }
        !self.stopping()
    }

    /// Whether to end now. What still waits is answered by [`Self::admit`] first.
    fn stopping(&mut self) -> bool {
        if !self.stop.load(Ordering::Acquire) {
            return false;
        }
        while let Ok(job) = self.jobs.try_recv() {
            let _ = job.events.try_send(Event::Failed(ModelError::Stopped));
        }
        true
    }

    fn begin(&mut self, job: Job) {
        let events = job.events.clone();
        let begun = catch_unwind(AssertUnwindSafe(|| self.prepare(job)));
        match begun {
            Ok(Ok(active)) => self.active.push(active),
            Ok(Err(error)) => drop(events.try_send(Event::Failed(error))),
            Err(_) => drop(events.try_send(Event::Failed(ModelError::Stopped))),
        }
    }

    fn prepare(&mut self, Job { request, events, counted }: Job) -> Result<Active, ModelError> {
        request.sampling.check()?;
        if let Some(adapter) = &request.adapter {
            adapter.check(&self.model.shape)?;
        }
        let tokens = match &request.tokens {
            Some(tokens) => {
                self.model.check_tokens(tokens, self.context - 1)?;
                tokens.to_vec()
            }
            None => self.model.template.encode(
                &self.model.tokenizer,
                &request.messages,
                request.tools.as_ref(),
                self.context - 1,
            )?,
        };
        let adapter = request.adapter.as_ref().map_or(0, |adapter| adapter.id);
        let base = Some(self.model.info().sha256);
        let sampled_with = SampledWith { base, ..request.sampling.sampled_with() };
        let key = request.session.map(|session| CacheKey { session, adapter });
        let known = key.as_ref().and_then(|key| self.caches.longest_prefix(key, &tokens));
        let cache = known.unwrap_or_else(|| KvCache::new(self.model.shape.kv()));
        Ok(Active {
            events,
            _counted: counted,
            text: TextStream::new(request.sampling.stop.clone()),
            limit: request.sampling.max_tokens.unwrap_or(usize::MAX).min(self.context - tokens.len()),
            sampler: Sampler::new(request.sampling),
            key,
            adapter: request.adapter,
            prompt: tokens.len(),
            cached: cache.len(),
            cache,
            tokens,
            logprobs: Vec::new(),
            sampled_with,
            reason: None,
        })
    }

    fn step(&mut self) {
        self.retire(|active| active.events.is_closed());
        let shares = shares(&self.active);
        let mut segments: Vec<Segment<'_>> = Vec::with_capacity(self.active.len());
        for (active, share) in self.active.iter_mut().zip(&shares) {
            let pending = &active.tokens[active.cache.len()..];
            segments.push(Segment {
                tokens: &pending[..*share],
                outputs: usize::from(*share == pending.len()),
                cache: &mut active.cache,
                adapter: active.adapter.as_deref(),
            });
        }
        if segments.is_empty() {
            return;
        }
        let mut logits = self.model.weights.forward(&self.model.shape, &self.compute, &mut segments);
        let mut rows = logits.chunks_exact_mut(self.model.shape.vocab);
        for active in self.active.iter_mut().filter(|active| active.pending() == 0) {
            if let Some(row) = rows.next() {
                active.advance(&self.model, row);
            }
        }
        self.retire(|active| active.reason.is_some());
    }

    /// Lets go of the requests that are over, and remembers what was computed for them.
    fn retire(&mut self, over: impl Fn(&Active) -> bool) {
        for active in self.active.extract_if(.., |active| over(active)) {
            let finish = active.finish();
            let Active { events, key, tokens, cache, .. } = active;
            // The computation is kept before the answer is announced: the next turn may come at once.
            if let Some(key) = key {
                self.caches.keep(key, tokens, cache);
            }
            if let Some(finish) = finish {
                let _ = events.try_send(Event::Done(finish));
            }
        }
    }
}

impl Active {
    /// Tokens that are not computed yet.
    fn pending(&self) -> usize {
        self.tokens.len() - self.cache.len()
    }

    /// Draws the next token and sends what can be sent.
    fn advance(&mut self, model: &Model, logits: &mut [f32]) {
        let (token, logprob) = self.sampler.next(logits);
        self.tokens.push(token);
        self.logprobs.push(logprob);
        let end = model.tokenizer.is_end(token);
        let mut text = if end { String::new() } else { self.text.push(model.tokenizer.bytes(token)) };
        if end || self.text.stopped() {
            self.reason = Some(FinishReason::Stop);
        } else if self.tokens.len() - self.prompt >= self.limit {
            self.reason = Some(FinishReason::Length);
        }
        if self.reason.is_some() {
            text.push_str(&self.text.finish());
        }
        if !text.is_empty() {
            // If nobody listens any more, the next step notices.
            let _ = self.events.try_send(Event::Text(text));
        }
    }

    fn finish(&self) -> Option<Finish> {
        let (prompt, completion) = self.tokens.split_at(self.prompt);
        Some(Finish {
            reason: self.reason?,
            prompt_tokens: prompt.len(),
            cached_tokens: self.cached,
            completion_tokens: completion.len(),
            trace: TokenTrace {
                prompt: prompt.into(),
                completion: completion.to_vec(),
                logprobs: self.logprobs.clone(),
                sampled_with: self.sampled_with,
            },
        })
    }
}

/// How many of its pending tokens each request computes in this step.
fn shares(active: &[Active]) -> Vec<usize> {
    let reading = active.iter().filter(|active| active.pending() > 1).count();
    let all = if reading < active.len() { SHARED_CHUNK } else { PREFILL_CHUNK };
    let each = (all / reading.max(1)).max(SMALLEST_CHUNK);
    active.iter().map(|active| active.pending().min(each)).collect()
}
