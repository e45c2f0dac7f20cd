//! The demo with the real model: what `make run` gives, from the first answer to the sample that is kept of it.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use domain::{AgentId, SampleState, SessionId};
use futures_util::StreamExt;
use serde_json::{Value, json};
use store::{Store, StoreOptions};
use tests::{Home, Host, Turn, Upstream};

/// What this model answers with numbers for as long as it may.
const LONG: &str = "Write the numbers from 1 to 1000, separated by commas.";

/// A turn of at most so many tokens, whose answer is always the same.
fn say<'a>(host: &'a Host, text: &str, max_tokens: u32) -> Turn<'a> {
    host.say(text).with("temperature", 0.into()).with("max_tokens", max_tokens.into())
}

fn agent(id: &str) -> AgentId {
    AgentId::Named(id.parse().unwrap())
}

#[tokio::test]
async fn two_agents_answer_by_their_own_skills_and_policies_and_only_one_keeps_samples() {
    let home = Home::demo();
    let host = home.start_with(&["--dev"]).await;
    let question = "Draft an email that cites the sources which are the evidence for my claims.";
    let mut usages = Vec::new();
    for (id, by, skills) in [("researcher", "builtin; source=builtin", 1..=2), ("assistant", "; source=policy", 2..=2)]
    {
        let mut said = Vec::new();
        for (session, stream) in [("whole", false), ("streamed", true)] {
            // What `max_tokens` cuts off is no sample; one sentence is.
            let turn = say(&host, question, 64).with("stop", json!(["."])).agent(id).session(session);
            let turn = turn.with("stream", stream.into());
            let answer = turn.with("stream_options", json!({"include_usage": true})).send().await;
            assert_eq!(answer.status, 200, "{id}: {}", answer.text);
            assert!(answer.header("x-metaclaw-policy").ends_with(by), "{id}: {}", answer.header("x-metaclaw-policy"));
            assert!(
                skills.contains(&answer.header("x-metaclaw-skills").parse().unwrap()),
                "{id}: {}",
                answer.header("x-metaclaw-skills")
            );
            let (last, reason) = if stream {
                assert!(answer.text.ends_with("data: [DONE]\n\n"));
                let events = answer.events();
                assert!(events.len() > 10, "word by word: {events:?}");
                (events[events.len() - 1].clone(), events[events.len() - 2]["choices"][0]["finish_reason"].clone())
            } else {
                (answer.json(), answer.json()["choices"][0]["finish_reason"].clone())
            };
            assert_eq!(reason, "stop", "{id}");
            assert!(last["model"].as_str().is_some_and(|m| !m.is_empty()), "{last}");
            let count = |name: &str| last["usage"][name].as_u64().unwrap();
            let (prompt, completion) = (count("prompt_tokens"), count("completion_tokens"));
            assert!(
                prompt > 50 && (5..=64).contains(&completion) && count("total_tokens") == prompt + completion,
                "{last}"
            );
            usages.push((id, session, prompt, completion));
            said.push(answer.words());
            if id == "researcher" {
                assert_eq!(sample(&host, answer.header("x-request-id")).await, "captured");
            }
        }
        let words = said[0].split_whitespace().filter(|w| w.chars().any(|c| c.is_ascii_lowercase())).count();
        assert!(words >= 5, "{id} does not speak English: {said:?}");
        assert_eq!(said[0], said[1], "{id}: a stream says the same");
    }
    let cut = say(&host, LONG, 5).agent("researcher").session("cut").send().await;
    assert_eq!(cut.json()["choices"][0]["finish_reason"], "length");
    assert_eq!(sample(&host, cut.header("x-request-id")).await, "dropped");
    for stream in [false, true] {
        let refused = host
            .say("Read me my horoscope")
            .agent("assistant")
            .session("stars")
            .with("stream", stream.into())
            .send()
            .await;
        assert!(refused.words().contains("horoscope"), "{}", refused.text);
        assert!(refused.header("x-metaclaw-policy").ends_with("; source=policy"));
    }
    assert!(host.stop().success());

    let store = Store::open(&home.path().join("state"), StoreOptions::default()).await.unwrap();
    let samples = store.samples(&agent("researcher"), 100).await.unwrap();
    let states: Vec<_> = samples.iter().map(|s| (s.state, s.sample.tokens.is_some())).collect();
    let captured = (SampleState::Captured, true);
    assert_eq!(states, [(SampleState::Dropped, false), captured, captured], "the last one first");
    assert!(store.samples(&agent("assistant"), 100).await.unwrap().is_empty(), "its mode is skills_only");
    for (id, session, prompt, completion) in usages {
        let session: SessionId = session.parse().unwrap();
        let turns = store.turns(&agent(id), &session, 10).await.unwrap();
        let [turn] = turns.as_slice() else { panic!("{id} has {} turns in {session}", turns.len()) };
        let skills: Vec<&str> = turn.record.skills.iter().map(String::as_str).collect();
        match id {
            "researcher" => assert!(skills.contains(&"cite-sources"), "{skills:?}"),
            _ => assert_eq!(skills, ["house-style", "write-email"]),
        }
        let Some(sample) = samples.iter().find(|s| s.sample.turn == turn.record.id) else {
            assert_eq!(id, "assistant", "the turn in {session} has no sample");
            continue;
        };
        let tokens = sample.sample.tokens.as_ref().expect("the embedded model gives its tokens");
        assert_eq!((tokens.prompt.len() as u64, tokens.completion.len() as u64), (prompt, completion));
        assert_eq!(tokens.logprobs.len(), tokens.completion.len());
        assert!(tokens.logprobs.iter().all(|p| p.is_finite() && *p <= 0.0), "{:?}", tokens.logprobs);
    }
    let refusals = store.turns(&agent("assistant"), &"stars".parse().unwrap(), 10).await.unwrap();
    let outcomes: Vec<_> = refusals.iter().map(|t| (t.record.outcome, t.record.upstream.as_str())).collect();
    assert_eq!(outcomes, [(domain::TurnOutcome::Refused, ""); 2], "no model was asked");
    store.close().await;
}

