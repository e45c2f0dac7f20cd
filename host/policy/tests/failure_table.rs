//! What each failure of each hook comes to, under each rule: the whole table, as `tests/golden/failure-table.txt` publishes it.
//! `UPDATE_GOLDEN=1` rewrites that file; read the difference.
#![cfg(test)]

mod support;

use std::fmt::Write as _;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use domain::{BreakerLimits, DecisionSource, Fallback, PerHook, PolicyLimits, Verdict};
use policy::FailureClass::{self, BadOutput, Breaker, Cpu, Link, Memory, PolicyError, Queue, Stack, Trap, Wall};
use policy::{
    AgentPolicy, AgentPolicyParts, DENIED, Decided, Engine, EngineOptions, HookModules, Module, RouteDecision,
    Selection,
};
use support::{ENGINE, catalog, misbehaving, parts, patient, sample, turn};

/// An engine that runs nothing any more: what is asked of it cannot even be started, the built-in policy included.
static CLOSED: LazyLock<Engine> = LazyLock::new(|| {
    let engine = Engine::new(EngineOptions { concurrency: 1, ..EngineOptions::default() }).unwrap();
    engine.shutdown();
    engine
});

/// A failure, and the deed of the guest that brings it about.
const FAILURES: [(FailureClass, &str); 10] = [
    (Link, ""),
    (Trap, "panic"),
    (Cpu, "loop"),
    (Wall, "loop"),
    (Queue, ""),
    (Memory, "memory-bomb"),
    (Stack, "recurse"),
    (BadOutput, "huge-string"),
    (PolicyError, "problem"),
    (Breaker, "panic"),
];

const RULES: [(Fallback, &str); 4] = [
    (Fallback::Builtin, "builtin"),
    (Fallback::Previous, "previous"),
    (Fallback::Deny, "deny"),
    (Fallback::Drop, "drop"),
];

struct Case {
    class: FailureClass,
    policy: AgentPolicy,
}

impl Case {
    fn new(module: &Arc<Module>, class: FailureClass, deed: &str, rule: Fallback) -> Self {
        let limits = match class {
            Wall => PolicyLimits {
                wall: Duration::from_millis(20),
                filter_wall: Duration::from_millis(20),
                cpu: Duration::from_secs(5),
                filter_cpu: Duration::from_secs(5),
                ..patient()
            },
            Queue => PolicyLimits { concurrency: 1, queue: Duration::from_millis(1), ..patient() },
            _ => patient(),
        };
        let own = AgentPolicyParts {
            on_failure: PerHook::make(|_| rule),
            // The version before the reload does nothing bad.
            previous: Some(HookModules::all(module, "{}")),
            breaker: BreakerLimits { failures: u32::from(class == Breaker), ..BreakerLimits::default() },
            ..parts(module, &format!(r#"{{"do":"{deed}"}}"#), limits)
        };
        let engine = if class == Link { &*CLOSED } else { &*ENGINE };
        Case { class, policy: AgentPolicy::new(engine, own) }
    }

    /// Does what must come before the call that fails.
    async fn prepare(&self) -> Option<policy::TurnCall> {
        match self.class {
            // The first failure opens the breaker.
            Breaker => drop(self.policy.turn(turn("model-a", "words")).route().await),
            Queue => {
                let mut holding = self.policy.turn(turn("model-a", "words"));
                holding.route().await;
                return Some(holding);
            }
            _ => {}
        }
        None
    }

    fn check<T>(&self, got: &Decided<T>) -> &'static str {
        assert_eq!(got.failure.as_ref().map(|f| f.class), Some(self.class));
        match got.source {
            DecisionSource::Policy => "policy",
            DecisionSource::Builtin => "builtin",
            DecisionSource::Previous => "previous",
            DecisionSource::Breaker => "breaker",
        }
    }

    async fn route(&self) -> String {
        let _holding = self.prepare().await;
        let got = self.policy.turn(turn("model-a", "words")).route().await;
        let source = self.check(&got);
        let what = match got.value {
            // The built-in goes where the client asked, the guest to the last target.
            RouteDecision::To(0) => "as asked",
            RouteDecision::To(_) => "as the version before says",
            RouteDecision::Refuse(words) if words == DENIED => "refused",
            RouteDecision::Refuse(_) => "refused in the module's words",
        };
        format!("{what} (source={source})")
    }

    async fn select(&self) -> String {
        let _holding = self.prepare().await;
        let skills = catalog(&[("alpha", 0.0, 100), ("beta", 1.0, 100)]);
        let got = self.policy.turn(turn("model-a", "words")).select(skills).await;
        let source = self.check(&got);
        let what = match &got.value {
            Selection::Deny => "refused",
            Selection::Skills(names) if names.is_empty() => "no skills",
            Selection::Skills(names) if names == &["beta"] => "skills by the built-in",
            Selection::Skills(_) => "skills by the version before",
        };
        format!("{what} (source={source})")
    }

    async fn filter(&self) -> String {
        let _holding = self.prepare().await;
        let got = self.policy.filter(sample("stop", "an answer")).await;
        let source = self.check(&got);
        let what = match got.value {
            Verdict::Keep { weight: 1.0 } => "kept by the built-in",
            Verdict::Keep { .. } => "kept by the version before",
            Verdict::Drop { .. } => "no sample",
        };
        format!("{what} (source={source})")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_failure_has_its_decided_outcome() {
    let module = ENGINE.load(misbehaving(), None, "{}").unwrap();
    let mut table = String::from("hook\tfailure\ton_failure\toutcome\n");
    for (hook, rules) in [("route", &RULES[..3]), ("select", &RULES[..]), ("filter", &RULES[..])] {
        for (class, deed) in FAILURES {
            // A sample waits half a minute for its place, so nothing is decided about it in a test's time.
            if (hook, class) == ("filter", Queue) {
                continue;
            }
            for (rule, name) in rules.iter().filter(|(rule, _)| hook != "filter" || *rule != Fallback::Deny) {
                let case = Case::new(&module, class, deed, *rule);
                let outcome = match hook {
                    "route" => case.route().await,
                    "select" => case.select().await,
                    _ => case.filter().await,
                };
                let _ = writeln!(table, "{hook}\t{}\t{name}\t{outcome}", class.as_str());
            }
        }
    }
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/failure-table.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, &table).unwrap();
    }
    let wanted = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(table == wanted, "run with UPDATE_GOLDEN=1 to accept:\n{table}");
}
