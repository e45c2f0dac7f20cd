//! Sessions begin with a turn and end by header, by silence or with the host; what was said in them is kept.

use domain::{AgentId, EndReason, TurnOutcome};
use serde_json::json;
use store::{Store, StoreOptions};
use tests::{Home, Upstream};

#[tokio::test]
async fn sessions_end_by_header_by_silence_and_with_the_host() {
    let upstream = Upstream::echo().await;
    let home = Home::with(&upstream, "sessions: { idle_timeout: 2s }\n");
    let host = home.start().await;
    host.say("bye").agent("a").session("done").header("x-session-done", "true").send().await;
    host.say("hello?").agent("a").session("silent").send().await;
    for reason in ["header", "idle"] {
        let line = format!("metaclaw_sessions_ended_total{{reason=\"{reason}\"}}");
        tests::until(&line.clone(), async || (host.metric(&line).await == 1).then_some(())).await;
    }
    host.say("still here").agent("a").session("open").send().await;
    assert!(host.stop().success());

    let store = Store::open(&home.path().join("state"), StoreOptions::default()).await.unwrap();
    let agent = AgentId::Named("a".parse().unwrap());
    let mut ended: Vec<_> = store
        .sessions(&agent, 10)
        .await
        .unwrap()
        .into_iter()
        .map(|s| (s.session.to_string(), s.ended.unwrap().1))
        .collect();
    ended.sort_by(|a, b| a.0.cmp(&b.0));
    let want = [("done", EndReason::Header), ("open", EndReason::Shutdown), ("silent", EndReason::Idle)];
    assert_eq!(ended, want.map(|(name, reason)| (name.to_owned(), reason)));
    store.close().await;
}

#[tokio::test]
async fn a_turn_is_kept_with_all_that_later_learning_needs() {
    let upstream = Upstream::echo().await;
    let home = Home::with(&upstream, "");
    home.skill("a", "file-tickets", "Use when filing tickets", "TICKETS");
    let host = home.start().await;
    let answer = host.say("filing tickets").agent("a").session("s").with("x", json!(1.50)).send().await;
    let side =
        host.say("a title, please").agent("a").header("x-session-id", "s").with("stream", true.into()).send().await;
    assert_eq!((answer.status, side.status), (200, 200));
    assert!(host.stop().success());

    let store = Store::open(&home.path().join("state"), StoreOptions::default()).await.unwrap();
    let agent = AgentId::Named("a".parse().unwrap());
    let turns = store.turns(&agent, &"s".parse().unwrap(), 10).await.unwrap();
    store.close().await;
    let [main, side] = &turns[..] else { panic!("{turns:#?}") };
    let request: serde_json::Value = serde_json::from_slice(&main.record.request).unwrap();
    assert_eq!(request["messages"][0]["content"], "filing tickets", "as the client sent it, without our injection");
    let said: serde_json::Value = serde_json::from_slice(&main.record.answer).unwrap();
    assert_eq!(said["choices"][0]["message"]["content"], "echo: filing tickets");
    assert_eq!((main.position, side.position), (0, 1));
    assert_eq!(main.record.skills, ["file-tickets"]);
    assert!(side.record.skills.is_empty(), "side turns get none");
    assert_eq!((main.record.upstream.as_str(), main.record.model.as_str()), ("default", "test-model"));
    assert_eq!((main.record.outcome, side.record.outcome), (TurnOutcome::Complete, TurnOutcome::Complete));
    assert_eq!(main.record.usage.map(|u| (u.prompt, u.completion)), Some((11, 3)));
    assert!(main.record.first_byte.is_some_and(|first| first <= main.record.duration));
    let streamed: serde_json::Value = serde_json::from_slice(&side.record.answer).unwrap();
    assert_eq!(streamed["choices"][0]["message"]["content"], "echo: a title, please", "put together from its chunks");
}
