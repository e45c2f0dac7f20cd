use std::ops::Range;
use std::sync::Arc;

use super::adamw::Moments;
use super::head::Target;
use super::loss::Part;
use super::parameters::Parameters;
use super::pass::{Pass, Progress};
use super::{AdamW, Datum, LoraShape, Loss, Optim, Report, Watch};
use crate::compute::Compute;
use crate::math::narrow;
use crate::model::Model;
use crate::{Adapter, ModelError};

/// Tokens that go through the model together, unless one example alone has more.
const PASS_TOKENS: usize = 512;
/// Bytes that a pass may keep for its way back. Beyond that, layers are computed once more.
const KEPT_BYTES: usize = 256 << 20;

/// An adapter that is being trained: its matrices, their gradients, and what AdamW remembers. It shares the model's weights
/// with everybody and nothing else with anybody.
pub struct Trainee {
    pub(crate) model: Arc<Model>,
    pub(crate) lora: LoraShape,
    pub(crate) parameters: Parameters,
    pub(super) gradients: Parameters,
    pub(crate) moments: Moments,
    kept_bytes: usize,
}

impl Trainee {
    /// A new adapter, as PEFT begins one: it changes nothing yet. The same seed gives the same one.
    ///
    /// # Errors
    /// When the shape is out of its range.
    pub fn fresh(model: Arc<Model>, shape: LoraShape, seed: u64) -> Result<Self, ModelError> {
        shape.check()?;
        let parameters = Parameters::fresh(&model.shape, &shape, seed);
        let zero = Parameters::zero(&model.shape, &shape);
        let moments = Moments { first: zero.clone(), second: zero, steps: 0 };
        Ok(Self::new(model, shape, parameters, moments))
    }

    pub(crate) fn new(model: Arc<Model>, lora: LoraShape, parameters: Parameters, moments: Moments) -> Self {
        let gradients = Parameters::zero(&model.shape, &lora);
        Trainee { model, lora, parameters, gradients, moments, kept_bytes: KEPT_BYTES }
    }

    /// What its matrices are like.
    pub fn shape(&self) -> LoraShape {
        self.lora
    }

    /// Steps taken since it was fresh.
    pub fn steps(&self) -> u64 {
        self.moments.steps
    }

    /// How many bytes of activations a pass may keep (256 MiB at first). Beyond that each layer is computed once more on
    /// the way back, which gives the same numbers.
    pub fn keep_at_most(&mut self, bytes: usize) {
        self.kept_bytes = bytes;
    }

    /// Adds the gradient of the loss over `data` to what there is, on `threads` threads. The result does not depend on
    /// how many those are.
    ///
    /// # Errors
    /// When a datum cannot be trained on, the loss's thresholds make no sense, something comes out that is not finite,
    /// or `watch` was told to stop. Then nothing was added.
    pub fn forward_backward(
        &mut self,
        data: &[Datum],
        loss: Loss,
        threads: usize,
        watch: &Watch,
    ) -> Result<Report, ModelError> {
        loss.check()?;
        for (index, datum) in data.iter().enumerate() {
            datum
                .check(self.model.shape.vocab, self.model.shape.context)
                .map_err(|reason| ModelError::Datum { index, reason })?;
        }
        watch.begin(data.iter().map(|datum| datum.tokens.len()).sum());
        let compute = Compute::new(threads);
        let mut gradients = Parameters::zero(&self.model.shape, &self.lora);
        let (mut report, mut tally) = (Report::default(), Tally::default());
        let mut before = 0;
        for range in passes(data) {
            let part = &data[range.clone()];
            let progress = Progress { watch, before, tokens: part.iter().map(|datum| datum.tokens.len()).sum() };
            let logprobs = compute.enter(|| self.pass(part, loss, &compute, &mut gradients, &progress))?;
            for (index, (datum, logprobs)) in range.zip(part.iter().zip(logprobs)) {
                tally.add(datum, &logprobs, loss).map_err(|reason| ModelError::Datum { index, reason })?;
                report.logprobs.push(logprobs.iter().map(|logprob| narrow(*logprob)).collect());
            }
            before += progress.tokens;
        }
        if !gradients.finite() {
            return Err(ModelError::Training("the gradients of this batch are not finite".to_owned()));
        }
        self.gradients.add(&gradients);
        watch.done(before);
        Ok(tally.report(report))
    }

