//! The gradients against PyTorch's, against differences of an own forward pass in 64 bits, and against themselves.

mod golden;
mod gradients;
mod reference;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Datum, LoraShape, Trainee};
use crate::Model;

/// What `golden.py` made.
fn made(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/train").join(file)
}

/// The small model that it made.
fn tiny() -> Arc<Model> {
    Arc::new(Model::load(&made("tiny.gguf")).unwrap())
}

/// Numbers that look random, from -1 to 1.
fn noise(seed: usize, i: usize) -> f64 {
    ((i * 7919 + seed * 104_729 + 17) as f64 * 0.618_033_988_7).fract() * 2.0 - 1.0
}

/// An adapter in the middle of its training: nothing in it is zero.
fn trainee(model: &Arc<Model>, rank: usize) -> Trainee {
    let shape = LoraShape { rank, alpha: 2.0 * rank as f32, projections: [true; 7] };
    let mut trainee = Trainee::fresh(Arc::clone(model), shape, 1).unwrap();
    for (seed, matrix) in trainee.parameters.matrices_mut().enumerate() {
        for (i, x) in matrix.iter_mut().enumerate() {
            *x = crate::math::narrow(0.2 * noise(seed, i));
        }
    }
    trainee
}

/// Examples of these lengths of prompt and completion, their ratios on both sides of 1.
fn data(trainee: &Trainee, sizes: &[(usize, usize)]) -> Vec<Datum> {
    let vocab = trainee.model.info().vocab;
    let example = |(seed, (prompt, completion)): (usize, &(usize, usize))| {
        let tokens: Vec<u32> =
            (0..prompt + completion).map(|i| u32::try_from((i * 31 + seed * 101 + i * i) % vocab).unwrap()).collect();
        let now = trainee.logprobs(&tokens, *prompt, 1).unwrap();
        let drawn = now.iter().enumerate().map(|(i, x)| (x + crate::math::narrow(0.5 * noise(seed, i))).min(0.0));
        Datum {
            tokens: tokens.into(),
            prompt: *prompt,
            logprobs: drawn.collect(),
            advantages: (0..*completion).map(|i| crate::math::narrow(noise(seed + 50, i))).collect(),
        }
    };
    sizes.iter().enumerate().map(example).collect()
}
