//! `metaclaw policy`: what it says of modules, what it writes, and how it holds a policy to its cases.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tests::{Home, Upstream, guest};

const HOOKS: &str = "tests/guests/hooks";
const ASSISTANT: &str = "examples/two-agents/policy";
const STORING: &str = "tests/guests/storing";

/// Runs `metaclaw policy …`.
fn policy(home: &Home, words: &[&str]) -> (i32, String, String) {
    home.run(&[&["policy"], words].concat())
}

/// The same with `--json`: exit code, what was printed, and what was said.
fn told(home: &Home, words: &[&str]) -> (i32, Value, String) {
    let (code, out, err) = home.run(&[&["--json", "policy"], words].concat());
    (code, serde_json::from_str(&out).unwrap_or_else(|_| panic!("no JSON: {out}{err}")), err)
}

/// A guest's component in the home's folder of policies, as an operator has it.
fn module(home: &Home, crate_dir: &str) -> (PathBuf, String) {
    let file = home.path().join("policies").join(format!("{}.wasm", crate_dir.replace('/', "-")));
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::copy(guest(crate_dir), &file).unwrap();
    let text = file.to_str().unwrap().to_owned();
    (file, text)
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect()
}

/// A file in the home.
fn file(home: &Home, name: &str, text: impl AsRef<[u8]>) -> String {
    let file = home.path().join(name);
    fs::write(&file, text).unwrap();
    file.to_str().unwrap().to_owned()
}

