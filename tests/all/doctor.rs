//! `metaclaw doctor`: a table of homes in which something is wrong, and what the doctor must say of each; and a healthy one.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tests::{Home, Reply, Upstream};

/// What the doctor finds: whether all works, and its findings.
struct Found {
    code: i32,
    json: Value,
}

fn examine(home: &Home, environment: &[(&str, &str)], words: &[&str]) -> Found {
    let (code, out, err) = home.run_in(environment, &[&["doctor", "--json"], words].concat());
    assert!(!out.contains("canary") && !err.contains("canary"), "a secret was shown: {out}{err}");
    let json = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{code}: {out}{err}"));
    Found { code, json }
}

impl Found {
    /// Whether this check says this, and this remedy, at this level.
    fn says(&self, check: &str, level: &str, what: &str, remedy: &str) -> bool {
        self.json["findings"].as_array().unwrap().iter().any(|finding| {
            let has = |key: &str, part: &str| finding[key].as_str().unwrap_or_default().contains(part);
            finding["check"] == check && finding["level"] == level && has("what", what) && has("remedy", remedy)
        })
    }

    /// Every check that has something to say.
    fn complaints(&self) -> Vec<&Value> {
        self.json["findings"].as_array().unwrap().iter().filter(|finding| finding["level"] != "fine").collect()
    }
}

/// Breaks a home; what it gives is kept until the doctor has been.
type Break = fn(&Home) -> Box<dyn std::any::Any>;

/// A home in which something is wrong: how it comes about, and the check, level, words and remedy that must be found.
type Case = (&'static str, Break, &'static [&'static str], [&'static str; 4]);

fn nothing() -> Box<dyn std::any::Any> {
    Box::new(())
}

fn chmod(home: &Home, path: &str, mode: u32) {
    fs::set_permissions(home.path().join(path), fs::Permissions::from_mode(mode)).unwrap();
}

fn write(home: &Home, path: &str, text: &str) {
    let file = home.path().join(path);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, text).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
}

fn config(home: &Home, text: &str) -> Box<dyn std::any::Any> {
    home.config(text);
    nothing()
}

/// An upstream that answers with this status.
fn answering(home: &Home, status: u16, body: &str) -> Box<dyn std::any::Any> {
    let body = body.to_owned();
    let made = async move { Upstream::scripted(move |_| Reply::Status(status, body.clone())).await };
    // The table's functions are plain ones; the test's runtime has a thread to spare for them.
    let upstream = tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(made));
    home.config(&format!("{}proxy: {{ port: 0 }}\n", upstream.llm()));
    Box::new(upstream)
}

/// A program of MetaClaw's kind that listens on a port, and ends with the test.
struct Python(Child, u16);

