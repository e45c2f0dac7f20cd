//! The whole way without a key or another machine: OpenClaw, the host, and the model in the host.

use domain::TurnKind;
use tests::Home;

use crate::{OpenClaw, agent};

#[tokio::test(flavor = "multi_thread")]
async fn the_embedded_model_answers_openclaw() {
    let home = Home::demo();
    home.skill("researcher", "greetings", "Use when somebody says hello", "Greet back in one short sentence.");
    let host = home.start_with(&["--dev"]).await;
    let claw = OpenClaw::new(&["researcher"]);
    // Its prompt is about four thousand tokens, which this small model reads in some seconds.
    claw.connect(&home, &["--max-tokens", "24"]);
    let gateway = claw.start().await;
    let words = gateway.reply("researcher", "main", "Hello!").await;
    drop(gateway);

    assert!(host.stop().success());
    let store = crate::open(&home).await;
    let sessions = store.sessions(&agent("researcher"), 10).await.unwrap();
    assert_eq!(sessions.len(), 1, "{sessions:?}");
    let turns = store.turns(&agent("researcher"), &sessions[0].session, 10).await.unwrap();
    assert_eq!((turns.len(), turns[0].record.kind), (1, TurnKind::Main));
    let answer: serde_json::Value = serde_json::from_slice(&turns[0].record.answer).unwrap();
    let said = answer["choices"][0]["message"]["content"].as_str().unwrap().trim();
    // A small model may repeat the time that OpenClaw puts before the user's words, and OpenClaw takes it away again.
    let said = said.strip_prefix('[').and_then(|rest| rest.split_once("] ")).map_or(said, |(_, words)| words);
    // OpenClaw adds a line when the answer was as long as it may be.
    assert!(!said.is_empty() && words.starts_with(said), "{said:?} became {words:?}");
    assert!(
        turns[0].record.usage.is_some_and(|u| u.prompt > 1000 && u.completion <= 24),
        "{:?}",
        turns[0].record.usage
    );
    store.close().await;
}
