use std::fs;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};
use tests::Home;

use crate::install;

const TOKEN: &str = "test-token";
/// OpenClaw tries again for up to a minute and a half before a turn fails.
const TURN_TIMEOUT: Duration = Duration::from_secs(180);
const START_TIMEOUT: Duration = Duration::from_secs(120);

/// An OpenClaw of its own: a state folder, a configuration, and nothing of the machine's.
pub struct OpenClaw {
    dir: tempfile::TempDir,
    port: u16,
}

/// Its gateway, running.
pub struct Gateway {
    child: Child,
    port: u16,
    log: PathBuf,
    client: reqwest::Client,
    claw: OpenClaw,
}

/// What came of a turn: the reply, or that it failed.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The words that the user reads.
    Reply(String),
    /// The turn failed with this status.
    Failed(u16),
}

impl OpenClaw {
    /// With these agents, configured as a user without the host has it.
    pub fn new(agents: &[&str]) -> Self {
        Self::with(agents, |_| {})
    }

    /// The same, with something changed.
    pub fn with(agents: &[&str], change: impl FnOnce(&mut Value)) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let claw = OpenClaw { dir: tempfile::tempdir().unwrap(), port };
        let mut config = claw.usual(agents);
        change(&mut config);
        // It is JSON5, and people write comments.
        fs::write(claw.config_file(), format!("// Mine.\n{config:#}\n")).unwrap();
        claw
    }

    fn usual(&self, agents: &[&str]) -> Value {
        let workspace = |agent: &&str| {
            let folder = self.path().join(format!("ws-{agent}"));
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("notes.txt"), format!("the notes of {agent}\n")).unwrap();
            ((*agent).to_owned(), json!({"workspace": folder}))
        };
        json!({
            // No traffic but the model requests: no update check, telemetry, hosted catalog or mDNS.
            "update": {"checkOnStart": false},
            "telemetry": {"enabled": false},
            "discovery": {"mdns": {"mode": "off"}},
            "logging": {"file": self.path().join("openclaw.log")},
            "gateway": {
                "mode": "local", "bind": "loopback", "port": self.port, "auth": {"mode": "token", "token": TOKEN},
                "http": {"endpoints": {"chatCompletions": {"enabled": true}}},
            },
            "agents": {
                "ownership": "explicit",
                "defaults": {
                    "model": {"primary": "elsewhere/big-1"}, "skipBootstrap": true, "timeoutSeconds": 150,
                    "systemAgent": {"agentId": agents[0]},
                },
                "entries": agents.iter().map(workspace).collect::<serde_json::Map<_, _>>(),
            },
            "models": {
                "mode": "replace",
                "catalogRefresh": {"enabled": false},
                "providers": {"elsewhere": {
                    "baseUrl": "http://127.0.0.1:9/v1", "apiKey": "sk-elsewhere-canary", "api": "openai-completions",
                    "models": [{"id": "big-1", "name": "Big 1", "contextWindow": 128_000, "maxTokens": 4096}],
                }},
            },
            // Without a list, 14 bundled plugins would be loaded.
            "plugins": {"allow": ["memory-none"], "slots": {"memory": "none"}},
            "skills": {"allowBundled": []},
            "tools": {"toolSearch": false, "allow": ["read", "exec"]},
        })
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Its configuration file.
    pub fn config_file(&self) -> PathBuf {
        self.path().join("openclaw.json")
    }

    /// Connects it to the host that runs on `home`, as a user does.
    pub fn connect(&self, home: &Home, words: &[&str]) {
        let (code, out, err) = self.metaclaw(home, &[&["openclaw", "connect", "--yes"], words].concat());
        assert_eq!(code, 0, "{out}{err}");
    }

    /// Runs `metaclaw` on `home`, with this OpenClaw as the machine's.
    pub fn metaclaw(&self, home: &Home, words: &[&str]) -> (i32, String, String) {
        let config = self.config_file();
        home.run_in(&[("OPENCLAW_CONFIG_PATH", config.to_str().unwrap())], words)
    }

    /// `openclaw` with these words; its environment holds nothing of the machine's.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("openclaw");
        let home = self.path().join("home");
        fs::create_dir_all(&home).unwrap();
        command.env_clear().env("PATH", install::path()).env("HOME", home);
        command.env("OPENCLAW_STATE_DIR", self.path().join("state")).env("OPENCLAW_CONFIG_PATH", self.config_file());
        command.envs([("OPENCLAW_NO_AUTO_UPDATE", "1"), ("OPENCLAW_OFFLINE", "1"), ("NO_COLOR", "1")]);
        command.args(words).stdin(Stdio::null());
        command
    }

    /// Starts the gateway and waits until it is ready.
    pub async fn start(self) -> Gateway {
        let log = self.path().join("gateway.out");
        let out = fs::File::create(&log).unwrap();
        let mut command = self.command(&["gateway", "run"]);
        command.stdout(out.try_clone().unwrap()).stderr(out).process_group(0);
        let child = command.spawn().unwrap();
        let client = reqwest::Client::builder().no_proxy().timeout(TURN_TIMEOUT).build().unwrap();
        let mut gateway = Gateway { child, port: self.port, log, client, claw: self };
        let (began, url) = (Instant::now(), format!("http://127.0.0.1:{}/readyz", gateway.port));
        while !gateway.client.get(&url).send().await.is_ok_and(|r| r.status().is_success()) {
            let ended = gateway.child.try_wait().unwrap();
            assert!(ended.is_none() && began.elapsed() < START_TIMEOUT, "no gateway: {}", gateway.log());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        gateway
    }
}

