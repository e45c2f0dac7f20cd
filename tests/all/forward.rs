//! `auth: forward`: the client's own login goes to the upstream that is asked with it, and nowhere else.

use std::path::Path;

use serde_json::json;
use tests::{Home, Reply, Upstream};

const LOGIN: &str = "sk-ant-oat01-client-canary-51c0";
const HOST_KEY: (&str, &str) = ("HOST_KEY", "host-3f9c2b7d51e86a04");

/// Two upstreams, one of which is asked with the client's own credential.
fn config(theirs: &Upstream, ours: &Upstream, more: &str) -> String {
    format!(
        "upstreams:\n  theirs: {{ provider: anthropic, api_base: \"{}\", auth: forward, models: [m] }}\n  \
         ours: {{ provider: custom, api_base: \"{}\", api_key: \"env:TEST_KEY\", models: [m] }}\n\
         agents:\n  _default: {{ upstream: theirs }}\n  other: {{ upstream: ours }}\n{more}",
        theirs.base(),
        ours.base()
    )
}

async fn two() -> (Upstream, Upstream) {
    (Upstream::echo().await, Upstream::echo().await)
}

/// Every file below a folder that holds these bytes.
fn files_with(folder: &Path, needle: &str, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files_with(&path, needle, found);
        } else if path.is_file() {
            let bytes = std::fs::read(&path).unwrap();
            if bytes.windows(needle.len()).any(|w| w == needle.as_bytes()) {
                found.push(path.display().to_string());
            }
        }
    }
}

#[tokio::test]
async fn the_clients_login_goes_to_its_upstream_and_nowhere_else() {
    let (theirs, ours) = two().await;
    let home = Home::new();
    home.config(&config(&theirs, &ours, ""));
    let host = home.start_in(&[("METACLAW_LOG", "trace")]).await;
    let bearer = format!("Bearer {LOGIN}");
    for stream in [false, true] {
        let turn = host.say("hi").with("stream", json!(stream)).header("authorization", &bearer);
        let answer = turn.header("x-api-key", LOGIN).send().await;
        assert_eq!((answer.status, answer.words().as_str()), (200, "echo: hi"));
        let headers = theirs.last().headers;
        assert_eq!(headers["authorization"], bearer);
        assert_eq!(headers["x-api-key"], LOGIN);
    }
    let answer = host.say("hi").agent("other").header("authorization", &bearer).header("x-api-key", LOGIN).send().await;
    assert_eq!(answer.status, 200);
    let headers = ours.last().headers;
    assert_eq!(headers["authorization"], "Bearer sk-upstream-canary-7f3a", "this one has a key of its own");
    assert!(!headers.contains_key("x-api-key") && !format!("{headers:?}").contains(LOGIN));

    // It is nowhere: not in the log at its most talkative, not among what is counted, and not in any file.
    let turn = answer.header("x-request-id").to_owned();
    let path = format!("/v1/turns/{turn}");
    let state = tests::until("the turn is durable", async || {
        let state = host.get(&path).await;
        state["outcome"].is_string().then_some(state)
    })
    .await;
    let metrics = host.text("/metrics").await;
    let log = host.log();
    assert!(log.contains("TRACE"), "the log tells all");
    for (what, text) in [("log", &log), ("metrics", &metrics), ("turn", &state.to_string())] {
        assert!(!text.contains("client-canary"), "the {what} holds the client's login");
    }
    assert!(host.stop().success());
    let mut found = Vec::new();
    files_with(home.path(), "client-canary", &mut found);
    assert!(found.is_empty(), "{found:?}");
}

#[tokio::test]
async fn who_has_no_login_is_told_how_to_send_one() {
    let (theirs, ours) = two().await;
    let home = Home::new();
    home.config(&config(&theirs, &ours, ""));
    let host = home.start().await;
    let answer = host.say("hi").send().await;
    assert_eq!((answer.status, answer.code().as_str()), (401, "missing_credential"), "{}", answer.text);
    let twice = host.say("hi").header("authorization", "Bearer a").header("authorization", "Bearer b").send().await;
    assert_eq!((twice.status, twice.code().as_str()), (400, "ambiguous_header"));
    assert!(theirs.seen().is_empty());
}

#[tokio::test]
async fn with_keys_the_hosts_own_key_comes_in_a_header_of_its_own() {
    let (theirs, ours) = two().await;
    let home = Home::new();
    home.config(&config(&theirs, &ours, "proxy: { api_key: \"env:HOST_KEY\" }\n"));
    let host = home.start_in(&[HOST_KEY]).await;
    let key = HOST_KEY.1;
    let (login, as_bearer) = (format!("Bearer {LOGIN}"), format!("Bearer {key}"));
    for (own, authorization, status, arrives) in [
        (Some(key), Some(&login), 200, true),
        // The host's key is never the provider's.
        (None, Some(&as_bearer), 401, false),
        (Some(key), Some(&as_bearer), 401, false),
        (Some(key), None, 401, false),
        (Some("wrong"), Some(&login), 401, false),
        (None, Some(&login), 401, false),
    ] {
        let before = theirs.seen().len();
        let mut turn = host.say("hi");
        for (name, value) in [("x-metaclaw-key", own), ("authorization", authorization.map(String::as_str))] {
            if let Some(value) = value {
                turn = turn.header(name, value);
            }
        }
        let answer = turn.send().await;
        assert_eq!(answer.status, status, "{own:?} {authorization:?} {}", answer.text);
        assert_eq!(theirs.seen().len() > before, arrives, "{own:?} {authorization:?}");
        assert!(!answer.text.contains(key) && !answer.text.contains(LOGIN));
    }
    let headers = format!("{:?}", theirs.last().headers);
    assert!(headers.contains(LOGIN) && !headers.contains(key) && !headers.contains("metaclaw-key"), "{headers}");
}

#[tokio::test]
async fn what_the_upstream_says_of_a_login_is_told_to_whose_it_is() {
    for (status, body, words) in [
        (401, json!({"error": {"message": "invalid bearer token"}}).to_string(), "invalid bearer token"),
        (403, "<html>".to_owned(), "does not take the client's own credential"),
        (402, json!({"error": {"message": "no credit"}}).to_string(), "no credit"),
    ] {
        let theirs = Upstream::scripted(move |_| Reply::Status(status, body.clone())).await;
        let ours = Upstream::echo().await;
        let home = Home::new();
        home.config(&config(&theirs, &ours, ""));
        let host = home.start().await;
        let answer = host.say("hi").header("authorization", &format!("Bearer {LOGIN}")).send().await;
        assert_eq!(answer.status, status);
        assert!(answer.json()["error"]["message"].as_str().unwrap().contains(words), "{}", answer.text);
        assert!(!host.log().contains("client-canary"));
    }
}
