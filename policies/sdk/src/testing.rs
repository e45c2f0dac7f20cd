//! Running a policy natively on the cases of `cases.yaml`, with the answers checked as the host checks them.
//!
//! ```ignore
//! #[test]
//! fn it_decides_as_its_cases_say() {
//!     metaclaw_policy::testing::check::<MyPolicy>("cases.yaml");
//! }
//! ```

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::rc::Rc;

pub use policy_cases as cases;
use policy_cases::{Answer, Case, Complaint, Difference, Gate, Hook, Outcome, Route, Suite, Verdict, compare};

use crate::mock::{self, Host};
use crate::{Catalog, Decision, Error, Exported, Permission, Result, Sample, Turn, run};

/// How the host names an answer that a module may not give.
const BAD_OUTPUT: &str = "bad_output";
/// How the host names a module that gives up.
const TRAP: &str = "trap";
/// The longest words that a client gets instead of an answer or a tool call, in bytes.
const MAX_WORDS: usize = 4096;
const MAX_SKILLS: usize = 64;
const MAX_LAYOUT: usize = 256 << 10;
const MAX_WEIGHT: f32 = 10.0;

/// Where [`check`] writes what came of the cases, as JSON, when the environment names a file: for a comparison with another run.
const OUTCOMES: &str = "METACLAW_OUTCOMES";

/// Runs every case of a file, which is looked for beside `Cargo.toml`.
///
/// # Panics
///
/// When the file cannot be used, or the policy decides otherwise than a case says; the message tells all that differs.
pub fn check<P: Exported>(file: &str) {
    let suite = Suite::read(Path::new(file)).unwrap_or_else(|problems| panic!("{problems}"));
    let mut told = String::new();
    let outcomes: Vec<Outcome> = suite.cases.iter().map(run::<P>).collect();
    if let Some(file) = std::env::var_os(OUTCOMES) {
        let json = serde_json::to_vec(&outcomes).unwrap_or_else(|error| panic!("the outcomes are no JSON: {error}"));
        std::fs::write(file, json).unwrap_or_else(|error| panic!("the outcomes cannot be written: {error}"));
    }
    for (case, outcome) in suite.cases.iter().zip(&outcomes) {
        for Difference { what, expected, got } in compare(case, outcome) {
            told.push_str(&format!(
                "\n{file}:{}: {}\n    {what}: expected {expected}\n    got {got}",
                case.line, case.name
            ));
        }
    }
    assert!(told.is_empty(), "{} decides otherwise than its cases say:{told}", P::NAME);
}

/// Asks the policy everything that a case asks.
pub fn run<P: Exported>(case: &Case) -> Outcome {
    let case = Rc::new(case.clone());
    let json = case.config_json();
    let mut outcome = Outcome::default();
    mock::with(|host| *host = Host::of(&case, P::GRANTS));
    for problem in run::validate::<P>(&json) {
        outcome.problems.push(Complaint { code: problem.code, message: problem.message });
    }
    if outcome.problems.is_empty() {
        for hook in case.asks() {
            ask::<P>(hook, &case, &json, &mut outcome);
        }
    }
    let Host { kv, files, log, .. } = mock::with(std::mem::take);
    Outcome { kv, files, log, ..outcome }
}

fn ask<P: Exported>(hook: Hook, case: &Rc<Case>, json: &str, outcome: &mut Outcome) {
    let (turn, catalog) = (Turn(case.clone()), Catalog(case.clone()));
    match hook {
        Hook::Route => {
            let answer =
                answer::<P, _>(hook, json, |policy| policy.route(&turn).and_then(|decision| route(case, decision)));
            outcome.route = Some(answer);
        }
        Hook::Select => {
            let names = |policy: &P| policy.select(&turn, &catalog).and_then(|chosen| selection(case, chosen.skills));
            outcome.select = Some(answer::<P, _>(hook, json, names));
        }
        Hook::Render => {
            let selected = outcome.select.as_ref().and_then(Answer::value).map(Vec::as_slice);
            let skills = case.rendered(selected);
            let text = |policy: &P| policy.render(&turn, &catalog, skills).and_then(layout);
            outcome.render = Some(answer::<P, _>(hook, json, text));
        }
        Hook::Gate => {
            for call in &case.calls {
                let call = mock::tool_call(call);
                let word = |policy: &P| policy.gate(&turn, call).and_then(permission);
                outcome.gate.push(answer::<P, _>(hook, json, word));
            }
        }
        Hook::Filter => {
            let sample = Sample(case.clone());
            outcome.filter = Some(answer::<P, _>(hook, json, |policy| policy.filter(&sample).and_then(verdict)));
        }
        Hook::Reward => {
            let sample = Sample(case.clone());
            outcome.reward = Some(answer::<P, _>(hook, json, |policy| policy.reward(&sample).and_then(reward)));
        }
    }
}

