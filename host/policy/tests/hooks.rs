//! The hooks that contract 1.0 has brought: what each may answer, and what holds when it does not.
#![cfg(test)]

mod support;

use std::sync::Arc;

use domain::{Fallback, Hook, PerHook, ToolCall, Verdict};
use policy::{AgentPolicy, AgentPolicyParts, FailureClass, Module, Permission, Rendering, RouteDecision};
use support::*;

fn module() -> Arc<Module> {
    ENGINE.load(hooks(), None, "{}").unwrap()
}

/// An agent with these settings, whose every hook has this rule.
fn with(settings: &str, rule: Option<Fallback>) -> AgentPolicy {
    let on_failure = PerHook::make(|hook: Hook| rule.unwrap_or(hook.usual_fallback()));
    AgentPolicy::new(&ENGINE, AgentPolicyParts { on_failure, ..parts(&module(), settings, patient()) })
}

#[tokio::test]
async fn a_module_of_1_0_has_every_hook_and_sees_what_is_new() {
    let module = module();
    assert_eq!((module.contract(), module.hooks()), ("1", PerHook::make(|_| true)));
    assert_eq!(ENGINE.builtin().contract(), "1");
    let policy = with(r#"{"route":"tell"}"#, None);
    let route = policy.turn(turn("model-a", "hello")).route().await;
    let RouteDecision::Refuse(words) = route.value else { panic!("{route:?}") };
    assert_eq!(words, format!("hello at {}", millis(*RECEIVED)));
    let told = with(r#"{"filter":"tell"}"#, None).filter(sample("stop", "yes")).await;
    assert_eq!(told.value, Verdict::Drop { reason: format!("user of 1, {}, [\"remove\"]", millis(*RECEIVED)) });
}

#[tokio::test]
async fn skills_are_laid_out_as_the_module_wants() {
    use Fallback::{Builtin, Drop};
    let text = |text: &str| Rendering::Text(text.to_owned());
    for (settings, rule, want, failure) in [
        ("{}", None, text("For tester: alpha, beta\nThe body.\nThe body."), None),
        (r#"{"render":"nothing"}"#, None, text(""), None),
        (r#"{"render":"largest"}"#, None, text(&"x".repeat(256 << 10)), None),
        (r#"{"render":"too-large"}"#, None, Rendering::Usual, Some(FailureClass::BadOutput)),
        (r#"{"render":"problem"}"#, None, Rendering::Usual, Some(FailureClass::PolicyError)),
        (r#"{"render":"problem"}"#, Some(Builtin), Rendering::Usual, Some(FailureClass::PolicyError)),
        (r#"{"render":"problem"}"#, Some(Drop), text(""), Some(FailureClass::PolicyError)),
    ] {
        let policy = with(settings, rule);
        let mut call = policy.turn(turn("model-a", "words"));
        assert!(call.route().await.failure.is_none());
        let catalog = catalog(&[("alpha", 2.0, 10), ("beta", 1.0, 10)]);
        let names = call.select(catalog.clone()).await.value.skills().to_vec();
        let rendered = call.render(catalog, &names).await;
        assert_eq!((rendered.value, rendered.failure.map(|f| f.class)), (want, failure), "{settings} {rule:?}");
    }
}

#[tokio::test]
async fn a_tool_call_goes_on_only_when_somebody_allows_it() {
    let denied = || Permission::Deny(policy::DENIED.to_owned());
    for (tool, rule, want, failure) in [
        ("read", None, Permission::Allow, None),
        ("remove", None, Permission::Deny("tester may not remove {}.".into()), None),
        ("send", None, Permission::Hold("Sending is for people.".into()), None),
        ("mute", None, denied(), Some(FailureClass::BadOutput)),
        ("chatter", None, denied(), Some(FailureClass::BadOutput)),
        ("problem", None, denied(), Some(FailureClass::PolicyError)),
        ("loop", None, denied(), Some(FailureClass::Cpu)),
        ("loop", Some(Fallback::Builtin), Permission::Allow, Some(FailureClass::Cpu)),
        // There is no version before this one.
        ("loop", Some(Fallback::Previous), denied(), Some(FailureClass::Cpu)),
    ] {
        let call = ToolCall { id: "1".into(), name: tool.into(), arguments: "{}".into() };
        let decided = with("{}", rule).gate(turn("model-a", "words"), &call).await;
        assert_eq!((decided.value, decided.failure.map(|f| f.class)), (want, failure), "{tool} {rule:?}");
    }
    // Nobody is asked where the agent has no module; nobody says no then.
    let nobody = plain();
    assert!(!nobody.has(Hook::Gate) && with("{}", None).has(Hook::Gate));
}

#[tokio::test]
async fn a_reward_is_from_minus_one_to_one() {
    for (settings, want, failure) in [
        ("{}", Some(-0.5), None),
        (r#"{"reward":"1"}"#, Some(1.0), None),
        (r#"{"reward":"-1"}"#, Some(-1.0), None),
        (r#"{"reward":"none"}"#, None, None),
        (r#"{"reward":"1.01"}"#, None, Some(FailureClass::BadOutput)),
        (r#"{"reward":"-1.01"}"#, None, Some(FailureClass::BadOutput)),
        (r#"{"reward":"NaN"}"#, None, Some(FailureClass::BadOutput)),
        (r#"{"reward":"problem"}"#, None, Some(FailureClass::PolicyError)),
    ] {
        let decided = with(settings, None).reward(sample("stop", "an answer")).await;
        assert_eq!((decided.value, decided.failure.map(|f| f.class)), (want, failure), "{settings}");
    }
}

/// A tool that measures counts the same on every machine.
#[tokio::test]
async fn a_metered_engine_counts_what_is_used() {
    let options = policy::EngineOptions { metered: true, ..policy::EngineOptions::default() };
    let engine = policy::Engine::new(options).unwrap();
    let module = engine.load(hooks(), None, "{}").unwrap();
    let mut fuel = Vec::new();
    for _ in 0..3 {
        let policy = AgentPolicy::new(&engine, parts(&module, "{}", patient()));
        let decided = policy.turn(turn("model-a", "words")).route().await;
        fuel.push(decided.used.fuel.unwrap());
        assert!(decided.used.memory >= 64 << 10, "{:?}", decided.used);
    }
    assert!(fuel[0] > 100 && fuel.iter().all(|used| *used == fuel[0]), "{fuel:?}");
    let unmetered = with("{}", None).turn(turn("model-a", "words")).route().await;
    assert_eq!(unmetered.used.fuel, None);
}
