//! Turns of people: each with its own agent's skills, its answer unchanged, its session OpenClaw's own.

use std::collections::BTreeSet;

use domain::TurnKind;

use crate::{World, agent, obliging, speaker, words};

const LEARNING: &str = "agents: { research: { mode: rl }, coder: { mode: rl } }\n";

/// Six turns of two agents at once, through one gateway process.
#[tokio::test(flavor = "multi_thread")]
async fn concurrent_turns_of_two_agents_never_mix() {
    let world = World::new(&["research", "coder"], LEARNING, obliging).await;
    let gateway = &world.gateway;
    let turns = (1..=6).map(|k| (if k <= 3 { "research" } else { "coder" }, k));
    futures_util::future::join_all(turns.map(|(agent, k)| async move {
        let text = format!("harbours report {k}");
        assert_eq!(gateway.reply(agent, &format!("task-{k}"), &text).await, format!("heard: {text}"));
    }))
    .await;

    let mut spoken = BTreeSet::new();
    for seen in world.upstream.seen() {
        let [who, key, session] = speaker(&seen).unwrap_or_else(|| panic!("nobody speaks: {}", seen.body));
        let text = words(&seen.asked());
        let number = text.strip_prefix("harbours report ").unwrap_or_else(|| panic!("{text}"));
        assert_eq!((key, who == "coder"), (format!("agent:{who}:task-{number}"), number > "3"));
        let other = if who == "coder" { "research" } else { "coder" };
        let system = seen.system();
        let (stable, rest) = system.split_once("<!-- /openclaw:attempt:STABLE -->").expect("OpenClaw marks its prompt");
        assert!(stable.contains("SHARED-BODY") && stable.contains(&format!("BODY-OF-{who}.")), "{stable}");
        assert!(!system.contains(&format!("BODY-OF-{other}.")) && !rest.contains("-BODY"), "{system}");
        let inner = |name: &str| ["x-agent-id", "x-session-id", "x-session-key", "x-turn-type"].contains(&name);
        assert!(seen.headers.keys().all(|name| !inner(name.as_str())), "{:?}", seen.headers);
        assert_eq!(seen.headers["authorization"], "Bearer sk-upstream-canary-7f3a", "the host's own key");
        spoken.insert((who.clone(), format!("agent:{who}:task-{number}"), session));
    }
    assert_eq!(spoken.len(), 6, "{spoken:?}");

    let (_home, store) = world.stored().await;
    let mut kept = BTreeSet::new();
    for name in ["research", "coder"] {
        for session in store.sessions(&agent(name), 10).await.unwrap() {
            let turns = store.turns(&agent(name), &session.session, 10).await.unwrap();
            assert_eq!((turns.len(), turns[0].record.kind), (1, TurnKind::Main));
            assert_eq!(turns[0].record.skills.len(), 2, "{:?}", turns[0].record.skills);
            kept.insert((name.to_owned(), session.client_key.unwrap(), session.session.to_string()));
        }
        let samples = store.samples(&agent(name), 10).await.unwrap();
        assert_eq!(samples.len(), 3, "each turn is a sample of its own agent");
    }
    assert_eq!(kept, spoken, "the sessions are OpenClaw's own");
    assert_eq!(store.sessions(&domain::AgentId::Default, 10).await.unwrap(), [], "nobody spoke without a name");
    store.close().await;
}

/// A tool round is two turns of one session; OpenClaw gives the call an id of its own, and nothing depends on it.
#[tokio::test(flavor = "multi_thread")]
async fn a_tool_round_stays_in_its_session() {
    let world = World::new(&["research"], LEARNING, obliging).await;
    let first = world.gateway.reply("research", "main", "CALL read notes.txt").await;
    assert_eq!(first, "heard: CALL read notes.txt");
    assert_eq!(world.gateway.reply("research", "main", "harbours report").await, "heard: harbours report");

    let seen = world.upstream.seen();
    assert_eq!(seen.len(), 3);
    let messages = seen[1].body["messages"].as_array().unwrap();
    let call = messages.iter().find(|m| m["tool_calls"].is_array()).expect("the call is part of the history");
    let result = messages.iter().find(|m| m["role"] == "tool").expect("the tool has answered");
    assert!(result["content"].to_string().contains("the notes of research"), "{result}");
    assert_eq!(call["tool_calls"][0]["id"], result["tool_call_id"]);
    assert_ne!(call["tool_calls"][0]["id"], "call_1", "the id that the upstream gave comes back rewritten");
    let [_, _, session] = speaker(&seen[2]).unwrap();

    let (_home, store) = world.stored().await;
    let turns = store.turns(&agent("research"), &session.parse().unwrap(), 10).await.unwrap();
    assert_eq!(turns.len(), 3);
    assert!(turns.iter().all(|t| t.record.kind == TurnKind::Main));
    let answer = String::from_utf8(turns[0].record.answer.to_vec()).unwrap();
    assert!(answer.contains("notes.txt"), "the call is kept as it was streamed: {answer}");
    store.close().await;
}