/// One hook's answer. A hook that fails has kept nothing.
fn answer<P: Exported, T>(hook: Hook, json: &str, ask: impl FnOnce(&P) -> Result<T>) -> Answer<T> {
    if !P::HOOKS.contains(&hook.as_str()) {
        return Answer::NoHook;
    }
    let before = mock::with(|host| host.kv.clone());
    let answer = catch_unwind(AssertUnwindSafe(|| run::read::<P>(json).and_then(|policy| ask(&policy))));
    let error = match answer {
        Ok(Ok(value)) => return Answer::Is(value),
        Ok(Err(error)) => error,
        Err(_) => Error::new(TRAP, "the policy panicked"),
    };
    mock::with(|host| host.kv = before);
    Answer::Fails(Complaint { code: error.code().to_owned(), message: error.message().to_owned() })
}

fn route(case: &Case, decision: Decision) -> Result<Route> {
    match decision {
        Decision::To(route) => {
            let (upstream, model) = (&route.target.upstream, &route.target.model);
            let mut targets = case.turn.targets.iter();
            match targets.find(|target| target.upstream == *upstream && target.model == *model) {
                Some(target) => Ok(Route::To(target.name())),
                None => bad(format!("it chose {upstream:?} and {model:?}, which the turn does not offer")),
            }
        }
        Decision::Refuse(refusal) => words(refusal.message).map(Route::Refuse),
    }
}

fn selection(case: &Case, names: Vec<String>) -> Result<Vec<String>> {
    let distinct: BTreeSet<&String> = names.iter().collect();
    if names.len() > MAX_SKILLS || distinct.len() < names.len() {
        return bad(format!("it selected more than {MAX_SKILLS} skills, or one of them twice: {names:?}"));
    }
    match names.iter().find(|name| case.skill(name).is_none()) {
        Some(name) => bad(format!("it selected {name:?}, which the catalog does not have")),
        None => Ok(names),
    }
}

fn layout(text: String) -> Result<String> {
    if text.len() > MAX_LAYOUT { bad(format!("its layout has {} bytes", text.len())) } else { Ok(text) }
}

fn permission(permission: Permission) -> Result<Gate> {
    match permission {
        Permission::Allow => Ok(Gate::Allow),
        Permission::Deny(why) => words(why).map(Gate::Deny),
        Permission::Hold(why) => words(why).map(Gate::Hold),
    }
}

fn verdict(verdict: crate::Verdict) -> Result<Verdict> {
    match verdict {
        crate::Verdict::Keep(weight) if weight > 0.0 && weight <= MAX_WEIGHT => Ok(Verdict::Keep(weight)),
        crate::Verdict::Keep(weight) => bad(format!("it gave the weight {weight}")),
        crate::Verdict::Drop(reason) => Ok(Verdict::Drop(reason)),
    }
}

fn reward(reward: Option<f32>) -> Result<Option<f32>> {
    match reward {
        Some(number) if !(-1.0..=1.0).contains(&number) => bad(format!("it gave the reward {number}")),
        reward => Ok(reward),
    }
}

fn words(words: String) -> Result<String> {
    if (1..=MAX_WORDS).contains(&words.len()) {
        Ok(words)
    } else {
        bad(format!("its words have {} bytes", words.len()))
    }
}

fn bad<T>(message: String) -> Result<T> {
    Err(Error::new(BAD_OUTPUT, message))
}
