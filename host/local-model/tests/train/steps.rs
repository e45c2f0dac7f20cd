//! Steps: what they change, what they leave alone, and what stops them.

use std::sync::Arc;

use local_model::{
    AdamW, Datum, Engine, EngineOptions, LoraShape, Loss, ModelError, Request, Sampling, Trainee, Watch,
};

use crate::common::ask;
use crate::{fresh, on_policy, shape, tiny, tokens};

const LOSS: Loss = Loss::Cispo { low: 0.8, high: 1.2 };

fn batch(trainee: &Trainee, seed: u32) -> Vec<Datum> {
    (0..3).map(|i| on_policy(trainee, &tokens(seed * 3 + i, 40), 5, if i == 1 { -1.0 } else { 1.0 })).collect()
}

fn step(trainee: &mut Trainee, data: &[Datum], threads: usize) {
    trainee.forward_backward(data, LOSS, threads, &Watch::new()).unwrap();
    trainee.optim_step(&AdamW { learning_rate: 1e-2, ..AdamW::default() }).unwrap();
}

/// `steps` steps on data of its own.
fn train(trainee: &mut Trainee, seed: u32, steps: u32, threads: usize) {
    for i in 0..steps {
        let data = batch(trainee, seed + i);
        step(trainee, &data, threads);
    }
}

#[test]
fn a_fresh_adapter_changes_nothing_and_is_the_same_for_the_same_seed() {
    let model = tiny();
    let (prompt, completion) = (tokens(1, 6), tokens(2, 30));
    let adapter = fresh(&model, 1).adapter("x@1").unwrap();
    assert_eq!(
        model.logprobs(&prompt, &completion, Some(&adapter)).unwrap(),
        model.logprobs(&prompt, &completion, None).unwrap()
    );
    let files = |seed| fresh(&model, seed).to_files("tiny").unwrap();
    assert!(files(1) == files(1) && files(1) != files(2));
}

#[test]
fn neither_a_learning_rate_of_zero_nor_advantages_of_zero_change_anything() {
    let model = tiny();
    let before = fresh(&model, 1).to_files("tiny").unwrap();
    let mut still = fresh(&model, 1);
    let data = batch(&still, 1);
    still.forward_backward(&data, LOSS, 1, &Watch::new()).unwrap();
    let done = still.optim_step(&AdamW { learning_rate: 0.0, weight_decay: 0.1, ..AdamW::default() }).unwrap();
    assert!(done.grad_norm > 0.0 && done.update_norm == 0.0);
    assert!(still.to_files("tiny").unwrap()[..2] == before[..2]);

    for loss in [LOSS, Loss::CrossEntropy, Loss::ImportanceSampling, Loss::Ppo { low: 0.8, high: 1.2 }] {
        let mut still = fresh(&model, 1);
        let zero = |mut datum: Datum| {
            datum.advantages.fill(0.0);
            datum
        };
        let data: Vec<Datum> = data.iter().cloned().map(zero).collect();
        let report = still.forward_backward(&data, loss, 1, &Watch::new()).unwrap();
        let done = still.optim_step(&AdamW::default()).unwrap();
        assert_eq!((report.loss.abs(), done.grad_norm, done.update_norm), (0.0, 0.0, 0.0), "{loss:?}");
        assert!(still.to_files("tiny").unwrap()[..2] == before[..2]);
    }
}

#[test]
fn two_that_are_trained_at_once_are_as_if_alone_to_the_last_bit() {
    let model = tiny();
    let alone = |seed: u32, threads| {
        let mut trainee = fresh(&model, seed.into());
        train(&mut trainee, seed, 4, threads);
        trainee.to_files("tiny").unwrap()
    };
    let (a, b) = (alone(1, 1), alone(2, 1));
    assert!(a != b);
    let (prompt, completion) = (tokens(1, 6), tokens(2, 30));
    let base = model.logprobs(&prompt, &completion, None).unwrap();
    std::thread::scope(|scope| {
        let both = [scope.spawn(|| alone(1, 2)), scope.spawn(|| alone(2, 3))];
        let both = both.map(|thread| thread.join().unwrap());
        assert!(both == [a, b]);
    });
    assert_eq!(model.logprobs(&prompt, &completion, None).unwrap(), base, "the base is nobody's to change");
}

