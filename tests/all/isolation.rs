//! Agents with conflicting house rules, a small run of `make eval-isolation`: each learns its own rules and no other's, and the trial
//! itself notices a host that mixes agents up.

use std::process::{Command, Output};

use tests::{metaclaw, root, target};

/// Three agents, one of them `_default`, and one round of checks.
const SMALL: &[&str] = &["--agents", "3", "--rounds", "1", "--asks", "1", "--plants", "2"];

async fn trial(more: &'static [&'static str]) -> Output {
    let run = move || {
        let mut python = Command::new("python3");
        python.arg(root().join("tests/eval/isolation.py")).args(SMALL).args(more);
        // Without embedders, so that it is the same on every machine.
        python.arg("--metaclaw").arg(metaclaw()).arg("--models").arg(target().join("no-models"));
        python.output().unwrap()
    };
    tokio::task::spawn_blocking(run).await.unwrap()
}

#[tokio::test]
async fn every_agent_follows_its_own_house_rules_and_never_anothers() {
    let out = trial(&[]).await;
    let said = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success(), "{said}{}", String::from_utf8_lossy(&out.stderr));
    assert!(said.contains("_default"), "the table names every agent: {said}");
}

#[tokio::test]
async fn a_rule_in_a_wrong_place_fails_the_trial() {
    for (sabotage, sign) in [(&["--sabotage", "copy"], "/goodbyes/"), (&["--sabotage", "share"], "unchanged: False")] {
        let out = trial(sabotage).await;
        let said = String::from_utf8_lossy(&out.stdout);
        assert_eq!(out.status.code(), Some(1), "{said}{}", String::from_utf8_lossy(&out.stderr));
        assert!(said.contains("BROKEN") && said.contains(sign), "{said}");
    }
}
