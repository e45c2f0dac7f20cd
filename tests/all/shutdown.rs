//! What a stop, and a crash, leave behind.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use domain::TurnId;
use rustix::process::Signal;
use tests::{Home, Reply, Upstream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

#[tokio::test]
async fn a_stop_lets_streams_finish_and_takes_no_new_turns() {
    let feeds = Arc::<Mutex<Vec<mpsc::Sender<_>>>>::default();
    let given = feeds.clone();
    let upstream = Upstream::scripted(move |_| {
        let (sender, pieces) = mpsc::channel(4);
        sender
            .try_send(Ok(Bytes::from("data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}}]}\n\n")))
            .unwrap();
        given.lock().unwrap().push(sender);
        Reply::Pieces("text/event-stream", pieces)
    })
    .await;
    let host = Home::with(&upstream, "").start().await;
    let begun =
        futures_util::future::join_all((0..50).map(|_| host.say("hi").with("stream", true.into()).begin())).await;
    host.signal(Signal::TERM);
    tests::until("the port is closed", async || {
        tokio::net::TcpStream::connect(host.address()).await.is_err().then_some(())
    })
    .await;
    for feed in feeds.lock().unwrap().drain(..) {
        feed.try_send(Ok(
            "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n".into(),
        ))
        .unwrap();
    }
    for response in begun {
        assert!(response.text().await.unwrap().ends_with("data: [DONE]\n\n"), "every stream is whole");
    }
    assert!(host.ended().success());
}

/// Ten times: samples are made by four clients until the host is killed. Whatever it had said to be durable is there
/// exactly once, in a database that opens.
#[tokio::test]
async fn kill_nine_loses_and_doubles_no_acknowledged_sample() {
    let upstream = Upstream::echo().await;
    let home = Home::with(&upstream, "agents: { a: { mode: rl }, b: { mode: rl } }\n");
    let acknowledged = Arc::<Mutex<Vec<TurnId>>>::default();
    for round in 0..10 {
        let host = Arc::new(home.start().await);
        let before = acknowledged.lock().unwrap().len();
        let count = Arc::new(AtomicUsize::new(0));
        let mut clients: JoinSet<()> = (0..4)
            .map(|client| {
                let (host, acknowledged, count) = (host.clone(), acknowledged.clone(), count.clone());
                async move {
                    for n in 0.. {
                        let text = format!("round {round} client {client} turn {n}");
                        let sent = host.client.post(host.url("/v1/chat/completions"));
                        let body = serde_json::json!({"messages": [{"role": "user", "content": text}]}).to_string();
                        let agent = ["a", "b"][client % 2];
                        let Ok(answer) = sent.header("x-agent-id", agent).body(body).send().await else { return };
                        let id = answer.headers()["x-request-id"].to_str().unwrap().to_owned();
                        let Ok(_) = answer.bytes().await else { return };
                        loop {
                            let Ok(state) = host.client.get(host.url(&format!("/v1/turns/{id}"))).send().await else {
                                return;
                            };
                            let Ok(state) = state.bytes().await else { return };
                            let state: serde_json::Value = serde_json::from_slice(&state).unwrap();
                            if state["sample"]["state"] == "captured" {
                                acknowledged.lock().unwrap().push(id.parse().unwrap());
                                count.fetch_add(1, Ordering::Relaxed);
                                break;
                            }
                        }
                    }
                }
            })
            .collect();
        // Another moment of the load each time.
        let wanted = 20 + 7 * round;
        tests::until("samples are acknowledged", async || (count.load(Ordering::Relaxed) >= wanted).then_some(()))
            .await;
        host.signal(Signal::KILL);
        while let Some(client) =
            tokio::time::timeout(Duration::from_secs(20), clients.join_next()).await.expect("a client hangs")
        {
            client.unwrap();
        }
        assert!(acknowledged.lock().unwrap().len() >= before + wanted);
        // Reaped here, so that the next host finds the state directory free.
        drop(Arc::into_inner(host).expect("the clients are gone"));
    }
    let store = store::Store::open(&home.path().join("state"), store::StoreOptions::default()).await.unwrap();
    store.check().await.unwrap();
    let mut kept = Vec::new();
    for agent in ["a", "b"] {
        kept.extend(
            store
                .samples(&domain::AgentId::Named(agent.parse().unwrap()), 100_000)
                .await
                .unwrap()
                .iter()
                .map(|s| s.sample.turn),
        );
    }
    store.close().await;
    let unique: HashSet<_> = kept.iter().collect();
    assert_eq!(unique.len(), kept.len(), "a sample is there twice");
    let acknowledged = acknowledged.lock().unwrap();
    let missing: Vec<_> = acknowledged.iter().filter(|id| !unique.contains(id)).collect();
    assert!(missing.is_empty(), "{} of {} acknowledged samples are gone", missing.len(), acknowledged.len());
}