#[test]
fn training_goes_on_from_files_as_if_nothing_had_happened() {
    let model = tiny();
    let mut straight = fresh(&model, 1);
    train(&mut straight, 1, 4, 1);
    let mut first = fresh(&model, 1);
    train(&mut first, 1, 2, 1);
    let mut second = Trainee::from_files(Arc::clone(&model), &first.to_files("tiny").unwrap()).unwrap();
    assert_eq!(second.steps(), 2);
    train(&mut second, 3, 2, 1);
    assert!(second.to_files("tiny").unwrap() == straight.to_files("tiny").unwrap());
}

#[test]
fn an_adapter_that_is_served_does_not_move_with_what_is_trained() {
    let model = tiny();
    let engine = Engine::start(Arc::clone(&model), &EngineOptions::default()).unwrap();
    let mut trainee = fresh(&model, 1);
    train(&mut trainee, 1, 2, 1);
    let first = Arc::new(trainee.adapter("x@1").unwrap());
    let run = |adapter| {
        let sampling = Sampling { max_tokens: Some(30), seed: Some(5), ..Sampling::default() };
        let request =
            Request { tokens: Some(tokens(1, 6).into()), sampling, adapter: Some(adapter), ..Request::default() };
        let trace = ask(&engine, request).unwrap().finish.trace;
        (trace.completion, trace.logprobs.iter().map(|p| p.to_bits()).collect::<Vec<_>>())
    };
    let probe = tokens(9, 30);
    let (before, scored) = (run(Arc::clone(&first)), trainee.logprobs(&probe, 1, 1).unwrap());
    assert_eq!(trainee.logprobs(&probe, 1, 1).unwrap(), scored, "serving it does not move what is trained");
    train(&mut trainee, 5, 2, 1);
    assert_eq!(run(first), before);
    assert_ne!(run(Arc::new(trainee.adapter("x@2").unwrap())), before);
}

