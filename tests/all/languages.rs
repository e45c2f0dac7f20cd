//! Policies in Python, JavaScript, C and Go: what a template gives in an empty folder serves turns in the real host, everything that a
//! language's helper offers reaches the host, and the examples do what they say.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tests::{Home, Host, Reply, Upstream, policy, root, until};

const LANGUAGES: [&str; 4] = ["python", "js", "c", "go"];

/// What `metaclaw policy new` makes of a language's template, in an empty folder.
fn fresh(language: &str, name: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    copy(&root().join("policies/templates").join(language), dir.path(), name);
    dir
}

fn copy(from: &Path, to: &Path, name: &str) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target, name);
        } else {
            fs::write(target, fs::read_to_string(entry.path()).unwrap().replace("my-policy", name)).unwrap();
        }
    }
}

/// A home whose agent `own` has this module, with these grants and settings.
fn home(upstream: &Upstream, module: &Path, more: &str) -> Home {
    // However busy the machine is, it is never the wall clock that ends a call.
    let policy = format!("{{ module: \"{}\", limits: {{ wall: 20s }}, {more} }}", module.display());
    Home::with(upstream, &format!("agents: {{ own: {{ mode: rl, policy: {policy} }} }}\n"))
}

/// What became of a turn's sample.
async fn sample(host: &Host, turn: &str) -> Value {
    let state = async || {
        let turn = host.get(&format!("/v1/turns/{turn}")).await;
        turn["sample"].is_object().then(|| turn["sample"].clone())
    };
    until("the sample is judged", state).await
}

