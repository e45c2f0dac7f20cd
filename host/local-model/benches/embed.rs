//! What a question's vector costs, on one core: the models in `target/embedders`, which the tests fetch.
#![expect(clippy::expect_used, reason = "what cannot be set up cannot be measured")]

use std::hint::black_box;
use std::path::Path;

use criterion::{Criterion, criterion_group, criterion_main};
use local_model::TextEmbedder;

const TEXTS: [(&str, &str); 3] = [
    ("8 words", "please translate this short letter into formal French"),
    (
        "24 words",
        "could you look at the function below and tell me why its tests fail whenever our deployment script runs for \
         the second time today",
    ),
    ("256 tokens", ""),
];

fn embed(c: &mut Criterion) {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/embedders");
    for kind in ["static", "minilm"] {
        let installed = local_model::find(&models, kind).expect("run the tests first: they fetch it");
        let embedder = TextEmbedder::load(&installed.path).expect("a sound model");
        for (name, text) in TEXTS {
            let long = "whatever stands here goes on for quite a while. ".repeat(80);
            let text = if text.is_empty() { &long } else { text };
            c.bench_function(&format!("{kind}, {name}"), |b| b.iter(|| embedder.embed(black_box(text))));
        }
    }
}

criterion_group!(benches, embed);
criterion_main!(benches);
