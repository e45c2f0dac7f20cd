//! What a file of cases means, and what is said when it means nothing.
#![cfg(test)]
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};

use policy_cases::*;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

#[test]
fn a_case_says_everything_and_leaves_everything_out() {
    let suite = Suite::read(&golden("all.yaml")).unwrap_or_else(|problems| panic!("{problems}"));
    let [full, least, words, bad] = suite.cases.as_slice() else { panic!("{}", suite.cases.len()) };

    assert_eq!((full.line, full.turn.agent.as_str(), full.turn.kind.as_str()), (5, "researcher", "side"));
    assert_eq!(full.config_json(), r#"{"long":2000,"nested":{"list":[1,2.5,"x",null,true]}}"#);
    assert_eq!((full.turn.user_text.as_str(), full.turn.messages.len(), full.turn.body_size), ("Last.", 4, 1234));
    assert_eq!(full.turn.received_at, 1_795_176_000_000);
    let targets: Vec<_> = full.turn.targets.iter().map(|t| (t.upstream.as_str(), t.model.as_str())).collect();
    assert_eq!(targets, [("one", "org/model"), ("two", "")]);
    assert_eq!(
        full.skills.iter().map(|skill| (skill.name.as_str(), skill.tokens)).collect::<Vec<_>>(),
        [("bread", 7), ("tides", 12)]
    );
    assert_eq!(full.found("tides").unwrap().iter().map(|hit| hit.score).collect::<Vec<_>>(), [2.0, 0.5]);
    assert_eq!((full.found("else"), least.found("else")), (Some([].as_slice()), None));
    assert_eq!(full.rendered(None), ["tides"]);
    assert_eq!(full.calls[0].arguments, r#"{"path":"/"}"#);
    assert_eq!((full.calls[1].id.as_str(), full.calls[1].arguments.as_str()), ("call-2", "not json"));
    assert_eq!((full.sample.finish_reason.as_str(), full.sample.messages.len()), ("length", 1));
    assert_eq!(full.asks(), Hook::ALL);
    assert_eq!(full.within, Within { fuel: Some(200_000), memory: Some(2 << 20) });
    assert_eq!(full.expect.kv["gone"], None);

    assert_eq!((least.turn.user_text.as_str(), least.turn.targets[0].model.as_str()), ("the usual words", "small"));
    assert_eq!((least.asks(), least.turn.mode.as_str()), (vec![Hook::Route], "skills_only"));
    assert_eq!((words.turn.user_text.as_str(), words.turn.body_size), ("Mine.", 5));
    assert_eq!((bad.asks(), bad.expect.problems.as_deref()), (vec![], Some(["bad-config".to_owned()].as_slice())));
}

#[test]
fn all_problems_are_told_together_with_their_lines() {
    let problems = Suite::read(&golden("problems.yaml")).unwrap_err().problems;
    let told: Vec<String> = problems.iter().map(|p| format!("{}: {p}", p.line)).collect();
    let want: Vec<&str> = include_str!("golden/problems.txt").lines().collect();
    assert_eq!(told, want, "\n{}", told.join("\n"));
}

#[test]
fn what_is_no_list_of_cases_is_an_error_too() {
    for (text, want) in [
        ("", "c.yaml:1: cases: there are no cases; write a list of them"),
        ("cases: []", "c.yaml:1: cases: a list is not a list with a case in it"),
        ("cases:\n- name: a\n  name: b", "c.yaml:3: this is not YAML as cases are written"),
        ("cases: [", "c.yaml:"),
        ("- a", "c.yaml:1: a list is not a section"),
    ] {
        let error = Suite::parse(text, Path::new("c.yaml")).unwrap_err().to_string();
        assert!(error.starts_with(want), "{text:?}: {error}");
    }
    let missing = Suite::read(Path::new("/nowhere/cases.yaml")).unwrap_err().to_string();
    assert!(missing.starts_with("/nowhere/cases.yaml: the file cannot be read: "), "{missing}");
}

#[test]
fn a_folder_of_skills_is_a_catalog() {
    let folder = golden("");
    let text = "cases: [{ name: a, skills: skills, expect: { select: [] } }]";
    let suite = Suite::parse(text, &folder.join("cases.yaml")).unwrap();
    let skill = &suite.cases[0].skills[0];
    assert_eq!(
        (skill.name.as_str(), skill.description.as_str(), skill.category.as_str(), skill.body.as_str()),
        ("house-style", "Use when writing: how we write", "general", "Short sentences.")
    );
    let error = Suite::parse(&text.replace(": skills", ": ./nowhere"), &folder.join("cases.yaml")).unwrap_err();
    assert!(error.to_string().contains("nowhere cannot be read"), "{error}");
}
