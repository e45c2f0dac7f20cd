//! What OpenClaw does by itself (a heartbeat, a task of its clock, a summary of a long conversation) is passed through and
//! no more; and it says when a conversation is over.

use std::collections::BTreeMap;

use domain::{EndReason, TurnKind};
use serde_json::json;

use crate::{World, agent, obliging, speaker};

const LEARNING: &str = "agents: { research: { mode: rl } }\n";

#[tokio::test(flavor = "multi_thread")]
async fn side_turns_get_no_skills_and_leave_no_samples() {
    let world = World::new(&["research"], LEARNING, obliging).await;
    let World { gateway, upstream, .. } = &world;
    let arrived = async |what: &str| {
        let seen = tests::until(what, async || upstream.seen().into_iter().find(|s| s.body.to_string().contains(what)));
        seen.await
    };
    for k in 1..=3 {
        gateway.reply("research", "long", &format!("describe harbours, part {k}, {}", "at length ".repeat(200))).await;
    }
    let [_, _, long] = speaker(&upstream.last()).unwrap();

    gateway.call("sessions.compact", json!({"key": "agent:research:long"})).await;
    let compaction = arrived("You are a context summarization assistant").await;
    gateway.call("wake", json!({"text": "harbours!", "mode": "now", "sessionKey": "agent:research:main"})).await;
    let heartbeat = arrived("Follow the heartbeat").await;
    let job = json!({
        "name": "tick", "agentId": "research", "enabled": true, "schedule": {"kind": "at", "at": "2033-01-01T00:00:00Z"},
        "sessionTarget": "isolated", "wakeMode": "now", "delivery": {"mode": "none"},
        "payload": {"kind": "agentTurn", "message": "describe harbours by the clock"},
    });
    let job = gateway.call("cron.add", job).await;
    let run = ("cron.run", json!({"id": job["id"], "mode": "force"}));
    gateway.calls(&[run, ("cron.runs -> \"status\":\"ok\"", json!({"id": job["id"]}))]).await;
    let clock = arrived("by the clock").await;
    for seen in [&compaction, &heartbeat, &clock] {
        assert!(!seen.body.to_string().contains("-BODY"), "a side turn got skills: {}", seen.body);
    }
    // The conversation goes on, under its own id.
    gateway.reply("research", "long", "describe harbours again").await;
    assert!(upstream.last().body.to_string().contains("Three are described"), "it stands on the summary");
    assert!(upstream.last().system().contains("SHARED-BODY"));

    let (_home, store) = world.stored().await;
    let mut kinds = BTreeMap::new();
    let mut mains = Vec::new();
    for session in store.sessions(&agent("research"), 20).await.unwrap() {
        let turns = store.turns(&agent("research"), &session.session, 20).await.unwrap();
        let key = session.client_key.clone().unwrap_or_default();
        let place = key.split(':').nth(2).unwrap_or_default().to_owned();
        kinds.insert(place, turns.iter().map(|t| t.record.kind).collect::<Vec<_>>());
        for turn in turns {
            match turn.record.kind {
                TurnKind::Main => mains.push(turn.record.id),
                TurnKind::Side => {
                    assert!(turn.record.skills.is_empty() && turn.record.policy.1 != domain::DecisionSource::Policy)
                }
            }
        }
        assert!(session.session.as_str() == long || key != "agent:research:long", "{session:?}");
    }
    use TurnKind::{Main, Side};
    let want = [("cron", vec![Side]), ("long", vec![Main, Main, Main, Side, Main]), ("main", vec![Side])];
    assert_eq!(kinds, want.into_iter().map(|(place, kinds)| (place.to_owned(), kinds)).collect());
    let samples = store.samples(&agent("research"), 20).await.unwrap();
    let mut sampled: Vec<_> = samples.iter().map(|s| s.sample.turn).collect();
    sampled.sort();
    mains.sort();
    assert_eq!(sampled, mains, "every main turn, and no other, is a sample");
    store.close().await;
}

/// `/new` keeps the session's id and begins another conversation; the host hears of it before the next turn.
#[tokio::test(flavor = "multi_thread")]
async fn the_host_is_told_that_a_conversation_is_over() {
    let module = tests::guest("tests/guests/misbehaving");
    let policy = format!("policy: {{ module: {}, config: {{ do: tell, in: route }} }}", module.display());
    let world = World::new(&["research"], &format!("agents: {{ research: {{ {policy} }} }}\n"), obliging).await;
    let World { gateway, host, .. } = &world;
    // Its policy answers with what it is told: which turn of which session, and the user's words.
    let told = gateway.reply("research", "desk", "describe harbours").await;
    let before = told.split_whitespace().nth(3).unwrap().trim_end_matches(':').to_owned();
    assert_eq!(told, format!("turn 0 of {before}: describe harbours"));
    assert_eq!(gateway.reply("research", "desk", "more").await, format!("turn 1 of {before}: more"));

    gateway.call("sessions.reset", json!({"key": "agent:research:desk"})).await;
    let anew = gateway.reply("research", "desk", "describe other harbours").await;
    assert_eq!(anew, format!("turn 0 of {before}: describe other harbours"), "OpenClaw keeps the id, and begins anew");
    assert_eq!(host.metric("metaclaw_sessions_ended_total{reason=\"header\"}").await, 1);
    gateway.call("sessions.delete", json!({"key": "agent:research:desk"})).await;
    let ended = async || (host.metric("metaclaw_sessions_ended_total{reason=\"header\"}").await == 2).then_some(());
    tests::until("the deleted session is over", ended).await;

    let (_home, store) = world.stored().await;
    let session = store.session(&agent("research"), &before.parse().unwrap()).await.unwrap().unwrap();
    assert_eq!((session.turns, session.generation), (3, 1));
    assert_eq!(session.ended.map(|(_, reason)| reason), Some(EndReason::Header));
    store.close().await;
}
