//! The real model: what is sampled is what is trained on.

use std::sync::Arc;

use local_model::{EngineOptions, Request, Sampling};

use crate::common::{ask, engine, model, question};
use crate::fresh;
use local_model::{AdamW, Loss, Watch};

#[test]
fn the_engines_log_probabilities_are_the_trainers_at_every_temperature() {
    let engine = engine(&EngineOptions::default());
    let mut trainee = fresh(&model(), 1);
    let mut worst: f32 = 0.0;
    for with_adapter in [false, true] {
        let adapter = with_adapter.then(|| Arc::new(trainee.adapter("x@1").unwrap()));
        for (temperature, top_p) in [(1.0, 1.0), (0.7, 1.0), (1.0, 0.95)] {
            let sampling = Sampling { temperature, top_p, seed: Some(3), ..Sampling::default() };
            let request = question("Write a short poem about the sea.", 0);
            let sampling = Sampling { max_tokens: Some(48), ..sampling };
            let trace = ask(&engine, Request { sampling, adapter: adapter.clone(), ..request }).unwrap().finish.trace;
            assert_eq!(trace.sampled_with.base, Some(model().info().sha256));
            let tokens: Vec<u32> = trace.prompt.iter().chain(&trace.completion).copied().collect();
            // Raw: temperature and nucleus change what is drawn, and not what is written down.
            let trained = trainee.logprobs(&tokens, trace.prompt.len(), 1).unwrap();
            assert_eq!(trained.len(), trace.logprobs.len());
            for (trained, sampled) in trained.iter().zip(&trace.logprobs) {
                worst = worst.max((trained - sampled).abs());
            }
            // The ratios begin at 1: nothing is cut, nothing has drifted.
            let advantages = vec![1.0; trained.len()];
            let datum = local_model::Datum {
                tokens: tokens.into(),
                prompt: trace.prompt.len(),
                logprobs: trace.logprobs,
                advantages,
            };
            let loss = Loss::Cispo { low: 0.99, high: 1.01 };
            let report = trainee.forward_backward(&[datum], loss, 1, &Watch::new()).unwrap();
            assert!(report.clipped == 0.0 && report.drift < 1e-6, "{report:?}");
        }
        if !with_adapter {
            trainee.optim_step(&AdamW { learning_rate: 2e-3, ..AdamW::default() }).unwrap();
        }
    }
    println!("the engine and the trainer differ by {worst:.1e} at most");
    assert!(worst < 1e-3, "{worst}");
}
