//! Dependencies point down, and each dangerous one has one home: `cargo metadata` against ARCHITECTURE.md's table.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;

/// Layer of each crate; layer 1 crates never import one another.
const LAYERS: &[(&str, u8)] = &[
    ("domain", 0),
    ("protocol", 0),
    ("config", 1),
    ("store", 1),
    ("adapters", 1),
    ("skills", 1),
    ("policy", 1),
    ("upstream", 1),
    ("registry", 1),
    ("local-model", 1),
    ("openclaw", 1),
    ("keys", 1),
    ("judge", 1),
    ("agents", 2),
    ("learning", 2),
    ("training", 2),
    ("server", 3),
    ("metaclaw", 4),
];

/// What only these crates may use, beside tests.
const HOMES: &[(&str, &[&str])] = &[
    ("wasmtime", &["policy"]),
    ("wasmtime-wasi", &["policy"]),
    ("minisign-verify", &["domain"]),
    ("minisign", &["metaclaw"]),
    ("sqlx", &["store"]),
    ("cap-std", &["skills", "adapters"]),
    ("notify", &["skills"]),
    ("serde-saphyr", &["config", "skills", "policy-cases"]),
    // The binary talks to its own running host and fetches models; nothing else opens sockets.
    ("reqwest", &["upstream", "registry", "metaclaw"]),
    ("http-auth", &["registry"]),
    ("rustls", &["upstream", "metaclaw"]),
    ("candle-core", &["local-model"]),
    ("tokenizers", &["local-model"]),
    ("minijinja", &["local-model"]),
    ("getrandom", &["keys"]),
    ("subtle", &["keys"]),
    ("jsonc-parser", &["openclaw"]),
    ("axum", &["server"]),
    ("hyper", &["server"]),
    ("hyper-util", &["server"]),
    ("anyhow", &["metaclaw"]),
    ("clap", &["metaclaw"]),
    ("inquire", &["metaclaw"]),
    ("console", &["metaclaw"]),
    ("tracing-subscriber", &["metaclaw"]),
];

#[test]
fn dependencies_point_down_and_dangerous_ones_have_one_home() {
    let out = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(tests::root())
        .output()
        .unwrap();
    let metadata: Value = serde_json::from_slice(&out.stdout).unwrap();
    let layers: BTreeMap<&str, u8> = LAYERS.iter().copied().collect();
    let mut found = 0;
    for package in metadata["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        let Some(layer) = layers.get(name) else {
            assert!(
                ["tests", "policy-build", "policy-cases"].contains(&name),
                "`{name}` has no layer: add it to ARCHITECTURE.md and here"
            );
            continue;
        };
        found += 1;
        for dependency in package["dependencies"].as_array().unwrap().iter().filter(|d| d["kind"].is_null()) {
            let on = dependency["name"].as_str().unwrap();
            if let Some(below) = layers.get(on) {
                assert!(below < layer || (name == "protocol" && on == "domain"), "`{name}` must not depend on `{on}`");
            }
            if let Some((_, homes)) = HOMES.iter().find(|h| h.0 == on) {
                assert!(homes.contains(&name), "`{on}` belongs to {homes:?}, not to `{name}`");
            }
        }
    }
    assert_eq!(found, LAYERS.len(), "a crate of the table is gone");
}

#[test]
fn files_stay_short_enough_to_read() {
    let mut folders = vec![tests::root().join("host"), tests::root().join("policies"), tests::root().join("tests")];
    let mut long = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                if !path.ends_with("target") {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|e| e == "rs") {
                let lines = std::fs::read_to_string(&path).unwrap().lines().count();
                if lines > 400 {
                    long.push(format!("{} has {lines} lines", path.display()));
                }
            }
        }
    }
    assert!(long.is_empty(), "{long:#?}");
}
