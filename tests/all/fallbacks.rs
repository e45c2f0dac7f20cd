//! Who answers when the one that should cannot, who is left alone for a while, and what a client hears while it waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use serde_json::{Value, json};
use tests::{Home, Host, Reply, Upstream, guest};
use tokio::sync::mpsc;

use crate::streaming::by_hand;

const QUICK: &str = "retries: { max: 0 }, ejection: { failures: 0 }";

/// An upstream that answers with this status, or with its name.
async fn upstream(name: &'static str, status: u16) -> Upstream {
    Upstream::scripted(move |_| match status {
        200 => Reply::Words(name.into()),
        status => Reply::Status(status, json!({"error": {"message": format!("{name} cannot")}}).to_string()),
    })
    .await
}

fn named(name: &str, upstream: &Upstream, more: &str) -> String {
    format!("  {name}: {{ provider: custom, api_base: \"{}\", {more} }}\n", upstream.base())
}

async fn recorded(home: &Home, host: Host, turn: &str) -> (String, String) {
    assert!(host.stop().success());
    let store = store::Store::open(&home.path().join("state"), store::StoreOptions::default()).await.unwrap();
    let record = store.turn(turn.parse().unwrap()).await.unwrap().unwrap().record;
    store.close().await;
    (record.upstream, record.model)
}

#[tokio::test]
async fn fallbacks_are_asked_in_order_until_one_answers() {
    let (a, b, c) = (upstream("a", 500).await, upstream("b", 401).await, upstream("c", 200).await);
    let home = Home::new();
    let models = format!("{QUICK}, models: [usual, other]");
    home.config(&format!(
        "upstreams:\n{}{}{}agents:\n  _default: {{ upstream: a, fallbacks: [b, c/org/special, c] }}\n",
        named("a", &a, &models),
        named("b", &b, &models),
        named("c", &c, &models)
    ));
    let host = home.start().await;
    let answer = host.say("hi").send().await;
    assert_eq!((answer.status, answer.words().as_str()), (200, "c"));
    assert_eq!(answer.header("x-metaclaw-upstream"), "c; attempts=3");
    let asked = [a.last(), b.last(), c.last()].map(|seen| seen.body["model"].as_str().unwrap().to_owned());
    assert_eq!(asked, ["usual", "usual", "org/special"]);
    assert_eq!([&a, &b, &c].map(|upstream| upstream.seen().len()), [1, 1, 1]);
    let turn = answer.header("x-request-id").to_owned();
    assert_eq!(recorded(&home, host, &turn).await, ("c".into(), "org/special".into()), "who really answered");
}

#[tokio::test]
async fn the_policys_choice_comes_first() {
    let (a, b) = (upstream("a", 200).await, upstream("b", 503).await);
    let home = Home::new();
    let module = guest("examples/two-agents/policy");
    home.config(&format!(
        "upstreams:\n{}{}agents:\n  own: {{ upstreams: [a, b], fallbacks: [b, a], policy: {{ module: \"{}\" }} }}\n  _default: {{ upstream: a }}\n",
        named("a", &a, &format!("{QUICK}, models: [ma]")),
        named("b", &b, &format!("{QUICK}, models: [mb]")),
        module.display()
    ));
    let host = home.start_with(&["--dev"]).await;
    let answer = host.say("hi").agent("own").with("model", "mb".into()).send().await;
    assert_eq!((answer.words().as_str(), answer.header("x-metaclaw-upstream")), ("a", "a; attempts=2"));
    assert_eq!([&a, &b].map(|upstream| upstream.seen().len()), [1, 1], "nobody is asked twice");
    let answer = host.say("hi").agent("own").with("model", "ma".into()).send().await;
    assert_eq!((answer.words().as_str(), answer.header("x-metaclaw-upstream")), ("a", ""));
    assert_eq!(b.seen().len(), 1);
}

#[tokio::test]
async fn what_the_client_did_wrong_and_what_has_begun_stays_where_it_is() {
    let wrong = upstream("a", 400).await;
    let begun = Upstream::scripted(|_| {
        let (sender, pieces) = mpsc::channel(1);
        sender.try_send(Ok(Bytes::from("data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n"))).unwrap();
        Reply::Pieces("text/event-stream", pieces)
    })
    .await;
    let other = upstream("b", 200).await;
    for (first, status) in [(&wrong, 400), (&begun, 200)] {
        let home = Home::new();
        home.config(&format!(
            "upstreams:\n{}{}agents: {{ _default: {{ upstream: a, fallbacks: b }} }}\n",
            named("a", first, QUICK),
            named("b", &other, QUICK)
        ));
        let host = home.start().await;
        let answer = host.say("hi").with("stream", true.into()).send().await;
        assert_eq!(answer.status, status, "{}", answer.text);
        assert_eq!(answer.text.contains("upstream_broken"), status == 200, "{}", answer.text);
        assert!(other.seen().is_empty());
    }
}

