//! `tests/train/golden.py` says how the numbers came about, and with what.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use safetensors::SafeTensors;
use serde::Deserialize;

use super::{made, tiny};
use crate::adapter::Projection;
use crate::common;
use crate::math::narrow;
use crate::train::{AdamW, Change, Datum, LoraShape, Loss, Parameters, Trainee, Watch};
use crate::{Adapter, Model};

#[derive(Deserialize)]
struct Golden {
    tiny: Tiny,
    smollm2: SmolLm2,
}

#[derive(Deserialize)]
struct Tiny {
    data: Vec<Example>,
    now: Vec<Vec<f64>>,
    losses: HashMap<String, f64>,
    norms: Vec<f64>,
}

#[derive(Deserialize)]
struct Example {
    tokens: Vec<u32>,
    prompt: usize,
    logprobs: Vec<f32>,
    advantages: Vec<f32>,
}

#[derive(Deserialize)]
struct SmolLm2 {
    sha256: HashMap<String, String>,
    tokens: Vec<u32>,
    prompt: usize,
    now: Vec<f64>,
    top: Vec<(u32, f32)>,
    /// Norm, and product with a wave.
    gradients: HashMap<String, (f64, f64)>,
}

fn golden() -> Golden {
    serde_json::from_slice(&std::fs::read(made("golden.json")).unwrap()).unwrap()
}

fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let read = |name: &str| (name.to_owned(), std::fs::read(folder.join(name)).unwrap());
    ["adapter_config.json", "adapter_model.safetensors"].map(read).into()
}

/// The adapter that PEFT saved.
fn by_peft() -> Trainee {
    Trainee::from_files(tiny(), &files(&made("peft"))).unwrap()
}

fn examples(golden: &Tiny) -> Vec<Datum> {
    let example = |e: &Example| Datum {
        tokens: e.tokens.as_slice().into(),
        prompt: e.prompt,
        logprobs: e.logprobs.clone(),
        advantages: e.advantages.clone(),
    };
    golden.data.iter().map(example).collect()
}

/// By PEFT's names, each as PEFT has it.
fn by_name(parameters: &Parameters) -> HashMap<String, Vec<f64>> {
    let mut all = HashMap::new();
    for (layer, changes) in parameters.layers.iter().enumerate() {
        for (projection, change) in Projection::ALL.into_iter().zip(changes) {
            let Some(Change { a, b }) = change else { continue };
            let name = |side| format!("base_model.model.{}.lora_{side}.weight", crate::peft::path(layer, projection));
            let out = b.len() / parameters.rank;
            let turned = (0..b.len()).map(|i| b[i % parameters.rank * out + i / parameters.rank]);
            all.insert(name('A'), a.iter().copied().map(f64::from).collect());
            all.insert(name('B'), turned.map(f64::from).collect());
        }
    }
    all
}

