//! What a policy does beyond routing and selecting, through the real host: it lays skills out, gates tool calls, rewards turns.

use serde_json::{Value, json};
use tests::{Answer, Home, Host, Reply, Upstream, guest, until};

/// A home whose agent `a` has the policy of `tests/guests/hooks`.
fn home(upstream: &Upstream, policy: &str, more: &str) -> Home {
    let home = Home::new();
    let module = guest("tests/guests/hooks");
    let digest = domain::Digest::of(&std::fs::read(&module).unwrap());
    let policy = format!("{{ module: {}, sha256: \"{digest}\"{policy} }}", module.display());
    home.config(&format!("{}{more}agents: {{ a: {{ mode: rl, policy: {policy} }} }}\n", upstream.llm()));
    home
}

/// An upstream whose model calls the tool that the user names.
async fn calling() -> Upstream {
    Upstream::scripted(|seen| {
        let words = seen.user();
        match words.strip_prefix("call ") {
            Some("send") => Reply::Call("send", "{\"to\":\"ada\"}".into()),
            Some("remove") => Reply::Call("remove", "{\"path\":\"/\"}".into()),
            Some("problem") => Reply::Call("problem", "{}".into()),
            Some("loop") => Reply::Call("loop", "{}".into()),
            Some(_) => Reply::Call("read", "{\"path\":\"a\"}".into()),
            None => Reply::Words(words),
        }
    })
    .await
}

/// The assistant's words, the tools called, and how the answer ended.
fn told(answer: &Answer, stream: bool) -> (String, Vec<String>, String) {
    let whole = if stream {
        protocol::Answer::from_stream(answer.text.as_bytes())
    } else {
        protocol::Answer::from_json(&answer.text.clone().into())
    };
    let whole = whole.unwrap_or_else(|| panic!("{}", answer.text));
    let calls = protocol::tool_calls(&whole.json).into_iter().map(|call| format!("{} {}", call.name, call.arguments));
    (whole.text, calls.collect(), whole.finish_reason)
}

#[tokio::test]
async fn skills_are_laid_out_as_the_policy_wants() {
    let upstream = Upstream::echo().await;
    for (settings, want) in [("", "For a: tides\nSPRING TIDES"), (", config: { render: nothing }", "")] {
        let home = home(&upstream, settings, "");
        home.skill("a", "tides", "Use for tides", "SPRING TIDES");
        let host = home.start().await;
        host.say("tides?").agent("a").send().await;
        let system = upstream.last().system();
        assert_eq!((system.contains(want), system.contains("SPRING")), (true, !want.is_empty()), "{system:?}");
    }
}

#[tokio::test]
async fn a_tool_call_that_is_denied_never_reaches_the_client() {
    let upstream = calling().await;
    let host = home(&upstream, "", "").start().await;
    let cannot = "This agent's policy cannot decide at the moment, so nothing was asked of a model.";
    for (call, words, calls, finish) in [
        ("read", "", &["read {\"path\":\"a\"}"][..], "tool_calls"),
        ("remove", "a may not remove {\"path\":\"/\"}.", &[], "stop"),
        ("problem", cannot, &[], "stop"),
        ("loop", cannot, &[], "stop"),
    ] {
        for stream in [false, true] {
            let turn = host.say(&format!("call {call}")).agent("a").with("stream", stream.into());
            let answer = turn.send().await;
            assert_eq!(answer.status, 200, "{}", answer.text);
            let calls: Vec<String> = calls.iter().map(|call| (*call).to_owned()).collect();
            assert_eq!(told(&answer, stream), (words.to_owned(), calls, finish.to_owned()), "{call} {stream}");
            assert!(!stream || answer.text.ends_with("data: [DONE]\n\n"), "{}", answer.text);
        }
    }
    let counted = async |verdict: &str| {
        host.metric(&format!("metaclaw_tool_calls_total{{agent=\"a\",verdict=\"{verdict}\"}}")).await
    };
    assert_eq!((counted("allowed").await, counted("denied").await), (2, 6));
}

