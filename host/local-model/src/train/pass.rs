use std::ops::Range;

use super::Watch;
use super::head::Target;
use super::layer::Kept;
use super::parameters::Parameters;
use crate::ModelError;
use crate::compute::Compute;
use crate::math::narrow;
use crate::model::Model;

/// One way through the model and back, for several sequences at once: their rows follow one another.
pub(super) struct Pass<'a> {
    pub(super) model: &'a Model,
    pub(super) parameters: &'a Parameters,
    pub(super) scale: f32,
    pub(super) compute: &'a Compute,
    /// All rows there are.
    pub(super) rows: usize,
    /// Those of each sequence.
    pub(super) segments: Vec<Range<usize>>,
    /// Cosine and sine of each pair's angle, for each row.
    pub(super) rotation: Vec<(f32, f32)>,
}

/// What the way back needs: all of it, or each layer's input, of which the rest is computed once more.
enum Memory {
    All(Vec<Kept>),
    Inputs(Vec<Vec<f32>>),
}

/// How far the passes of a batch are.
pub(super) struct Progress<'a> {
    pub(super) watch: &'a Watch,
    /// Tokens of the passes before, and of this one.
    pub(super) before: usize,
    pub(super) tokens: usize,
}

impl Progress<'_> {
    /// Looked at before each layer: layer `step` of `steps`, there and back.
    fn at(&self, step: usize, steps: usize) -> Result<(), ModelError> {
        if self.watch.stopped() {
            return Err(ModelError::Interrupted);
        }
        self.watch.done(self.before + self.tokens * step / steps.max(1));
        Ok(())
    }
}

impl<'a> Pass<'a> {
    pub(super) fn new(
        model: &'a Model,
        parameters: &'a Parameters,
        scale: f32,
        compute: &'a Compute,
        lengths: impl Iterator<Item = usize>,
    ) -> Self {
        let mut segments = Vec::new();
        let mut rotation = Vec::new();
        let mut rows = 0;
        for length in lengths {
            segments.push(rows..rows + length);
            rows += length;
            for position in 0..length {
                rotation.extend(model.weights.frequencies.iter().map(|frequency| {
                    let (sin, cos) = (position as f64 * frequency).sin_cos();
                    (narrow(cos), narrow(sin))
                }));
            }
        }
        Pass { model, parameters, scale, compute, rows, segments, rotation }
    }

    fn embed(&self, tokens: impl Iterator<Item = u32>) -> Vec<f32> {
        let mut x = Vec::with_capacity(self.rows * self.model.shape.hidden);
        for token in tokens {
            self.model.weights.embedding.row(token as usize, &mut x);
        }
        x
    }

    /// The targets' log-probabilities.
    pub(super) fn score_only(&self, tokens: impl Iterator<Item = u32>, targets: &[Target]) -> Vec<f64> {
        let mut x = self.embed(tokens);
        for index in 0..self.model.shape.layers {
            x = self.layer(index, x).1;
        }
        self.logprobs(&x, targets)
    }

    /// The targets' log-probabilities; adds to `gradients`, as `slope` says. Keeps no more than about `budget` bytes.
    pub(super) fn there_and_back(
        &self,
        tokens: impl Iterator<Item = u32>,
        targets: &[Target],
        slope: &(dyn Fn(usize, f64) -> f64 + Sync),
        gradients: &mut Parameters,
        (budget, progress): (usize, &Progress<'_>),
    ) -> Result<Vec<f64>, ModelError> {
        let layers = self.model.shape.layers;
        let all = self.rows * layers * Kept::bytes_per_row(&self.model.shape, self.parameters.rank);
        let mut memory = if all <= budget { Memory::All(Vec::new()) } else { Memory::Inputs(Vec::new()) };
        let mut x = self.embed(tokens);
        for index in 0..layers {
            progress.at(index, 2 * layers)?;
            x = match &mut memory {
                Memory::All(kept) => {
                    let (layer, output) = self.layer(index, x);
                    kept.push(layer);
                    output
                }
                Memory::Inputs(inputs) => {
                    inputs.push(x.clone());
                    self.layer(index, x).1
                }
            };
        }
        progress.at(layers, 2 * layers)?;
        let mut dx = vec![0.0; x.len()];
        let logprobs = self.logprobs_and_back(&x, targets, slope, &mut dx);
        drop(x);
        for index in (0..layers).rev() {
            progress.at(2 * layers - 1 - index, 2 * layers)?;
            let kept = match &mut memory {
                Memory::All(kept) => kept.pop(),
                Memory::Inputs(inputs) => inputs.pop().map(|input| self.layer(index, input).0),
            };
            if let Some(kept) = kept {
                dx = self.layer_back(index, &kept, dx, gradients);
            }
        }
        Ok(logprobs)
    }
}