    /// Adds the gradients of some data; returns the log-probabilities of each one's completion.
    fn pass(
        &self,
        data: &[Datum],
        loss: Loss,
        compute: &Compute,
        gradients: &mut Parameters,
        progress: &Progress<'_>,
    ) -> Result<Vec<Vec<f64>>, ModelError> {
        let lengths = data.iter().map(|datum| datum.tokens.len() - 1);
        let pass = Pass::new(&self.model, &self.parameters, self.lora.scale(), compute, lengths);
        let tokens = data.iter().flat_map(|datum| &datum.tokens[..datum.tokens.len() - 1]).copied();
        let targets: Vec<Target> = data
            .iter()
            .zip(&pass.segments)
            .flat_map(|(datum, rows)| targets(&datum.tokens, datum.prompt, rows))
            .collect();
        let drawn: Vec<(f32, f32)> = data
            .iter()
            .flat_map(|datum| datum.logprobs.iter().copied().zip(datum.advantages.iter().copied()))
            .collect();
        let slope = |i: usize, now: f64| {
            let (then, advantage) = drawn[i];
            loss.of(now, then.into(), advantage.into()).slope
        };
        let logprobs = pass.there_and_back(tokens, &targets, &slope, gradients, (self.kept_bytes, progress))?;
        let mut rest = logprobs.as_slice();
        let take = |datum: &Datum| rest.split_off(..datum.completion()).unwrap_or_default().to_vec();
        Ok(data.iter().map(take).collect())
    }

    /// Takes a step along the gradients, which are zero after it.
    ///
    /// # Errors
    /// When a setting is out of its range, or a gradient is not finite. Then nothing was changed.
    pub fn optim_step(&mut self, adam: &AdamW) -> Result<Optim, ModelError> {
        let done = adam.step(&mut self.parameters, &self.gradients, &mut self.moments)?;
        self.gradients.clear();
        Ok(done)
    }

    /// Forgets the gradients that no step has been taken along.
    pub fn clear_gradients(&mut self) {
        self.gradients.clear();
    }

    /// The log-probability of each token from position `from` (at least 1) on, after those before it.
    ///
    /// # Errors
    /// When there is nothing before `from`, a token is not of the vocabulary, or they do not fit the context.
    pub fn logprobs(&self, tokens: &[u32], from: usize, threads: usize) -> Result<Vec<f32>, ModelError> {
        if from == 0 || from > tokens.len() {
            return Err(ModelError::Tokens(format!("there are {}, and the first wanted is {from}", tokens.len())));
        }
        self.model.check_tokens(tokens, self.model.shape.context)?;
        let compute = Compute::new(threads);
        let given = &tokens[..tokens.len() - 1];
        let scored = compute.enter(|| {
            let lengths = std::iter::once(given.len());
            let pass = Pass::new(&self.model, &self.parameters, self.lora.scale(), &compute, lengths);
            let targets: Vec<Target> = targets(tokens, from, &(0..given.len())).collect();
            pass.score_only(given.iter().copied(), &targets)
        });
        Ok(scored.into_iter().map(narrow).collect())
    }

    /// The adapter as it is now, to be served. What is trained later does not reach it.
    ///
    /// # Errors
    /// When a parameter is not finite.
    pub fn adapter(&self, name: impl Into<String>) -> Result<Adapter, ModelError> {
        self.parameters.clone().into_adapter(name.into(), self.lora.scale())
    }
}

/// The tokens from `from` on, each with the row before it.
fn targets(tokens: &[u32], from: usize, rows: &Range<usize>) -> impl Iterator<Item = Target> {
    let first = rows.start + from - 1;
    tokens[from..].iter().zip(first..).map(|(token, row)| Target { row, token: *token })
}

/// Which data go through the model together.
fn passes(data: &[Datum]) -> Vec<Range<usize>> {
    let mut passes: Vec<Range<usize>> = Vec::new();
    let mut tokens = 0;
    for (index, datum) in data.iter().enumerate() {
        tokens += datum.tokens.len();
        match passes.last_mut() {
            Some(last) if tokens <= PASS_TOKENS => last.end = index + 1,
            _ => {
                passes.push(index..index + 1);
                tokens = datum.tokens.len();
            }
        }
    }
    passes
}

/// Adds up what is reported.
#[derive(Default)]
struct Tally {
    loss: f64,
    clipped: u64,
    drift: f64,
    tokens: u64,
}

impl Tally {
    fn add(&mut self, datum: &Datum, logprobs: &[f64], loss: Loss) -> Result<(), String> {
        for ((now, then), advantage) in logprobs.iter().zip(&datum.logprobs).zip(&datum.advantages) {
            let Part { loss, slope, clipped } = loss.of(*now, (*then).into(), (*advantage).into());
            let change = now - f64::from(*then);
            let drift = change.exp() - 1.0 - change;
            if !(loss.is_finite() && slope.is_finite() && drift.is_finite()) {
                return Err(format!("a token drawn at {then} is now at {now}, which gives a loss of {loss}"));
            }
            self.loss += loss;
            self.clipped += u64::from(clipped);
            self.drift += drift;
            self.tokens += 1;
        }
        Ok(())
    }

    fn report(self, report: Report) -> Report {
        let tokens = self.tokens.max(1) as f64;
        Report {
            loss: self.loss,
            clipped: self.clipped as f64 / tokens,
            drift: self.drift / tokens,
            tokens: self.tokens,
            ..report
        }
    }
}
