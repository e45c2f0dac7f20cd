//! What counts as the answer that a case expects.
#![cfg(test)]
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::Path;

use policy_cases::*;

fn case(expect: &str) -> Case {
    let text = format!(
        "cases: [{{ name: a, calls: [{{ name: ls }}], within: {{ fuel: 10, memory: 1KiB }}, expect: {{ {expect} }} }}]"
    );
    Suite::parse(&text, Path::new("c.yaml")).unwrap_or_else(|problems| panic!("{problems}")).cases.remove(0)
}

/// What differs, as `what: expected <> got`.
fn differences(expect: &str, outcome: &Outcome) -> Vec<String> {
    let all = compare(&case(expect), outcome);
    all.iter().map(|d| format!("{}: {} <> {}", d.what, d.expected, d.got)).collect()
}

fn fails<T>(code: &str) -> Option<Answer<T>> {
    Some(Answer::Fails(Complaint { code: code.into(), message: "Words.".into() }))
}

#[test]
fn each_hook_is_compared_with_what_it_should_say() {
    let route = |route| Outcome { route, ..Outcome::default() };
    let to = |target: &str| route(Some(Answer::Is(Route::To(target.into()))));
    let refuse = || route(Some(Answer::Is(Route::Refuse("No, thanks.".into()))));
    let select = |names: &[&str]| {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        Outcome { select: Some(Answer::Is(names)), ..Outcome::default() }
    };
    let render = |text: &str| Outcome { render: Some(Answer::Is(text.into())), ..Outcome::default() };
    let gate = |gate: Gate| Outcome { gate: vec![Answer::Is(gate)], ..Outcome::default() };
    let filter = |verdict| Outcome { filter: Some(Answer::Is(verdict)), ..Outcome::default() };
    let reward = |reward| Outcome { reward: Some(Answer::Is(reward)), ..Outcome::default() };
    for (expect, outcome, want) in [
        ("route: a/b", to("a/b"), ""),
        ("route: a/b", to("a/c"), "route: a/b <> a/c"),
        ("route: a/b", refuse(), r#"route: a/b <> { refuse: "No, thanks." }"#),
        ("route: a/b", route(None), "route: a/b <> no answer: it was not asked"),
        ("route: a/b", route(Some(Answer::NoHook)), "route: a/b <> no answer: the policy does not have this hook"),
        ("route: { refuse: true }", refuse(), ""),
        ("route: { refuse: 'No, thanks.' }", refuse(), ""),
        ("route: { refuse: { contains: thank } }", refuse(), ""),
        ("route: { refuse: No }", refuse(), r#"route: { refuse: "No" } <> { refuse: "No, thanks." }"#),
        ("route: { refuse: true }", to("a/b"), "route: { refuse: any words } <> a/b"),
        ("route: { fails: spent }", route(fails("spent")), ""),
        ("route: { fails: spent }", route(fails("trap")), "route: { fails: spent } <> { fails: trap } (Words.)"),
        ("route: { fails: spent }", to("a/b"), "route: { fails: spent } <> a/b"),
        ("select: [a, b]", select(&["a", "b"]), ""),
        ("select: [a, b]", select(&["b", "a"]), "select: [a, b] <> [b, a]"),
        ("render: { contains: b }", render("abc"), ""),
        ("render: b", render("abc"), r#"render: "b" <> "abc""#),
        ("gate: [allow]", gate(Gate::Allow), ""),
        ("gate: [{ deny: true }]", gate(Gate::Deny("No.".into())), ""),
        ("gate: { hold: true }", gate(Gate::Deny("No.".into())), r#"gate[0]: { hold: any words } <> { deny: "No." }"#),
        ("gate: allow", Outcome::default(), "gate[0]: allow <> no answer: it was not asked"),
        ("filter: { keep: 0.3 }", filter(Verdict::Keep(0.3)), ""),
        ("filter: { keep: 0.3 }", filter(Verdict::Keep(0.31)), "filter: { keep: 0.3 } <> { keep: 0.31 }"),
        ("filter: keep", filter(Verdict::Keep(2.0)), ""),
        ("filter: { drop: short }", filter(Verdict::Drop("short".into())), ""),
        ("filter: { drop: true }", filter(Verdict::Keep(1.0)), "filter: { drop: any words } <> { keep: 1 }"),
        ("reward: none", reward(None), ""),
        ("reward: none", reward(Some(0.0)), "reward: none <> 0"),
        ("reward: 1", reward(Some(1.0)), ""),
        ("reward: 1", reward(Some(f32::NAN)), "reward: 1 <> NaN"),
    ] {
        assert_eq!(differences(expect, &outcome).join("\n"), want, "{expect}");
    }
}

#[test]
fn what_is_kept_said_and_used_is_compared_too() {
    let mut outcome = Outcome { reward: Some(Answer::Is(None)), ..Outcome::default() };
    outcome.kv.insert("spent".into(), b"13".to_vec());
    outcome.files.insert("skills/a".into(), b"words".to_vec());
    outcome.log.push("info: spent 13".into());
    (outcome.fuel, outcome.memory) = (Some(10), Some(1024));
    let fits = "reward: none, kv: { spent: '13', gone: null }, files: { skills/a: words }, log: [spent]";
    assert_eq!(differences(fits, &outcome), [""; 0]);
    (outcome.fuel, outcome.memory) = (Some(11), Some(1025));
    let all = differences("reward: none, kv: { spent: null, x: '1' }, files: { skills/b: w }, log: [more]", &outcome);
    assert_eq!(
        all,
        [
            r#"kv.spent: nothing <> "13""#,
            r#"kv.x: "1" <> nothing"#,
            r#"files.skills/b: "w" <> nothing"#,
            r#"log: "more" in it <> [info: spent 13]"#,
            "within.fuel: at most 10 <> 11",
            "within.memory: at most 1024 <> 1025",
        ]
    );
}

#[test]
fn a_configuration_must_be_accepted_or_refused_as_expected() {
    let complaint = Complaint::of_engine("policy_error", "bad-config: `long` is not a number");
    let refused = Outcome { problems: vec![complaint], ..Outcome::default() };
    assert_eq!(differences("problems: [bad-config]", &refused), [""; 0]);
    let unexpected = differences("route: a/b", &refused);
    assert_eq!(unexpected, ["problems: [] <> [bad-config: `long` is not a number]"]);
    assert_eq!(differences("problems: [bad-config]", &Outcome::default()), ["problems: [bad-config] <> []"]);
    let trap = Complaint::of_engine("trap", "wasm: unreachable");
    assert_eq!((trap.code.as_str(), trap.message.as_str()), ("trap", "wasm: unreachable"));
}
