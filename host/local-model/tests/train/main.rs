//! What training promises, from outside. The gradients themselves are measured in `src/train/tests`.

#[path = "../common/mod.rs"]
mod common;

mod adapter_files;
mod agreement;
mod learning;
mod safetensors_file;
mod steps;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use local_model::{Datum, LoraShape, Model, Trainee};

type Files = Vec<(String, Vec<u8>)>;

/// What `golden.py` made.
fn made(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/train").join(file)
}

/// Its small model: 260 tokens, two layers, a context of 256.
fn tiny() -> Arc<Model> {
    Arc::new(Model::load(&made("tiny.gguf")).unwrap())
}

fn shape(rank: usize) -> LoraShape {
    LoraShape { rank, alpha: 2.0 * rank as f32, projections: [true; 7] }
}

fn fresh(model: &Arc<Model>, seed: u64) -> Trainee {
    Trainee::fresh(Arc::clone(model), shape(8), seed).unwrap()
}

/// An example on policy: drawn by the trainee as it is.
fn on_policy(trainee: &Trainee, tokens: &[u32], prompt: usize, advantage: f32) -> Datum {
    let logprobs = trainee.logprobs(tokens, prompt, 1).unwrap();
    let advantages = vec![advantage; logprobs.len()];
    Datum { tokens: tokens.into(), prompt, logprobs, advantages }
}

/// Any tokens.
fn tokens(seed: u32, count: u32) -> Vec<u32> {
    (0..count).map(|i| (seed * 37 + i * 13 + i * i * 7) % 256).collect()
}
