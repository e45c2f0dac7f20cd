//! Streams pass as they come, end well whatever the upstream does, and stop when nobody listens.

use bytes::Bytes;
use futures_util::StreamExt;
use serde_json::json;
use std::sync::{Arc, Mutex};
use tests::{Home, Host, Reply, Upstream};
use tokio::sync::mpsc;

pub(crate) type Feed = mpsc::Sender<Result<Bytes, std::io::Error>>;

/// An upstream whose stream the test writes by hand.
pub(crate) async fn by_hand() -> (Upstream, Arc<Mutex<Option<Feed>>>) {
    let feed = Arc::<Mutex<Option<Feed>>>::default();
    let given = feed.clone();
    let upstream = Upstream::scripted(move |_| {
        let (sender, pieces) = mpsc::channel(1);
        given.lock().unwrap().replace(sender);
        Reply::Pieces("text/event-stream", pieces)
    })
    .await;
    (upstream, feed)
}

fn event(delta: serde_json::Value, finish: Option<&str>) -> String {
    format!("data: {}\n\n", json!({"id":"c","choices":[{"index":0,"delta":delta,"finish_reason":finish}]}))
}

async fn state(host: &Host, turn: &str) -> serde_json::Value {
    tests::until("the turn is recorded", async || {
        let state = host.get(&format!("/v1/turns/{turn}")).await;
        state["outcome"].is_string().then_some(state)
    })
    .await
}

#[tokio::test]
async fn each_piece_arrives_before_the_next_is_made() {
    let (upstream, feed) = by_hand().await;
    let host = Home::with(&upstream, "").start().await;
    // The head is sent with the first piece.
    let begin = host.say("hi").with("stream", true.into()).begin();
    let first = event(
        json!({"role":"assistant","tool_calls":[{"index":0,"id":"t1","type":"function","function":{"name":"f","arguments":""}}]}),
        None,
    );
    let send_first = async {
        let sender = tests::until("the upstream is asked", async || feed.lock().unwrap().clone()).await;
        sender.send(Ok(first.clone().into())).await.unwrap();
        sender
    };
    let (response, sender) = tokio::join!(begin, send_first);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let turn = response.headers()["x-request-id"].to_str().unwrap().to_owned();
    let mut body = response.bytes_stream();
    assert_eq!(body.next().await.unwrap().unwrap(), first);
    // An event arrives when it is whole, so that an error can be told after it, and unknown fields stay.
    let (half, rest) =
        ("data: {\"choices\":[{\"index\":0,", "\"delta\":{\"reasoning_content\":\"é\"},\"x\":1.0}]}\n\n");
    sender.send(Ok(half.into())).await.unwrap();
    sender.send(Ok(rest.into())).await.unwrap();
    assert_eq!(body.next().await.unwrap().unwrap(), format!("{half}{rest}"));
    sender.send(Ok(": comment\n\n".into())).await.unwrap();
    assert_eq!(body.next().await.unwrap().unwrap(), ": comment\n\n");
    let rest = format!("{}data: [DONE]\n\n", event(json!({}), Some("tool_calls")));
    sender.send(Ok(rest.clone().into())).await.unwrap();
    feed.lock().unwrap().take();
    drop(sender);
    assert_eq!(body.next().await.unwrap().unwrap(), rest);
    assert!(body.next().await.is_none(), "nothing is added to a stream that was whole");
    assert_eq!(state(&host, &turn).await["outcome"], "complete");
}

