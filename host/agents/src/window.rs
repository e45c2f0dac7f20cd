//! How much of a conversation fits where it goes. Tokens are estimated from bytes, by what the model itself has counted before.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use moka::sync::Cache;
use protocol::{Block, ChatRequest, Omission};

/// Bytes of a request to a token, until a model has counted one: English prose. Too much is rather sent than too little.
const USUAL_RATIO: f32 = 4.2;
/// No tokenizer and no script is beyond these.
const RATIOS: std::ops::RangeInclusive<f32> = 1.0..=12.0;
/// How much one more count changes the estimate.
const LEARNING_RATE: f32 = 0.3;
/// Shorter prompts say more of the model's template than of its tokenizer.
const TELLING: usize = 2_000;
/// What is kept free beside the estimate.
const MARGIN: f32 = 0.97;
/// What an answer may take when the client does not say, in tokens: as MetaClaw has it. At most a quarter of the window.
const USUAL_ANSWER: u32 = 2_048;
/// After so many counts only one in so many is looked at: weighing a request takes longer than all the rest.
const SETTLED: u32 = 16;
/// Of how many models of one upstream counts are remembered: a client may name any.
const MAX_MODELS: u64 = 256;

/// What is known of the tokenizers behind one upstream, by the names of its models.
pub(crate) struct Gauges(Cache<String, Arc<Gauge>>);

/// What is known of one model.
#[derive(Debug, Default)]
struct Gauge {
    /// Tokens of its window by its name, looked up once.
    window: Option<u32>,
    /// Bytes to a token, as the bits of a float; 0 while nothing is known.
    ratio: AtomicU32,
    /// How many prompts have been counted.
    counts: AtomicU32,
}

/// What was sent beside a request's own words, for when the upstream has counted its tokens.
#[derive(Debug)]
pub(crate) struct Sent {
    gauge: Arc<Gauge>,
    omitted: Omission,
    block: usize,
}

/// What goes to one target at once: so many tokens, the answer among them.
pub(crate) struct Window {
    gauge: Arc<Gauge>,
    /// None where nobody knows, or nothing is to be left out.
    tokens: Option<u32>,
}

impl Gauges {
    pub(crate) fn new() -> Self {
        Gauges(Cache::new(MAX_MODELS))
    }

    /// The window for this model. `tokens` says how many it has, given how many models of that name have.
    pub(crate) fn window(&self, model: &str, tokens: impl FnOnce(Option<u32>) -> Option<u32>) -> Window {
        let new = || Arc::new(Gauge { window: config::model_window(model), ..Gauge::default() });
        let gauge = self.0.get(model).unwrap_or_else(|| self.0.get_with(model.to_owned(), new));
        Window { tokens: tokens(gauge.window), gauge }
    }
}

impl Gauge {
    fn bytes_per_token(&self) -> f32 {
        match self.ratio.load(Ordering::Relaxed) {
            0 => USUAL_RATIO,
            bits => f32::from_bits(bits),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    fn learn(&self, weight: usize, tokens: u64) {
        let counted = (weight as f32 / tokens as f32).clamp(*RATIOS.start(), *RATIOS.end());
        let known = f32::from_bits(self.ratio.load(Ordering::Relaxed));
        let next = if known == 0.0 { counted } else { known + LEARNING_RATE * (counted - known) };
        self.ratio.store(next.to_bits(), Ordering::Relaxed);
    }
}

impl Sent {
    /// The model has counted so many tokens or more, and they were too many: the estimate was wrong, and is not averaged.
    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    pub(crate) fn was_too_long(&self, request: &ChatRequest, tokens: usize) {
        let weight = request.weight_without(&self.omitted) + self.block;
        let counted = weight as f32 / tokens.max(1) as f32 * MARGIN;
        let ratio = counted.min(self.gauge.bytes_per_token() * MARGIN).max(*RATIOS.start());
        self.gauge.ratio.store(ratio.to_bits(), Ordering::Relaxed);
    }

    /// How many messages were left out for want of room.
    pub(crate) fn omitted(&self) -> usize {
        self.omitted.len()
    }

    /// The upstream has counted the tokens of the request.
    pub(crate) fn learn(&self, request: &ChatRequest, tokens: u64) {
        if tokens == 0 || request.body().len() < TELLING {
            return;
        }
        let counts = self.gauge.counts.fetch_add(1, Ordering::Relaxed);
        if counts < SETTLED || counts.is_multiple_of(SETTLED) {
            self.gauge.learn(request.weight_without(&self.omitted) + self.block, tokens);
        }
    }
}

impl Window {
    /// What to leave out of the request so that it fits, with the block.
    pub(crate) fn fit(&self, request: &ChatRequest, block: Option<&Block>) -> Omission {
        match self.room(request) {
            // Nearly always; it saves weighing.
            Some(room) if request.body().len() + len(block) > room => request.omit(room.saturating_sub(len(block))),
            _ => Omission::default(),
        }
    }

    /// Whether there is room for the block beside what must stay of the request.
    pub(crate) fn has_room_for(&self, block: &Block, request: &ChatRequest) -> bool {
        let Some(room) = self.room(request) else { return true };
        let block = len(Some(block));
        if request.body().len() + block <= room {
            return true;
        }
        let kept = |room| request.weight_without(&request.omit(room));
        kept(room.saturating_sub(block)) + block <= room || kept(0) > room
    }

    /// What is to be remembered of a request that is sent.
    pub(crate) fn sent(&self, block: Option<&Block>, omitted: Omission) -> Sent {
        Sent { gauge: self.gauge.clone(), omitted, block: len(block) }
    }

    /// How much a prompt may weigh.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an estimate"
    )]
    fn room(&self, request: &ChatRequest) -> Option<usize> {
        let tokens = self.tokens?;
        let answer = request.max_answer().unwrap_or(USUAL_ANSWER.min(tokens / 4)).min(tokens / 2);
        Some(((tokens - answer) as f32 * self.gauge.bytes_per_token() * MARGIN) as usize)
    }
}