/// An upstream whose model calls the tool that the user names.
async fn calling() -> Upstream {
    Upstream::scripted(|seen| match seen.user().strip_prefix("call ") {
        Some("remove") => Reply::Call("remove", "{\"path\":\"/\"}".into()),
        Some(_) => Reply::Call("read", "{\"path\":\"a\"}".into()),
        None => Reply::Words(format!("echo: {}", seen.user())),
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_template_gives_in_an_empty_folder_serves_turns() {
    let (small, large) = (Upstream::echo().await, Upstream::echo().await);
    for language in LANGUAGES {
        let module = policy(fresh(language, "tide-router").path(), &format!("template-{language}"));
        let named = |name: &str, upstream: &Upstream| {
            format!("  {name}: {{ provider: custom, api_base: \"{}\", models: [m] }}\n", upstream.base())
        };
        let agent = |name: &str, settings: &str| {
            let limits = "limits: { wall: 20s }";
            let policy = format!("{{ module: \"{}\", {limits}, config: {settings} }}", module.display());
            format!("  {name}: {{ upstreams: [small, large], policy: {policy} }}\n")
        };
        let home = Home::new();
        home.config(&format!(
            "upstreams:\n{}{}agents:\n{}{}  _default: {{ upstream: small }}\n",
            named("small", &small),
            named("large", &large),
            agent("own", "{ long: 1000 }"),
            agent("wrong", "{ lnog: 1000 }"),
        ));
        let host = home.start_with(&["--dev"]).await;
        for (words, asked) in [("tides?".to_owned(), "small"), ("and ".repeat(400), "large"), ("and?".into(), "small")]
        {
            let answer = host.say(&words).agent("own").send().await;
            assert_eq!(answer.status, 200, "{language}: {}", answer.text);
            assert!(
                answer.header("x-metaclaw-policy").ends_with("; source=policy"),
                "{language}: {:?}",
                answer.headers
            );
            let heard = if asked == "small" { &small } else { &large };
            assert!(
                heard.seen().last().is_some_and(|seen| seen.user() == words),
                "{language}: {asked} has not heard {words}"
            );
        }
        let wrong = host.say("hi").agent("wrong").send().await;
        assert_eq!((wrong.status, wrong.code().as_str()), (503, "policy_unavailable"), "{language}: {}", wrong.text);
        assert!(host.log().contains("lnog"), "{language}: {}", host.log());
        let listed = fs::read_to_string(fresh(language, "tide-router").path().join("README.md")).unwrap();
        assert!(listed.contains("# tide-router"), "{listed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_a_helper_offers_reaches_the_host() {
    let upstream = calling().await;
    let guests = root().join("tests/guests/every");
    for (language, file) in LANGUAGES.into_iter().zip(["policy.py", "policy.js", "policy.c", "policy.go"]) {
        let dir = fresh(language, "every");
        fs::copy(guests.join(file), dir.path().join(file)).unwrap();
        fs::copy(guests.join("policy.wit"), dir.path().join("wit/policy.wit")).unwrap();
        let module = policy(dir.path(), &format!("every-{language}"));
        let home = home(&upstream, &module, "grants: { skills: read, kv: 4KiB, log: 8KiB }");
        home.skill("own", "tides", "Use for tides", "LOOK AT THE MOON");
        fs::write(home.path().join("skills/own/tides/notes.txt"), "spring").unwrap();
        let host = home.start_with(&["--dev", "--log", "info"]).await;
        let tell = async |words: &str| host.say(words).agent("own").session("s").send().await;

        let answer = tell("tides?").await;
        assert_eq!(answer.words(), "echo: tides?", "{language}: {}", answer.text);
        assert!(answer.header("x-metaclaw-policy").ends_with("; source=policy"), "{language}: {:?}", answer.headers);
        assert!(
            upstream.last().system().contains("laid out: LOOK AT THE MOON"),
            "{language}: {:?}",
            upstream.last().system()
        );
        assert_eq!(sample(&host, answer.header("x-request-id")).await["state"], "captured", "{language}");

        let dropped = tell("tides, drop").await;
        let dropped = sample(&host, dropped.header("x-request-id")).await;
        assert_eq!(
            (&dropped["state"], &dropped["reason"]),
            (&"dropped".into(), &"dropped tides, drop".into()),
            "{language}"
        );

        assert_eq!(tell("refuse").await.words(), "refused", "{language}");
        let thrown = tell("throw").await;
        assert!(
            thrown.header("x-metaclaw-policy").ends_with("failed=policy_error"),
            "{language}: {:?}",
            thrown.headers
        );
        assert!(tell("call remove").await.words().contains("denied {\"path\":\"/\"}"), "{language}");
        assert!(tell("call read").await.text.contains("\"tool_calls\""), "{language}");

        for words in ["kept ", "count", "skills ", "tides", "files ", "spring", "problem not-found", "sample "] {
            assert!(host.log().contains(words), "{language} has not logged {words:?}: {}", host.log());
        }
    }
}

fn example(name: &str) -> PathBuf {
    policy(&root().join("examples/policies").join(name), name)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_example_keeps_personal_data_out_of_the_samples() {
    let upstream = Upstream::echo().await;
    let home = home(&upstream, &example("python-no-personal-data"), "config: { look_for: [email, iban] }");
    let host = home.start_with(&["--dev"]).await;
    for (words, state, reason) in [
        ("When is high water?", "captured", ""),
        ("Write to ada@engines.co.uk", "dropped", "an e-mail address in the answer"),
        ("Pay GB82 WEST 1234 5698 7654 32", "dropped", "an account number (IBAN) in the answer"),
        ("Pay GB83 WEST 1234 5698 7654 32", "captured", ""),
        ("Call +44 20 7946 0958", "captured", ""),
    ] {
        let answer = host.say(words).agent("own").send().await;
        let sample = sample(&host, answer.header("x-request-id")).await;
        let why = sample["reason"].as_str().unwrap_or_default();
        assert_eq!((sample["state"].as_str(), why), (Some(state), reason), "{words}: {sample}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_javascript_example_gives_the_skills_that_a_project_names() {
    let upstream = Upstream::echo().await;
    let home = home(&upstream, &example("js-project-skills"), "grants: { skills: read }");
    for (name, body) in [("house-style", "HOUSE"), ("release-notes", "NOTES"), ("judge-tests", "JUDGE")] {
        home.skill("own", name, "Use when needed", body);
    }
    let host = home.start_with(&["--dev"]).await;
    let given = async |words: &str| {
        assert_eq!(host.say(words).agent("own").send().await.status, 200);
        let system = upstream.last().system();
        ["HOUSE", "NOTES", "JUDGE"].into_iter().filter(|body| system.contains(body)).collect::<Vec<_>>()
    };
    assert_eq!(given("judge tests").await, ["JUDGE"], "without a file the search chooses");
    let project = r#"{ "always": ["house-style"], "when": [{ "words": ["release"], "skills": ["release-notes"] }] }"#;
    fs::write(home.path().join("skills/own/project.json"), project).unwrap();
    assert_eq!(given("a new RELEASE").await, ["HOUSE", "NOTES"]);
    assert_eq!(given("judge tests").await, ["HOUSE", "JUDGE"], "of which it says nothing but `always`");
    fs::write(home.path().join("skills/own/project.json"), "always: house-style").unwrap();
    let failed = host.say("a new release").agent("own").send().await;
    assert!(failed.header("x-metaclaw-policy").contains("failed=policy_error"), "{:?}", failed.headers);
    assert!(host.log().contains("project.json"), "{}", host.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_c_example_routes_by_topic() {
    let (small, large) = (Upstream::echo().await, Upstream::echo().await);
    let home = Home::new();
    let named = |name: &str, upstream: &Upstream| {
        format!("  {name}: {{ provider: custom, api_base: \"{}\", models: [m] }}\n", upstream.base())
    };
    let policy =
        format!("{{ module: \"{}\", config: {{ large/m: [prove, theorem] }} }}", example("c-topic-router").display());
    home.config(&format!(
        "upstreams:\n{}{}agents: {{ _default: {{ upstream: small }}, own: {{ upstreams: [small, large], policy: {policy} }} }}\n",
        named("small", &small),
        named("large", &large),
    ));
    let host = home.start_with(&["--dev"]).await;
    for (words, asked) in [("It has improved", &small), ("PROVE it", &large), ("tides?", &small)] {
        let answer = host.say(words).agent("own").send().await;
        assert!(answer.header("x-metaclaw-policy").ends_with("; source=policy"), "{words}: {:?}", answer.headers);
        assert!(asked.seen().last().is_some_and(|seen| seen.user() == words), "{words} went elsewhere");
    }
}

/// Every policy's folder is complete in itself, so the contract and the helpers are there several times: the same each time.
#[test]
fn copies_are_copies() {
    let contract = fs::read_to_string(root().join("wit/1.0.0/policy.wit")).unwrap();
    let mut seen = 0;
    for entry in fs::read_dir(root().join("examples/policies")).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        let Some(language) = LANGUAGES.into_iter().find(|language| name.starts_with(&format!("{language}-"))) else {
            continue;
        };
        seen += 1;
        let copied = entry.path().join("wit/deps/metaclaw-policy/policy.wit");
        assert!(fs::read_to_string(&copied).unwrap() == contract, "{} is not wit/1.0.0/policy.wit", copied.display());
        same(&root().join("policies/templates").join(language).join("metaclaw"), &entry.path().join("metaclaw"));
    }
    assert!(seen >= 3, "examples/policies has {seen}");
}

fn same(template: &Path, copied: &Path) {
    let names = |dir: &Path| {
        let mut names: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(names(template), names(copied), "{} and {}", template.display(), copied.display());
    for name in names(template) {
        let (ours, theirs) = (template.join(&name), copied.join(&name));
        if ours.is_dir() {
            same(&ours, &theirs);
        } else {
            assert!(
                fs::read(&ours).unwrap() == fs::read(&theirs).unwrap(),
                "{} is not {}",
                theirs.display(),
                ours.display()
            );
        }
    }
}
