//! What makes vectors of texts, against what the models' own libraries make of them: `embed/golden.py`.

#![cfg(test)]

mod common;

use std::collections::HashMap;
use std::sync::LazyLock;

use local_model::{EmbedderFiles, Model, ModelError, ModelKind, Source, TextEmbedder};
use serde_json::Value;

static MINILM: LazyLock<TextEmbedder> =
    LazyLock::new(|| TextEmbedder::load(&common::embedder(ModelKind::MiniLm)).unwrap());
static STATIC: LazyLock<TextEmbedder> =
    LazyLock::new(|| TextEmbedder::load(&common::embedder(ModelKind::StaticVectors)).unwrap());

#[cfg(test)]
fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

#[test]
fn vectors_are_those_of_the_models_own_libraries() {
    let golden: HashMap<String, Value> = serde_json::from_str(include_str!("embed/golden.json")).unwrap();
    let texts: Vec<String> = serde_json::from_value(golden["texts"].clone()).unwrap();
    for (embedder, dims, nearly) in [(&*MINILM, 384, 0.9999), (&*STATIC, 256, 0.9999)] {
        let kind = embedder.kind().as_str();
        let vectors: Vec<Vec<f32>> = serde_json::from_value(golden[kind].clone()).unwrap();
        assert_eq!((embedder.dims(), vectors.len()), (dims, texts.len()));
        for (text, want) in texts.iter().zip(&vectors) {
            let got = embedder.embed(text).unwrap();
            let length: f32 = got.iter().map(|x| x * x).sum();
            assert!(got.len() == dims && (length - 1.0).abs() < 1e-5);
            let cosine = cosine(&got, want);
            assert!(cosine >= nearly, "{kind}: {cosine} for {text:?}");
        }
    }
}

#[test]
fn what_says_nothing_has_no_direction_and_length_is_bounded() {
    for embedder in [&*MINILM, &*STATIC] {
        assert!(embedder.embed("").unwrap().iter().all(|x| *x == 0.0));
        let (short, long) = ("é, words ".repeat(1 << 10), "é, words ".repeat(1 << 20));
        assert_eq!(embedder.embed(&short).unwrap(), embedder.embed(&long).unwrap());
    }
    assert_ne!(MINILM.model(), STATIC.model());
    // A text that names the model's own marks gets none of them.
    assert_ne!(MINILM.embed("[CLS]").unwrap(), vec![0.0; 384]);
    assert!(MINILM.embed(" \n ").unwrap().iter().all(|x| *x == 0.0));
}

#[test]
fn near_texts_have_near_vectors() {
    let near =
        |embedder: &TextEmbedder, a: &str, b: &str| cosine(&embedder.embed(a).unwrap(), &embedder.embed(b).unwrap());
    let (question, fits, fits_not) = (
        "how much money do I owe the plumber?",
        "invoices. Keeps track of bills and payments.",
        "french poems. Writes poems in French.",
    );
    for embedder in [&*MINILM, &*STATIC] {
        assert!(near(embedder, question, fits) > near(embedder, question, fits_not) + 0.05);
    }
}

#[test]
fn an_embedder_is_installed_whole_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let models = dir.path().join("models");
    let files = EmbedderFiles {
        kind: ModelKind::StaticVectors,
        weights: dir.path().join("weights"),
        tokenizer: dir.path().join("tokenizer"),
        license: "MIT".to_owned(),
    };
    std::fs::write(&files.weights, "no safetensors").unwrap();
    std::fs::write(&files.tokenizer, "{}").unwrap();
    let source = Source { origin: "made up".to_owned(), sha256: domain::Digest::of(b"") };
    let refused = local_model::install_embedder(&files, source, &models, "static");
    assert!(matches!(refused, Err(ModelError::Format { .. })), "{refused:?}");
    assert_eq!(local_model::list(&models).unwrap(), []);
}

#[test]
fn each_kind_of_model_is_refused_where_the_other_is_wanted() {
    let minilm = common::embedder(ModelKind::MiniLm);
    assert!(matches!(Model::load(&minilm), Err(ModelError::Unsupported { .. })));
    assert!(matches!(TextEmbedder::load(&common::installed()), Err(ModelError::Format { .. })));
}

#[test]
fn a_damaged_embedder_is_not_loaded() {
    let dir = tempfile::tempdir().unwrap();
    let installed = common::embedder(ModelKind::StaticVectors);
    let copy = dir.path().join("static.embedder.gguf");
    let mut bytes = std::fs::read(&installed).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&copy, &bytes).unwrap();
    std::fs::copy(installed.with_file_name("static.json"), dir.path().join("static.json")).unwrap();
    assert!(matches!(TextEmbedder::load(&copy), Err(ModelError::Checksum { .. })));
    assert!(matches!(local_model::verify(dir.path(), "static"), Err(ModelError::Checksum { .. })));
}
