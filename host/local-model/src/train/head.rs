use super::layer::add_norm_back;
use super::pass::Pass;
use super::product::{Factor, Rows, View, add_products};
use crate::math::{exp, log_sum_exp, narrow, rms_norm};

/// Positions whose logits are in memory at once.
const CHUNK: usize = 64;

/// A token whose log-probability is wanted.
#[derive(Clone, Copy)]
pub(super) struct Target {
    /// The row that predicts it.
    pub(super) row: usize,
    pub(super) token: u32,
}

impl Pass<'_> {
    /// The log-probability of each target, given the last layer's output.
    pub(super) fn logprobs(&self, x: &[f32], targets: &[Target]) -> Vec<f64> {
        let mut logprobs = Vec::with_capacity(targets.len());
        for targets in targets.chunks(CHUNK) {
            let (_, mut logits) = self.logits(x, targets);
            logprobs.extend(self.score(&mut logits, targets, None));
        }
        logprobs
    }

    /// The same, and adds to `dx` the gradient of `x`: `slope(i, logprob)` says how the loss changes with the
    /// log-probability of target `i`.
    pub(super) fn logprobs_and_back(
        &self,
        x: &[f32],
        targets: &[Target],
        slope: &(dyn Fn(usize, f64) -> f64 + Sync),
        dx: &mut [f32],
    ) -> Vec<f64> {
        let weights = &self.model.weights;
        let (hidden, eps) = (self.model.shape.hidden, self.model.shape.eps);
        let head = weights.head.as_ref().unwrap_or(&weights.embedding);
        let mut logprobs = Vec::with_capacity(targets.len());
        for (chunk, targets) in targets.chunks(CHUNK).enumerate() {
            let (rows, mut logits) = self.logits(x, targets);
            logprobs.extend(self.score(&mut logits, targets, Some(&|i, logprob| slope(chunk * CHUNK + i, logprob))));
            let d_logits = Rows::new(View::new(&logits, head.rows()), targets.len(), head.rows());
            drop(logits);
            let mut d_normed = vec![0.0; rows.len()];
            add_products(self.compute, &[(&d_logits, Factor::Backwards(head))], hidden, &mut d_normed);
            for ((target, row), d) in targets.iter().zip(rows.chunks_exact(hidden)).zip(d_normed.chunks_exact(hidden)) {
                add_norm_back(row, &weights.norm, eps, d, &mut dx[target.row * hidden..][..hidden]);
            }
        }
        logprobs
    }

    /// The rows that predict the targets, and their logits.
    fn logits(&self, x: &[f32], targets: &[Target]) -> (Vec<f32>, Vec<f32>) {
        let weights = &self.model.weights;
        let hidden = self.model.shape.hidden;
        let head = weights.head.as_ref().unwrap_or(&weights.embedding);
        let rows: Vec<f32> = targets.iter().flat_map(|target| &x[target.row * hidden..][..hidden]).copied().collect();
        let normed = rms_norm(&rows, &weights.norm, self.model.shape.eps);
        let normed = Rows::new(View::new(&normed, hidden), targets.len(), hidden);
        let mut logits = vec![0.0; targets.len() * head.rows()];
        add_products(self.compute, &[(&normed, Factor::Weights(head))], head.rows(), &mut logits);
        (rows, logits)
    }

    /// The targets' log-probabilities; with a slope, the logits become their gradients.
    fn score(
        &self,
        logits: &mut [f32],
        targets: &[Target],
        slope: Option<&(dyn Fn(usize, f64) -> f64 + Sync)>,
    ) -> Vec<f64> {
        let vocab = self.model.shape.vocab;
        let mut logprobs = vec![0.0; targets.len()];
        let (read, wanted) = (&*logits, &mut logprobs);
        self.compute.for_chunks(wanted, 1, |i, logprob| {
            let row = &read[i * vocab..][..vocab];
            logprob[0] = f64::from(row[targets[i].token as usize]) - log_sum_exp(row);
        });
        let Some(slope) = slope else { return logprobs };
        self.compute.for_chunks(logits, vocab, |i, row| {
            let token = targets[i].token as usize;
            // The loss falls with the target's logit, and rises with all in the measure of their probability.
            let slope = slope(i, logprobs[i]);
            let (norm, share) = (narrow(f64::from(row[token]) - logprobs[i]), narrow(-slope));
            row.iter_mut().for_each(|logit| *logit = share * exp(*logit - norm));
            row[token] += narrow(slope);
        });
        logprobs
    }
}
