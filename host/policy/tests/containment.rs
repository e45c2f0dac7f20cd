//! However a guest misbehaves, the failure has the right name, the built-in policy decides instead, and the next call
//! is as if nothing had been.
#![cfg(test)]

#[path = "support/log.rs"]
mod log;
mod support;

use std::sync::Arc;

use domain::{DecisionSource, PolicyLimits, Verdict};
use log::Log;
use policy::FailureClass::{self, BadOutput, Cpu, Memory, PolicyError, Stack, Trap};
use policy::{AgentPolicy, CatalogSource, Decided, Module, RouteDecision, Selection};
use support::{ENGINE, agent, catalog, misbehaving, patient, sample, turn};

fn module() -> Arc<Module> {
    ENGINE.load(misbehaving(), None, "{}").unwrap()
}

fn skills() -> Arc<dyn CatalogSource> {
    // By name the first is `alpha`, by relevance `beta`: the misbehaving guest picks the former, the built-in the latter.
    catalog(&[("alpha", 0.0, 100), ("beta", 1.0, 100)])
}

async fn select(policy: &AgentPolicy) -> Decided<Selection> {
    policy.turn(turn("model-a", "words")).select(skills()).await
}

/// The built-in answered in the place of a guest that failed like this.
fn assert_contained<T: std::fmt::Debug + PartialEq>(deed: &str, got: &Decided<T>, class: FailureClass, builtin: &T) {
    let failure = got.failure.as_ref().unwrap_or_else(|| panic!("{deed}: no failure, but {got:?}"));
    assert_eq!(failure.class, class, "{deed}: {failure}");
    assert_eq!(got.source, DecisionSource::Builtin, "{deed}");
    assert_eq!(got.digest, ENGINE.builtin().digest(), "{deed}");
    assert_eq!(&got.value, builtin, "{deed}");
    assert!(!failure.message.is_empty() && failure.message.len() <= 1100, "{deed}: {failure}");
    assert!(!failure.message.chars().any(char::is_control), "{deed}: {failure:?}");
}

const ANYWHERE: &[(&str, FailureClass)] = &[
    ("loop", Cpu),
    ("slow", Cpu),
    ("copy-storm", Cpu),
    ("host-call-flood", Cpu),
    ("recurse", Stack),
    ("memory-bomb", Memory),
    ("huge-argument", BadOutput),
    ("pass-too-much", BadOutput),
    ("panic", Trap),
    ("huge-string", BadOutput),
    ("problem", PolicyError),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_route_that_fails_goes_where_the_builtin_says() {
    let module = module();
    let only_here: &[_] = &[
        ("foreign-target", BadOutput),
        ("mixed-target", BadOutput),
        ("empty-refusal", BadOutput),
        ("long-refusal", BadOutput),
    ];
    let good = agent(&module, "{}", patient());
    for (deed, class) in ANYWHERE.iter().chain(only_here) {
        let bad = agent(&module, &format!(r#"{{"do":"{deed}"}}"#), patient());
        let got = bad.turn(turn("model-a", "words")).route().await;
        assert_contained(deed, &got, *class, &RouteDecision::To(0));
        let next = good.turn(turn("model-a", "words")).route().await;
        assert_eq!((next.value, next.source), (RouteDecision::To(1), DecisionSource::Policy), "after {deed}");
        assert!(next.failure.is_none(), "after {deed}: {:?}", next.failure);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_selection_that_fails_is_what_the_builtin_finds() {
    let module = module();
    let only_here: &[_] =
        &[("unknown-skill", BadOutput), ("duplicate", BadOutput), ("too-many", BadOutput), ("long-list", BadOutput)];
    let good = agent(&module, "{}", patient());
    for (deed, class) in ANYWHERE.iter().chain(only_here) {
        let got = select(&agent(&module, &format!(r#"{{"do":"{deed}"}}"#), patient())).await;
        assert_contained(deed, &got, *class, &Selection::Skills(vec!["beta".into()]));
        let next = select(&good).await;
        assert_eq!(
            (next.value.skills(), next.source),
            (&["alpha".to_owned()][..], DecisionSource::Policy),
            "after {deed}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sample_whose_judge_fails_is_judged_by_the_builtin() {
    let module = module();
    let only_here: &[_] = &[
        ("nan-weight", BadOutput),
        ("zero-weight", BadOutput),
        ("negative-weight", BadOutput),
        ("heavy-weight", BadOutput),
        ("infinite-weight", BadOutput),
    ];
    let good = agent(&module, "{}", patient());
    for (deed, class) in ANYWHERE.iter().chain(only_here) {
        let bad = agent(&module, &format!(r#"{{"do":"{deed}"}}"#), patient());
        let got = bad.filter(sample("stop", "an answer")).await;
        assert_contained(deed, &got, *class, &Verdict::Keep { weight: 1.0 });
        let next = good.filter(sample("stop", "an answer")).await;
        assert_eq!((next.value, next.source), (Verdict::Keep { weight: 2.0 }, DecisionSource::Policy), "after {deed}");
    }
}

#[tokio::test]
async fn a_flooded_log_keeps_the_first_kilobytes_escaped() {
    let log = Log::of("policy::guest");
    let _collecting = tracing::subscriber::set_default(log.clone());
    let got = select(&agent(&module(), r#"{"do":"log-flood"}"#, patient())).await;
    assert_eq!((got.value.skills(), got.source), (&["alpha".to_owned()][..], DecisionSource::Policy));
    let mut lines = log.lines();
    assert_eq!(lines.pop().unwrap(), "the policy's log was cut off");
    // Each write has 32 bytes.
    assert_eq!(lines.len(), 8192 / 32);
    assert_eq!(lines[0], r"\u{1b}[2J\r\nlevel=error msg=forged \u{202e}");
}

#[tokio::test]
async fn memory_is_limited_to_the_configured_sum() {
    // The canary takes 16 MiB, and the module itself less than one.
    let module = module();
    for (memory, refused) in [(16 << 20, true), (18 << 20, false)] {
        let limits = PolicyLimits { memory: domain::ByteSize(memory), ..patient() };
        let got = agent(&module, r#"{"do":"canary"}"#, limits).turn(turn("model-a", "words")).route().await;
        assert_eq!(got.failure.map(|f| f.class), refused.then_some(Memory), "{memory}");
    }
}

#[tokio::test]
async fn nothing_of_a_guest_is_left_for_the_next() {
    let canary = agent(&module(), r#"{"do":"canary"}"#, patient());
    for round in 0..50 {
        let got = canary.turn(turn("model-a", "words")).route().await;
        assert_eq!(got.value, RouteDecision::Refuse("0".to_owned()), "round {round}");
    }
}