impl Python {
    fn start() -> Self {
        let script = "import socket,time;s=socket.socket();s.bind(('127.0.0.1',0));s.listen();print(s.getsockname()[1],flush=True);time.sleep(300)";
        let mut python = Command::new("python3");
        let mut child = python.args(["-c", script, "metaclaw", "start"]).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Python(child, line.trim().parse().unwrap())
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const EMBEDDED: &str = "llm: { provider: embedded }\nproxy: { port: 0 }\n";
const NOBODY: &str =
    "llm: { provider: custom, model_id: m, api_base: \"http://127.0.0.1:9/v1\" }\nproxy: { port: 0 }\n";

const CASES: &[Case] = &[
    (
        "no home",
        |home| {
            fs::remove_dir_all(home.path()).unwrap();
            nothing()
        },
        &[],
        ["home", "warning", "there is no", "metaclaw setup"],
    ),
    (
        "a file in the home's place",
        |home| {
            fs::remove_dir_all(home.path()).unwrap();
            fs::write(home.path(), "").unwrap();
            nothing()
        },
        &[],
        ["home", "failure", "is not a folder", "--home DIR"],
    ),
    (
        "the home is open",
        |home| {
            chmod(home, "", 0o755);
            nothing()
        },
        &[],
        ["home", "warning", "open to other users (mode 0755)", "chmod 700"],
    ),
    (
        "the configuration is open",
        |home| {
            chmod(home, "config.yaml", 0o644);
            nothing()
        },
        &[],
        ["home", "warning", "config.yaml is open to other users (mode 0644)", "chmod 600"],
    ),
    (
        "a copy of it is open",
        |home| {
            write(home, "config.yaml.bak-20260101-000000", "llm: {}\n");
            chmod(home, "config.yaml.bak-20260101-000000", 0o640);
            nothing()
        },
        &[],
        ["home", "warning", "bak-20260101-000000 is open", "chmod 600"],
    ),
    (
        "what MetaClaw logged in with is open",
        |home| {
            write(home, "auth-profiles.json", "{}");
            chmod(home, "auth-profiles.json", 0o644);
            nothing()
        },
        &[],
        ["home", "warning", "auth-profiles.json is open", "chmod 600"],
    ),
    ("no YAML", |home| config(home, "llm: {\n"), &[], ["config", "failure", "", ""]),
    (
        "an unknown key",
        |home| config(home, "modee: rl\nllm: { provider: embedded }\n"),
        &[],
        ["config", "failure", "modee", "did you mean `mode`?"],
    ),
    (
        "open to the network without a key",
        |home| config(home, "proxy: { host: 0.0.0.0 }\nllm: { provider: embedded }\n"),
        &[],
        ["config", "failure", "proxy.host", "set proxy.host to 127.0.0.1"],
    ),
    (
        "an unknown provider",
        |home| config(home, "llm: { provider: opnai, model_id: m }\n"),
        &[],
        ["config", "failure", "opnai", ""],
    ),
    (
        "MetaClaw's keys that do nothing",
        |home| config(home, &format!("memory: {{ enabled: true, top_k: 3 }}\n{EMBEDDED}")),
        &[],
        ["config", "warning", "not acted on yet: memory.enabled", "config check"],
    ),
    (
        "a variable is not set",
        |home| config(home, "llm: { provider: openai, model_id: m, api_key: \"env:NOT_SET_HERE\" }\n"),
        &[],
        ["secrets", "failure", "`NOT_SET_HERE` is not set", "set it where metaclaw is started"],
    ),
    (
        "a key's file is missing",
        |home| config(home, "llm: { provider: openai, model_id: m, api_key: \"file:no.key\" }\n"),
        &[],
        ["secrets", "failure", "cannot open", "chmod 600"],
    ),
    (
        "a key's file is open",
        |home| {
            write(home, "open.key", "sk-canary-file");
            chmod(home, "open.key", 0o644);
            config(home, "llm: { provider: openai, model_id: m, api_key: \"file:open.key\" }\n")
        },
        &[],
        ["secrets", "failure", "open to other users (mode 0644)", "chmod 600"],
    ),
    (
        "a key's file is a link",
        |home| {
            write(home, "real.key", "sk-canary-file");
            symlink("real.key", home.path().join("link.key")).unwrap();
            config(home, "llm: { provider: openai, model_id: m, api_key: \"file:link.key\" }\n")
        },
        &[],
        ["secrets", "failure", "symbolic link", "name the file"],
    ),
    (
        "a key's file is empty",
        |home| {
            write(home, "empty.key", "");
            config(home, "llm: { provider: openai, model_id: m, api_key: \"file:empty.key\" }\n")
        },
        &[],
        ["secrets", "failure", "is empty", "put the key into it"],
    ),
    (
        "the file of clients' keys is open",
        |home| {
            let (code, _, err) = home.run(&["keys", "add", "--agent", "a"]);
            assert_eq!(code, 0, "{err}");
            chmod(home, "keys/keys.json", 0o644);
            nothing()
        },
        &["--offline"],
        ["keys", "failure", "open to other users (mode 0644)", "--fix"],
    ),
    (
        "a key in plain text",
        |home| {
            config(
                home,
                "llm: { provider: custom, model_id: m, api_base: \"http://127.0.0.1:9/v1\", api_key: sk-canary-literal }\n",
            )
        },
        &["--offline"],
        ["secrets", "warning", "plain text", "env:NAME or file:PATH"],
    ),
    (
        "nobody listens at the upstream",
        |home| config(home, NOBODY),
        &[],
        ["upstream", "failure", "nobody listens at http://127.0.0.1:9/v1", "ollama serve"],
    ),
    (
        "the upstream has no such name",
        |home| config(home, &NOBODY.replace("http://127.0.0.1:9", "https://no-such-host.invalid")),
        &[],
        ["upstream", "failure", "leads nowhere", "typing error"],
    ),
    (
        "the upstream does not know the key",
        |home| answering(home, 401, "{}"),
        &[],
        ["upstream", "failure", "does not know the key", "revoked"],
    ),
    (
        "the upstream wants to be paid",
        |home| answering(home, 402, "{}"),
        &[],
        ["upstream", "failure", "(402)", "credit"],
    ),
    (
        "the upstream forbids the model",
        |home| answering(home, 403, "{}"),
        &[],
        ["upstream", "failure", "(403)", "choose another"],
    ),
    (
        "the upstream has no such model",
        |home| answering(home, 404, "{\"error\":{\"message\":\"no such model\"}}"),
        &[],
        ["upstream", "failure", "no such model", "--model"],
    ),
    ("the upstream is busy", |home| answering(home, 429, "{}"), &[], ["upstream", "warning", "(429)", "quota"]),
    ("the upstream is down", |home| answering(home, 503, "{}"), &[], ["upstream", "warning", "(503)", "again later"]),
    (
        "the upstream is a page for people",
        |home| answering(home, 200, "<html>"),
        &[],
        ["upstream", "failure", "not as a chat API does", "/v1"],
    ),
    (
        "no model is fetched",
        |home| config(home, EMBEDDED),
        &[],
        ["upstream", "failure", "no model", "metaclaw models fetch"],
    ),
    (
        "the model is damaged",
        |home| {
            write(home, "broken.gguf", "GGUF and then nothing");
            config(
                home,
                &format!(
                    "llm: {{ provider: embedded, model_id: {}/broken.gguf }}\nproxy: {{ port: 0 }}\n",
                    home.path().display()
                ),
            )
        },
        &[],
        ["upstream", "failure", "cannot be used", "models fetch --force"],
    ),
    (
        "the port is taken",
        |home| {
            let taken = TcpListener::bind("127.0.0.1:0").unwrap();
            let port = taken.local_addr().unwrap().port();
            config(home, &NOBODY.replace("port: 0", &format!("port: {port}")));
            Box::new(taken)
        },
        &["--offline"],
        ["port", "failure", "has 127.0.0.1:", "proxy.port"],
    ),
    (
        "MetaClaw's Python host has the port",
        |home| {
            let python = Python::start();
            config(home, &NOBODY.replace("port: 0", &format!("port: {}", python.1)));
            Box::new(python)
        },
        &["--offline"],
        ["port", "failure", "MetaClaw's Python host", "kill"],
    ),
    (
        "MetaClaw's Python host runs on the home",
        |home| {
            let python = Python::start();
            write(home, "metaclaw_30000.pid", &python.0.id().to_string());
            Box::new(python)
        },
        &["--offline"],
        ["leftovers", "failure", "still runs on this home", "kill"],
    ),
    (
        "a note of a host that is gone",
        |home| {
            write(home, "metaclaw.pid", "1");
            nothing()
        },
        &["--offline"],
        ["leftovers", "warning", "its process is gone", "rm "],
    ),
    (
        "an address of another machine",
        |home| {
            config(
                home,
                &NOBODY.replace("port: 0", "port: 0, host: 192.0.2.1, api_key: 8f14e45fceea167a5a36dedd4bea2543"),
            )
        },
        &["--offline"],
        ["port", "failure", "cannot be listened on", "127.0.0.1"],
    ),
    (
        "a host that was killed",
        |home| {
            write(
                home,
                "state/running.json",
                "{\"pid\":1,\"address\":\"127.0.0.1:1\",\"version\":\"0\",\"wants_key\":false}",
            );
            chmod(home, "state", 0o700);
            nothing()
        },
        &["--offline"],
        ["host", "warning", "without a word", "metaclaw start"],
    ),
    (
        "somebody else holds the state",
        |home| {
            write(home, "state/lock", "");
            chmod(home, "state", 0o700);
            let lock = fs::File::open(home.path().join("state/lock")).unwrap();
            lock.lock().unwrap();
            Box::new(lock)
        },
        &["--offline"],
        ["lock", "failure", "holds", "ps "],
    ),
    (
        "a skill without front matter",
        |home| {
            write(home, "skills/_shared/bad/SKILL.md", "no front matter");
            nothing()
        },
        &["--offline"],
        ["skills", "warning", "bad", "mend it"],
    ),
    (
        "a skill that is a link",
        |home| {
            fs::create_dir_all(home.path().join("skills/_shared")).unwrap();
            symlink("/etc", home.path().join("skills/_shared/linked")).unwrap();
            nothing()
        },
        &["--offline"],
        ["skills", "warning", "symbolic link", "mend it"],
    ),
    (
        "a module is missing",
        |home| {
            config(
                home,
                &format!(
                    "{NOBODY}agents: {{ a: {{ policy: {{ module: gone.wasm, sha256: {} }} }} }}\n",
                    "ab".repeat(32)
                ),
            )
        },
        &["--offline"],
        ["policy", "failure", "gone.wasm", "agents.a.policy"],
    ),
    (
        "a module is another one",
        |home| {
            write(home, "other.wasm", "\0asm");
            config(
                home,
                &format!(
                    "{NOBODY}agents: {{ a: {{ policy: {{ module: other.wasm, sha256: {} }} }} }}\n",
                    "ab".repeat(32)
                ),
            )
        },
        &["--offline"],
        ["policy", "failure", "other.wasm", "agents.a.policy"],
    ),
    (
        "a module is not pinned",
        |home| {
            write(home, "free.wasm", "\0asm");
            config(home, &format!("{NOBODY}agents: {{ a: {{ policy: {{ module: free.wasm }} }} }}\n"))
        },
        &["--offline"],
        ["config", "failure", "agents.a.policy", "sha256"],
    ),
    (
        "OpenClaw's file is broken",
        |home| {
            write(home, ".openclaw/openclaw.json", "{ agents: { defaults: { model: 'openai/gpt-5.2' } } }");
            let (code, out, err) = home.run(&["openclaw", "connect", "--yes"]);
            assert_eq!(code, 0, "{out}{err}");
            write(home, ".openclaw/openclaw.json", "{ agents: ");
            nothing()
        },
        &["--offline"],
        ["openclaw", "failure", "openclaw.json", "mend the file"],
    ),
    (
        "OpenClaw looks elsewhere",
        |home| {
            write(home, ".openclaw/openclaw.json", "{ agents: { defaults: { model: 'openai/gpt-5.2' } } }");
            config(home, &NOBODY.replace("port: 0", "port: 31998"));
            let (code, out, err) = home.run(&["openclaw", "connect", "--yes"]);
            assert_eq!(code, 0, "{out}{err}");
            config(home, &NOBODY.replace("port: 0", "port: 31997"))
        },
        &["--offline"],
        ["openclaw", "failure", "31998", "metaclaw openclaw connect"],
    ),
    (
        "OpenClaw's plugin is another build's",
        |home| {
            write(home, ".openclaw/openclaw.json", "{ agents: { defaults: { model: 'openai/gpt-5.2' } } }");
            config(home, &NOBODY.replace("port: 0", "port: 31996"));
            let (code, out, err) = home.run(&["openclaw", "connect", "--yes"]);
            assert_eq!(code, 0, "{out}{err}");
            fs::write(home.path().join("openclaw/plugin/index.ts"), "// older").unwrap();
            nothing()
        },
        &["--offline"],
        ["openclaw", "failure", "another build's", "metaclaw openclaw connect"],
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_broken_home_is_diagnosed() {
    let upstream = Upstream::echo().await;
    let mut wrong = Vec::new();
    for (name, spoil, words, [check, level, what, remedy]) in CASES {
        let home = Home::new();
        home.config(&format!("{}proxy: {{ port: 31995 }}\n", upstream.llm()));
        let kept = spoil(&home);
        let found = examine(&home, &[], words);
        drop(kept);
        if home.path().is_file() {
            // The folder's owner expects to remove a folder.
            fs::remove_file(home.path()).unwrap();
            fs::create_dir(home.path()).unwrap();
        }
        if !found.says(check, level, what, remedy) || (found.code == 1) != (found.json["ok"] == false) {
            wrong.push(format!("{name}: exit {}, {:#?}", found.code, found.complaints()));
        }
        if (*level == "failure") && found.code != 1 {
            wrong.push(format!("{name}: exit {}", found.code));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_healthy_home_there_is_nothing_to_say() {
    let upstream = Upstream::echo().await;
    let home = Home::with(&upstream, "proxy: { port: 0 }\nagents: { researcher: { mode: rl } }\n");
    chmod(&home, "", 0o700);
    home.skill("_shared", "pack-boxes", "Use when packing boxes for a move.", "Heavy things go below.");
    for running in [false, true] {
        let host = if running { Some(home.start().await) } else { None };
        let found = examine(&home, &[], &[]);
        assert_eq!((found.code, found.complaints()), (0, Vec::new()), "running: {running}");
        assert!(found.says("upstream", "fine", "answers", ""), "{}", found.json);
        drop(host);
        // It was killed, and said nothing.
        let _ = fs::remove_file(home.path().join("state/running.json"));
    }
    let (code, out, err) = home.run(&["doctor"]);
    assert!(code == 0 && out.contains("✓ home") && out.ends_with("nothing is wrong\n"), "{out}{err}");
    let asked = upstream.seen().len();
    assert_eq!(examine(&home, &[], &["--offline"]).code, 0);
    assert_eq!(upstream.seen().len(), asked, "--offline asks nobody");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_host_is_looked_at() {
    let upstream = Upstream::echo().await;
    let home = Home::with(&upstream, "proxy: { port: 0 }\n");
    let host = home.start().await;
    let note = home.path().join("state/running.json");
    let text = fs::read_to_string(&note).unwrap();
    let version = serde_json::from_str::<Value>(&text).unwrap()["version"].as_str().unwrap().to_owned();
    fs::write(&note, text.replace(&format!("\"{version}\""), "\"0.0.1\"")).unwrap();
    assert!(examine(&home, &[], &[]).says("host", "warning", "is version 0.0.1", "metaclaw stop"));
    fs::write(&note, &text).unwrap();
    home.config(&format!("{}modee: rl\n", upstream.llm()));
    let found = tests::until("the host has seen the bad configuration", async || {
        let found = examine(&home, &[], &[]);
        found.says("host", "warning", "not taken over", "config check").then_some(found)
    });
    assert_eq!(found.await.code, 1, "the configuration is wrong");
    drop(host);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_permissions_are_mended_and_only_when_asked() {
    let upstream = Upstream::echo().await;
    let home = Home::with(&upstream, "proxy: { port: 0 }\n");
    write(&home, "secrets/a.key", "sk-canary");
    for (path, mode) in [("secrets/a.key", 0o644), ("secrets", 0o755), ("config.yaml", 0o640), ("", 0o755)] {
        chmod(&home, path, mode);
    }
    let before = examine(&home, &[], &["--offline"]);
    assert_eq!(before.complaints().iter().filter(|finding| finding["check"] == "home").count(), 4);
    let fixed = examine(&home, &[], &["--offline", "--fix"]);
    assert_eq!((fixed.code, fixed.complaints(), fixed.json["fixed"].as_array().unwrap().len()), (0, Vec::new(), 4));
    let mode = |path: &str| fs::metadata(home.path().join(path)).unwrap().permissions().mode() & 0o7777;
    assert_eq!(["secrets/a.key", "secrets", "config.yaml", ""].map(mode), [0o600, 0o700, 0o600, 0o700]);
}

#[tokio::test(flavor = "multi_thread")]
async fn proxies_and_small_limits_are_noticed() {
    let upstream = Upstream::echo().await;
    let home = Home::with(&upstream, "proxy: { port: 0 }\n");
    let found = examine(&home, &[("https_proxy", "http://user:canary@proxy.example:3128")], &[]);
    assert!(found.says("proxy", "warning", "https_proxy", "llm.api_base"), "{}", found.json);
    assert!(found.says("upstream", "fine", "answers", ""), "the proxy is not used: {}", found.json);
    let line = format!(
        "ulimit -n 300 && exec {} --home {} doctor --offline --json",
        tests::metaclaw().display(),
        home.path().display()
    );
    let shell = Command::new("bash").args(["-c", &line]).env("TEST_KEY", "k").output().unwrap();
    let json = serde_json::from_slice(&shell.stdout).unwrap();
    assert!(Found { code: 0, json }.says("files", "warning", "at most 300", "ulimit"));
}
