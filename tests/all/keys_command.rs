//! `metaclaw keys`: what it makes counts at once in a running host, what it ends opens nothing a second later, and no key is kept.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use tests::{Home, Host, Upstream, until};

/// Makes a key and gives its id and text.
fn add(home: &Home, words: &[&str]) -> (String, String) {
    let (code, out, err) = home.run(&[&["keys", "add", "--json"], words].concat());
    assert_eq!(code, 0, "{err}");
    let made: Value = serde_json::from_str(&out).unwrap();
    let key = made["key"].as_str().unwrap().to_owned();
    assert!(!err.contains(&key), "on standard output only: {err}");
    (made["id"].as_str().unwrap().to_owned(), key)
}

async fn status(host: &Host, key: &str) -> u16 {
    let turn = host.say("x");
    if key.is_empty() { turn.send().await.status } else { turn.header("x-metaclaw-key", key).send().await.status }
}

/// Waits until a key has this effect; it must come within the second that is promised.
async fn within_a_second(host: &Host, key: &str, wanted: u16) {
    let began = Instant::now();
    until("the change counts", async || (status(host, key).await == wanted).then_some(())).await;
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
}

#[tokio::test]
async fn keys_come_and_go_in_a_running_host() {
    let upstream = Upstream::echo().await;
    let home = Home::with(&upstream, "agents: { a: {} }\n");
    let host = home.start().await;
    assert_eq!(status(&host, "").await, 200, "no keys yet");
    let (id, key) = add(&home, &["--agent", "a", "--label", "laptop"]);
    within_a_second(&host, "", 401).await;
    assert_eq!(status(&host, &key).await, 200);

    let (code, out, err) = home.run(&["keys", "rotate", &id, "--grace", "1h", "--json"]);
    assert_eq!(code, 0, "{err}");
    let rotated: Value = serde_json::from_str(&out).unwrap();
    let new = rotated["key"].as_str().unwrap();
    within_a_second(&host, new, 200).await;
    assert_eq!(status(&host, &key).await, 200, "both, for an hour");
    assert_eq!(home.run(&["keys", "revoke", &id]).0, 0);
    within_a_second(&host, &key, 401).await;
    assert_eq!(status(&host, new).await, 200);

    let (brief, brief_key) = add(&home, &["--agent", "a", "--expires", "1s"]);
    within_a_second(&host, &brief_key, 200).await;
    until("it has ended by itself", async || (status(&host, &brief_key).await == 401).then_some(())).await;
    let (_, out, _) = home.run(&["keys", "list", "--json"]);
    let list: Vec<Value> = serde_json::from_str(&out).unwrap();
    let states: Vec<_> = list.iter().map(|key| (key["id"].as_str().unwrap(), key["state"].as_str().unwrap())).collect();
    assert_eq!(states, [(&*id, "revoked"), (rotated["id"].as_str().unwrap(), "live"), (&brief, "expired")]);
    let (_, out, _) = home.run(&["keys", "list"]);
    assert!(out.contains("laptop") && out.contains("revoked") && !out.contains(&key[21..30]), "{out}");

    // The last one gone, the door stays shut.
    assert_eq!(home.run(&["keys", "revoke", rotated["id"].as_str().unwrap()]).0, 0);
    within_a_second(&host, new, 401).await;
    assert_eq!(status(&host, "").await, 401);
}

/// Eight clients speak without pause while their key is revoked: none of their requests that began a second later succeeds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_revoked_under_load_opens_nothing_a_second_later() {
    let upstream = Upstream::echo().await;
    let home = Home::with(&upstream, "agents: { a: {}, b: {} }\n");
    let ((id, key), (_, other)) = (add(&home, &["--agent", "a"]), add(&home, &["--agent", "b"]));
    let host = home.start().await;
    let (over, before, after, late) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let revoked = std::sync::OnceLock::<Instant>::new();
    let speak = async || {
        while !over.load(Ordering::Relaxed) {
            let began = Instant::now();
            let status = status(&host, &key).await;
            let passed = revoked.get().map_or(Duration::ZERO, |at| began.saturating_duration_since(*at));
            match status {
                200 if passed > Duration::from_secs(1) => late.fetch_add(1, Ordering::Relaxed),
                200 => before.fetch_add(1, Ordering::Relaxed),
                401 => after.fetch_add(1, Ordering::Relaxed),
                status => panic!("{status}"),
            };
        }
    };
    let revoke = async {
        until("they speak", async || (before.load(Ordering::Relaxed) > 200).then_some(())).await;
        let run = home.clone();
        assert_eq!(tokio::task::spawn_blocking(move || run.run(&["keys", "revoke", &id]).0).await.unwrap(), 0);
        revoked.set(Instant::now()).unwrap();
        let at = Instant::now();
        until("two seconds have passed", async || (at.elapsed() > Duration::from_secs(2)).then_some(())).await;
        over.store(true, Ordering::Relaxed);
    };
    tokio::join!(speak(), speak(), speak(), speak(), speak(), speak(), speak(), speak(), revoke);
    println!("{before:?} accepted, {after:?} refused, {late:?} accepted late");
    assert_eq!(late.into_inner(), 0);
    assert!(after.into_inner() > 100);
    assert_eq!(status(&host, &other).await, 200, "another key is not touched");
}

