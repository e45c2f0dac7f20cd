//! Asking again: when, how often, at whose pace, and never after a word has gone to the client.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;
use tests::{Act, Answer, Home, Host, RawUpstream};

const WHOLE: &str =
    r#"{"id":"c","choices":[{"index":0,"message":{"role":"assistant","content":"words"},"finish_reason":"stop"}]}"#;
const FIRST: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"w\"}}]}\n\n";

fn send(text: impl Into<String>) -> Act {
    Act::Send(text.into().into_bytes())
}

fn status(line: &str, headers: &str, body: &str) -> Vec<Act> {
    let length = body.len();
    vec![send(format!("HTTP/1.1 {line}\r\n{headers}Content-Length: {length}\r\n\r\n{body}")), Act::Next]
}

fn good() -> Vec<Act> {
    status("200 OK", "", WHOLE)
}

/// How an upstream fails that is asked with this word.
fn failure(word: &str) -> Vec<Act> {
    let said = |line: &str, headers: &str| status(line, headers, r#"{"error":{"message":"not now"}}"#);
    match word {
        "closed" => vec![],
        "reset" => vec![Act::Reset],
        "half" => vec![send(format!("HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n{}", &WHOLE[..40]))],
        "first words" => vec![send(format!("HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n{FIRST}"))],
        "silent" => vec![Act::Hang],
        "at once" => said("429 Slow", "Retry-After: 0\r\n"),
        "long past" => said("503 Busy", "Retry-After: Wed, 21 Oct 2015 07:28:00 GMT\r\n"),
        "in a minute" => said("429 Slow", "Retry-After: 60\r\n"),
        "no quota" => status("429 Slow", "", r#"{"error":{"code":"insufficient_quota"}}"#),
        "garbage" => status("200 OK", "", "<html>"),
        "inside" => status("200 OK", "", r#"{"error":{"code":529}}"#),
        number => said(number, ""),
    }
}

/// Fails as the user's message says, so often, and then answers: `FAILURE*COUNT`.
async fn failing() -> RawUpstream {
    let asked = Arc::<std::sync::Mutex<std::collections::HashMap<String, usize>>>::default();
    RawUpstream::scripted(move |body| {
        let body: Value = serde_json::from_str(body).unwrap();
        let told = body["messages"][0]["content"].as_str().unwrap().to_owned();
        let mut asked = asked.lock().unwrap();
        let before = asked.entry(told.clone()).or_default();
        *before += 1;
        let (word, count) = told.split_once('*').unwrap();
        if *before <= count.parse().unwrap() { failure(word) } else { good() }
    })
    .await
}

async fn host(upstream: &RawUpstream, more: &str) -> Host {
    let home = Home::new();
    home.config(&format!("llm: {{ api_base: \"{}\", model_id: m, {more} }}\n", upstream.base()));
    home.start().await
}

async fn say(host: &Host, text: &str) -> Answer {
    host.say(text).with("stream", text.starts_with("first words").into()).send().await
}

#[tokio::test]
async fn a_turn_is_asked_again_where_that_may_help_and_not_otherwise() {
    let upstream = failing().await;
    let host = host(
        &upstream,
        "retries: { max: 2, wait: 50ms, budget: 1000 }, ejection: { failures: 0 }, timeouts: { first_byte: 2s }",
    )
    .await;
    for (told, attempts, status) in [
        ("500*1", 2, 200),
        ("502*2", 3, 200),
        ("503*3", 3, 502),
        ("504*1", 2, 200),
        ("529*1", 2, 200),
        ("408*1", 2, 200),
        ("429*1", 2, 200),
        ("429*9", 3, 429),
        ("closed*2", 3, 200),
        ("reset*1", 2, 200),
        ("half*1", 2, 200),
        ("at once*1", 2, 200),
        ("long past*1", 2, 200),
        ("inside*1", 2, 200),
        ("in a minute*1", 1, 429),
        ("no quota*1", 1, 400),
        ("garbage*1", 1, 502),
        ("400*1", 1, 400),
        ("401*1", 1, 400),
        ("404*1", 1, 404),
        ("501*1", 1, 502),
        ("302*1", 1, 502),
        ("first words*1", 1, 200),
        ("silent*1", 1, 504),
    ] {
        let before = upstream.asked().len();
        let answer = say(&host, told).await;
        let asked = upstream.asked()[before..].to_vec();
        assert_eq!((asked.len(), answer.status), (attempts, status), "{told}: {}", answer.text);
        assert!(asked.iter().all(|body| *body == asked[0]), "{told}: the same question each time");
        let told_so =
            if attempts > 1 && status == 200 { format!("default; attempts={attempts}") } else { String::new() };
        assert_eq!(answer.header("x-metaclaw-upstream"), told_so, "{told}");
        let wait = answer.header("retry-after");
        assert_eq!(wait, if told.starts_with("in a") { "60" } else { "" }, "{told}");
        assert_eq!(told.starts_with("first words"), answer.text.contains("upstream_broken"), "{told}: {}", answer.text);
    }
    let count = async |outcome: &str| {
        host.metric(&format!("metaclaw_upstream_attempts_total{{upstream=\"default\",outcome=\"{outcome}\"}}")).await
    };
    assert_eq!([count("limited").await, count("timeout").await, count("malformed").await], [7, 1, 1]);
}

#[tokio::test]
async fn an_outage_is_not_multiplied() {
    let upstream = failing().await;
    let host = host(&upstream, "retries: { max: 5, wait: 1ms, budget: 10 }, ejection: { failures: 0 }").await;
    for turn in 0..50 {
        assert_eq!(say(&host, &format!("50{}*99", turn % 10 / 5 * 2)).await.status, 502);
    }
    let asked = upstream.asked().len();
    assert_eq!(asked, 50 + 10 + 4, "ten that were saved, and one of ten");
}

#[tokio::test]
async fn nobody_asks_again_who_must_not() {
    let upstream = failing().await;
    for more in ["retries: { max: 0 }", "retries: { budget: 0 }"] {
        let host = host(&upstream, more).await;
        let before = upstream.asked().len();
        assert_eq!((say(&host, "500*9").await.status, upstream.asked().len() - before), (502, 1), "{more}");
    }
}

/// Providers close kept connections without a word; whoever writes into one just then learns it from the broken answer.
#[tokio::test]
async fn a_kept_connection_that_was_closed_is_no_failure() {
    let count = AtomicUsize::new(0);
    let upstream = RawUpstream::scripted(move |_| match count.fetch_add(1, Ordering::Relaxed) % 2 {
        // The second request on a connection finds it closing.
        1 => vec![],
        _ => good(),
    })
    .await;
    let host = host(&upstream, "retries: { wait: 1ms }").await;
    for turn in 0..6 {
        let answer = say(&host, "x").await;
        assert_eq!(answer.status, 200, "{turn}: {}", answer.text);
    }
}

#[tokio::test]
async fn an_upstream_that_cannot_be_reached_is_tried_again() {
    let upstream = failing().await;
    let host = host(&upstream, "retries: { max: 2, wait: 1ms }").await;
    drop(upstream);
    // The port may have been given to somebody else only long after.
    assert_eq!(say(&host, "x").await.status, 502);
    let line = r#"metaclaw_upstream_attempts_total{upstream="default",outcome="unreachable"}"#;
    assert_eq!(host.metric(line).await, 3);
}
