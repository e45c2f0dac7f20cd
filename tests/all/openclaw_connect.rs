//! `metaclaw openclaw`: what a person meets, and what becomes of OpenClaw's file. The rules of editing have their own tests
//! in `host/openclaw`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use serde_json::Value;
use tests::{Home, Upstream};

const TEXT: &str = "\
// my OpenClaw
{
  gateway: { auth: { mode: 'token', token: 'gateway-canary' } },
  agents: {
    defaults: { model: 'anthropic/claude-sonnet-5', sandbox: { mode: 'all' } }, // strict
    entries: { main: {}, Writer: { model: { primary: 'openai/gpt-5.2', fallbacks: ['openai/gpt-5'] } }, _ops: {} },
  },
  tools: { deny: ['exec'] },
  plugins: { allow: ['telegram'] },
}
";

/// A home with a MetaClaw configuration, and an OpenClaw beside it.
struct Place {
    home: Home,
}

impl Place {
    fn new(yaml: &str) -> Place {
        let home = Home::new();
        home.config(yaml);
        fs::create_dir(home.path().join(".openclaw")).unwrap();
        let place = Place { home };
        fs::write(place.file(), TEXT).unwrap();
        fs::set_permissions(place.file(), fs::Permissions::from_mode(0o600)).unwrap();
        place
    }

    /// OpenClaw's file: the tests' hosts have their home as HOME.
    fn file(&self) -> PathBuf {
        self.home.path().join(".openclaw/openclaw.json")
    }

    fn text(&self) -> String {
        fs::read_to_string(self.file()).unwrap()
    }

    /// Runs `metaclaw openclaw …`, which must end with `code`; gives what it printed.
    fn run(&self, code: i32, words: &[&str]) -> String {
        let (ended, out, err) = self.home.run(&[&["openclaw"], words].concat());
        assert_eq!(ended, code, "{words:?}: {out}{err}");
        assert!(!out.contains("canary") && !err.contains("canary"), "{words:?}: {out}{err}");
        format!("{out}{err}")
    }

    fn json(&self, words: &[&str]) -> Value {
        let (code, out, err) = self.home.run(&[&["openclaw"], words, &["--json"]].concat());
        assert_eq!(code, 0, "{words:?}: {out}{err}");
        serde_json::from_str(&out).unwrap()
    }

    fn ours(&self) -> PathBuf {
        self.home.path().join("openclaw")
    }
}

const EMBEDDED: &str = "llm: { provider: embedded }\nproxy: { port: 31999 }\n";

#[test]
fn nothing_happens_without_consent() {
    let place = Place::new(EMBEDDED);
    let shown = place.run(0, &["connect", "--dry-run"]);
    for part in [
        r#"~ agents.defaults.model: "anthropic/claude-sonnet-5" → "metaclaw/embedded""#,
        r#"~ agents.entries.Writer.model.primary: "openai/gpt-5.2" → "metaclaw/embedded""#,
        r#"+ models.providers.metaclaw.baseUrl: "http://127.0.0.1:31999/v1""#,
        r#"+ plugins.allow[]: "metaclaw""#,
        "`_ops` is left out",
        "not running",
        "fallback",
    ] {
        assert!(shown.contains(part), "{part} is missing in: {shown}");
    }
    let refused = place.run(1, &["connect"]);
    assert!(refused.contains("--yes") && refused.contains("--dry-run"), "{refused}");
    assert_eq!(place.text(), TEXT);
    assert!(!place.ours().exists(), "not even a folder");
    assert!(place.run(0, &["disconnect"]).contains("nothing is connected"));
    assert!(place.run(0, &["status"]).contains("metaclaw openclaw connect"));
}

