//! `metaclaw policy replay`: which recorded turns a module would decide differently, exactly; and each language's way from an empty folder.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;
use tests::{Home, Host, Upstream, guest, until};

const ASSISTANT: &str = "examples/two-agents/policy";
const HOOKS: &str = "tests/guests/hooks";

fn replay(home: &Home, module: &str, more: &[&str]) -> Value {
    let module = guest(module);
    let words = ["--json", "policy", "replay", module.to_str().unwrap(), "--agent", "a"];
    let (code, out, err) = home.run(&[&words[..], more].concat());
    assert_eq!(code, 0, "{err}");
    serde_json::from_str(&out).unwrap()
}

/// The turns that the module would decide differently, and in which hooks.
fn different(report: &Value) -> BTreeSet<(String, String)> {
    let changes = report["changes"].as_array().unwrap().iter().flat_map(|turn| {
        let of_module = turn["changes"].as_array().unwrap().iter().filter(|change| change["cause"] == "module");
        of_module.map(|change| (text(&turn["turn"]), text(&change["hook"])))
    });
    changes.collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// A turn of the agent: its id.
async fn say(host: &Host, words: &str) -> String {
    let answer = host.say(words).agent("a").session("s1").send().await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.header("x-request-id").to_owned()
}

fn pairs(turns: &[&String], hook: &str) -> BTreeSet<(String, String)> {
    turns.iter().map(|turn| ((*turn).clone(), hook.to_owned())).collect()
}

/// A home whose agent `a` has this module with these settings.
fn home(upstream: &Upstream, module: &str, settings: &str) -> Home {
    let module = guest(module);
    let policy = format!("{{ module: \"{}\", config: {settings}, limits: {{ wall: 20s }} }}", module.display());
    let home = Home::with(upstream, &format!("agents: {{ a: {{ mode: rl, policy: {policy} }} }}\n"));
    home.skill("_shared", "file-tickets", "Use when filing tickets", "TICKETS");
    home
}

#[tokio::test]
async fn exactly_the_turns_that_a_module_would_decide_differently_are_shown() {
    let upstream = Upstream::echo().await;
    let settings = "{ refuse: [horoscope], first_skill: house-style }";
    let home = home(&upstream, ASSISTANT, settings);
    home.skill("a", "house-style", "How we write", "HOUSE");
    let host = home.start_with(&["--dev"]).await;
    let mut turns = Vec::new();
    for words in ["filing tickets", "read my horoscope", "something else", "read my dreams", "filing more tickets"] {
        turns.push(say(&host, words).await);
    }
    until("all are recorded", async || (replay(&home, ASSISTANT, &[])["turns"] == 5).then_some(())).await;
    // While the host runs, and when it does not.
    for running in [true, false] {
        let report = replay(&home, ASSISTANT, &[]);
        assert_eq!((&report["turns"], &report["different"]), (&5.into(), &0.into()), "{report:#}");

        let dreams = r#"{"refuse": ["dreams"], "first_skill": "house-style"}"#;
        let report = replay(&home, ASSISTANT, &["--settings", dreams]);
        assert_eq!(different(&report), pairs(&[&turns[1], &turns[3]], "route"), "{report:#}");
        let refused = &report["changes"][1]["changes"][0];
        assert!(text(&refused["new"]).contains("rather not talk about dreams"), "{refused}");
        assert!(text(&refused["recorded"]).starts_with("default/"), "{refused}");

        let without = r#"{"refuse": ["horoscope"]}"#;
        let report = replay(&home, ASSISTANT, &["--settings", without]);
        assert_eq!(different(&report), pairs(&[&turns[0], &turns[2], &turns[3], &turns[4]], "select"), "{report:#}");

        // Another module, which refuses nothing and gives all skills by name: `file-tickets` before `house-style`.
        let report = replay(&home, HOOKS, &["--settings", "{}"]);
        let routed = pairs(&[&turns[1]], "route");
        assert!(different(&report).is_superset(&routed), "{report:#}");
        assert_eq!(report["by_hook"]["route"], 1, "{report:#}");

        let report = replay(&home, ASSISTANT, &["--settings", dreams, "--limit", "2"]);
        assert_eq!(different(&report), pairs(&[&turns[3]], "route"), "the last two: {report:#}");
        let report = replay(&home, ASSISTANT, &["--settings", dreams, "--since", "2100-01-01"]);
        assert_eq!(report["turns"], 0);
        if running {
            host.signal(rustix::process::Signal::TERM);
            until("the host has ended", async || (home.run(&["status"]).0 == 69).then_some(())).await;
        }
    }
}

#[tokio::test]
async fn what_is_not_due_to_the_module_is_not_laid_to_it() {
    let upstream = Upstream::echo().await;
    let home = home(&upstream, ASSISTANT, "{ first_skill: house-style }");
    let host = home.start_with(&["--dev"]).await;
    let turn = say(&host, "filing tickets").await;
    host.stop();
    // A skill that was not there then would be chosen today by the old module as well.
    home.skill("a", "house-style", "How we write", "HOUSE");
    let report = replay(&home, ASSISTANT, &[]);
    assert_eq!((&report["different"], &report["otherwise"]), (&0.into(), &1.into()), "{report:#}");
    assert_eq!(report["changes"][0]["changes"][0]["cause"], "other");
    let module = guest(ASSISTANT);
    let words = ["policy", "replay", module.to_str().unwrap(), "--agent", "a"];
    let (_, out, _) = home.run(&words);
    assert!(out.contains("1 turns, 0 would be decided differently") && !out.contains(&turn), "{out}");
    let (_, out, _) = home.run(&[&words[..], &["--all"]].concat());
    assert!(out.contains(&turn) && out.contains("→ [house-style, file-tickets]"), "{out}");
}

#[tokio::test]
async fn samples_are_judged_anew() {
    let upstream = Upstream::echo().await;
    let home = home(&upstream, HOOKS, "{}");
    let host = home.start_with(&["--dev"]).await;
    let (first, second) = (say(&host, "a").await, say(&host, "thank you").await);
    host.stop();
    let report = replay(&home, HOOKS, &[]);
    assert_eq!((&report["turns"], &report["different"]), (&2.into(), &0.into()), "{report:#}");
    let report = replay(&home, HOOKS, &["--settings", r#"{"filter": "drop"}"#]);
    assert_eq!(different(&report), pairs(&[&first, &second], "filter"), "{report:#}");
    // One of the two had this reward already.
    let report = replay(&home, HOOKS, &["--settings", r#"{"reward": "1"}"#]);
    assert_eq!(different(&report), pairs(&[&first], "reward"), "{report:#}");
    // A module that fails is stood in for, as in the host, and that is said.
    let report = replay(&home, HOOKS, &["--settings", r#"{"reward": "problem"}"#]);
    assert_eq!(report["failures"], 2, "{report:#}");
}

#[test]
fn without_records_it_says_so() {
    let home = Home::new();
    home.config("llm: { api_base: 'http://127.0.0.1:1/v1', model_id: m, provider: custom }\nagents: { a: {} }\n");
    let module = guest(HOOKS);
    let (code, _, err) = home.run(&["policy", "replay", module.to_str().unwrap(), "--agent", "a"]);
    assert!(code == 1 && err.contains("has a host run on this home?"), "{err}");
    let (code, _, err) = home.run(&["policy", "replay", module.to_str().unwrap(), "--agent", "b"]);
    assert!(code == 1 && err.contains("no agent `b`"), "{err}");
}

/// Five minutes: from an empty folder to a policy that an agent has, in each language.
#[test]
fn a_policy_comes_into_being_in_every_language() {
    let home = Home::new();
    home.config("llm: { api_base: 'http://127.0.0.1:1/v1', model_id: m, provider: custom }\nagents: { a: {} }\n");
    // Fetched once a machine, as for an author; cargo needs to find itself.
    let tools = tests::target().join("policy-tools");
    let env = |name: &str, beneath: &str| match std::env::var_os(name) {
        Some(set) => set.into_string().unwrap(),
        None => std::env::home_dir().unwrap().join(beneath).to_str().unwrap().to_owned(),
    };
    let (cargo, rustup) = (env("CARGO_HOME", ".cargo"), env("RUSTUP_HOME", ".rustup"));
    let environment =
        [("METACLAW_POLICY_TOOLS", tools.to_str().unwrap()), ("CARGO_HOME", &cargo), ("RUSTUP_HOME", &rustup)];
    let run = |words: &[&str]| home.run_in(&environment, &[&["policy"], words].concat());
    for lang in ["rust", "js", "c", "go", "python"] {
        let folder = home.path().join(lang);
        let folder = folder.to_str().unwrap();
        let done = |words: &[&str]| {
            let (code, out, err) = run(words);
            assert_eq!(code, 0, "{lang}: {words:?}\n{out}\n{err}");
            out
        };
        done(&["new", "--lang", lang, "night-watch", folder]);
        let (code, _, err) = run(&["test", folder]);
        assert!(code == 1 && err.contains("metaclaw policy build"), "{lang}: {err}");
        if lang != "rust" {
            let elsewhere = home.path().join("none");
            let (code, _, err) = run(&["build", folder, "--tools", elsewhere.to_str().unwrap()]);
            assert!(code == 1 && err.contains("--install"), "{lang}: {err}");
        }
        let out = done(&["build", folder, "--install"]);
        assert!(out.contains("sha256"), "{lang}: {out}");
        let out = done(&["test", folder]);
        assert!(out.contains("✓") && out.contains(" 0 failed"), "{lang}: {out}");
        let out = done(&["check", &format!("{folder}/policy.wasm")]);
        assert!(out.contains("night-watch") && out.contains("metaclaw:policy@1.0.0"), "{lang}: {out}");
        done(&["pin", &format!("{folder}/policy.wasm"), "--agent", "a"]);
        done(&["check", &format!("{folder}/policy.wasm"), "--agent", "a"]);
        fs::remove_dir_all(folder).unwrap();
    }
}
