//! What OpenClaw sends, in its own words (taken from the real program; `tests/openclaw` runs that program itself).

use serde_json::{Value, json};
use tests::{Home, Host, Upstream};

const STABLE: &str = "<!-- openclaw:attempt:STABLE -->\nYou are a personal assistant running inside OpenClaw.\n<!-- /openclaw:attempt:STABLE -->\n";
const DYNAMIC: &str = "<!-- openclaw:attempt:DYNAMIC -->\nCurrent date: 2026-11-20\n<!-- /openclaw:attempt:DYNAMIC -->";
const RUNTIME: &str =
    "\n\nRuntime: agent=research | session=agent:research:main | sessionId=d2ede5a1 | host=vm | model=m | shell=bash";
const INTERNAL: &str =
    "<<<BEGIN_OPENCLAW_INTERNAL_CONTEXT>>>\nTwo commands run: sailing yachts.\n<<<END_OPENCLAW_INTERNAL_CONTEXT>>>";

fn user(text: &str) -> Value {
    json!({"role": "user", "content": text})
}

fn internal() -> Value {
    json!({"role": "user", "content": [{"type": "text", "text": INTERNAL}]})
}

async fn send(host: &Host, said: &[Value], headers: &[(&str, &str)]) -> tests::Answer {
    let mut messages = vec![json!({"role": "system", "content": format!("{STABLE}{DYNAMIC}")})];
    messages.extend_from_slice(said);
    let mut turn = host.say("").with("messages", messages.into()).with("stream", true.into());
    for (name, value) in headers {
        turn = turn.header(name, value);
    }
    turn.send().await
}

/// Skills are chosen by what the user said, not by what the program put beside it, and stand where the provider's cache wants
/// them: the client's prompt up to there, and everything behind it, is byte for byte as it was.
#[tokio::test]
async fn skills_are_chosen_by_the_users_words_and_stand_at_the_end_of_the_stable_part() {
    let upstream = Upstream::echo().await;
    let home = Home::with(&upstream, "skills: { top_k: 1 }\n");
    home.skill("research", "tides", "Use when tides are asked for", "TIDES-BODY");
    home.skill("research", "yachts", "Use when yachts go sailing, or commands run", "YACHTS-BODY");
    home.skill("research", "shells", "Use when the runtime, host or bash shell matters", "SHELLS-BODY");
    let host = home.start().await;
    let asked = user(&format!("[Fri 2026-11-20 08:08 UTC] when are the tides?{RUNTIME}"));
    let answer = send(&host, &[asked, internal()], &[("x-agent-id", "research")]).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let system = upstream.last().system();
    assert!(system.contains("TIDES-BODY") && !system.contains("YACHTS") && !system.contains("SHELLS"), "{system}");
    let end = "<!-- /openclaw:attempt:STABLE -->\n";
    let (stable, rest) = system.split_once(end).unwrap();
    assert_eq!(rest, DYNAMIC);
    let (before, block) = stable.split_at(STABLE.len() - end.len());
    assert_eq!(before, &STABLE[..STABLE.len() - end.len()]);
    assert!(block.contains("TIDES-BODY") && block.ends_with('\n'), "{block:?}");
}

/// Without the plugin no header says which session it is. A message that the program shows only once, and that moves to the end
/// each time, does not tear a conversation apart; neither do call ids that come back in another form.
#[tokio::test]
async fn a_conversation_stays_one_session_whatever_the_program_adds() {
    let upstream = Upstream::echo().await;
    let host = Home::with(&upstream, "").start().await;
    let first = user(&format!("[Fri 2026-11-20 08:08 UTC] begin{RUNTIME}"));
    let call = json!({"role": "assistant", "content": null,
        "tool_calls": [{"id": "call1", "type": "function", "function": {"name": "read", "arguments": "{}"}}]});
    let result = json!({"role": "tool", "tool_call_id": "call1", "content": "done"});
    let second = user("[Fri 2026-11-20 08:09 UTC] go on");
    let moved =
        user(&format!("[Fri 2026-11-20 08:08 UTC] begin{RUNTIME}").replace("host=vm", "host=vm | channel=slack"));
    let mut sessions = Vec::new();
    for said in [
        vec![first.clone(), internal()],
        vec![moved, call.clone(), result.clone(), internal()],
        vec![first.clone(), call.clone(), result.clone(), internal()],
        vec![first.clone(), call.clone(), result.clone(), second.clone(), internal()],
        vec![first, call, result, second, json!({"role": "assistant", "content": "ok"}), user("bye")],
    ] {
        sessions.push(send(&host, &said, &[]).await.header("x-metaclaw-session").to_owned());
    }
    sessions.dedup();
    assert_eq!(sessions.len(), 1, "{sessions:?}");
}

