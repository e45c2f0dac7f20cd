//! What is wrong around the configuration: upstreams, ports, other programs, skills, modules, OpenClaw.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::process::{Child, Command, Stdio};

use tests::{Home, Reply, Upstream};

use super::{Case, EMBEDDED, NOBODY, chmod, config, nothing, write};

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

pub(super) const BEYOND: &[Case] = &[
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