#[tokio::test]
async fn a_stream_ends_well_formed_however_the_upstream_ends() {
    let stop = event(json!({}), Some("stop"));
    let text = event(json!({"content": "a"}), None);
    let cases: [(&str, Vec<String>, bool, &str, &str); 4] = [
        ("whole", vec![text.clone(), stop.clone(), "data: [DONE]\n\n".into()], false, "[DONE]", "complete"),
        ("without [DONE]", vec![text.clone(), stop.clone()], false, "[DONE]", "complete"),
        ("cut after an event", vec![text.clone()], false, "upstream_broken", "failed"),
        ("reset within an event", vec![text.clone(), "data: {\"choi".into()], true, "upstream_broken", "failed"),
    ];
    for (name, pieces, reset, last, outcome) in cases {
        let (upstream, feed) = by_hand().await;
        let home = Home::with(&upstream, "mode: rl\n");
        let host = home.start().await;
        let play = async {
            let sender = tests::until("the upstream is asked", async || feed.lock().unwrap().take()).await;
            for piece in pieces {
                sender.send(Ok(piece.into())).await.unwrap();
            }
            if reset {
                let _ = sender.send(Err(std::io::Error::other("reset"))).await;
            }
        };
        let (answer, ()) = tokio::join!(host.say("hi").with("stream", true.into()).send(), play);
        let events: Vec<&str> = answer.text.split("\n\n").filter(|e| !e.is_empty()).collect();
        assert!(events.last().unwrap().contains(last), "{name}: {:?}", answer.text);
        assert!(answer.text.ends_with("\n\n"), "{name}: {:?}", answer.text);
        assert_eq!(last == "[DONE]", answer.text.contains("[DONE]"), "{name}");
        let recorded = state(&host, answer.header("x-request-id")).await;
        assert_eq!(recorded["outcome"], outcome, "{name}");
        if outcome == "failed" {
            assert!(recorded["sample"].is_null(), "{name}: what broke off is never learned from: {recorded}");
        }
    }
}

/// `[DONE]` says that a stream is over, not that its answer came to an end.
#[tokio::test]
async fn a_stream_that_says_it_failed_is_not_learned_from() {
    let upstream = Upstream::scripted(|seen| {
        let (sender, pieces) = mpsc::channel(1);
        let rest = match seen.user().as_str() {
            "overload" => "data: {\"error\":{\"message\":\"overloaded\"}}\n\n".to_owned(),
            "error" => event(json!({}), Some("error")),
            _ => event(json!({}), Some("stop")),
        };
        let stream = format!("{}{rest}data: [DONE]\n\n", event(json!({"content": "a"}), None));
        sender.try_send(Ok(stream.into())).unwrap();
        Reply::Pieces("text/event-stream", pieces)
    })
    .await;
    let host = Home::with(&upstream, "mode: rl\n").start().await;
    let mut turns = Vec::new();
    for text in ["overload", "error", "whole"] {
        let answer = host.say(text).with("stream", true.into()).send().await;
        turns.push(answer.header("x-request-id").to_owned());
    }
    let sample = async |turn: &str| host.get(&format!("/v1/turns/{turn}")).await["sample"]["state"].clone();
    tests::until("the last is a sample", async || (sample(&turns[2]).await == "captured").then_some(())).await;
    assert_eq!((sample(&turns[0]).await, sample(&turns[1]).await), (json!(null), json!(null)));
}

#[tokio::test]
async fn a_client_that_goes_away_stops_the_upstream() {
    let (upstream, feed) = by_hand().await;
    let host = Home::with(&upstream, "").start().await;
    let begin = host.say("hi").with("stream", true.into()).begin();
    let send = async {
        let sender = tests::until("the upstream is asked", async || feed.lock().unwrap().take()).await;
        sender.send(Ok(event(json!({"content": "a"}), None).into())).await.unwrap();
        sender
    };
    let (response, sender) = tokio::join!(begin, send);
    let turn = response.headers()["x-request-id"].to_str().unwrap().to_owned();
    drop(response);
    tokio::time::timeout(std::time::Duration::from_secs(10), sender.closed()).await.expect("the upstream is not told");
    assert_eq!(state(&host, &turn).await["outcome"], "cancelled");
}

#[tokio::test]
async fn a_client_that_goes_away_before_the_answer_begins_leaves_a_record_too() {
    let upstream = Upstream::scripted(|_| Reply::Silence).await;
    let host = Home::with(&upstream, "").start().await;
    let asked = tests::until("the upstream is asked", async || (!upstream.seen().is_empty()).then_some(()));
    tokio::select! {
        _ = host.say("hi").begin() => panic!("there is no answer"),
        () = asked => {}
    }
    let line = r#"metaclaw_turns_total{agent="_default",kind="main",outcome="cancelled"}"#;
    tests::until("the turn is recorded", async || (host.metric(line).await == 1).then_some(())).await;
    assert_eq!(host.metric("metaclaw_turns_in_flight").await, 0);
}