#[tokio::test]
async fn when_nobody_answers_the_client_hears_what_promises_most() {
    for (statuses, want) in [([500, 401], 502), ([401, 429], 429), ([401, 404], 400), ([429, 503], 429)] {
        let (a, b) = (upstream("a", statuses[0]).await, upstream("b", statuses[1]).await);
        let home = Home::new();
        home.config(&format!(
            "upstreams:\n{}{}agents: {{ _default: {{ upstream: a, fallbacks: b }} }}\n",
            named("a", &a, QUICK),
            named("b", &b, QUICK)
        ));
        let host = home.start().await;
        assert_eq!(host.say("hi").send().await.status, want, "{statuses:?}");
        assert_eq!([a.seen().len(), b.seen().len()], [1, 1]);
    }
}

#[tokio::test]
async fn an_upstream_that_keeps_failing_is_left_alone_then_tried_by_one_and_taken_back() {
    let works = Arc::new(AtomicBool::new(false));
    let now = works.clone();
    let a = Upstream::scripted(move |_| match now.load(Ordering::Relaxed) {
        true => Reply::Words("a".into()),
        false => Reply::Status(503, "{}".into()),
    })
    .await;
    let b = upstream("b", 200).await;
    let home = Home::new();
    let ejecting = "retries: { max: 0 }, ejection: { failures: 3, backoff: 200ms, longest: 300ms }";
    home.config(&format!(
        "upstreams:\n{}{}agents: {{ _default: {{ upstream: a, fallbacks: b }}, alone: {{ upstream: a, fallbacks: [] }} }}\n",
        named("a", &a, ejecting),
        named("b", &b, QUICK)
    ));
    let host = home.start().await;
    let ejected = r#"metaclaw_upstream_ejected{upstream="a"}"#;
    for turn in 0..3 {
        assert_eq!(host.metric(ejected).await, 0);
        let answer = host.say("hi").send().await;
        assert_eq!((answer.words().as_str(), answer.header("x-metaclaw-upstream")), ("b", "b; attempts=2"), "{turn}");
    }
    assert_eq!(host.metric(ejected).await, 1);
    let answer = host.say("hi").send().await;
    let skipped = answer.header("x-metaclaw-upstream") == "b; attempts=1";
    // Unless this machine has slept for so long that it was tried already.
    assert!(skipped || a.seen().len() == 4, "{answer:?}");
    assert_eq!(host.say("hi").agent("alone").send().await.status, 502, "who has no other asks it all the same");
    works.store(true, Ordering::Relaxed);
    tests::until("it is tried and answers", async || (host.say("hi").send().await.words() == "a").then_some(())).await;
    assert_eq!(host.metric(ejected).await, 0);
    let answer = host.say("hi").send().await;
    assert_eq!((answer.words().as_str(), answer.header("x-metaclaw-upstream")), ("a", ""));
}

#[tokio::test]
async fn streams_that_break_count_and_clients_that_leave_do_not() {
    let (a, feed) = by_hand().await;
    let b = upstream("b", 200).await;
    let home = Home::new();
    home.config(&format!(
        "upstreams:\n{}{}agents: {{ _default: {{ upstream: a, fallbacks: b }} }}\n",
        named("a", &a, "retries: { max: 0 }, ejection: { failures: 3, backoff: 1h, longest: 1h }"),
        named("b", &b, QUICK)
    ));
    let host = home.start().await;
    let begin = async || {
        let turn = host.say("hi").with("stream", true.into());
        let begun = tokio::join!(turn.begin(), async {
            let sender = tests::until("it is asked", async || feed.lock().unwrap().take()).await;
            sender.send(Ok("data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n".into())).await.unwrap();
            sender
        });
        let (mut body, sender) = (begun.0.bytes_stream(), begun.1);
        body.next().await.unwrap().unwrap();
        (body, sender)
    };
    let end = async |how: &str| {
        let (mut body, sender) = begin().await;
        let last = match how {
            "leave" => {
                drop(body);
                return sender.closed().await;
            }
            "break" => Err(std::io::Error::other("cut")),
            "garbage" => Ok("data: <html>\n\n"),
            "limited" => Ok("data: {\"error\":{\"code\":429,\"message\":\"slow down\"}}\n\n"),
            _ => Ok("data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n"),
        };
        sender.send(last.map(Bytes::from)).await.unwrap();
        drop(sender);
        let mut rest = String::new();
        while let Some(piece) = body.next().await {
            rest += str::from_utf8(&piece.unwrap()).unwrap();
        }
        assert_eq!(rest.ends_with("data: [DONE]\n\n"), how == "whole", "{how}: {rest}");
    };
    let before =
        ["break", "garbage", "whole", "break", "leave", "leave", "leave", "limited", "limited", "limited", "garbage"];
    for how in before {
        end(how).await;
    }
    let ejected = r#"metaclaw_upstream_ejected{upstream="a"}"#;
    assert_eq!((a.seen().len(), host.metric(ejected).await), (before.len(), 0), "two failures in a row, and two again");
    end("break").await;
    let next = host.say("hi").with("stream", true.into()).send();
    let answer =
        tokio::time::timeout(Duration::from_secs(10), next).await.expect("`b` answers, and nobody waits for `a`");
    assert_eq!((answer.words().as_str(), answer.header("x-metaclaw-upstream")), ("b", "b; attempts=1"));
    assert_eq!((a.seen().len(), host.metric(ejected).await), (before.len() + 1, 1));
}

