//! `metaclaw setup` as a new user meets it: from the built binary to a first answer.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tests::{Home, Reply, Upstream};

/// Where servers are looked for instead of their customary ports; empty: nowhere.
const PROBES: &str = "METACLAW_SETUP_PROBES";

/// Runs `metaclaw setup`, with servers looked for nowhere unless `environment` says otherwise.
fn setup(home: &Home, environment: &[(&str, &str)], words: &[&str]) -> (i32, String) {
    let environment: Vec<_> = [(PROBES, "")].into_iter().chain(environment.iter().copied()).collect();
    let (code, out, err) = home.run_in(&environment, &[&["setup"], words].concat());
    assert!(!out.contains("canary") && !err.contains("canary"), "a secret was shown: {out}{err}");
    (code, format!("{out}{err}"))
}

fn config(home: &Home) -> String {
    fs::read_to_string(home.path().join("config.yaml")).unwrap_or_default()
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o7777
}

/// Everything below a folder, by name, with its bytes.
fn everything(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let (path, name) = (entry.path(), entry.file_name().into_string().unwrap());
        if path.is_dir() {
            all.extend(everything(&path).into_iter().map(|(below, bytes)| (format!("{name}/{below}"), bytes)));
        } else {
            all.insert(name, fs::read(path).unwrap());
        }
    }
    all
}

