//! Conversations that are longer than the model's window: the oldest goes, what matters stays, and the client is told.

use serde_json::{Value, json};
use tests::{Home, Host, Reply, Upstream};

/// An exchange of 1,000 bytes or so with a tool call in it.
fn exchange(number: usize) -> Vec<Value> {
    vec![
        json!({"role": "user", "content": format!("question {number} {}", "word ".repeat(80))}),
        json!({"role": "assistant", "content": null, "tool_calls": [{"id": format!("c{number}"), "type": "function",
              "function": {"name": "look", "arguments": "{}"}}]}),
        json!({"role": "tool", "tool_call_id": format!("c{number}"), "content": "found ".repeat(60)}),
        json!({"role": "assistant", "content": format!("answer {number}")}),
    ]
}

fn conversation(exchanges: usize) -> Vec<Value> {
    let mut messages = vec![json!({"role": "system", "content": "Be kind."})];
    messages.extend((0..exchanges).flat_map(exchange));
    messages.push(json!({"role": "user", "content": "the last words"}));
    messages
}

/// An upstream that counts a token for each so many bytes, or none.
async fn upstream(bytes_per_token: Option<usize>) -> Upstream {
    Upstream::scripted(move |seen| {
        let mut answer = json!({"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "yes"}, "finish_reason": "stop"}]});
        if let Some(bytes) = bytes_per_token {
            let tokens = seen.raw.len() / bytes;
            answer["usage"] = json!({"prompt_tokens": tokens, "completion_tokens": 1, "total_tokens": tokens + 1});
        }
        Reply::Status(200, answer.to_string())
    })
    .await
}

/// Sends the conversation as this agent; what the upstream got of it, and how many messages the client is told are missing.
async fn sent(host: &Host, upstream: &Upstream, agent: &str, messages: &[Value]) -> (Vec<Value>, usize) {
    let answer =
        host.say("").agent(agent).with("messages", messages.into()).with("max_tokens", 100.into()).send().await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let omitted = answer.headers.get("x-metaclaw-omitted").map_or("0", |value| value.to_str().unwrap());
    let got = upstream.last().body["messages"].as_array().unwrap().clone();
    (got, omitted.parse().unwrap())
}

#[tokio::test]
async fn the_oldest_exchanges_go_and_the_client_is_told() {
    let upstream = upstream(None).await;
    let home = Home::with(
        &upstream,
        "max_context_tokens: 2000\nagents:\n  _default: {}\n  keeper: { max_context_tokens: 0 }\n  narrow: { max_context_tokens: 900 }\n",
    );
    let host = home.start().await;
    let messages = conversation(20);
    let (wide, missing) = sent(&host, &upstream, "researcher", &messages).await;
    assert!(missing > 30 && wide.len() + missing == messages.len(), "{missing} of {}", messages.len());
    assert_eq!((&wide[0], wide.last()), (&messages[0], messages.last()), "the system's words and the last ones stay");
    assert_eq!(wide[1..], messages[1 + missing..], "what stays is as it was, and begins with a question");
    assert!(wide[1]["content"].as_str().unwrap().starts_with("question"));

    let (narrow, more) = sent(&host, &upstream, "narrow", &messages).await;
    assert!(more > missing && narrow.last() == messages.last(), "{more}");
    let (all, none) = sent(&host, &upstream, "keeper", &messages).await;
    assert_eq!((all.len(), none), (messages.len(), 0), "0 is no limit");
    let (all, none) = sent(&host, &upstream, "researcher", &conversation(2)).await;
    assert_eq!((all, none), (conversation(2), 0), "what fits is left alone");
}

#[tokio::test]
async fn an_agent_that_works_long_on_one_question_keeps_it() {
    let upstream = upstream(None).await;
    let home = Home::with(&upstream, "max_context_tokens: 1500\n");
    let host = home.start().await;
    let mut messages = conversation(3);
    messages.extend((0..20).flat_map(|number| exchange(number)[1..3].to_vec()));
    let (got, missing) = sent(&host, &upstream, "a", &messages).await;
    assert!(missing > 20, "{missing}");
    assert_eq!(got[1]["content"], "the last words");
    for pair in got[1..].windows(2) {
        assert_eq!(
            pair[0].get("tool_calls").is_some(),
            pair[1]["role"] == "tool",
            "each call has its result: {pair:?}"
        );
    }
    assert_eq!(got.last(), messages.last());
}

#[tokio::test]
async fn the_upstreams_own_counts_decide_what_fits() {
    let upstream = upstream(Some(2)).await;
    let home = Home::with(&upstream, "max_context_tokens: 6000\n");
    let host = home.start().await;
    let messages = conversation(20);
    let (_, before) = sent(&host, &upstream, "a", &messages).await;
    assert_eq!(before, 0, "by the usual estimate it fits");
    // The count is learned from when the turn is recorded, which may be after the answer.
    let mut after = 0;
    for _ in 0..100 {
        after = sent(&host, &upstream, "a", &messages).await.1;
        if after > 0 {
            break;
        }
    }
    assert!(after > 20, "{after}");
    assert!(upstream.last().raw.len() / 2 <= 6000, "it fits by the model's own count");
}

#[tokio::test]
async fn skills_never_push_the_users_words_out() {
    let upstream = upstream(None).await;
    let home = Home::with(&upstream, "max_context_tokens: 1000\nagents:\n  wide: { max_context_tokens: 0 }\n");
    home.skill("_shared", "tides", "Use when somebody asks for tides", &"High water comes twice a day. ".repeat(100));
    let host = home.start().await;
    let question = format!("When are the tides? {}", "Is it not so? ".repeat(100));
    for (agent, skills) in [("narrow", "0"), ("wide", "1")] {
        let answer = host.say(&question).agent(agent).with("max_tokens", 100.into()).send().await;
        assert_eq!((answer.status, answer.header("x-metaclaw-skills")), (200, skills), "{agent}");
        assert_eq!(upstream.last().user(), question, "{agent}");
    }
}
