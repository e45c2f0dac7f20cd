use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use super::LoraShape;
use crate::ModelError;
use crate::adapter::Projection;
use crate::math::narrow;
use crate::weights::Shape;

/// The largest rank there may be.
pub(crate) const MAX_RANK: usize = 1024;

/// One number for each parameter of an adapter: the parameters themselves, their gradients, or what AdamW remembers.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Parameters {
    pub(crate) rank: usize,
    pub(crate) layers: Vec<[Option<Change>; 7]>,
}

/// The two matrices of one linear layer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Change {
    /// rank × in, row by row.
    pub(crate) a: Vec<f32>,
    /// rank × out: B turned, so that both are read row by row.
    pub(crate) b: Vec<f32>,
}

impl LoraShape {
    pub(crate) fn scale(&self) -> f32 {
        self.alpha / self.rank as f32
    }

    pub(crate) fn check(&self) -> Result<(), ModelError> {
        let refused = |what: String| Err(ModelError::Training(what));
        if self.rank == 0 || self.rank > MAX_RANK {
            return refused(format!("its rank is {}, but must be from 1 to {MAX_RANK}", self.rank));
        }
        if !self.alpha.is_finite() || self.alpha <= 0.0 {
            return refused(format!("its alpha is {}, but must be above 0", self.alpha));
        }
        if !self.projections.contains(&true) {
            return refused("it changes no linear layer; choose at least one".to_owned());
        }
        Ok(())
    }
}

impl Parameters {
    /// All zero.
    pub(crate) fn zero(model: &Shape, lora: &LoraShape) -> Self {
        let change = |projection: Projection| {
            let (out, cols) = model.projection(projection);
            let rank = lora.rank;
            lora.projections[projection as usize]
                .then(|| Change { a: vec![0.0; rank * cols], b: vec![0.0; rank * out] })
        };
        Parameters { rank: lora.rank, layers: vec![Projection::ALL.map(change); model.layers] }
    }

    /// PEFT's beginning: A evenly spread within `±1/sqrt(in)`, B zero.
    pub(crate) fn fresh(model: &Shape, lora: &LoraShape, seed: u64) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut parameters = Parameters::zero(model, lora);
        for change in parameters.changes_mut() {
            let bound = 1.0 / ((change.a.len() / lora.rank) as f64).sqrt();
            for a in &mut change.a {
                let uniform = (random.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
                *a = narrow((2.0 * uniform - 1.0) * bound);
            }
        }
        parameters
    }

    pub(crate) fn get(&self, layer: usize, projection: Projection) -> Option<&Change> {
        self.layers[layer][projection as usize].as_ref()
    }

    pub(crate) fn get_mut(&mut self, layer: usize, projection: Projection) -> Option<&mut Change> {
        self.layers[layer][projection as usize].as_mut()
    }

    pub(crate) fn changes(&self) -> impl Iterator<Item = &Change> {
        self.layers.iter().flat_map(|layer| layer.iter().flatten())
    }

    pub(crate) fn changes_mut(&mut self) -> impl Iterator<Item = &mut Change> {
        self.layers.iter_mut().flat_map(|layer| layer.iter_mut().flatten())
    }

    /// All matrices, always in the same order.
    pub(crate) fn matrices(&self) -> impl Iterator<Item = &Vec<f32>> {
        self.changes().flat_map(|change| [&change.a, &change.b])
    }

    /// All matrices, to be changed, in the same order.
    pub(crate) fn matrices_mut(&mut self) -> impl Iterator<Item = &mut Vec<f32>> {
        self.changes_mut().flat_map(|change| [&mut change.a, &mut change.b])
    }

    /// Adds the numbers of `other`, which has the same shape.
    pub(crate) fn add(&mut self, other: &Parameters) {
        for (to, from) in self.matrices_mut().zip(other.matrices()) {
            to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
        }
    }

    pub(crate) fn clear(&mut self) {
        self.matrices_mut().for_each(|matrix| matrix.fill(0.0));
    }

    pub(crate) fn finite(&self) -> bool {
        self.matrices().flatten().all(|x| x.is_finite())
    }
}