/// What became of a turn as a sample, once that is durable.
async fn sample(host: &Host, turn: &str) -> String {
    tests::until("the sample is durable", async || {
        let state = host.get(&format!("/v1/turns/{turn}")).await;
        state["sample"]["state"].as_str().map(str::to_owned)
    })
    .await
}

#[tokio::test]
async fn a_session_goes_on_where_it_was_and_no_other_agent_gains_from_it() {
    let host = Home::demo().start_with(&["--dev"]).await;
    let story: Vec<String> = (0..250).map(|n| n.to_string()).collect();
    let story = format!("Remember: {}.", story.join(" "));
    let timed = async |id: &str, messages: Value| {
        let began = Instant::now();
        let answer = say(&host, "", 1).agent(id).session("s").with("messages", messages).send().await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        (began.elapsed(), answer.words())
    };
    let user = |text: &str| json!({"role": "user", "content": text});
    let (first, words) = timed("one", json!([user(&story)])).await;
    let went_on = json!([user(&story), {"role": "assistant", "content": words}, user("And now?")]);
    let (second, _) = timed("one", went_on.clone()).await;
    let (stranger, _) = timed("two", went_on).await;
    assert!(second * 3 < first, "the prompt was read again: {second:?} after {first:?}");
    assert!(second * 3 < stranger, "another agent's session of the same name was used: {stranger:?} after {second:?}");
}

#[tokio::test]
async fn streams_share_the_model_and_those_that_nobody_reads_leave_it() {
    let host = Home::demo().start_with(&["--dev"]).await;
    let order = Mutex::new(Vec::new());
    let read = async |name: char| {
        let turn = say(&host, LONG, 64).header("x-session-id", &name.to_string()).with("stream", true.into());
        let mut body = turn.begin().await.bytes_stream();
        let mut text = String::new();
        while let Some(piece) = body.next().await {
            text.push_str(str::from_utf8(&piece.unwrap()).unwrap());
            order.lock().unwrap().push(name);
        }
        assert!(text.contains("\"finish_reason\":\"length\"") && text.ends_with("data: [DONE]\n\n"), "{text}");
    };
    tokio::join!(read('a'), read('b'));
    let order = order.into_inner().unwrap();
    let switches = order.windows(2).filter(|pair| pair[0] != pair[1]).count();
    assert!(switches > 8, "one waited for the other: {order:?}");

    // As many as are answered at the same time, each for minutes.
    let mut left = Vec::new();
    for _ in 0..4 {
        let response = say(&host, LONG, 8000).with("stream", true.into()).begin().await;
        left.push(response.headers()["x-request-id"].to_str().unwrap().to_owned());
        assert!(response.bytes_stream().next().await.unwrap().is_ok());
    }
    let next = tokio::time::timeout(Duration::from_secs(10), say(&host, "hello", 4).send())
        .await
        .expect("the model is not free");
    assert_eq!(next.status, 200, "{}", next.text);
    for turn in left {
        let outcome = tests::until("it is recorded", async || {
            let state = host.get(&format!("/v1/turns/{turn}")).await;
            state["outcome"].as_str().map(str::to_owned)
        });
        assert_eq!(outcome.await, "cancelled");
    }
}

