//! How OpenClaw reacts to what the host answers when something is wrong: one row for each way (facts/openclaw.md §2). What may
//! pass is tried again; what does not fails at once; and nothing locks an agent out of its provider.

use serde_json::json;
use tests::{Reply, Seen};
use tokio::sync::mpsc;

use crate::{Outcome, World, obliging, words};

/// An upstream's fault, told in the user's words as `FAULT` or, for faults that pass, `FAULT twice`.
#[derive(Clone, Copy, Debug)]
struct Row {
    fault: &'static str,
    /// Whether the fault is gone after two requests.
    passes: bool,
    /// How many requests reach the upstream.
    requests: usize,
}

const fn lasting(fault: &'static str) -> Row {
    Row { fault, passes: false, requests: 1 }
}

const fn passing(fault: &'static str) -> Row {
    Row { fault, passes: true, requests: 3 }
}

/// Each row has an agent of its own, because a lock is an agent's.
const ROWS: &[Row] = &[
    lasting("400"),
    lasting("401"),
    lasting("402"),
    lasting("403"),
    lasting("404"),
    lasting("422"),
    lasting("451"),
    lasting("filter"),
    lasting("key"),
    lasting("quota"),
    passing("429"),
    passing("500"),
    passing("503"),
    passing("cut"),
    passing("event"),
];

fn faulty(seen: &Seen) -> Reply {
    let asked = words(&seen.asked());
    let Some(row) = ROWS.iter().find(|row| asked.contains(&format!("fault-{}!", row.fault))) else {
        return obliging(seen);
    };
    static SEEN: std::sync::Mutex<Vec<&str>> = std::sync::Mutex::new(Vec::new());
    let mut earlier = SEEN.lock().unwrap();
    let count = earlier.iter().filter(|fault| **fault == row.fault).count();
    earlier.push(row.fault);
    if row.passes && count >= 2 {
        return Reply::Words(format!("recovered from {}", row.fault));
    }
    let chunk = |delta: serde_json::Value, finish: Option<&str>| {
        let choice = json!({"index": 0, "delta": delta, "finish_reason": finish});
        format!(
            "data: {}\n\n",
            json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]})
        )
    };
    let begun = chunk(json!({"role": "assistant", "content": "Half a"}), None);
    match row.fault {
        "filter" => stream(&[begun, chunk(json!({}), Some("content_filter")), "data: [DONE]\n\n".into()]),
        "cut" => stream(&[begun]),
        "event" => stream(&[
            begun,
            format!("data: {}\n\n", json!({"error": {"message": "overheated", "type": "server_error"}})),
        ]),
        // Some providers speak of the host's key or account with statuses that mean something else.
        "key" => complaint(400, "API key not valid. Please pass a valid API key."),
        "quota" => complaint(429, "You exceeded your current quota, please check your plan and billing details."),
        status => complaint(status.parse().unwrap(), &format!("the upstream says {status}")),
    }
}

fn complaint(status: u16, message: &str) -> Reply {
    Reply::Status(status, json!({"error": {"message": message, "type": "test", "code": null}}).to_string())
}

/// These events, then the end of the connection.
fn stream(events: &[String]) -> Reply {
    let (feed, receiver) = mpsc::channel(8);
    events.iter().for_each(|e| feed.try_send(Ok(e.clone().into())).unwrap());
    Reply::Pieces("text/event-stream", receiver)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_pass_fails_at_once_and_what_passes_is_tried_again() {
    let agents: Vec<String> = ROWS.iter().map(|row| format!("row-{}", row.fault)).collect();
    let agents: Vec<&str> = agents.iter().map(String::as_str).collect();
    let world = World::new(&agents, "agents_unknown_cap: 64\n", faulty).await;
    let World { gateway, upstream, .. } = &world;
    let mut outcomes = Vec::new();
    // OpenClaw's own database does not bear more new agents at once on a small machine.
    for rows in ROWS.chunks(3) {
        let turns = rows.iter().map(|row| async move {
            let agent = format!("row-{}", row.fault);
            let first = gateway.say(&agent, "main", &format!("fault-{}!", row.fault)).await;
            // Another conversation of the same agent: refused by OpenClaw itself when its key is locked away.
            let next = gateway.say(&agent, "other", "are you there?").await;
            (first, next)
        });
        outcomes.extend(futures_util::future::join_all(turns).await);
    }
    for (row, (first, next)) in ROWS.iter().zip(outcomes) {
        let requests =
            upstream.seen().iter().filter(|s| s.body.to_string().contains(&format!("fault-{}!", row.fault))).count();
        assert_eq!(requests, row.requests, "{row:?}: {first:?}\n{}", gateway.log());
        match row.passes {
            true => assert_eq!(first, Outcome::Reply(format!("recovered from {}", row.fault)), "{row:?}"),
            false => assert!(matches!(first, Outcome::Failed(_)), "{row:?}: {first:?}"),
        }
        assert_eq!(
            next,
            Outcome::Reply("heard: are you there?".into()),
            "{row:?}: the agent is locked out\n{}",
            gateway.log()
        );
    }
}

/// The first row: a policy says no, and the user reads why.
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_an_ordinary_reply() {
    let module = tests::guest("examples/two-agents/policy");
    let config = format!(
        "agents: {{ research: {{ policy: {{ module: {}, config: {{ refuse: [horoscope] }} }} }} }}\n",
        module.display()
    );
    let world = World::new(&["research", "coder"], &config, obliging).await;
    let refused = world.gateway.reply("research", "main", "read me my horoscope").await;
    assert!(refused.contains("horoscope") && !refused.contains("heard"), "{refused}");
    assert!(world.upstream.seen().is_empty(), "no model was asked");
    assert_eq!(world.gateway.reply("coder", "main", "read me my horoscope").await, "heard: read me my horoscope");
    assert_eq!(world.gateway.reply("research", "main", "describe harbours").await, "heard: describe harbours");
}