/// The `clawrouter` provider's names for agent and session are understood; two names that differ are refused.
#[tokio::test]
async fn clawrouters_headers_are_aliases() {
    let upstream = Upstream::echo().await;
    let home = Home::with(&upstream, "");
    home.skill("research", "tides", "Use when tides are asked for", "TIDES-BODY");
    let host = home.start().await;
    let (agent, session) = (("x-clawrouter-agent-id", "research"), ("x-clawrouter-session-id", "s-1"));
    let answer = send(&host, &[user("tides?")], &[agent, session]).await;
    assert_eq!((answer.header("x-metaclaw-agent"), answer.header("x-metaclaw-session")), ("research", "s-1"));
    assert!(upstream.last().system().contains("TIDES-BODY"), "its turns are main turns");
    assert!(upstream.last().headers.keys().all(|name| !name.as_str().starts_with("x-clawrouter")));
    let answer = send(&host, &[user("tides?")], &[agent, ("x-agent-id", "coder")]).await;
    assert_eq!((answer.status, answer.code().as_str()), (400, "ambiguous_header"));
}

/// An answer that an upstream left half said is ended so that the program understands: the finish, the usage, `[DONE]`.
#[tokio::test]
async fn every_stream_ends_in_order() {
    let upstream = Upstream::echo().await;
    let host = Home::with(&upstream, "").start().await;
    let usage = json!({"include_usage": true});
    let answer = host.say("hi").with("stream", true.into()).with("stream_options", usage).send().await;
    let events = answer.events();
    let finish = events.iter().position(|e| e["choices"][0]["finish_reason"] == "stop");
    let usage = events.iter().position(|e| e["usage"]["total_tokens"].is_u64());
    assert_eq!((finish, usage), (Some(events.len() - 2), Some(events.len() - 1)), "{}", answer.text);
    assert!(answer.text.ends_with("data: [DONE]\n\n"));
}

/// History and images make bodies of tens of megabytes.
#[tokio::test]
async fn a_body_of_thirty_megabytes_goes_through_unchanged() {
    let upstream = Upstream::echo().await;
    let host = Home::with(&upstream, "").start().await;
    let image = format!("data:image/png;base64,{}", "iVBORw0KGgo".repeat(30 * 1024 * 1024 / 11));
    let part = json!({"type": "image_url", "image_url": {"url": image}});
    let message = json!({"role": "user", "content": [{"type": "text", "text": "what is this?"}, part]});
    let answer = send(&host, std::slice::from_ref(&message), &[]).await;
    assert_eq!(answer.status, 200, "{:.200}", answer.text);
    assert!(upstream.last().body["messages"][1] == message);
}

/// A session goes on where it was when the host was started anew: its policy sees the next turn, not a first one; and of the
/// user's words only those that are the user's.
#[tokio::test]
async fn a_session_goes_on_after_a_restart() {
    let upstream = Upstream::echo().await;
    let module = tests::guest("tests/guests/misbehaving");
    let policy = format!("{{ module: {}, config: {{ do: tell, in: route }} }}", module.display());
    let home = Home::with(&upstream, &format!("agents: {{ a: {{ policy: {policy} }} }}\n"));
    let mut told = Vec::new();
    for _ in 0..2 {
        let host = home.start_with(&["--dev"]).await;
        for _ in 0..2 {
            let asked = format!("[Fri 2026-11-20 08:08 UTC] tides?{RUNTIME}");
            let turn = host.say(&asked).system(&format!("{STABLE}{DYNAMIC}")).agent("a").session("s");
            told.push(turn.header("x-session-key", "agent:a:main").send().await.words());
        }
        assert!(host.stop().success());
    }
    assert_eq!(told, ["turn 0 of s: tides?", "turn 1 of s: tides?", "turn 2 of s: tides?", "turn 3 of s: tides?"]);
    let store = store::Store::open(&home.path().join("state"), store::StoreOptions::default()).await.unwrap();
    let agent = domain::AgentId::Named("a".parse().unwrap());
    let session = store.session(&agent, &"s".parse().unwrap()).await.unwrap().unwrap();
    assert_eq!((session.turns, session.generation, session.client_key.as_deref()), (4, 1, Some("agent:a:main")));
    store.close().await;
}