/// A file that is damaged, open to others, gone or old changes nothing in a running host, and is said; at a start it is refused.
#[tokio::test]
async fn a_key_file_that_cannot_be_trusted_changes_nothing() {
    let upstream = Upstream::echo().await;
    let home = Home::with(&upstream, "agents: { a: {} }\n");
    let ((gone, revoked), (_, good)) = (add(&home, &["--agent", "a"]), add(&home, &["--agent", "a"]));
    let host = home.start().await;
    let file = home.path().join("keys/keys.json");
    let before = fs::read(&file).unwrap();
    assert_eq!(home.run(&["keys", "revoke", &gone]).0, 0);
    within_a_second(&host, &revoked, 401).await;
    let whole = fs::read(&file).unwrap();
    let put = |bytes: &[u8]| {
        let new = home.path().join("keys/new");
        fs::write(&new, bytes).unwrap();
        fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).unwrap();
        fs::rename(new, &file).unwrap();
    };
    let trouble = async |words: &str| {
        until(words, async || {
            let problems = host.admin("GET", "/admin/status").await["problems"].to_string();
            (if words.is_empty() { problems == "[]" } else { problems.contains(words) }).then_some(())
        })
        .await;
        assert_eq!((status(&host, &good).await, status(&host, &revoked).await), (200, 401), "{words}");
    };
    put(&whole[..whole.len() / 2]);
    trouble("is damaged").await;
    assert!(host.log().contains("is damaged"), "loudly");
    assert_eq!(home.run(&["keys", "add", "--agent", "a"]).0, 1, "nothing is built on it");
    put(&whole);
    trouble("").await;
    put(&before);
    trouble("is an older copy").await;
    put(&whole);
    trouble("").await;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    trouble("chmod 600").await;
    assert_eq!(home.run(&["start"]).0, 64);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    trouble("").await;
    fs::remove_file(&file).unwrap();
    trouble("is gone").await;
    put(&whole);
    trouble("").await;
    assert!(host.stop().success());
    put(&whole[..whole.len() / 2]);
    let (code, out, err) = home.run(&["start"]);
    assert!((code, out.as_str()) == (64, "") && err.contains("damaged") && err.contains("metaclaw keys add"), "{err}");
}

/// Promise T2, with keys of the file: none, or none that lives, and no port is opened.
#[tokio::test]
async fn off_loopback_a_host_wants_a_key_that_lives() {
    let upstream = Upstream::echo().await;
    let home = Home::with(&upstream, "proxy: { host: 0.0.0.0 }\nagents: { a: {} }\n");
    let refused = || {
        for words in [&["start"][..], &["start", "--daemon"]] {
            let (code, out, err) = home.run(words);
            assert!((code, out.as_str()) == (64, "") && err.contains("metaclaw keys add"), "{words:?}: {code} {err}");
        }
        assert!(!home.path().join("state").exists() && !home.path().join("run").exists());
    };
    refused();
    add(&home, &["--admin"]);
    refused();
    let (id, _) = add(&home, &["--agent", "a"]);
    home.run(&["keys", "revoke", &id]);
    refused();
    let (_, key) = add(&home, &["--agent", "a"]);
    let host = home.start().await;
    let url = format!("http://127.0.0.1:{}/v1/models", host.address().port());
    assert_eq!(host.client.get(url).send().await.unwrap().status().as_u16(), 200, "open as ever");
    let turn = host.client.post(format!("http://127.0.0.1:{}/v1/chat/completions", host.address().port()));
    let turn = turn.header("x-api-key", key).body(r#"{"messages":[{"role":"user","content":"x"}]}"#);
    assert_eq!(turn.send().await.unwrap().status().as_u16(), 200);
}

/// Promises T3 and S1: whatever was done with keys, not eight characters of one are anywhere in the home, nor in the log.
#[tokio::test]
async fn no_part_of_a_key_is_kept() {
    let upstream = Upstream::echo().await;
    let home = Home::with(&upstream, "agents: { a: { mode: rl } }\n");
    let (id, first) = add(&home, &["--agent", "a"]);
    let (_, admin) = add(&home, &["--admin"]);
    let host = home.start_with(&["--log", "trace"]).await;
    for key in [&first, &admin, &first[..70], &format!("{first}0")] {
        for header in ["x-api-key", "x-metaclaw-key"] {
            host.say("x").header(header, key).send().await;
        }
        host.say("x").header("authorization", &format!("Bearer {key}")).send().await;
    }
    let (_, out, err) = home.run(&["keys", "revoke", &first]);
    assert!(out.contains(&id) && !out.contains(&first[21..]) && err.is_empty(), "named by the key itself: {out}{err}");
    let (_, out, err) = home.run(&["keys", "revoke", "sk-somebodys-secret"]);
    assert!(!format!("{out}{err}").contains("somebodys"), "{out}{err}");
    let log = host.log();
    assert!(log.contains("TRACE"), "everything is logged");
    assert!(host.stop().success());
    for key in [&first, &admin] {
        let secret = &key.as_bytes()[21..];
        let parts: Vec<&[u8]> = secret.windows(8).collect();
        let holds = |bytes: &[u8]| parts.iter().any(|part| bytes.windows(8).any(|at| at == *part));
        // The trace shows each request's bytes to nobody either.
        assert!(!holds(log.as_bytes()), "the log holds a part of a key");
        for_each_file(home.path(), &mut |file, bytes| assert!(!holds(bytes), "{}", file.display()));
    }
}

fn for_each_file(folder: &Path, check: &mut impl FnMut(&Path, &[u8])) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => for_each_file(&path, check),
            false => check(&path, &fs::read(&path).unwrap()),
        }
    }
}
