//! OpenAI's own libraries for Python and JavaScript against the real host. What their users see, in their types and
//! exceptions, is checked by `tests/sdk/*/checks.*`; here are the libraries' installation and the upstream that they talk to.

use std::collections::HashSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use bytes::Bytes;
use serde_json::{Value, json};
use tests::{Home, Reply, Seen, Upstream, guest};
use tokio::sync::mpsc;

/// What the host wants to be shown by its clients.
const KEY: &str = "mc-8f2kq93hzz7w1mcnv5t0";

type Feed = mpsc::Sender<Result<Bytes, std::io::Error>>;

/// The upstream's memory.
#[derive(Default)]
struct Stage {
    /// The stream that goes on when it is asked to, and its pieces to come, the last one first.
    stepwise: Mutex<Option<(Feed, Vec<String>)>>,
    /// Streams that never end by themselves.
    endless: Mutex<Vec<Feed>>,
    /// Who has been told to come again later.
    sent_away: Mutex<HashSet<String>>,
}

#[tokio::test]
async fn the_python_library_gets_what_it_expects() {
    let python = python();
    let checks = source("python").join("checks.py");
    run(move |args| Command::new(python).arg(checks).args(args).output().unwrap()).await;
}

#[tokio::test]
async fn the_javascript_library_gets_what_it_expects() {
    let folder = node();
    run(move |args| Command::new("node").arg("checks.mjs").args(args).current_dir(folder).output().unwrap()).await;
}

/// Runs checks, given the host's address and key, and shows what they say.
async fn run(checks: impl FnOnce([String; 2]) -> std::process::Output + Send + 'static) {
    let stage = Stage::default();
    let upstream = Upstream::scripted(move |seen| stage.play(seen)).await;
    let module = guest("examples/two-agents/policy");
    let policy = format!("policy: {{ module: \"{}\", config: {{ refuse: [horoscope] }} }}", module.display());
    let home =
        Home::with(&upstream, &format!("proxy: {{ api_key: \"{KEY}\" }}\nagents: {{ assistant: {{ {policy} }} }}\n"));
    let host = home.start_with(&["--dev"]).await;
    let args = [host.url("/v1"), KEY.to_owned()];
    let out = tokio::task::spawn_blocking(|| checks(args)).await.unwrap();
    let said = String::from_utf8_lossy(&out.stdout);
    println!("{said}{}", String::from_utf8_lossy(&out.stderr));
    assert!(
        out.status.success() && said.contains("ok "),
        "a check of {} failed, see above",
        said.lines().next().unwrap_or("the library")
    );
    assert!(host.stop().success());
}

impl Stage {
    /// The user's last words say what is wanted.
    fn play(&self, seen: &Seen) -> Reply {
        let text = seen.user();
        if let Some(status) = text.strip_prefix("status ") {
            return rejection(status.parse().unwrap());
        }
        if text.starts_with("busy once") && self.sent_away.lock().unwrap().insert(text.clone()) {
            return rejection(429);
        }
        match text.as_str() {
            "piece by piece" => self.begin_stepwise(),
            "next piece" => self.go_on(),
            "talk for ever" => {
                let (feed, reply) = stream(&[so_far()]);
                self.endless.lock().unwrap().push(feed);
                reply
            }
            "how many went away?" => {
                Reply::Words(self.endless.lock().unwrap().iter().filter(|f| f.is_closed()).count().to_string())
            }
            "break off" => stream(&[so_far()]).1,
            _ if seen.body["tools"].is_array() => use_tools(seen),
            _ if seen.body["response_format"].is_object() => Reply::Words(r#"{"city":"Paris"}"#.into()),
            words => Reply::Words(format!("echo: {words}")),
        }
    }

    fn begin_stepwise(&self) -> Reply {
        let (feed, reply) = stream(&[chunk(json!({"role": "assistant", "content": "one "}), None)]);
        let usage = json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "test-model", "choices": [],
                           "usage": {"prompt_tokens": 11, "completion_tokens": 3, "total_tokens": 14}});
        let end = format!("{}data: {usage}\n\ndata: [DONE]\n\n", chunk(json!({}), Some("stop")));
        let rest = vec![end, chunk(json!({"content": "three"}), None), chunk(json!({"content": "two "}), None)];
        *self.stepwise.lock().unwrap() = Some((feed, rest));
        reply
    }

    fn go_on(&self) -> Reply {
        let mut stepwise = self.stepwise.lock().unwrap();
        let (feed, rest) = stepwise.as_mut().expect("a stream waits for its next piece");
        feed.try_send(Ok(rest.pop().expect("there are three pieces").into())).unwrap();
        if rest.is_empty() {
            *stepwise = None;
        }
        Reply::Words("ok".into())
    }
}