/// The calls that wait, once there is one.
async fn waiting(host: &Host) -> Value {
    until("a call waits for a word", async || {
        let calls = host.admin("GET", "/admin/calls").await["calls"].take();
        calls.as_array().is_some_and(|calls| !calls.is_empty()).then_some(calls)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_decides_on_a_call_that_is_held() {
    let upstream = calling().await;
    let home = home(&upstream, "", "proxy: { keep_alive: 20ms }\n");
    let host = home.start().await;
    let denied = "The call of `send` was not allowed: Sending is for people.";
    for stream in [false, true] {
        for (word, words, calls) in
            [("allow", "", vec!["send {\"to\":\"ada\"}".to_owned()]), ("deny", denied, Vec::new())]
        {
            let turn = host.say("call send").agent("a").session("s").with("stream", stream.into());
            let (answer, ()) = tokio::join!(turn.send(), async {
                let call = waiting(&host).await[0].clone();
                assert_eq!(
                    [&call["agent"], &call["session"], &call["tool"], &call["arguments"], &call["reason"]],
                    [
                        &json!("a"),
                        &json!("s"),
                        &json!("send"),
                        &json!("{\"to\":\"ada\"}"),
                        &json!("Sending is for people.")
                    ]
                );
                let (code, out, err) = home.run(&["calls", "list"]);
                assert!(code == 0 && out.contains("Sending is for people."), "{out}{err}");
                let id = call["id"].to_string();
                let (code, out, err) = home.run(&["calls", word, &id]);
                assert!(code == 0 && out.contains(&id), "{out}{err}");
                let (code, _, err) = home.run(&["calls", word, &id]);
                assert!(code != 0 && err.contains("waits no more"), "{err}");
            });
            let (said, called, _) = told(&answer, stream);
            assert_eq!((said.as_str(), called), (words, calls), "{word} {stream}");
        }
    }
}

#[tokio::test]
async fn a_call_that_nobody_answers_is_denied() {
    let upstream = calling().await;
    let host = home(&upstream, ", limits: { hold: 50ms }", "").start().await;
    let answer = host.say("call send").agent("a").send().await;
    assert!(told(&answer, false).0.ends_with("Sending is for people."), "{}", answer.text);
    assert_eq!(host.admin("GET", "/admin/calls").await["calls"], json!([]));
    assert_eq!(host.metric("metaclaw_tool_calls_total{agent=\"a\",verdict=\"held_back\"}").await, 1);
}

/// Neither a client that has gone nor a host that stops is waited for.
#[tokio::test]
async fn nobody_waits_for_a_client_that_has_gone() {
    let upstream = calling().await;
    let host = home(&upstream, ", limits: { hold: 1h }", "proxy: { keep_alive: 20ms }\n").start().await;
    let begun = host.say("call send").agent("a").with("stream", true.into()).begin().await;
    waiting(&host).await;
    drop(begun);
    until("the call is off the list", async || {
        let calls = host.admin("GET", "/admin/calls").await["calls"].take();
        calls.as_array().is_some_and(Vec::is_empty).then_some(())
    })
    .await;
    let mut begun = host.say("call send").agent("a").with("stream", true.into()).begin().await;
    waiting(&host).await;
    let mut text = String::new();
    while !text.contains(": keep-alive") {
        text += str::from_utf8(&begun.chunk().await.unwrap().unwrap()).unwrap();
    }
    assert!(host.stop().success());
    text += &begun.text().await.unwrap();
    // The client was told to wait on meanwhile.
    assert!(text.contains(": keep-alive") && text.contains("was not allowed"), "{text}");
    assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
}

#[tokio::test]
async fn a_turn_is_rewarded() {
    let upstream = Upstream::echo().await;
    let host = home(&upstream, "", "").start().await;
    for (words, reward) in [("thank you", 1.0), ("no", -0.5)] {
        let answer = host.say(words).agent("a").send().await;
        let turn = answer.header("x-request-id").to_owned();
        let sample = until("the sample is durable", async || {
            let state = host.get(&format!("/v1/turns/{turn}")).await;
            state["sample"]["state"].is_string().then(|| state["sample"].clone())
        });
        assert_eq!(sample.await, json!({"state": "captured", "reason": null, "reward": reward}), "{words}");
    }
}