#[test]
fn what_is_connected_comes_back_byte_for_byte() {
    let place = Place::new(EMBEDDED);
    let done = place.run(0, &["connect", "--yes"]);
    assert!(done.contains("openclaw.json.before-metaclaw") && done.contains("disconnect"), "{done}");
    let now = place.text();
    for kept in
        ["// my OpenClaw", "// strict", "sandbox: { mode: 'all' }", "tools: { deny: ['exec'] }", "gateway-canary"]
    {
        assert!(now.contains(kept), "{kept} is missing in: {now}");
    }
    for file in ["index.ts", "openclaw.plugin.json", "package.json"] {
        let ours = fs::read(place.ours().join("plugin").join(file)).unwrap();
        assert_eq!(ours, fs::read(tests::root().join("examples/openclaw/plugin").join(file)).unwrap());
    }
    let status = place.json(&["status"]);
    assert_eq!(status["connected"], true);
    assert_eq!(status["default_model"], "embedded");
    assert_eq!(status["agents"]["Writer"], "embedded");
    assert!(place.run(0, &["connect"]).contains("already"), "nothing to ask");
    assert!(place.run(1, &["disconnect"]).contains("--yes"));
    assert_eq!(place.text(), now);
    place.run(0, &["disconnect", "--yes"]);
    assert_eq!(place.text(), TEXT);
    let left: Vec<_> = fs::read_dir(place.ours()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(fs::read_dir(place.file().parent().unwrap()).unwrap().count(), 1);
}

#[test]
fn what_a_user_changes_meanwhile_stays() {
    let place = Place::new(EMBEDDED);
    place.run(0, &["connect", "--yes"]);
    let changed = place.text().replace("'all'", "'non-main'").replacen("metaclaw/embedded", "users/choice", 1);
    fs::write(place.file(), changed).unwrap();
    let status = place.json(&["status"]);
    assert_eq!(status["changed"], serde_json::json!(["agents.defaults.model"]));
    let done = place.run(0, &["disconnect", "--yes"]);
    assert!(done.contains("`agents.defaults.model` was changed since"), "{done}");
    let now = place.text();
    assert!(now.contains("users/choice") && now.contains("'non-main'") && now.contains("openai/gpt-5.2"), "{now}");
    assert!(!now.contains("metaclaw"), "{now}");
}

/// (which of the files a crash left undone, by taking away what was done after it)
#[test]
fn a_run_that_was_killed_is_finished_or_taken_back() {
    for finish in [true, false] {
        for lost in [&["config"][..], &["config", "copy"], &["config", "copy", "plugin"]] {
            let place = Place::new(EMBEDDED);
            place.run(0, &["connect", "--yes"]);
            for what in lost {
                match *what {
                    "config" => fs::write(place.file(), TEXT).unwrap(),
                    "copy" => fs::remove_file(place.file().with_extension("json.before-metaclaw")).unwrap(),
                    _ => fs::remove_dir_all(place.ours().join("plugin")).unwrap(),
                }
            }
            // A file half written has another name.
            fs::write(place.file().with_file_name(".openclaw.json.metaclaw-new"), "{ half").unwrap();
            assert_eq!(place.json(&["status"])["connected"], false);
            if finish {
                place.run(0, &["connect", "--yes"]);
                assert_eq!(place.json(&["status"])["connected"], true);
            }
            place.run(0, &["disconnect", "--yes"]);
            assert_eq!(place.text(), TEXT, "{lost:?}");
            assert!(!place.ours().join("plugin").exists() && !place.ours().join("connection.json").exists());
        }
    }
}

#[test]
fn only_the_agents_named_are_changed() {
    let place = Place::new("llm: { provider: custom, api_base: \"http://127.0.0.1:9/v1\" }\n");
    let unknown = place.run(1, &["connect", "--yes", "--agents", "main,nobody"]);
    assert!(unknown.contains("nobody") && unknown.contains("Writer"), "{unknown}");
    assert_eq!(place.text(), TEXT);
    place.run(0, &["connect", "--yes", "--agents", "writer", "--context-window", "64000", "--text-only"]);
    let status = place.json(&["status"]);
    assert_eq!(status["default_model"], Value::Null);
    // The host leaves the choice to the client, so the client asks for what it asked before.
    assert_eq!(status["agents"], serde_json::json!({"Writer": "gpt-5.2"}));
    let now = place.text();
    assert!(now.contains("64000") && now.contains("[\"text\"]"), "{now}");
    place.run(0, &["disconnect", "--yes"]);
    assert_eq!(place.text(), TEXT);
}

#[test]
fn a_key_goes_by_reference_and_never_to_the_terminal() {
    let file = |home: &Home| {
        let key = home.path().join("host.key");
        fs::write(&key, "canary-0123456789abcdef\n").unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    };
    for (reference, wanted) in [
        ("env:TEST_KEY", "${TEST_KEY}"),
        ("file:host.key", "\"singleValue\""),
        ("canary-0123456789abcdef", "canary-0123456789abcdef"),
    ] {
        let place = Place::new(EMBEDDED);
        place
            .home
            .config(&format!("llm: {{ provider: embedded }}\nproxy: {{ port: 31999, api_key: \"{reference}\" }}\n"));
        file(&place.home);
        place.run(0, &["connect", "--yes"]);
        assert!(place.text().contains(wanted), "{reference}: {}", place.text());
        let record = fs::read_to_string(place.ours().join("connection.json")).unwrap();
        assert!(!record.contains("canary"), "the record needs no key: {record}");
        place.run(0, &["disconnect", "--yes"]);
        assert_eq!(place.text(), TEXT);
    }
}

#[test]
fn openclaw_that_is_not_there_is_said_and_nothing_is_made() {
    let place = Place::new(EMBEDDED);
    fs::remove_dir_all(place.file().parent().unwrap()).unwrap();
    let missing = place.run(1, &["connect", "--yes"]);
    assert!(missing.contains("--openclaw-config"), "{missing}");
    assert!(!place.file().parent().unwrap().exists());
    assert!(place.run(0, &["status"]).contains("not found"));
}

#[tokio::test]
async fn the_address_is_the_running_hosts_and_start_mentions_openclaw_once() {
    let upstream = Upstream::echo().await;
    let home = Home::with(&upstream, "");
    fs::create_dir(home.path().join(".openclaw")).unwrap();
    let place = Place { home: home.clone() };
    fs::write(place.file(), TEXT).unwrap();
    for mentions in [true, false] {
        let (code, _, err) = home.run(&["start", "--daemon", "--port", "0"]);
        assert_eq!((code, err.contains("metaclaw openclaw connect")), (0, mentions), "{err}");
        assert_eq!(home.run(&["stop"]).0, 0);
    }
    let host = home.start().await;
    place.run(0, &["connect", "--yes"]);
    let status = place.json(&["status"]);
    assert_eq!(status["base_url"], host.url("/v1"));
    assert_eq!(status["running"], host.url("/v1"));
    assert_eq!(status["default_model"], "test-model");
    drop(host);
    let host = home.start().await;
    assert_ne!(place.json(&["status"])["base_url"], host.url("/v1"));
    assert!(place.run(0, &["status"]).contains("connect` again"));
    let shown = place.run(0, &["connect", "--yes"]);
    assert_eq!(shown.matches('~').count(), 1, "only the address: {shown}");
    assert_eq!(place.json(&["status"])["base_url"], host.url("/v1"));
    place.run(0, &["disconnect", "--yes"]);
    assert_eq!(place.text(), TEXT);
}
