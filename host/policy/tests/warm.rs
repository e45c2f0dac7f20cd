//! Instances that outlive their turn: only where that is asked for, never shared, never beyond their bounds.
#![cfg(test)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use domain::{AgentId, ByteSize, PolicyGrants, PolicyLimits, WarmInstances};
use policy::{AgentPolicy, AgentPolicyParts, CatalogSource, Engine, EngineOptions, FailureClass, RouteDecision};
use support::{ENGINE, FakeTurn, catalog, misbehaving, parts, patient, sample, turn};

const WARM: WarmInstances = WarmInstances { warm: 2, max_calls: 1_000, idle: Duration::from_secs(600) };

fn with(config: &str, limits: PolicyLimits, instances: WarmInstances) -> AgentPolicy {
    let module = ENGINE.load(misbehaving(), None, "{}").unwrap();
    AgentPolicy::new(&ENGINE, AgentPolicyParts { instances, ..parts(&module, config, limits) })
}

fn does(deed: &str, instances: WarmInstances) -> AgentPolicy {
    with(&format!(r#"{{"do":"{deed}"}}"#), patient(), instances)
}

fn skills() -> Arc<dyn CatalogSource> {
    catalog(&["skill-0", "skill-1", "skill-2", "skill-3"].map(|name| (name, 0.0, 1)))
}

/// How many hooks the instance that routes this turn has answered before: `count` says so in a refusal.
async fn calls_before(policy: &AgentPolicy) -> u32 {
    calls_before_of(policy, turn("model-a", "words")).await
}

async fn calls_before_of(policy: &AgentPolicy, turn: Arc<FakeTurn>) -> u32 {
    match policy.turn(turn).route().await.value {
        RouteDecision::Refuse(count) => count.parse().unwrap(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn without_the_setting_each_turn_has_a_fresh_instance() {
    let fresh = does("count", WarmInstances::default());
    assert_eq!((calls_before(&fresh).await, calls_before(&fresh).await), (0, 0));
}

#[tokio::test]
async fn with_it_turns_follow_one_another_in_one_instance() {
    let warm = does("count", WARM);
    for before in 0..20 {
        assert_eq!(calls_before(&warm).await, before);
    }
}

#[tokio::test]
async fn an_instance_answers_at_most_its_number_of_hooks() {
    let warm = does("count", WarmInstances { max_calls: 3, ..WARM });
    let mut counts = Vec::new();
    for _ in 0..7 {
        counts.push(calls_before(&warm).await);
    }
    assert_eq!(counts, [0, 1, 2, 0, 1, 2, 0]);
    // In the middle of a turn, too: the second turn's `route` is its third hook, so that turn's `select` has a fresh one.
    let warm = with(r#"{"do":"count","in":"select"}"#, patient(), WarmInstances { max_calls: 3, ..WARM });
    let mut selected = Vec::new();
    for _ in 0..3 {
        let mut call = warm.turn(turn("model-a", "words"));
        call.route().await;
        selected.push(call.select(skills()).await.value.skills()[0].clone());
    }
    assert_eq!(selected, ["skill-1", "skill-0", "skill-2"]);
}

#[tokio::test]
async fn at_most_so_many_wait_and_two_turns_never_share_one() {
    let warm = does("count", WARM);
    let mut turns: Vec<_> = (0..4).map(|_| warm.turn(turn("model-a", "words"))).collect();
    for call in &mut turns {
        assert_eq!(call.route().await.value, RouteDecision::Refuse("0".into()), "each has its own");
    }
    drop(turns);
    let mut turns: Vec<_> = (0..4).map(|_| warm.turn(turn("model-a", "words"))).collect();
    let mut counts = Vec::new();
    for call in &mut turns {
        counts.push(call.route().await.value);
    }
    assert_eq!(counts, ["1", "1", "0", "0"].map(|count| RouteDecision::Refuse(count.into())), "two had waited");
}

#[tokio::test]
async fn an_instance_that_has_waited_too_long_is_given_up() {
    let warm = does("count", WarmInstances { idle: Duration::ZERO, ..WARM });
    assert_eq!((calls_before(&warm).await, calls_before(&warm).await), (0, 0));
    // The engine has one place for those that wait: it is free again when an idle one is retired.
    let engine = Engine::new(EngineOptions { concurrency: 4, warm: 1, ..EngineOptions::default() }).unwrap();
    let module = engine.load(misbehaving(), None, "{}").unwrap();
    let policy = |idle| {
        let instances = WarmInstances { idle, ..WARM };
        AgentPolicy::new(&engine, AgentPolicyParts { instances, ..parts(&module, r#"{"do":"count"}"#, patient()) })
    };
    let (idle, other) = (policy(Duration::ZERO), policy(Duration::from_secs(600)));
    calls_before(&idle).await;
    assert_eq!((calls_before(&other).await, calls_before(&other).await), (0, 0), "the place is taken");
    idle.retire_idle();
    assert_eq!((calls_before(&other).await, calls_before(&other).await), (0, 1));
    other.retire_idle();
    assert_eq!(calls_before(&other).await, 2, "what is not idle stays");
}

/// Agents that config does not name share `_default`'s policy, but nothing that remembers.
#[tokio::test]
async fn no_agent_gets_anothers_instance() {
    let warm = does("count", WARM);
    let of = |name: &str| {
        let agent = AgentId::from_trusted(name).unwrap();
        Arc::new(FakeTurn { agent, ..Arc::into_inner(turn("model-a", "words")).unwrap() })
    };
    let mut counts = Vec::new();
    for name in ["ann", "bob", "ann", "bob"] {
        counts.push(calls_before_of(&warm, of(name)).await);
    }
    assert_eq!(counts, [0, 0, 1, 1]);
}

/// However a call fails, its instance is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_that_failed_is_not_asked_again() {
    for deed in ["panic", "loop", "recurse", "memory-bomb", "huge-string", "problem", "unknown-skill"] {
        let policy = with(&format!(r#"{{"do":"{deed}","in":"select"}}"#), patient(), WARM);
        let ask = async || {
            let mut call = policy.turn(turn("model-a", "words"));
            assert!(call.route().await.failure.is_none(), "{deed}");
            call.select(skills()).await.failure.map(|f| f.class)
        };
        let first = ask().await;
        assert!(first.is_some(), "{deed}");
        // A store that had trapped would refuse to be entered: another class.
        assert_eq!(ask().await, first, "{deed}");
    }
    let wall = PolicyLimits { wall: Duration::from_millis(20), cpu: Duration::from_secs(5), ..patient() };
    let policy = with(r#"{"do":"loop","in":"select"}"#, wall, WARM);
    for _ in 0..3 {
        let mut call = policy.turn(turn("model-a", "words"));
        call.route().await;
        assert_eq!(call.select(skills()).await.failure.unwrap().class, FailureClass::Wall);
    }
}

/// The deadline is armed for each call, and not once when the instance is made: after calls that together
/// took several times the limit, the next has as much again, and a loop is still stopped.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_call_has_its_whole_time_and_no_more() {
    let limits = PolicyLimits { cpu: Duration::from_millis(250), ..patient() };
    let working = with(r#"{"do":"work"}"#, limits, WARM);
    for call in 0..40 {
        let got = working.turn(turn("model-a", "words")).route().await;
        assert!(got.failure.is_none(), "call {call}: {:?}", got.failure);
    }
    let late = with(r#"{"do":"loop-late"}"#, patient(), WARM);
    for before in 0..3 {
        let got = late.turn(turn("model-a", "words")).route().await;
        assert!(got.failure.is_none(), "call {before}: {:?}", got.failure);
    }
    let got = late.turn(turn("model-a", "words")).route().await;
    assert_eq!(got.failure.unwrap().class, FailureClass::Cpu, "the fourth call of the instance never ends");
}

/// What leaks is not kept: an instance whose memory has grown since its first turn is gone after the turn in which it grew.
#[tokio::test]
async fn an_instance_that_grows_is_not_kept() {
    let leaking = does("leak", WARM);
    let mut counts = Vec::new();
    for _ in 0..5 {
        counts.push(calls_before(&leaking).await);
    }
    assert_eq!(counts, [0, 1, 0, 1, 0]);
}

/// The bytes that may be passed, for one: of 16 MiB these take 12.
#[tokio::test]
async fn every_budget_begins_anew() {
    let grants = PolicyGrants { log: Some(ByteSize(32)), ..PolicyGrants::default() };
    let module = ENGINE.load(misbehaving(), None, "{}").unwrap();
    let parts = AgentPolicyParts { instances: WARM, grants, ..parts(&module, r#"{"do":"pass-much"}"#, patient()) };
    let warm = AgentPolicy::new(&ENGINE, parts);
    for round in 0..4 {
        let got = warm.turn(turn("model-a", "words")).route().await;
        assert!(got.failure.is_none(), "round {round}: {:?}", got.failure);
    }
}

#[tokio::test]
async fn the_sample_filter_has_its_own_turns_in_it() {
    let warm = with("{}", patient(), WARM);
    for _ in 0..3 {
        assert!(warm.filter(sample("stop", "an answer")).await.failure.is_none());
        assert!(warm.turn(turn("model-a", "words")).route().await.failure.is_none());
    }
}