#[test]
fn what_cannot_be_trained_on_is_named_and_nothing_of_its_batch_is_kept() {
    let model = tiny();
    let mut trainee = fresh(&model, 1);
    let good = batch(&trainee, 1);
    type Case = (&'static str, fn(&mut Datum));
    let cases: [Case; 16] = [
        ("its prompt is empty", |d| d.prompt = 0),
        ("its completion is empty", |d| d.prompt = d.tokens.len()),
        ("its completion is empty", |d| d.prompt = usize::MAX),
        ("its completion is empty", |d| d.tokens = Arc::new([])),
        ("it has 257 tokens, and the model holds 256", |d| d.tokens = tokens(1, 257).into()),
        ("its token 260 is not one of the 260 there are", |d| d.tokens = vec![260; 40].into()),
        ("its token 4294967295 is not one", |d| Arc::make_mut(&mut d.tokens)[3] = u32::MAX),
        ("it has 34 log-probabilities for 35 tokens", |d| drop(d.logprobs.pop())),
        ("it has 0 log-probabilities", |d| d.logprobs.clear()),
        ("it has 36 advantages for 35 tokens", |d| d.advantages.push(0.0)),
        ("one of its log-probabilities is NaN", |d| d.logprobs[3] = f32::NAN),
        ("one of its log-probabilities is -inf", |d| d.logprobs[3] = f32::NEG_INFINITY),
        ("one of its log-probabilities is 0.5, above 0", |d| d.logprobs[3] = 0.5),
        ("one of its advantages is NaN", |d| d.advantages[0] = f32::NAN),
        ("one of its advantages is inf", |d| d.advantages[34] = f32::INFINITY),
        // Finite, and yet its ratio is not.
        ("which gives a loss of", |d| d.logprobs[3] = -1e30),
    ];
    for (want, spoil) in cases {
        let mut data = good.clone();
        spoil(&mut data[2]);
        match trainee.forward_backward(&data, Loss::ImportanceSampling, 1, &Watch::new()) {
            Err(ModelError::Datum { index: 2, reason }) if reason.contains(want) => {}
            other => panic!("{want}: {other:?}"),
        }
    }
    for (low, high) in [(1.1, 1.2), (0.8, 0.9), (f32::NAN, 1.2), (0.8, f32::INFINITY), (-1.0, 1.2)] {
        let error = trainee.forward_backward(&good, Loss::Ppo { low, high }, 1, &Watch::new());
        assert!(matches!(error, Err(ModelError::Training(_))), "{low} {high}: {error:?}");
    }
    for wrong in [
        AdamW { learning_rate: f32::NAN, ..AdamW::default() },
        AdamW { beta1: 1.0, ..AdamW::default() },
        AdamW { clip_norm: -1.0, ..AdamW::default() },
    ] {
        assert!(matches!(trainee.optim_step(&wrong), Err(ModelError::Training(_))), "{wrong:?}");
    }
    let stopped = Watch::new();
    stopped.stop();
    let error = trainee.forward_backward(&good, LOSS, 1, &stopped);
    assert!(matches!(error, Err(ModelError::Interrupted)), "{error:?}");

    step(&mut trainee, &good, 1);
    let mut other = fresh(&model, 1);
    step(&mut other, &good, 1);
    assert!(trainee.to_files("tiny").unwrap() == other.to_files("tiny").unwrap());
}

#[test]
fn an_empty_batch_is_a_step_along_nothing() {
    let mut trainee = fresh(&tiny(), 1);
    let report = trainee.forward_backward(&[], LOSS, 1, &Watch::new()).unwrap();
    assert_eq!((report.loss, report.tokens, report.clipped, report.drift), (0.0, 0, 0.0, 0.0));
    assert_eq!(trainee.optim_step(&AdamW::default()).unwrap().update_norm, 0.0);
}

#[test]
fn shapes_out_of_range_are_refused() {
    let model = tiny();
    for wrong in [
        LoraShape { rank: 0, ..shape(8) },
        LoraShape { rank: 1025, ..shape(8) },
        LoraShape { alpha: 0.0, ..shape(8) },
        LoraShape { alpha: f32::NAN, ..shape(8) },
        LoraShape { projections: [false; 7], ..shape(8) },
    ] {
        assert!(matches!(Trainee::fresh(Arc::clone(&model), wrong, 1), Err(ModelError::Training(_))), "{wrong:?}");
    }
    // Some of the layers, and a rank that fills no register.
    for (rank, chosen) in [(1, 0), (3, 6), (17, 2)] {
        let mut projections = [false; 7];
        projections[chosen] = true;
        let mut trainee = Trainee::fresh(Arc::clone(&model), LoraShape { rank, alpha: 4.0, projections }, 1).unwrap();
        train(&mut trainee, 1, 2, 1);
        let files = trainee.to_files("tiny").unwrap();
        assert!(Trainee::from_files(Arc::clone(&model), &files).unwrap().to_files("tiny").unwrap() == files);
    }
}

#[test]
fn who_watches_sees_tokens_go_by() {
    let mut trainee = fresh(&tiny(), 1);
    let data = batch(&trainee, 1);
    let watch = Watch::new();
    trainee.forward_backward(&data, LOSS, 1, &watch).unwrap();
    assert_eq!(watch.progress(), (120, 120));
}

#[test]
fn clipping_shortens_all_gradients_together() {
    let model = tiny();
    let run = |clip_norm| {
        let mut trainee = fresh(&model, 1);
        let data = batch(&trainee, 1);
        trainee.forward_backward(&data, LOSS, 1, &Watch::new()).unwrap();
        // A large eps makes the step follow the gradient's size.
        trainee.optim_step(&AdamW { clip_norm, eps: 1e6, learning_rate: 1.0, ..AdamW::default() }).unwrap()
    };
    let (free, held) = (run(0.0), run(0.5));
    assert!(!free.clipped && held.clipped && free.grad_norm == held.grad_norm && free.grad_norm > 1.0);
    let (want, got) = (0.5 / free.grad_norm, held.update_norm / free.update_norm);
    assert!((want / got - 1.0).abs() < 0.01, "{got} instead of {want}");
}