fn len(block: Option<&Block>) -> usize {
    block.map_or(0, Block::len)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::json;

    use super::*;

    fn request(turns: usize, max_tokens: Option<u32>) -> ChatRequest {
        let exchange = [
            json!({"role": "user", "content": "word ".repeat(100)}),
            json!({"role": "assistant", "content": "answer ".repeat(100)}),
        ];
        let mut messages: Vec<_> = exchange.iter().cycle().take(2 * turns).cloned().collect();
        messages.push(json!({"role": "user", "content": "last"}));
        let body = json!({"messages": messages, "max_tokens": max_tokens});
        ChatRequest::parse(Bytes::from(body.to_string())).unwrap()
    }

    #[test]
    fn what_a_model_has_counted_decides_what_fits() {
        let gauges = Gauges::new();
        let window = |model: &str| gauges.window(model, |_| Some(8_000));
        // About 25,000 bytes.
        let request = request(20, Some(1_000));
        assert!(window("a").fit(&request, None).is_empty(), "7,000 tokens of 4.2 bytes");
        let count = |request: &ChatRequest, tokens| window("a").sent(None, Omission::default()).learn(request, tokens);
        count(&request, 12_500);
        let omitted = window("a").fit(&request, None).len();
        assert!((18..30).contains(&omitted), "7,000 tokens of two bytes: {omitted} of 41");
        assert!(window("b").fit(&request, None).is_empty(), "another model has another tokenizer");
        for _ in 0..15 {
            count(&request, 4_000);
        }
        assert!(window("a").fit(&request, None).is_empty(), "it was mistaken, and learns");
        count(&self::request(0, None), 400);
        assert!(window("a").fit(&request, None).is_empty(), "a short prompt says nothing");
    }

    #[test]
    fn a_model_that_finds_it_too_long_gets_less_at_once() {
        let gauges = Gauges::new();
        let window = gauges.window("m", |_| Some(8_600));
        let request = request(20, None);
        let mut before = window.fit(&request, None);
        assert!(before.is_empty());
        for _ in 0..3 {
            window.sent(None, before.clone()).was_too_long(&request, 8_600);
            let after = window.fit(&request, None);
            assert!(after.len() > before.len() || after.len() > 30, "{} {}", before.len(), after.len());
            before = after;
        }
    }

    #[test]
    fn the_answer_and_the_block_have_their_room() {
        let gauges = Gauges::new();
        let window = gauges.window("m", |_| Some(8_600));
        assert!(window.fit(&request(20, None), None).is_empty());
        assert!(!window.fit(&request(20, Some(4_000)), None).is_empty(), "a long answer wants room");
        assert!(!window.fit(&request(20, Some(u32::MAX)), None).is_empty(), "but never all of it");
        let block = Block::new(&"skill ".repeat(1_000));
        assert!(!window.fit(&request(20, None), Some(&block)).is_empty(), "so does the block");
        assert!(window.has_room_for(&block, &request(20, None)), "the oldest messages make it");
        let huge = Block::new(&"skill ".repeat(10_000));
        assert!(!window.has_room_for(&huge, &request(20, None)));
        let unknown = gauges.window("m", |_| None);
        assert!(
            unknown.has_room_for(&huge, &request(200, None))
                && unknown.fit(&request(200, None), Some(&huge)).is_empty()
        );
    }
}
