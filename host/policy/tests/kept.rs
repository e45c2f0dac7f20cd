//! A component that was built against a frozen version of the contract goes on working: see `tests/guests/kept`.
#![cfg(test)]

mod support;

use std::path::PathBuf;

use domain::{DecisionSource, Digest, ToolCall, Verdict};
use policy::{Permission, Rendering, RouteDecision};
use support::{ENGINE, agent, catalog, patient, sample, turn};

/// Each frozen version, the digest of its text, and what its component tells beyond what the first one does.
const KEPT: [(&str, &str, &str); 3] = [
    ("0.1.0", "dbef84538fd936d6f0f988322fd0ca49084c82815afa06bbab36903c717d9fc8", ""),
    (
        "0.1.1",
        "243399e615ff518989ee2df16f37348adace4a35b41f4425348d2cfa2f0841db",
        "not-granted not-granted not-granted not-granted not-granted not-granted not-granted not-granted not-granted",
    ),
    (
        "1.0.0",
        "e28b4e30c7919e34dc5958febc7f439ff1dea15075ff948a8d29bb57dac571a5",
        "not-granted not-granted not-granted not-granted not-granted not-granted not-granted not-granted not-granted",
    ),
];

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
        let mut told = vec![
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
        let is_new = version.starts_with('1');
        if is_new {
            told.insert(6, "1800000000123");
        }
        assert_eq!(routed.value, RouteDecision::Refuse(told.join("\n")), "{version}: {:?}", routed.failure);
        assert_eq!((routed.source, routed.digest), (DecisionSource::Policy, module.digest()));

        let chosen = call.select(catalog(&[("alpha", 0.0, 10), ("beta", 2.0, 10), ("gamma", 1.0, 10)])).await;
        assert_eq!(chosen.value.skills(), ["beta", "alpha"], "{version}: {:?}", chosen.failure);

        let kept = policy.filter(sample("stop", "keep")).await;
        assert_eq!(kept.value, Verdict::Keep { weight: 0.5 }, "{version}: {:?}", kept.failure);
        let dropped = policy.filter(sample("stop", "an answer")).await;
        let reason = match is_new {
            true => {
                "tester, session-1, 1800000000123, model-a, 1, Some(\"user: a question\"), None, call-1 remove {\"path\":\"/\"}, \
                 a question, an answer, stop, 10, 20, , false, None"
            }
            false => "tester, session-1, model-a, a question, an answer, stop, 10, 20, , false, None",
        };
        assert_eq!(dropped.value, Verdict::Drop { reason: reason.into() }, "{version}: {:?}", dropped.failure);

        assert_eq!(module.hooks().render, is_new);
        if !is_new {
            continue;
        }
        let laid_out = call.render(catalog(&[("beta", 2.0, 10)]), &["beta".to_owned()]).await;
        assert_eq!(laid_out.value, Rendering::Text("tester: beta of 1".into()), "{:?}", laid_out.failure);
        for (tool, want) in [
            ("allowed", Permission::Allow),
            ("held", Permission::Hold("ask somebody".into())),
            ("other", Permission::Deny("tester: 1 other {}".into())),
        ] {
            let asked = ToolCall { id: "1".into(), name: tool.into(), arguments: "{}".into() };
            assert_eq!(policy.gate(turn("model-b", "some words"), &asked).await.value, want);
        }
        for (answer, reward) in [("keep", Some(0.25)), ("an answer", None)] {
            assert_eq!(policy.reward(sample("stop", answer)).await.value, reward);
        }
    }
}
