//! How a turn's hooks share an instance, and what happens around them: queues, clients that go away, shutdown.
#![cfg(test)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use domain::{DecisionSource, PerHook, PolicyLimits, Verdict};
use policy::{AgentPolicy, AgentPolicyParts, Engine, EngineOptions, FailureClass, HookModules, Module, RouteDecision};
use support::{ENGINE, agent, assistant, catalog, misbehaving, patient, plain, sample, turn};
use tokio::task::JoinSet;

fn module() -> Arc<Module> {
    ENGINE.load(misbehaving(), None, "{}").unwrap()
}

fn refused(words: &str) -> RouteDecision {
    RouteDecision::Refuse(words.to_owned())
}

const SKILLS: &[(&str, f32, u32)] = &[("alpha", 0.0, 100), ("beta", 1.0, 100)];

#[tokio::test]
async fn one_instance_serves_one_turn() {
    // With `count`, route answers how often its instance was called before, and select names the skill of that index.
    let counting = agent(&module(), r#"{"do":"count"}"#, patient());
    for _ in 0..3 {
        let mut call = counting.turn(turn("model-a", "words"));
        assert_eq!(call.route().await.value, refused("0"));
        assert_eq!(call.select(catalog(SKILLS)).await.value.skills(), ["beta"]);
    }
}

#[tokio::test]
async fn an_instance_that_failed_is_not_asked_again() {
    for deed in ["panic", "loop", "memory-bomb", "foreign-target", "problem"] {
        let policy = agent(&module(), &format!(r#"{{"do":"{deed}","in":"route"}}"#), patient());
        let mut call = policy.turn(turn("model-a", "words"));
        assert!(call.route().await.failure.is_some(), "{deed}");
        let selected = call.select(catalog(SKILLS)).await;
        assert_eq!((selected.value.skills(), selected.source), (&["alpha".to_owned()][..], DecisionSource::Policy));
    }
}

#[tokio::test]
async fn the_limits_of_each_hook_are_its_own() {
    let policy = agent(&module(), r#"{"do":"loop","in":"select"}"#, patient());
    let mut call = policy.turn(turn("model-a", "words"));
    assert_eq!(call.route().await.value, RouteDecision::To(1));
    assert_eq!(call.select(catalog(SKILLS)).await.failure.unwrap().class, FailureClass::Cpu);
}

#[tokio::test]
async fn the_builtin_covers_the_hooks_that_a_module_lacks() {
    let module = ENGINE.load(assistant(), None, "{}").unwrap();
    assert!(module.hooks().route && module.hooks().select && !module.hooks().filter);
    let policy = agent(&module, r#"{"first_skill":"alpha"}"#, patient());
    let selected = policy.turn(turn("model-a", "words")).select(catalog(SKILLS)).await;
    assert_eq!(selected.value.skills(), ["alpha", "beta"]);
    assert_eq!((selected.source, selected.digest), (DecisionSource::Policy, module.digest()));
    let judged = policy.filter(sample("stop", "an answer")).await;
    assert_eq!(judged.value, Verdict::Keep { weight: 1.0 });
    assert_eq!((judged.source, judged.digest), (DecisionSource::Builtin, ENGINE.builtin().digest()));
    assert!(judged.failure.is_none());
}

#[tokio::test]
async fn hooks_may_come_from_different_modules() {
    let parts = AgentPolicyParts {
        modules: HookModules {
            by_hook: PerHook {
                route: Some(module()),
                select: Some(ENGINE.load(assistant(), None, "{}").unwrap()),
                ..PerHook::default()
            },
            ..HookModules::default()
        },
        limits: patient(),
        ..AgentPolicyParts::default()
    };
    let policy = AgentPolicy::new(&ENGINE, parts);
    let mut call = policy.turn(turn("model-a", "words"));
    assert_eq!(call.route().await.digest, module().digest());
    assert_eq!(call.select(catalog(SKILLS)).await.value.skills(), ["beta"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_finds_no_place_in_time_gets_the_builtin() {
    let limits = PolicyLimits { concurrency: 1, queue: Duration::from_millis(20), ..patient() };
    let policy = agent(&module(), "{}", limits);
    let mut first = policy.turn(turn("model-a", "words"));
    assert!(first.route().await.failure.is_none());
    // `first` still holds the only place, for its `select`.
    let second = policy.turn(turn("model-a", "words")).route().await;
    assert_eq!(second.failure.unwrap().class, FailureClass::Queue);
    assert_eq!((second.value, second.source), (RouteDecision::To(0), DecisionSource::Builtin));
    assert!(plain().turn(turn("model-a", "words")).route().await.failure.is_none(), "another agent waits for nobody");
    drop(first);
    assert!(policy.turn(turn("model-a", "words")).route().await.failure.is_none(), "the place is free again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_goes_away_leaves_nothing_behind() {
    let limits = PolicyLimits { concurrency: 1, cpu: Duration::from_secs(10), ..patient() };
    let policy = agent(&module(), r#"{"do":"loop"}"#, limits);
    for gone_after in [0, 1, 3, 10] {
        let mut call = policy.turn(turn("model-a", "words"));
        let gone = tokio::time::timeout(Duration::from_millis(gone_after), call.route()).await;
        assert!(gone.is_err(), "the loop ended by itself");
    }
    // Were a place or an instance lost, this would wait for the queue's limit instead of running into the wall.
    let limits = PolicyLimits { wall: Duration::from_millis(50), ..limits };
    let policy = agent(&module(), r#"{"do":"loop"}"#, limits);
    let last = policy.turn(turn("model-a", "words")).route().await;
    assert_eq!(last.failure.unwrap().class, FailureClass::Wall);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_may_be_dropped_at_any_moment() {
    let limits = PolicyLimits { concurrency: 2, ..patient() };
    let policies = ["{}", r#"{"do":"loop"}"#, r#"{"do":"host-call-flood"}"#].map(|c| agent(&module(), c, limits));
    for round in 0..150 {
        let policy = policies[round % 3].clone();
        let mut calls = JoinSet::new();
        calls.spawn(async move {
            let mut call = policy.turn(turn("model-a", "words"));
            call.route().await;
            call.select(catalog(SKILLS)).await;
        });
        let _ = tokio::time::timeout(Duration::from_micros(37 * round as u64), calls.join_next()).await;
        calls.shutdown().await;
    }
    let routed = policies[0].turn(turn("model-a", "words")).route().await;
    assert_eq!((routed.value, routed.source), (RouteDecision::To(1), DecisionSource::Policy));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutting_down_stops_guests_and_still_answers() {
    let engine = Arc::new(Engine::new(EngineOptions { concurrency: 4, ..EngineOptions::default() }).unwrap());
    let module = engine.load(misbehaving(), None, "{}").unwrap();
    let parts = AgentPolicyParts {
        modules: HookModules::all(&module, r#"{"do":"loop"}"#),
        limits: PolicyLimits { cpu: Duration::from_secs(60), wall: Duration::from_secs(60), ..patient() },
        ..AgentPolicyParts::default()
    };
    let policy = AgentPolicy::new(&engine, parts);
    let mut call = policy.turn(turn("model-b", "words"));
    let (entered, at_work) = tokio::sync::oneshot::channel();
    let mut spinning = JoinSet::new();
    spinning.spawn(async move {
        let _ = entered.send(());
        call.route().await
    });
    at_work.await.unwrap();
    let stopping = engine.clone();
    tokio::task::spawn_blocking(move || stopping.shutdown()).await.unwrap();
    assert!(!engine.is_healthy());
    let stopped = tokio::time::timeout(Duration::from_secs(10), spinning.join_next()).await.unwrap().unwrap().unwrap();
    assert_eq!(stopped.failure.unwrap().class, FailureClass::Link);
    assert_eq!(stopped.value, RouteDecision::To(0), "the host's last resort is the first target");
    let selected = policy.turn(turn("model-b", "words")).select(catalog(SKILLS)).await;
    assert!(selected.value.skills().is_empty() && selected.failure.is_some());
    let judged = policy.filter(sample("stop", "an answer")).await;
    assert!(matches!(judged.value, Verdict::Drop { .. }) && judged.failure.is_some());
}

#[tokio::test]
async fn the_pool_ends_in_a_place_that_is_waited_for() {
    let engine = Engine::new(EngineOptions { concurrency: 1, ..EngineOptions::default() }).unwrap();
    let limits = PolicyLimits { queue: Duration::from_millis(5), ..patient() };
    let policy = AgentPolicy::new(&engine, AgentPolicyParts { limits, ..AgentPolicyParts::default() });
    let mut first = policy.turn(turn("model-b", "words"));
    assert_eq!(first.route().await.value, RouteDecision::To(1));
    let second = policy.turn(turn("model-b", "words")).route().await;
    assert_eq!((second.value, second.failure.unwrap().class), (RouteDecision::To(0), FailureClass::Queue));
    assert!(first.select(catalog(SKILLS)).await.failure.is_none());
    drop(first);
    assert_eq!(policy.turn(turn("model-b", "words")).route().await.value, RouteDecision::To(1));
}
