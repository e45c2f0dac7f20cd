use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use rustix::process::{Pid, Signal, kill_process};

use crate::{Home, Turn, metaclaw};

/// A running host.
pub struct Host {
    child: Child,
    address: SocketAddr,
    log: Arc<Mutex<String>>,
    home: Home,
    /// Keeps its connections.
    pub client: reqwest::Client,
}

impl Host {
    pub(crate) async fn start(home: &Home, words: &[&str], environment: &[(&str, &str)]) -> Self {
        let anywhere: &[&str] = if words.contains(&"--port") { &[] } else { &["--port", "0"] };
        let mut child = command(home.path(), &["start", "--json"])
            .args(anywhere)
            .args(words)
            .envs(environment.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // Read from the beginning, so that it never blocks on a full pipe.
        let log = Arc::<Mutex<String>>::default();
        let reading = keep(child.stderr.take().unwrap(), log.clone());
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let Some(Ok(line)) = lines.next() else {
            reading.join().unwrap();
            panic!("the host did not start: {}", log.lock().unwrap());
        };
        let greeting: serde_json::Value = serde_json::from_str(&line).unwrap();
        // A second install is refused, harmlessly.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        Host { child, address: greeting["address"].as_str().unwrap().parse().unwrap(), log, client, home: home.clone() }
    }

    /// What it has written to its log so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// `http://ADDRESS` + `path`.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A turn with this user message; add headers, then send it.
    pub fn say(&self, text: &str) -> Turn<'_> {
        Turn::new(self, text)
    }

    /// Gets a path as JSON.
    pub async fn get(&self, path: &str) -> serde_json::Value {
        let bytes = self.client.get(self.url(path)).send().await.unwrap().bytes().await.unwrap();
        serde_json::from_slice(&bytes).unwrap_or_else(|_| panic!("not JSON: {}", String::from_utf8_lossy(&bytes)))
    }

    /// Gets a path as text.
    pub async fn text(&self, path: &str) -> String {
        self.client.get(self.url(path)).send().await.unwrap().text().await.unwrap()
    }

    /// Asks the admin socket, as the operator's commands do.
    pub async fn admin(&self, method: &str, path: &str) -> serde_json::Value {
        let socket = self.home.path().join("run/admin.sock");
        let client = reqwest::Client::builder().no_proxy().unix_socket(socket).build().unwrap();
        let request = client.request(method.parse().unwrap(), format!("http://localhost{path}"));
        serde_json::from_slice(&request.send().await.unwrap().bytes().await.unwrap()).unwrap()
    }

    /// One counter of `/metrics`, by the beginning of its line; 0 when it is not there.
    pub async fn metric(&self, line: &str) -> u64 {
        let text = self.text("/metrics").await;
        let found = text.lines().find_map(|l| l.strip_prefix(line)).map(|v| v.trim().parse::<f64>().unwrap());
        found.unwrap_or(0.0) as u64
    }

    /// SIGKILL: no chance to tidy up.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, and waits for the end.
    pub fn stop(self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.ended()
    }

    /// Waits for the end of a host that was told to stop.
    pub fn ended(mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // Nothing to do when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Keeps a log, and shows it as the test's own.
fn keep(from: ChildStderr, log: Arc<Mutex<String>>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let mut from = BufReader::new(from);
        let mut line = Vec::new();
        while from.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
            let text = String::from_utf8_lossy(&line);
            let _ = std::io::stderr().write_all(text.as_bytes());
            log.lock().unwrap().push_str(&text);
            line.clear();
        }
    })
}

impl crate::Home {
    /// Runs the command where files are made for everybody unless it says otherwise.
    pub fn run_carelessly(&self, words: &[&str]) -> (i32, String, String) {
        let command = command(self.path(), words);
        let mut shell = Command::new("sh");
        shell.args(["-c", "umask 000; exec \"$0\" \"$@\""]).arg(command.get_program()).args(command.get_args());
        shell.env_clear().envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        ended(shell.stdin(Stdio::null()))
    }
}

/// The command on a home, with an environment that holds nothing of the machine's.
pub(crate) fn command(home: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(metaclaw());
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", home)
        .env("TEST_KEY", "sk-upstream-canary-7f3a");
    command.env("METACLAW_LOG", std::env::var_os("METACLAW_LOG").unwrap_or_else(|| "warn".into()));
    command.arg("--home").arg(home).args(words).stdin(Stdio::null());
    command
}

impl crate::Home {
    /// Runs the command to its end: exit code, standard output, standard error.
    pub fn run(&self, words: &[&str]) -> (i32, String, String) {
        self.run_in(&[], words)
    }

    /// Runs the command with these variables in its environment.
    pub fn run_in(&self, environment: &[(&str, &str)], words: &[&str]) -> (i32, String, String) {
        ended(command(self.path(), words).envs(environment.iter().copied()))
    }
}

fn ended(command: &mut Command) -> (i32, String, String) {
    let out = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (out.status.code().unwrap_or(-1), text(out.stdout), text(out.stderr))
}