/// Compares with the tensors of golden.safetensors whose names begin with `prefix`; the largest relative error.
fn compare(prefix: &str, found: &Parameters, since: Option<&Parameters>) -> f64 {
    let bytes = std::fs::read(made("golden.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let (found, since) = (by_name(found), since.map(by_name));
    let mut worst: f64 = 0.0;
    for (name, found) in &found {
        let tensor = tensors.tensor(&format!("{prefix}.{name}")).unwrap();
        let numbers = tensor.data().as_chunks().0.iter().map(|b| f64::from(f32::from_le_bytes(*b)));
        // What a step changed is compared, not what it left.
        let before = |i: usize| since.as_ref().map_or(0.0, |since| since[name][i]);
        let (mut off, mut size) = (0.0, 0.0);
        for (i, (want, found)) in numbers.zip(found).enumerate() {
            off += (want - found).powi(2);
            size += (want - before(i)).powi(2);
        }
        worst = worst.max((off / size).sqrt());
    }
    worst
}

#[test]
fn log_probabilities_losses_and_gradients_are_those_of_pytorch() {
    let golden = golden().tiny;
    let data = examples(&golden);
    let (low, high) = (0.8, 1.2);
    for (name, loss) in [
        ("cross_entropy", Loss::CrossEntropy),
        ("importance_sampling", Loss::ImportanceSampling),
        ("ppo", Loss::Ppo { low, high }),
        ("cispo", Loss::Cispo { low, high }),
    ] {
        let mut trainee = by_peft();
        let report = trainee.forward_backward(&data, loss, 1, &Watch::new()).unwrap();
        for (found, want) in report.logprobs.iter().flatten().zip(golden.now.iter().flatten()) {
            assert!((f64::from(*found) - want).abs() < 5e-5, "{found} instead of {want}");
        }
        let want = golden.losses[name];
        assert!((report.loss - want).abs() < 5e-4 * want.abs(), "{name}: {} instead of {want}", report.loss);
        let worst = compare(name, &trainee.gradients, None);
        println!("{name}: worst relative error of a gradient {worst:.1e}");
        assert!(worst < 5e-4, "{name}: {worst}");
    }
}

#[test]
fn three_steps_of_adamw_are_those_of_pytorch() {
    let golden = golden().tiny;
    let data = examples(&golden);
    let mut trainee = by_peft();
    let begun = trainee.parameters.clone();
    let adam = AdamW { learning_rate: 1e-2, beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.1, clip_norm: 1.0 };
    for want in &golden.norms {
        trainee.forward_backward(&data, Loss::Cispo { low: 0.8, high: 1.2 }, 1, &Watch::new()).unwrap();
        let done = trainee.optim_step(&adam).unwrap();
        assert!((done.grad_norm - want).abs() < 5e-4 * want, "{} instead of {want}", done.grad_norm);
        assert!(done.clipped && done.update_norm > 0.0);
    }
    let worst = compare("after", &trainee.parameters, Some(&begun));
    println!("after three steps: worst relative error {worst:.1e}");
    assert!(worst < 5e-4, "{worst}");
}

/// An adapter of the real model that needs no random numbers.
fn exported(model: &Arc<Model>) -> (Trainee, Vec<(String, Vec<u8>)>) {
    let shape = LoraShape { rank: 8, alpha: 16.0, projections: [true; 7] };
    let mut trainee = Trainee::fresh(Arc::clone(model), shape, 1).unwrap();
    for (seed, matrix) in trainee.parameters.matrices_mut().enumerate() {
        // Whole numbers, so that every machine makes the same ones.
        let number = |i: usize| f64::from(u32::try_from((i * 7919 + seed * 104_729) % 2003).unwrap()) / 1001.0 - 1.0;
        let size = if seed % 2 == 0 { 0.05 } else { 0.01 };
        matrix.iter_mut().enumerate().for_each(|(i, x)| *x = narrow(size * number(i)));
    }
    let files = trainee.to_files("smollm2-135m-instruct").unwrap();
    (trainee, files)
}

#[test]
fn an_adapter_that_peft_loads_means_the_same_here_and_there() {
    let model = common::model();
    let (mut trainee, files) = exported(&model);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/peft-export");
        std::fs::create_dir_all(&folder).unwrap();
        for (name, bytes) in &files {
            std::fs::write(folder.join(name), bytes).unwrap();
        }
        let text = "The lighthouse keeper climbed the stairs every evening, lit the lamp, and wrote down the names of \
                    the ships that passed. One night a ship came that had no name at all.";
        let tokens = model.encode(&[crate::ChatMessage::new("user", text)], None).unwrap();
        std::fs::write(folder.join("tokens.json"), serde_json::to_vec(&tokens).unwrap()).unwrap();
        return;
    }
    let golden = golden().smollm2;
    for (name, bytes) in files.iter().filter(|(name, _)| name.starts_with("adapter")) {
        let digest = domain::Digest::of(bytes).to_string();
        assert!(digest.ends_with(&golden.sha256[name]), "{name} is not the file that PEFT has loaded");
    }
    // As served.
    let adapter = Adapter::from_files("golden@1", &model, &files[..2]).unwrap();
    let (prompt, completion) = golden.tokens.split_at(golden.prompt);
    for (served, want) in model.logprobs(prompt, completion, Some(&adapter)).unwrap().iter().zip(&golden.now) {
        assert!((f64::from(*served) - want).abs() < 1e-3, "{served} instead of {want}");
    }
    for pair in golden.top.windows(2) {
        // Differences of log-probabilities are differences of logits.
        let score = |token| f64::from(model.logprobs(&golden.tokens, &[token], Some(&adapter)).unwrap()[0]);
        let (want, got) = (f64::from(pair[0].1 - pair[1].1), score(pair[0].0) - score(pair[1].0));
        assert!((want - got).abs() < 1e-2, "{got} instead of {want}");
    }
    // As trained.
    let completion = completion.len();
    let datum = Datum {
        tokens: golden.tokens.as_slice().into(),
        prompt: golden.prompt,
        logprobs: vec![0.0; completion],
        advantages: vec![1.0; completion],
    };
    let report = trainee.forward_backward(&[datum], Loss::CrossEntropy, 1, &Watch::new()).unwrap();
    let off = report.logprobs[0].iter().zip(&golden.now).map(|(got, want)| (f64::from(*got) - want).abs());
    let off = off.fold(0.0, f64::max);
    let mut worst: f64 = 0.0;
    for (name, found) in by_name(&trainee.gradients) {
        let (norm, wave) = golden.gradients[&name];
        let found_norm = found.iter().map(|x| x * x).sum::<f64>().sqrt();
        let found_wave: f64 = found.iter().enumerate().map(|(i, x)| x * (i as f64 * 0.1).sin()).sum();
        worst = worst.max((found_norm - norm).abs() / norm).max((found_wave - wave).abs() / norm);
    }
    println!("log-probabilities off by {off:.1e}, gradients by {worst:.1e} over {} matrices", golden.gradients.len());
    assert!(off < 1e-4 && worst < 5e-4, "{off} {worst}");
}