#[tokio::test]
async fn a_client_that_waits_for_the_first_word_or_the_next_is_told_to_wait_on() {
    let (upstream, feed) = by_hand().await;
    let host = Home::with(&upstream, "mode: rl\nproxy: { keep_alive: 30ms }\n").start().await;
    let response = host.say("hi").with("stream", true.into()).begin().await;
    assert_eq!(
        (response.status().as_u16(), &response.headers()["content-type"]),
        (200, &"text/event-stream".parse().unwrap())
    );
    let turn = response.headers()["x-request-id"].to_str().unwrap().to_owned();
    let mut body = response.bytes_stream();
    let mut all = String::new();
    let mut next = async || {
        all += std::str::from_utf8(&body.next().await?.unwrap()).unwrap();
        Some(all.clone())
    };
    let sender = feed.lock().unwrap().take().expect("the upstream has been asked");
    for (piece, comments) in [
        ("data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\ndata: {\"choi", 3),
        ("ces\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n", 6),
    ] {
        while next().await.unwrap().matches(": keep-alive\n\n").count() < comments {}
        sender.send(Ok(piece.into())).await.unwrap();
    }
    drop(sender);
    while next().await.is_some() {}
    let events: Vec<&str> = all.split("\n\n").filter(|e| !e.is_empty() && *e != ": keep-alive").collect();
    let data = |event: &str| serde_json::from_str::<Value>(event.strip_prefix("data: ").unwrap()).unwrap();
    assert_eq!(data(events[0])["choices"][0]["delta"]["content"], "a");
    assert_eq!(data(events[1])["choices"][0]["finish_reason"], "stop");
    assert_eq!(events[2..], ["data: [DONE]"]);
    let state = async || host.get(&format!("/v1/turns/{turn}")).await;
    tests::until("it is learned from", async || state().await["sample"]["state"].is_string().then_some(())).await;
}

#[tokio::test]
async fn an_error_that_comes_after_the_head_is_an_event() {
    let upstream = Upstream::scripted(|_| Reply::Silence).await;
    let more = "proxy: { keep_alive: 30ms }\n";
    let home = Home::new();
    let llm = upstream.llm();
    home.config(&format!(
        "{}, timeouts: {{ first_byte: 500ms }} }}\n{more}",
        llm.trim_end().strip_suffix(" }").unwrap()
    ));
    let host = home.start().await;
    let answer = host.say("hi").with("stream", true.into()).send().await;
    assert_eq!(answer.status, 200);
    let events: Vec<&str> = answer.text.split("\n\n").filter(|e| !e.is_empty() && *e != ": keep-alive").collect();
    let [event] = events[..] else { panic!("{events:?}") };
    let error: Value = serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap();
    assert_eq!(error["error"]["code"], "upstream_timeout");
    assert_eq!(error["error"]["request_id"], answer.header("x-request-id"));
    let turn = answer.header("x-request-id").to_owned();
    let state = tests::until("it is recorded", async || {
        let state = host.get(&format!("/v1/turns/{turn}")).await;
        state["outcome"].is_string().then_some(state)
    });
    assert_eq!(state.await["outcome"], "failed");
    // Who does not want a stream is told by a status.
    let answer = host.say("hi").send().await;
    assert_eq!((answer.status, answer.code().as_str()), (504, "upstream_timeout"));
}
