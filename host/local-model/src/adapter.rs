use std::sync::atomic::{AtomicU64, Ordering};

use crate::ModelError;
use crate::math::dot;
use crate::train::Change;
use crate::weights::Shape;

/// A linear layer that an adapter may change, by its name in PEFT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Projection {
    /// `self_attn.q_proj`
    Query,
    /// `self_attn.k_proj`
    Key,
    /// `self_attn.v_proj`
    Value,
    /// `self_attn.o_proj`
    Output,
    /// `mlp.gate_proj`
    Gate,
    /// `mlp.up_proj`
    Up,
    /// `mlp.down_proj`
    Down,
}

impl Projection {
    /// All of them, in the order of [`AdapterLayer::projections`].
    pub const ALL: [Projection; 7] = [
        Projection::Query,
        Projection::Key,
        Projection::Value,
        Projection::Output,
        Projection::Gate,
        Projection::Up,
        Projection::Down,
    ];
}

/// A LoRA adapter: small changes to the linear layers of one model, chosen per request. Immutable once made.
#[derive(Debug)]
pub struct Adapter {
    /// Tells adapters apart in the cache of past conversations, whatever their names.
    pub(crate) id: u64,
    name: String,
    layers: Vec<AdapterLayer>,
}

/// The changes to one transformer layer.
#[derive(Clone, Debug, Default)]
pub struct AdapterLayer {
    /// One change, or none, for each of [`Projection::ALL`].
    pub projections: [Option<LowRank>; 7],
}

/// `y = W x + scale * B (A x)`.
#[derive(Clone, Debug)]
pub struct LowRank {
    rank: usize,
    scale: f32,
    /// rank × in, row by row.
    a: Vec<f32>,
    /// rank × out: B transposed, so that its products run along the output.
    b: Vec<f32>,
}

impl LowRank {
    /// From A (rank × in) and B (out × rank), row by row as PEFT stores them; `scale` is alpha over rank.
    ///
    /// # Errors
    /// When the lengths are not multiples of the rank, or a number is not finite.
    pub fn new(rank: usize, scale: f32, a: Vec<f32>, b: &[f32]) -> Result<Self, ModelError> {
        if rank == 0 || !a.len().is_multiple_of(rank) || !b.len().is_multiple_of(rank) {
            return Err(ModelError::LowRank("the sizes of A and B are not multiples of the rank"));
        }
        if !scale.is_finite() || a.iter().chain(b).any(|x| !x.is_finite()) {
            return Err(ModelError::LowRank("some are not finite"));
        }
        let out = b.len() / rank;
        let mut transposed = vec![0.0; b.len()];
        for (i, x) in b.iter().enumerate() {
            transposed[i % rank * out + i / rank] = *x;
        }
        Ok(LowRank { rank, scale, a, b: transposed })
    }

    /// From A and the turned B, both rank × something.
    pub(crate) fn from_turned(rank: usize, scale: f32, change: Change) -> Result<Self, ModelError> {
        let Change { a, b } = change;
        if a.iter().chain(&b).any(|x| !x.is_finite()) {
            return Err(ModelError::LowRank("some are not finite"));
        }
        Ok(LowRank { rank, scale, a, b })
    }

    fn size(&self) -> (usize, usize) {
        (self.b.len() / self.rank, self.a.len() / self.rank)
    }

    /// Adds `scale * B (A x)` to each row of `y`.
    pub(crate) fn add(&self, x: &[f32], y: &mut [f32]) {
        let (out, cols) = self.size();
        for (x, y) in x.chunks_exact(cols).zip(y.chunks_exact_mut(out)) {
            for (a, b) in self.a.chunks_exact(cols).zip(self.b.chunks_exact(out)) {
                let inner = self.scale * dot(a, x);
                y.iter_mut().zip(b).for_each(|(y, b)| *y += inner * b);
            }
        }
    }
}

impl Adapter {
    /// Makes an adapter. `name` is for messages and logs, such as `researcher@7`.
    pub fn new(name: impl Into<String>, layers: Vec<AdapterLayer>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Adapter { id: NEXT.fetch_add(1, Ordering::Relaxed), name: name.into(), layers }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Bytes of memory that its matrices take.
    pub fn bytes(&self) -> usize {
        let all = self.layers.iter().flat_map(|layer| layer.projections.iter().flatten());
        all.map(|low| (low.a.len() + low.b.len()) * size_of::<f32>()).sum()
    }

    pub(crate) fn get(&self, layer: usize, projection: Projection) -> Option<&LowRank> {
        self.layers.get(layer)?.projections[projection as usize].as_ref()
    }

    /// Refuses an adapter whose matrices do not fit the model's.
    pub(crate) fn check(&self, shape: &Shape) -> Result<(), ModelError> {
        let wrong = |reason| Err(ModelError::Adapter { adapter: self.name.clone(), reason });
        if self.layers.len() > shape.layers {
            return wrong(format!("it has {} layers, the model {}", self.layers.len(), shape.layers));
        }
        for (i, layer) in self.layers.iter().enumerate() {
            for projection in Projection::ALL {
                let Some(low) = &layer.projections[projection as usize] else { continue };
                let want = shape.projection(projection);
                if low.size() != want {
                    return wrong(format!("{projection:?} of layer {i} is {:?}, the model's is {want:?}", low.size()));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_low_rank_change_equals_the_dense_one() {
        let (rank, cols, out) = (3, 40, 5);
        let a: Vec<f32> = (0..rank * cols).map(|i| (i as f32).sin()).collect();
        let b: Vec<f32> = (0..out * rank).map(|i| (i as f32).cos()).collect();
        let x: Vec<f32> = (0..2 * cols).map(|i| (i as f32 * 0.3).sin()).collect();
        let low = LowRank::new(rank, 0.5, a.clone(), &b).unwrap();
        let mut y = vec![1.0; 2 * out];
        low.add(&x, &mut y);
        for (i, y) in y.iter().enumerate() {
            let (row, o) = (i / out, i % out);
            let delta = |k: usize| (0..rank).map(|r| b[o * rank + r] * a[r * cols + k]).sum::<f32>();
            let want = 1.0 + 0.5 * (0..cols).map(|k| delta(k) * x[row * cols + k]).sum::<f32>();
            assert!((y - want).abs() < 1e-4, "{y} instead of {want}");
        }
    }

    #[test]
    fn broken_matrices_are_refused() {
        assert!(LowRank::new(0, 1.0, vec![], &[]).is_err());
        assert!(LowRank::new(2, 1.0, vec![1.0; 3], &[1.0; 4]).is_err());
        assert!(LowRank::new(1, 1.0, vec![f32::NAN], &[1.0]).is_err());
    }
}