impl Gateway {
    /// One turn of a user's, through the gateway's own OpenAI endpoint.
    pub async fn say(&self, agent: &str, place: &str, text: &str) -> Outcome {
        self.send(agent, place, text).await.unwrap()
    }

    /// The reply, unless the gateway is away or the turn fails.
    pub async fn try_say(&self, agent: &str, place: &str, text: &str) -> Option<String> {
        match self.send(agent, place, text).await {
            Ok(Outcome::Reply(words)) => Some(words),
            _ => None,
        }
    }

    async fn send(&self, agent: &str, place: &str, text: &str) -> reqwest::Result<Outcome> {
        let body = json!({"model": format!("openclaw/{agent}"), "messages": [{"role": "user", "content": text}]});
        let request =
            self.client.post(format!("http://127.0.0.1:{}/v1/chat/completions", self.port)).bearer_auth(TOKEN);
        let request = request.header("content-type", "application/json");
        let request = request.header("x-openclaw-session-key", format!("agent:{agent}:{place}"));
        let answer = request.body(body.to_string()).send().await?;
        let status = answer.status().as_u16();
        let text = answer.text().await?;
        Ok(match serde_json::from_str::<Value>(&text) {
            Ok(whole) if status == 200 => {
                Outcome::Reply(whole["choices"][0]["message"]["content"].as_str().unwrap_or_default().trim().into())
            }
            _ => Outcome::Failed(status),
        })
    }

    /// One turn that must succeed.
    pub async fn reply(&self, agent: &str, place: &str, text: &str) -> String {
        match self.say(agent, place, text).await {
            Outcome::Reply(words) => words,
            failed => panic!("{agent} {place} {text:?}: {failed:?}\n{}", self.log()),
        }
    }

    /// A call of the gateway's own protocol.
    pub async fn call(&self, method: &str, params: Value) -> Value {
        self.calls(&[(method, params)]).await.remove(0)
    }

    /// Several, on one connection. A call that ends in `-> TEXT` is repeated until its answer holds that text.
    pub async fn calls(&self, calls: &[(&str, Value)]) -> Vec<Value> {
        let line = |(method, params): &(&str, Value)| match method.split_once(" -> ") {
            Some((method, text)) => format!("{method} {params} -> {text}\n"),
            None => format!("{method} {params}\n"),
        };
        let lines: String = calls.iter().map(line).collect();
        let mut node = Command::new("node");
        node.env("PATH", install::path()).arg(tests::root().join("tests/openclaw/rpc.mjs"));
        node.args([&self.port.to_string(), TOKEN]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let out = tokio::task::spawn_blocking(move || {
            let mut child = node.spawn().unwrap();
            child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
            child.wait_with_output().unwrap()
        });
        let out = out.await.unwrap();
        let text = String::from_utf8(out.stdout).unwrap();
        let answers: Vec<Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        let whole = answers.len() == calls.len() && answers.iter().all(|a| a.get("ok").is_some());
        assert!(whole, "{calls:?}: {text}{}\n{}", String::from_utf8_lossy(&out.stderr), self.log());
        answers.into_iter().map(|mut answer| answer["ok"].take()).collect()
    }

    /// What it was started from.
    pub fn claw(&self) -> &OpenClaw {
        &self.claw
    }

    /// What it has written so far.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // It has children of its own. Nothing to do when it has ended already.
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        let _ = self.child.wait();
    }
}
