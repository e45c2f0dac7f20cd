//! A component that was built against a frozen version of the contract goes on working: see `tests/guests/kept`.
#![cfg(test)]

mod support;

use std::path::PathBuf;

use domain::{DecisionSource, Digest, Verdict};
use policy::RouteDecision;
use support::{ENGINE, agent, catalog, patient, sample, turn};

/// Each frozen version, the digest of its text, and what its component tells beyond what the first one does.
const KEPT: [(&str, &str, &str); 2] = [
    ("0.1.0", "dbef84538fd936d6f0f988322fd0ca49084c82815afa06bbab36903c717d9fc8", ""),
    (
        "0.1.1",
        "243399e615ff518989ee2df16f37348adace4a35b41f4425348d2cfa2f0841db",
        "not-granted not-granted not-granted not-granted not-granted not-granted not-granted not-granted not-granted",
    ),
];

/// The version that is not frozen yet.
const DRAFT: &str = "1.0.0";

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[test]
fn every_version_is_kept_and_none_has_changed() {
    let mut versions: Vec<String> = std::fs::read_dir(root().join("wit"))
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .filter(|version| version != DRAFT)
        .collect();
    versions.sort();
    assert_eq!(versions, KEPT.map(|(version, ..)| version));
    for (version, digest, _) in KEPT {
        let text = std::fs::read(root().join("wit").join(version).join("policy.wit")).unwrap();
        assert_eq!(Digest::of(&text).to_string(), digest, "wit/{version} is frozen: make a new version");
    }
}

#[tokio::test]
async fn a_component_of_each_version_decides_as_it_always_has() {
    for (version, _, beyond) in KEPT {
        let bytes = std::fs::read(root().join(format!("tests/guests/kept/{version}.wasm"))).unwrap();
        let module = ENGINE.load(&bytes, None, r#"{"a":1}"#).unwrap();
        let said = module.description();
        let said = [&said.name, &said.version, &said.summary].map(String::as_str);
        assert_eq!(said, ["thorough", "1.2.3", "Uses everything."], "{version}");
        let refused = ENGINE.load(&bytes, None, r#"{"a":"refused"}"#).unwrap_err().to_string();
        assert!(refused.ends_with(r#"the policy refuses its configuration: settings {"a":"refused"}"#), "{refused}");

        let policy = agent(&module, r#"{"a":1}"#, patient());
        let mut call = policy.turn(turn("model-b", "some words"));
        let routed = call.route().await;
        let told = [
            r#"{"a":1}"#,
            "tester",
            "session-1",
            "0",
            "main",
            "skills_only",
            "model-b",
            "some words",
            "10",
            "1",
            r#"Some("user: some words")"#,
            "None",
            "",
            "first/model-a+second/model-b",
            "None",
            beyond,
        ];
        assert_eq!(routed.value, RouteDecision::Refuse(told.join("\n")), "{version}: {:?}", routed.failure);
        assert_eq!((routed.source, routed.digest), (DecisionSource::Policy, module.digest()));

        let chosen = call.select(catalog(&[("alpha", 0.0, 10), ("beta", 2.0, 10), ("gamma", 1.0, 10)])).await;
        assert_eq!(chosen.value.skills(), ["beta", "alpha"], "{version}: {:?}", chosen.failure);

        let kept = policy.filter(sample("stop", "keep")).await;
        assert_eq!(kept.value, Verdict::Keep { weight: 0.5 }, "{version}: {:?}", kept.failure);
        let dropped = policy.filter(sample("stop", "an answer")).await;
        let reason = "tester, session-1, model-a, a question, an answer, stop, 10, 20, , false, None";
        assert_eq!(dropped.value, Verdict::Drop { reason: reason.into() }, "{version}: {:?}", dropped.failure);
    }
}