#[test]
fn check_says_what_a_module_is_and_whether_it_loads() {
    let home = Home::new();
    let (_, hooks) = module(&home, HOOKS);
    let (_, assistant) = module(&home, ASSISTANT);
    let (code, report, err) = told(&home, &["check", &hooks]);
    assert_eq!((code, report["loads"].as_bool()), (0, Some(true)), "{err}");
    assert_eq!(texts(&report["hooks"]), ["route", "select", "render", "gate", "filter", "reward"]);
    assert_eq!((&report["contract"], &report["name"]), (&Value::from("1.0.0"), &Value::from("hooks")));
    assert_eq!(report["size"], fs::metadata(&hooks).unwrap().len());
    assert!(report["functions"].as_u64() > Some(10) && report["memory"].as_u64() >= Some(65536), "{report}");
    assert!(texts(&report["imports"]).contains(&"metaclaw:policy/settings@1.0.0"), "{report}");
    let (code, out, _) = policy(&home, &["check", &assistant]);
    assert_eq!(code, 0, "{out}");
    for words in ["assistant 0.1.0", "metaclaw:policy@0.1", "route, select", "needs none", "50 ms", "sha256: \""] {
        assert!(out.contains(words), "{words}: {out}");
    }

    let core = file(&home, "core.wasm", wat::parse_str("(module)").unwrap());
    let words = file(&home, "words.wasm", "trust me");
    let wrong: &[(&[&str], &str)] = &[
        (&[&core], "not a component"),
        (&[&words], "not a valid component"),
        (&[&assistant, "--settings", r#"{"nope": 1}"#], "there is no setting \"nope\""),
        (&[&assistant, "--settings", "nope"], "--settings is not JSON"),
        (&[&assistant, "--settings", "[]"], "not a JSON object"),
        (&[&assistant, "--agent", "nobody"], "no agent `nobody` is configured"),
        (&["/nowhere.wasm"], "No such file"),
    ];
    home.config("llm: { api_base: 'http://127.0.0.1:1/v1', model_id: m, provider: custom }\n");
    for (args, expected) in wrong {
        let (code, out, err) = policy(&home, &[&["check"], *args].concat());
        assert!(code == 1 && format!("{out}{err}").contains(expected), "{args:?}: {code} {out}{err}");
    }
}

#[tokio::test]
async fn the_lines_that_check_gives_make_the_module_load() {
    let upstream = Upstream::echo().await;
    let home = Home::with(&upstream, "agents: { a: { policy: { config: {} } } }\n");
    let (_, storing) = module(&home, STORING);
    let (code, report, _) = told(&home, &["check", &storing, "--agent", "a"]);
    assert_eq!(code, 1, "it lacks its grants");
    assert!(report["problems"].to_string().contains("skills: write"), "{report}");
    assert_eq!(texts(&report["grants"]), ["skills: write", "lora: read", "kv: 64KiB", "log: 8KiB"]);
    home.config(&format!("{}{}\n", upstream.llm(), report["yaml"].as_str().unwrap()));
    let (code, report, err) = told(&home, &["check", &storing, "--agent", "a"]);
    assert_eq!(code, 0, "{report} {err}");
    let host = home.start().await;
    assert_eq!(host.say("get x").agent("a").send().await.words(), "nothing");
}

#[test]
fn inspect_shows_every_function_and_section() {
    let home = Home::new();
    let (_, hooks) = module(&home, HOOKS);
    let (code, report, err) = told(&home, &["inspect", &hooks]);
    assert_eq!(code, 0, "{err}");
    assert!(texts(&report["exports"]).contains(&"metaclaw:policy/tool-gate@1.0.0"), "{report}");
    let wit = report["wit"].as_str().unwrap();
    for words in ["validate-config: func(json: string)", "reward: func(", "get: func() -> string", "resource turn"] {
        assert!(wit.contains(words), "{words}: {wit}");
    }
    let sections = report["sections"].as_object().unwrap();
    assert!(sections["code"].as_u64() > Some(1000), "{sections:?}");
    let whole: u64 = sections.values().map(|bytes| bytes.as_u64().unwrap()).sum();
    assert!(whole <= report["size"].as_u64().unwrap());
    let made = report["producers"].to_string();
    assert!(made.contains("rustc") || made.contains("Rust") || made.contains("wit-bindgen"), "{made}");
    let (_, out, _) = policy(&home, &["inspect", &hooks]);
    assert!(out.contains("custom") && out.contains("metaclaw:policy@1.0.0") && out.contains("made with"), "{out}");
}

#[tokio::test]
async fn pin_writes_module_and_digest_and_nothing_else() {
    let upstream = Upstream::echo().await;
    let home = Home::with(&upstream, "# ours\nagents:\n  a:\n    # the quiet one\n    mode: rl\n");
    let (_, hooks) = module(&home, HOOKS);
    let (_, storing) = module(&home, STORING);
    let config = || fs::read_to_string(home.path().join("config.yaml")).unwrap();
    let before = config();
    let (code, out, err) = policy(&home, &["pin", &hooks]);
    assert!(code == 0 && out.contains("module: \"policies/tests-guests-hooks.wasm\""), "{out}{err}");
    let (code, _, err) = policy(&home, &["pin", &storing, "--agent", "a"]);
    assert!(code == 1 && err.contains("kv: 64KiB") && err.contains("--grant"), "{err}");
    assert_eq!(config(), before, "nothing was written");
    let (code, pinned, err) = told(&home, &["pin", &hooks, "--agent", "a"]);
    assert_eq!(code, 0, "{err}");
    let now = config();
    assert!(now.contains("# ours") && now.contains("# the quiet one") && now.contains("mode: rl"), "{now}");
    assert!(now.contains(pinned["sha256"].as_str().unwrap()), "{now}");
    let host = home.start().await;
    let answer = host.say("x").agent("a").send().await;
    let digest = &pinned["sha256"].as_str().unwrap()[..12];
    assert!(answer.header("x-metaclaw-policy").starts_with(digest), "{answer:?}");
    drop(host);
    let (code, _, err) = policy(&home, &["pin", &storing, "--agent", "a", "--grant"]);
    assert_eq!(code, 0, "{err}");
    assert_eq!(policy(&home, &["check", &storing, "--agent", "a"]).0, 0, "{}", config());
}

#[tokio::test]
async fn what_is_signed_here_counts_in_a_host() {
    let upstream = Upstream::echo().await;
    let home = Home::new();
    let (path, hooks) = module(&home, HOOKS);
    let key = home.path().join("team.key");
    let key = key.to_str().unwrap();
    let (code, made, err) = told(&home, &["keygen", key]);
    assert_eq!(code, 0, "{err}");
    let mode = |file: &str| fs::metadata(file).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(key), 0o600);
    let trust = made["trust"].as_str().unwrap();
    let public = fs::read_to_string(format!("{key}.pub")).unwrap();
    assert_eq!(public.lines().last(), Some(trust));
    let (code, _, err) = policy(&home, &["keygen", key]);
    assert!(code == 1 && err.contains("not overwritten"), "{err}");
    let secret = fs::read_to_string(key).unwrap();

    home.config(&format!(
        "{}trust: {{ team: \"{trust}\" }}\nagents: {{ a: {{ policy: {{ module: policies/tests-guests-hooks.wasm, signed_by: [team] }} }} }}\n",
        upstream.llm()
    ));
    let (code, report, _) = told(&home, &["check", &hooks, "--agent", "a"]);
    assert!(code == 1 && report["problems"].to_string().contains("must be signed by team"), "{report}");
    let (code, out, err) = policy(&home, &["sign", &hooks, "--key", key]);
    assert_eq!(code, 0, "{err}");
    assert!(!format!("{out}{err}").contains(secret.lines().last().unwrap()), "the key is nobody's business");
    let (code, report, err) = told(&home, &["check", &hooks, "--agent", "a"]);
    assert_eq!((code, report["signed_by"].as_str()), (0, Some("team")), "{report} {err}");
    let host = home.start().await;
    assert!(host.say("x").agent("a").send().await.header("x-metaclaw-policy").ends_with("source=policy"));
    drop(host);

    // A custom section at the end: another module, under the old signature.
    let mut altered = fs::read(&path).unwrap();
    altered.extend([0, 5, 4, b'e', b'v', b'i', b'l']);
    fs::write(&path, altered).unwrap();
    let (code, report, _) = told(&home, &["check", &hooks, "--agent", "a"]);
    assert!(code == 1 && report["problems"].to_string().contains("one of the two was altered"), "{report}");
    fs::set_permissions(key, fs::Permissions::from_mode(0o644)).unwrap();
    let (code, _, err) = policy(&home, &["sign", &hooks, "--key", key]);
    assert!(code == 1 && err.contains("chmod 600"), "{err}");
}

/// What a module must decide, and what is said when it does not.
#[test]
fn cases_pass_or_say_what_differs() {
    let home = Home::new();
    let (_, hooks) = module(&home, HOOKS);
    let skills = "skills: [{ name: tides, description: Use for tides, body: Look at the moon. }]";
    let passing = [
        "expect: { route: a/b }".to_owned(),
        format!("{skills}\n    expect: {{ select: [tides], render: {{ contains: Look at the moon. }} }}"),
        "calls: [{ name: ls }, { name: remove, arguments: { path: / } }, { name: send }]\n    expect: { gate: [allow, { deny: { contains: may not remove } }, { hold: Sending is for people. }] }".to_owned(),
        "config: { filter: drop }\n    expect: { filter: { drop: true } }".to_owned(),
        "sample: { answer: thank you }\n    expect: { filter: { keep: 1.0 }, reward: 1.0 }".to_owned(),
        "config: { reward: problem }\n    expect: { reward: { fails: as-asked } }".to_owned(),
        "calls: [{ name: loop }]\n    expect: { gate: [{ fails: cpu }] }".to_owned(),
        "calls: [{ name: mute }]\n    expect: { gate: [{ fails: bad_output }] }".to_owned(),
        "expect: { route: a/b }\n    within: { fuel: 10000000, memory: 8MiB }".to_owned(),
    ];
    let failing = [
        ("expect: { route: a/c }", "route", "a/c", "a/b"),
        ("expect: { route: { refuse: true } }", "route", "refuse", "a/b"),
        ("expect: { route: a/b }\n    within: { fuel: 1 }", "within.fuel", "at most 1", ""),
        ("expect: { route: a/b }\n    within: { memory: 1KiB }", "within.memory", "at most 1024", ""),
        ("config: { reward: problem }\n    expect: { reward: 0.5 }", "reward", "0.5", "fails: as-asked"),
        ("expect: { problems: [bad-config] }", "problems", "bad-config", ""),
        ("calls: [{ name: ls }]\n    expect: { gate: [{ deny: true }] }", "gate[0]", "deny", "allow"),
    ];
    let cases = |bodies: &mut dyn Iterator<Item = &str>| {
        let cases: String = bodies.enumerate().map(|(n, body)| format!("  - name: case {n}\n    {body}\n")).collect();
        file(&home, "policies/cases.yaml", format!("defaults:\n  targets: [a/b, a/c]\ncases:\n{cases}"))
    };
    cases(&mut passing.iter().map(String::as_str));
    let (code, report, err) = told(&home, &["test", &hooks]);
    assert_eq!((code, &report["passed"]), (0, &passing.len().into()), "{report:#} {err}");
    assert!(report["results"][0]["fuel"].as_u64() > Some(100), "{report}");
    let (code, report, err) = told(&home, &["test", &hooks, "--only", "case 3"]);
    assert_eq!((code, &report["passed"]), (0, &1.into()), "{err}");
    assert!(policy(&home, &["test", &hooks, "--only", "nonesuch"]).2.contains("no case of"));

    cases(&mut failing.iter().map(|case| case.0));
    let (code, report, err) = told(&home, &["test", &hooks]);
    assert_eq!((code, &report["failed"]), (1, &failing.len().into()), "{report:#} {err}");
    for ((_, what, expected, got), result) in failing.iter().zip(report["results"].as_array().unwrap()) {
        let difference = &result["differences"][0];
        assert_eq!(difference["what"], *what, "{result}");
        assert!(difference["expected"].as_str().unwrap().contains(expected), "{result}");
        assert!(difference["got"].as_str().unwrap().contains(got), "{result}");
    }
    let (_, out, _) = policy(&home, &["test", &hooks]);
    assert!(out.contains("✗ case 0") && out.contains("cases.yaml:4") && out.contains("expected  a/c"), "{out}");

    let wrong = file(&home, "wrong.yaml", "cases:\n  - name: x\n    expcet: { route: a/b }\n  - nmae: y\n");
    let (code, _, err) = policy(&home, &["test", &hooks, "--cases", &wrong]);
    assert!(code == 1 && err.contains("wrong.yaml:3") && err.contains("wrong.yaml:4"), "both together: {err}");
    let (code, _, err) = policy(&home, &["test", "/nowhere"]);
    assert!(code == 1 && err.contains("/nowhere"), "{err}");
}

#[test]
fn bench_measures_beside_the_builtin() {
    let home = Home::new();
    let (_, hooks) = module(&home, HOOKS);
    let (code, report, err) = told(&home, &["bench", &hooks, "--runs", "50"]);
    assert_eq!(code, 0, "{err}");
    let rows = report["hooks"].as_array().unwrap();
    let names: Vec<_> = rows.iter().map(|row| row["hook"].as_str().unwrap()).collect();
    assert_eq!(names, ["route", "select", "render", "gate", "filter", "reward"]);
    for row in rows {
        assert!(row["p50_us"].as_f64() > Some(0.0) && row["p99_us"].as_f64() >= row["p50_us"].as_f64(), "{row}");
        assert!(row["fuel"].as_u64() > Some(100) && row["failures"] == 0, "{row}");
        let has_builtin = ["route", "select", "filter"].contains(&row["hook"].as_str().unwrap());
        assert_eq!(row["builtin"]["ratio"].as_f64().is_some(), has_builtin, "{row}");
    }
    let (_, out, _) = policy(&home, &["bench", &hooks, "--runs", "10"]);
    assert!(out.contains("built-in p50") && out.contains("instructions"), "{out}");
}

#[test]
fn new_writes_a_project_and_nothing_over_anybodys_files() {
    let home = Home::new();
    let at = |name: &str| home.path().join(name).to_str().unwrap().to_owned();
    for (lang, source) in
        [("rust", "src/lib.rs"), ("python", "policy.py"), ("js", "policy.js"), ("c", "policy.c"), ("go", "policy.go")]
    {
        let folder = at(lang);
        let (code, made, err) = told(&home, &["new", "--lang", lang, "night-watch", &folder]);
        assert_eq!(code, 0, "{lang}: {err}");
        let files = texts(&made["files"]);
        assert!([source, "cases.yaml"].iter().all(|wanted| files.contains(wanted)), "{lang}: {files:?}");
        let contract = files.iter().find(|file| file.ends_with("policy.wit") && !file.starts_with("wit/policy"));
        let contract = fs::read_to_string(Path::new(&folder).join(contract.unwrap())).unwrap();
        assert!(contract.contains("package metaclaw:policy@1.0.0"), "{lang}");
        for file in files.iter().filter(|file| !file.starts_with("sdk/")) {
            let text = fs::read_to_string(Path::new(&folder).join(file)).unwrap();
            assert!(!text.contains("my-policy") && !text.contains("my_policy"), "{lang}: {file}");
        }
        let (code, _, err) = policy(&home, &["new", "--lang", lang, "night-watch", &folder]);
        assert!(code == 1 && err.contains("is not empty"), "{lang}: {err}");
    }
    for name in ["Night", "-x", "x-", "a--b", "a b", "../x", "", "1x"] {
        let folder = at("never");
        let (code, _, err) = policy(&home, &["new", "--lang", "c", &folder, "--", name]);
        let (code, err) = if err.contains("unexpected argument") {
            let (code, _, err) = policy(&home, &["new", "--lang", "c", "--", name, &folder]);
            (code, err)
        } else {
            (code, err)
        };
        assert!(code != 0 && !Path::new(&folder).exists(), "{name:?}: {err}");
    }
}
