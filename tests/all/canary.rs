//! No secret comes out anywhere: each is a text found nowhere else, everything that can go wrong does while everything is logged, and
//! then all that the host has said and written is searched.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use serde_json::json;
use tests::{Home, Reply, Upstream, until};

/// What the host is told in confidence. The first four characters of each are found nowhere else, either.
const SECRETS: [(&str, &str); 4] = [
    ("upstream", "qZ7xw-upstream-3f9a1c5e7b2d4806"),
    ("second", "Yk9Qv-second-6d0e8a4c2f1b3957"),
    ("operator", "jX3Pz-operator-b7d5f3a1c9e80264"),
    ("agent", "Wv8Kq-agent-0a2c4e6f81b3d597"),
];

/// Everything that a secret could be recognised by: itself, its beginning, and what encodes it.
fn traces(secret: &str) -> Vec<String> {
    let mut traces = vec![secret[..4].to_owned()];
    let bytes = secret.as_bytes();
    traces.push(bytes.iter().map(|byte| format!("{byte:02x}")).collect());
    traces.push(bytes.iter().map(|byte| format!("%{byte:02X}")).collect());
    // As part of something longer it begins at any of three places of four characters.
    for before in 0..3 {
        let longer = [&vec![b'.'; before][..], bytes].concat();
        for engine in [&STANDARD, &URL_SAFE] {
            let text = engine.encode(&longer);
            traces.push(text[4..text.len() - 4].to_owned());
        }
    }
    traces
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.symlink_metadata().unwrap() {
            about if about.is_dir() => files(&path, found),
            about if about.is_file() => found.push(path),
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_is_in_anything_that_the_host_says_or_writes() {
    // This upstream repeats the key that it was shown, as some do in their errors.
    let upstream = Upstream::scripted(|seen| {
        let shown = seen.headers.get("authorization").map(|v| v.to_str().unwrap().to_owned()).unwrap_or_default();
        let words = json!({"error": {"message": format!("bad key {shown}"), "code": shown}}).to_string();
        match seen.user().parse::<u16>() {
            Ok(status) => Reply::Status(status, words),
            Err(_) => Reply::Words("words".into()),
        }
    })
    .await;
    let home = Home::new();
    let secrets = home.path().join("secrets");
    fs::create_dir(&secrets).unwrap();
    fs::set_permissions(&secrets, fs::Permissions::from_mode(0o700)).unwrap();
    for (name, secret) in SECRETS {
        let file = secrets.join(name);
        fs::write(&file, secret).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    }
    let config = |more: &str| {
        home.config(&format!(
            "llm: {{ provider: custom, model_id: m, api_base: \"{}\", api_key: \"file:secrets/upstream\" }}\n\
             upstreams: {{ gone: {{ provider: custom, api_base: \"http://127.0.0.1:9/v1\", api_key: \"file:secrets/second\" }} }}\n\
             proxy: {{ api_key: \"file:secrets/operator\" }}\n\
             agents: {{ a: {{ mode: rl, client_key: \"file:secrets/agent\" }}, b: {{ upstream: gone }} }}\n{more}",
            upstream.base()
        ));
    };
    config("");
    let mut said = String::new();
    for words in [
        &["config", "show"][..],
        &["config", "check"],
        &["agents", "list"],
        &["agents", "show", "a"],
        &["--json", "config", "show"],
    ] {
        let (_, out, err) = home.run(words);
        said += &(out + &err);
    }
    let host = home.start_with(&["--log", "trace"]).await;
    let (operator, agent) = (format!("Bearer {}", SECRETS[2].1), format!("Bearer {}", SECRETS[3].1));
    for key in [&operator, &agent, "Bearer wrong", "Basic d3Jvbmc=", ""] {
        for (to, stream) in [("a", false), ("a", true), ("b", false), ("stranger", false)] {
            for text in ["hi", "200", "400", "401", "402", "403", "404", "429", "500", "302"] {
                let turn = host.say(text).agent(to).with("stream", stream.into()).header("authorization", key);
                let answer = turn.send().await;
                said += &format!("{:?} {}", answer.headers, answer.text);
            }
        }
    }
    for path in ["/healthz", "/readyz", "/metrics", "/v1/models", "/v1/turns/x", "/nothing"] {
        for key in [&operator, &agent, ""] {
            let answer = host.client.get(host.url(path)).header("authorization", key).send().await.unwrap();
            said += &format!("{:?} ", answer.headers());
            said += &answer.text().await.unwrap();
        }
    }
    config("mod: rl\n");
    said += &home.run(&["reload"]).1;
    config("agents_unknown: reject\n");
    said += &home.run(&["reload"]).1;
    said += &home.run(&["--json", "status"]).1;
    // As a client that sends a key where none belongs.
    let misplaced = host.url(&format!("/v1/chat/completions?api_key={}", SECRETS[3].1));
    said += &host.client.post(misplaced).body("{}").send().await.unwrap().text().await.unwrap();
    until("much is logged", async || (host.log().len() > 20_000).then_some(())).await;
    let log = host.log();
    assert!(log.contains("TRACE"), "everything is logged");
    assert!(host.stop().success());
    let mut everything = vec![("what it said".to_owned(), said.into_bytes()), ("its log".to_owned(), log.into_bytes())];
    let mut found = Vec::new();
    files(home.path(), &mut found);
    found.retain(|file| !file.starts_with(&secrets));
    everything.extend(found.iter().map(|file| (file.display().to_string(), fs::read(file).unwrap())));
    assert!(everything.iter().any(|(name, _)| name.contains("/state/")), "the state is among it");
    for (name, secret) in SECRETS {
        for trace in traces(secret) {
            for (place, bytes) in &everything {
                let at = memchr::memmem::find(bytes, trace.as_bytes());
                let around =
                    at.map(|at| String::from_utf8_lossy(&bytes[at.saturating_sub(80)..bytes.len().min(at + 80)]));
                assert!(around.is_none(), "{name} shows in {place}: {}", around.unwrap_or_default());
            }
        }
    }
}