fn backups(home: &Home) -> Vec<Vec<u8>> {
    let copies = everything(home.path()).into_iter().filter(|(name, _)| name.starts_with("config.yaml.bak-"));
    copies.map(|(_, bytes)| bytes).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn without_any_key_the_embedded_model_answers() {
    // Fetches the model if this machine has none.
    let _demo = Home::demo();
    let home = Home::new();
    symlink(tests::target().join("models"), home.path().join("models")).unwrap();
    let (code, said) = setup(&home, &[], &["--yes", "--agent", "researcher"]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("it answers: ") && said.contains("start"), "{said}");
    assert!(config(&home).contains("provider: embedded"), "{}", config(&home));
    let host = home.start().await;
    let answer = host.say("How do I cite my sources?").agent("researcher").with("max_tokens", 8.into()).send().await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert!(!answer.words().is_empty());
    let skills: u32 = answer.header("x-metaclaw-skills").parse().unwrap();
    assert!(skills > 0, "the starter skills are served");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_key_for_an_openai_compatible_provider() {
    let upstream = Upstream::echo().await;
    let home = Home::new();
    let words = [
        "--provider",
        "openai",
        "--api-base",
        &upstream.base(),
        "--api-key",
        "env:TEST_KEY",
        "--agent",
        "ada=assistant",
    ];
    let (code, said) = setup(&home, &[], &words);
    assert_eq!(code, 0, "{said}");
    let tried = upstream.last();
    assert_eq!(
        (&tried.headers["authorization"], &tried.body["model"]),
        (&"Bearer sk-upstream-canary-7f3a".parse().unwrap(), &json!("gpt-5.2"))
    );
    let text = config(&home);
    for part in
        ["provider: openai", "model_id: \"gpt-5.2\"", "api_key: \"env:TEST_KEY\"", "  ada:\n", "# Who answers: OpenAI"]
    {
        assert!(text.contains(part), "{part} is missing in:\n{text}");
    }
    assert!(!text.contains("canary"));
    assert_eq!(mode(&home.path().join("config.yaml")), 0o600);
    let (code, out, err) = home.run(&["config", "check", "--strict"]);
    assert!(code == 0 && !out.contains("warning"), "{out}{err}");
    let host = home.start().await;
    let notes = "Turn these meeting notes into actions";
    let answer = host.say(notes).agent("ada").send().await;
    assert_eq!((answer.status, answer.words()), (200, format!("echo: {notes}")));
    assert!(upstream.last().system().contains("meeting-notes-to-actions"), "ada has the assistant's skills");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_on_this_machine_is_found_and_needs_no_word() {
    let upstream = Upstream::echo().await;
    let home = Home::new();
    let probes = format!("vllm=http://127.0.0.1:9/v1,ollama={}", upstream.base());
    let (code, said) = setup(&home, &[(PROBES, &probes), ("OPENAI_API_KEY", "sk-other-canary")], &["--yes"]);
    assert_eq!(code, 0, "{said}");
    let text = config(&home);
    assert!(text.contains("provider: ollama") && text.contains(&upstream.base()), "{text}");
    assert!(text.contains("model_id: test-model"), "the model for embeddings is none to talk to: {text}");
    assert!(upstream.last().headers.get("authorization").is_none(), "no key is sent where none is wanted");
    let host = home.start().await;
    assert_eq!(host.say("hello").send().await.words(), "echo: hello");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_metaclaw_home_is_kept_and_completed() {
    let upstream = Upstream::echo().await;
    let fixture = tests::root().join("host/config/tests/golden/metaclaw-0.4.1-full.yaml");
    let fixture = fs::read_to_string(fixture).unwrap();
    for (proxy_key, closes) in [("api_key: env:STRONG_KEY", false), ("", true)] {
        let home = Home::new();
        let before = fixture
            .replace("/home/ada/.metaclaw", home.path().to_str().unwrap())
            .replace(
                "https://api.openai.com/v1\n  api_key: env:OPENAI",
                &format!("{}\n  api_key: env:OPENAI", upstream.base()),
            )
            .replace("api_key: env:STRONG_KEY", proxy_key);
        home.config(&before);
        fs::set_permissions(home.path().join("config.yaml"), fs::Permissions::from_mode(0o644)).unwrap();
        home.skill("", "pack-boxes", "Use when packing boxes for a move.", "Heavy things go below.");
        let environment =
            [("OPENAI_API_KEY", "sk-own-canary-99"), ("STRONG_KEY", "d41d8cd98f00b204e9800998ecf8427e-canary")];
        let (code, said) = setup(&home, &environment, &["--yes", "--agent", "reviewer"]);
        assert_eq!(code, 0, "{said}");
        assert!(said.contains("your 1 skills in MetaClaw's own layout"), "{said}");
        assert_eq!(upstream.last().headers["authorization"], "Bearer sk-own-canary-99");
        // Every line stays, comments among them, but for the one that would not let the host start.
        let after = config(&home);
        let opened = "  host: 0.0.0.0";
        for line in before.lines().filter(|line| !(closes && *line == opened)) {
            assert!(after.lines().any(|l| l == line), "{line:?} is gone from:\n{after}");
        }
        assert_eq!(after.contains("host: 127.0.0.1"), closes, "{after}");
        assert!(after.contains("reviewer:"), "{after}");
        assert_eq!(backups(&home), [before.as_bytes()]);
        assert_eq!(mode(&home.path().join("config.yaml")), 0o600);
        let host = home.start_in(&environment).await;
        let key = "Bearer d41d8cd98f00b204e9800998ecf8427e-canary";
        let turn = host.say("Help me with packing boxes");
        let answer = if closes { turn } else { turn.header("authorization", key) }.send().await;
        assert_eq!((answer.status, answer.words().as_str()), (200, "echo: Help me with packing boxes"));
        assert!(upstream.last().system().contains("Heavy things go below."), "flat skills are served");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_run_changes_nothing() {
    let upstream = Upstream::echo().await;
    let home = Home::new();
    let words = ["--api-base", &upstream.base(), "--model", "m", "--api-key", "env:TEST_KEY", "--agent", "researcher"];
    assert_eq!(setup(&home, &[], &words).0, 0);
    let before = everything(home.path());
    for words in [&["--yes"][..], &words] {
        let (code, said) = setup(&home, &[], words);
        assert_eq!(code, 0, "{said}");
        assert_eq!(everything(home.path()), before, "{words:?}");
    }
    let (code, said) = setup(&home, &[], &["--yes", "--dry-run"]);
    assert!(code == 0 && said.contains("set up already"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_there_is_never_lost() {
    let upstream = Upstream::echo().await;
    let home = Home::new();
    home.config("# mine\nmode: rl\nllm: { provider: embedded }\n");
    let mine = home.skill("researcher", "cite-what-was-read", "Use when citing.", "My own words.");
    let before = (config(&home), fs::read(&mine).unwrap());
    let words = ["--api-base", &upstream.base(), "--model", "m", "--agent", "researcher"];
    let (code, said) = setup(&home, &[], &[&words[..], &["--force"]].concat());
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("ANEW"), "that the file is written anew is said: {said}");
    assert!(!config(&home).contains("# mine"));
    assert_eq!(backups(&home), [before.0.as_bytes()]);
    assert_eq!(fs::read(&mine).unwrap(), before.1, "a skill of the user's own");
    assert!(home.path().join("skills/researcher/trace-a-claim/SKILL.md").exists(), "the others are added");
    for _ in 0..3 {
        assert_eq!(setup(&home, &[], &[&words[..], &["--force"]].concat()).0, 0);
    }
    assert_eq!(backups(&home).len(), 4, "copies of one second do not replace one another");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_does_not_answer_leaves_everything_as_it_is() {
    for (status, says) in [
        (401, "does not know the key"),
        (402, "add credit"),
        (403, "does not let this key"),
        (404, "has no model test-model"),
        (429, "quota"),
        (500, "try again later"),
        (200, "not as a chat API does"),
    ] {
        let body = json!({"error": {"message": "key sk-upstream-canary-7f3a is no good"}}).to_string();
        let upstream = Upstream::scripted(move |_| Reply::Status(status, body.clone())).await;
        let home = Home::new();
        let words = ["--api-base", &upstream.base(), "--model", "test-model", "--api-key", "env:TEST_KEY"];
        let (code, said) = setup(&home, &[], &words);
        assert_eq!(code, 1, "{status}: {said}");
        assert!(said.contains(says) && said.contains("Nothing was changed"), "{status}: {said}");
        assert!(everything(home.path()).is_empty(), "{status}");
    }
    let home = Home::new();
    for (base, says) in
        [("http://127.0.0.1:9/v1", "nobody listens"), ("https://no-such-host.invalid/v1", "leads nowhere")]
    {
        let words = ["--api-base", base, "--model", "m"];
        let (code, said) = setup(&home, &[], &words);
        assert!(code == 1 && said.contains(says), "{base}: {said}");
        assert!(everything(home.path()).is_empty());
    }
    let silent = Upstream::scripted(|_| Reply::Silence).await;
    let words = ["--api-base", &silent.base(), "--model", "m", "--timeout", "1"];
    let (code, said) = setup(&home, &[], &words);
    assert!(code == 1 && said.contains("no answer within 1 s"), "{said}");
    let (code, said) = setup(&home, &[], &[&words[..], &["--skip-test"]].concat());
    assert!(code == 0 && config(&home).contains("model_id: m"), "{said}");
}

#[test]
fn nothing_happens_without_consent_or_with_words_that_make_no_sense() {
    for (environment, words, says) in [
        (&[][..], &[][..], "--yes"),
        (
            &[("OPENROUTER_API_KEY", "sk-or-canary")],
            &["--yes", "--dry-run"],
            "OpenRouter, openrouter/auto, key: env:OPENROUTER_API_KEY",
        ),
        (
            &[("GEMINI_API_KEY", "sk-g-canary"), ("OLLAMA_API_KEY", "sk-local-canary")],
            &["--yes", "--dry-run", "--model", "m"],
            "Google (Gemini, by its OpenAI-compatible route), m, key: env:GEMINI_API_KEY",
        ),
        (&[], &["--provider", "openai"], "OPENAI_API_KEY"),
        (&[], &["--provider", "nobody", "--model", "m"], "nobody"),
        (&[], &["--provider", "openai", "--api-key", "sk-literal-canary"], "shell's history"),
        (&[], &["--provider", "openai", "--api-key", "env:NOT_SET_HERE"], "NOT_SET_HERE"),
        (&[], &["--api-key", "env:TEST_KEY"], "whose key"),
        (&[], &["--api-base", "nonsense", "--model", "m"], "nonsense"),
        (&[], &["--yes", "--agent", "king"], "not a role"),
        (&[], &["--yes", "--agent", "../x=reviewer"], "not '.'"),
        (&[], &["--yes", "--connect-openclaw"], "OpenClaw was not found"),
        (&[(PROBES, "ollama=http://example.org/v1")], &["--yes"], "not on this machine"),
    ] {
        let home = Home::new();
        let (code, said) = setup(&home, environment, words);
        assert_eq!(code != 0, !words.contains(&"--dry-run"), "{words:?}: {said}");
        assert!(said.contains(says), "{words:?}: {said}");
        assert!(everything(home.path()).is_empty(), "{words:?}");
    }
}

#[test]
fn a_broken_configuration_is_reported_and_left_alone() {
    let home = Home::new();
    home.config("modee: rl\nllm: { provider: embedded }\n");
    let before = everything(home.path());
    let (code, said) = setup(&home, &[], &["--yes"]);
    assert!(code == 64 && said.contains("modee") && said.contains("--force"), "{code}: {said}");
    assert_eq!(everything(home.path()), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn openclaw_is_connected_when_that_is_wanted() {
    let upstream = Upstream::echo().await;
    let home = Home::new();
    fs::create_dir(home.path().join(".openclaw")).unwrap();
    let file = home.path().join(".openclaw/openclaw.json");
    fs::write(&file, "{ agents: { defaults: { model: 'openai/gpt-5.2' } } } // mine\n").unwrap();
    let words = ["--api-base", &upstream.base(), "--model", "m", "--connect-openclaw", "--json"];
    let (code, said) = setup(&home, &[], &words);
    assert_eq!(code, 0, "{said}");
    let done: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&done["failed"], &done["written"]), (&json!([]), &json!(true)));
    assert_eq!(done["answered"]["words"], "echo: Reply with one word: ready");
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains("metaclaw/m") && text.contains("// mine"), "{text}");
}

/// Runs `metaclaw setup` on a terminal: waits for each text, presses its keys. Gives the exit code and all that was shown.
fn on_a_terminal(home: &Home, environment: &[(&str, &str)], words: &[&str], steps: &[(&str, &str)]) -> (i64, String) {
    let path = std::env::var_os("PATH").unwrap().into_string().unwrap();
    let folder = home.path().to_str().unwrap();
    let mut variables = json!({"PATH": path, "HOME": folder, "TERM": "xterm-256color", PROBES: ""});
    environment.iter().for_each(|(name, value)| variables[name] = json!(value));
    let program = tests::metaclaw();
    let command: Vec<&str> = [&[program.to_str().unwrap(), "--home", folder, "setup"], words].concat();
    let wanted = json!({"command": command, "environment": variables, "steps": steps});
    let script = tests::root().join("tests/all/terminal.py");
    let mut python = Command::new("python3")
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 is needed");
    python.stdin.take().unwrap().write_all(wanted.to_string().as_bytes()).unwrap();
    let out = python.wait_with_output().unwrap();
    let seen: Value = serde_json::from_slice(&out.stdout).unwrap();
    let screen = seen["screen"].as_str().unwrap().to_owned();
    assert!(seen["left"].as_array().unwrap().is_empty(), "it never came to {}:\n{screen}", seen["left"]);
    (seen["code"].as_i64().unwrap(), screen)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_is_asked_little_and_a_typed_key_is_seen_nowhere() {
    let upstream = Upstream::echo().await;
    let home = Home::new();
    let words = ["--api-base", &upstream.base()];
    let steps =
        [("Its key?", "sk-typed-canary-1234\r"), ("Which model?", "\r"), ("What else?", "\r"), ("Go ahead?", "\r")];
    let (code, screen) = on_a_terminal(&home, &[], &words, &steps);
    assert_eq!(code, 0, "{screen}");
    assert!(screen.contains("it answers") && !screen.contains("canary"), "{screen}");
    assert_eq!(upstream.last().headers["authorization"], "Bearer sk-typed-canary-1234");
    assert_eq!(upstream.last().body["model"], "test-model");
    let key = home.path().join("secrets/custom.key");
    assert_eq!((fs::read_to_string(&key).unwrap().as_str(), mode(&key)), ("sk-typed-canary-1234\n", 0o600));
    assert_eq!(mode(&home.path().join("secrets")), 0o700);
    let text = config(&home);
    assert!(text.contains("file:secrets/custom.key") && !text.contains("canary"), "{text}");
    for agent in ["researcher", "assistant", "reviewer"] {
        assert!(text.contains(&format!("  {agent}:\n")), "{text}");
    }
    let host = home.start().await;
    assert_eq!(host.say("hello").agent("reviewer").send().await.words(), "echo: hello");
    assert_eq!(upstream.last().headers["authorization"], "Bearer sk-typed-canary-1234");
}

#[tokio::test(flavor = "multi_thread")]
async fn esc_and_ctrl_c_leave_nothing_behind() {
    let upstream = Upstream::echo().await;
    let probes = format!("lmstudio={}", upstream.base());
    let to_the_end = [("Who should answer", "\r"), ("Which model?", "\r"), ("What else?", "\r"), ("Go ahead?", "\r")];
    for keys in ["\u{1b}", "\u{3}"] {
        for stop in 0..to_the_end.len() {
            let home = Home::new();
            let mut steps = to_the_end[..=stop].to_vec();
            steps[stop].1 = keys;
            let (code, screen) = on_a_terminal(&home, &[(PROBES, &probes)], &[], &steps);
            // Ctrl-C ends it by its signal, or as Esc does when the read that it interrupts ends first.
            let ends: &[i64] = if keys == "\u{3}" { &[-2, 1] } else { &[1] };
            assert!(ends.contains(&code) && !screen.contains("cannot be read"), "{code}: {screen}");
            assert!(everything(home.path()).is_empty(), "{stop}");
        }
    }
    assert!(upstream.seen().is_empty(), "nobody was asked anything");
    let home = Home::new();
    let (code, screen) = on_a_terminal(&home, &[(PROBES, &probes)], &[], &to_the_end);
    assert!(code == 0 && config(&home).contains("provider: lmstudio"), "{screen}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_may_try_again_or_keep_what_does_not_answer() {
    let asked = std::sync::atomic::AtomicU32::new(0);
    let upstream = Upstream::scripted(move |_| match asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
        0 => Reply::Status(401, "{}".into()),
        _ => Reply::Words("ready".into()),
    })
    .await;
    let home = Home::new();
    let words = ["--api-base", &upstream.base(), "--api-key", "env:TEST_KEY", "--model", "m", "--agent", "reviewer"];
    let (code, screen) = on_a_terminal(
        &home,
        &[("TEST_KEY", "sk-upstream-canary-7f3a")],
        &words,
        &[("Go ahead?", "\r"), ("What now?", "\u{1b}[A\r")],
    );
    assert_eq!(code, 0, "{screen}");
    assert!(screen.contains("does not know the key (401)") && screen.contains("it answers"), "{screen}");
    assert_eq!(upstream.seen().len(), 2);
}
