//! What training costs on one core, with the model in `target/models`, which the tests fetch: an example of 256 tokens, or
//! of 1,024, there and back, and a step; all seven linear layers, rank 8.
#![expect(clippy::expect_used, reason = "what cannot be set up cannot be measured")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use local_model::{AdamW, Datum, LoraShape, Loss, Model, Trainee, Watch};

fn train(c: &mut Criterion) {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/models");
    let installed = local_model::find(&models, "smollm2-135m-instruct").expect("run the tests first: they fetch it");
    let model = Arc::new(Model::load(&installed.path).expect("a sound model"));
    let shape = LoraShape { rank: 8, alpha: 16.0, projections: [true; 7] };
    let mut group = c.benchmark_group("train");
    group.sample_size(10).warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(30));
    for count in [256u32, 1024] {
        let mut trainee = Trainee::fresh(Arc::clone(&model), shape, 1).expect("a sound shape");
        let size = usize::try_from(count).expect("a small number");
        let datum = Datum {
            tokens: (0..=count).map(|i| 1000 + i * 7919 % 40_000).collect(),
            prompt: 1,
            logprobs: vec![-1.0; size],
            advantages: vec![1.0; size],
        };
        group.bench_function(format!("{count} tokens"), |b| {
            b.iter(|| {
                let data = std::slice::from_ref(&datum);
                trainee.forward_backward(data, Loss::CrossEntropy, 1, &Watch::new()).expect("sound data");
                trainee.optim_step(&AdamW::default()).expect("sound settings")
            });
        });
    }
    group.finish();
}

criterion_group!(benches, train);
criterion_main!(benches);