#[tokio::test]
async fn what_steers_an_answer_is_obeyed_or_refused() {
    let host = Home::demo().start_with(&["--dev"]).await;
    let image = json!([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}]);
    let long = json!([{"role": "user", "content": "word ".repeat(9000)}]);
    for (field, value, code, says) in [
        ("temperature", json!(9), "invalid_body", "from 0 to 5"),
        ("temperature", json!("hot"), "invalid_body", "hot"),
        ("top_p", json!(0), "invalid_body", "top_p"),
        ("max_tokens", json!(0), "invalid_body", "at least 1"),
        ("frequency_penalty", json!(-3), "invalid_body", "from -2 to 2"),
        ("stop", json!([""]), "invalid_body", "stop"),
        ("messages", image, "invalid_body", "image_url"),
        ("messages", long, "context_length_exceeded", "8191"),
    ] {
        for stream in [false, true] {
            let answer = host.say("hello").with(field, value.clone()).with("stream", stream.into()).send().await;
            assert_eq!((answer.status, answer.code().as_str()), (400, code), "{field}: {}", answer.text);
            assert!(answer.json()["error"]["message"].as_str().unwrap().contains(says), "{}", answer.text);
        }
    }
    let answer = say(&host, LONG, 40).with("stop", json!([", 5"])).send().await.json();
    let choice = &answer["choices"][0];
    assert_eq!(
        (choice["message"]["content"].as_str(), choice["finish_reason"].as_str()),
        (Some("1, 2, 3, 4"), Some("stop"))
    );
    let drawn = async |seed: u32, session: &str| {
        let turn = say(&host, "Tell me a story.", 16).with("temperature", json!(1.5)).with("seed", seed.into());
        turn.header("x-session-id", session).send().await.words()
    };
    let (first, again, other) = tokio::join!(drawn(7, "a"), drawn(7, "b"), drawn(8, "c"));
    assert_eq!(first, again, "the same seed");
    assert_ne!(first, other, "another seed");
}

/// A provider that is away need not mean that nobody answers.
#[tokio::test]
async fn the_model_in_the_process_answers_when_the_provider_cannot() {
    let home = Home::demo();
    let away = "{ provider: custom, api_base: \"http://127.0.0.1:9/v1\", models: [big], retries: { max: 0 } }";
    home.config(&format!(
        "upstreams:\n  away: {away}\n  here: {{ provider: embedded }}\nagents: {{ _default: {{ upstream: away, fallbacks: here }} }}\n"
    ));
    let host = home.start().await;
    for stream in [false, true] {
        let answer = say(&host, "Say yes.", 8).with("stream", stream.into()).send().await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!(answer.header("x-metaclaw-upstream"), "here; attempts=2");
        assert!(!answer.words().is_empty(), "{}", answer.text);
    }
}

/// The model goes when the configuration has it no more, after the answer that it is in, and comes back with it.
#[tokio::test]
async fn a_reload_brings_the_model_and_takes_it_away() {
    let home = Home::demo();
    let file = home.path().join("config.yaml");
    let demo = std::fs::read_to_string(&file).unwrap();
    let elsewhere = Upstream::echo().await;
    let host = home.start_with(&["--dev"]).await;
    let response = say(&host, LONG, 48).agent("researcher").with("stream", true.into()).begin().await;
    home.config(&elsewhere.llm());
    assert_eq!(host.admin("POST", "/admin/reload").await["problems"], json!([]));
    assert_eq!(say(&host, "hi", 8).send().await.words(), "echo: hi");
    let whole = response.text().await.unwrap();
    assert!(whole.contains("\"finish_reason\":\"length\"") && whole.ends_with("data: [DONE]\n\n"), "{whole}");
    tests::until("its thread ends", async || (host.threads("local-model") == 0).then_some(())).await;
    home.config(&demo);
    assert_eq!(host.admin("POST", "/admin/reload").await["problems"], json!([]));
    let answer = say(&host, "Say hello.", 8).agent("researcher").send().await;
    assert_eq!((answer.status, host.threads("local-model")), (200, 1), "{}", answer.text);
    assert!(host.stop().success());
}