/// Calls `weather` twice; once there are results, repeats them.
fn use_tools(seen: &Seen) -> Reply {
    let messages = seen.body["messages"].as_array().unwrap();
    let text = |v: &Value| v.as_str().unwrap().to_owned();
    let results =
        messages.iter().filter(|m| m["role"] == "tool").map(|m| text(&m["tool_call_id"]) + " " + &text(&m["content"]));
    let results: Vec<String> = results.collect();
    if !results.is_empty() {
        return Reply::Words(format!("echo: {}", results.join(", ")));
    }
    let call = |id: &str, arguments: &str| json!({"id": id, "type": "function", "function": {"name": "weather", "arguments": arguments}});
    if seen.body["stream"] != true {
        let calls = [call("call_1", r#"{"city":"Paris"}"#), call("call_2", r#"{"city":"Rome"}"#)];
        let message = json!({"role": "assistant", "content": null, "tool_calls": calls});
        let answer = json!({"id": "c", "object": "chat.completion", "created": 1, "model": "test-model",
                            "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]});
        return Reply::Status(200, answer.to_string());
    }
    let piece = |index: u32, mut call: Value| {
        call["index"] = index.into();
        chunk(json!({"tool_calls": [call]}), None)
    };
    let more = |arguments: &str| json!({"function": {"arguments": arguments}});
    let pieces = [
        chunk(json!({"role": "assistant", "content": null}), None),
        piece(0, call("call_1", "")),
        piece(0, more("{\"ci")),
        piece(0, more("ty\":\"Paris\"}")),
        piece(1, call("call_2", "{\"city\":")),
        piece(1, more("\"Rome\"}")),
        chunk(json!({}), Some("tool_calls")),
        "data: [DONE]\n\n".into(),
    ];
    stream(&pieces).1
}

fn rejection(status: u16) -> Reply {
    Reply::Status(
        status,
        json!({"error": {"message": format!("the upstream says {status}"), "type": "test", "code": null}}).to_string(),
    )
}

/// A stream that has begun. It ends, or breaks off, when its feed is dropped.
fn stream(pieces: &[String]) -> (Feed, Reply) {
    let (feed, receiver) = mpsc::channel(8);
    pieces.iter().for_each(|p| feed.try_send(Ok(p.clone().into())).unwrap());
    (feed, Reply::Pieces("text/event-stream", receiver))
}

fn so_far() -> String {
    chunk(json!({"role": "assistant", "content": "so far"}), None)
}

fn chunk(delta: Value, finish: Option<&str>) -> String {
    let chunk = json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "test-model",
                       "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]});
    format!("data: {chunk}\n\n")
}

/// A Python with the library.
fn python() -> PathBuf {
    let folder = installed("python", "requirements.txt", |source, folder| {
        must(
            Command::new("python3").args(["-m", "venv", "--clear"]).arg(folder),
            "Python 3 with venv: apt-get install python3-venv",
        );
        let mut pip = Command::new(folder.join("bin/python"));
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"])
            .arg(source.join("requirements.txt"));
        must(&mut pip, "a package index with these versions, such as https://pypi.org");
    });
    folder.join("bin/python")
}

/// A folder in which Node finds the library and the checks.
fn node() -> PathBuf {
    let folder = installed("node", "package-lock.json", |source, folder| {
        for file in ["package.json", "package-lock.json", ".npmrc"] {
            fs::copy(source.join(file), folder.join(file)).unwrap();
        }
        let mut npm = Command::new("npm");
        npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(folder);
        must(
            &mut npm,
            "Node 18 or newer with npm (apt-get install nodejs npm) and a registry, such as https://registry.npmjs.org",
        );
    });
    fs::copy(source("node").join("checks.mjs"), folder.join("checks.mjs")).unwrap();
    folder
}

fn source(language: &str) -> PathBuf {
    tests::root().join("tests/sdk").join(language)
}

/// `target/sdk/LANGUAGE`, filled by `install` unless that has been done with the same `lock` file. It is given the folder
/// of the lock file and the one to fill.
fn installed(language: &str, lock: &str, install: impl FnOnce(&Path, &Path)) -> PathBuf {
    let (source, folder) = (source(language), tests::target().join("sdk").join(language));
    fs::create_dir_all(&folder).unwrap();
    // Another run of these tests may be installing.
    let turn = File::create(folder.with_extension("lock")).unwrap();
    turn.lock().unwrap();
    let (wanted, done) = (fs::read(source.join(lock)).unwrap(), folder.join("installed"));
    if fs::read(&done).ok().as_ref() != Some(&wanted) {
        install(&source, &folder);
        fs::write(&done, wanted).unwrap();
    }
    folder
}

/// Runs a command to its success, or says what it takes.
fn must(command: &mut Command, needs: &str) {
    let said = match command.output() {
        Ok(out) if out.status.success() => return,
        Ok(out) => format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr)),
        Err(error) => error.to_string(),
    };
    panic!("this test needs {needs}\n{command:?} failed: {said}");
}
