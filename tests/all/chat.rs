//! `POST /v1/chat/completions` as an OpenAI client sees it, and what the upstream gets.

use serde_json::json;
use tests::{Home, Reply, Upstream};

#[tokio::test]
async fn the_answer_is_the_upstreams_own_bytes() {
    let body = r#"{"id":"x","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"é\n"},"finish_reason":"stop"}],"odd":1.50}"#;
    let upstream = Upstream::scripted(move |_| Reply::Status(200, body.into())).await;
    let host = Home::with(&upstream, "").start().await;
    let answer = host.say("hi").send().await;
    assert_eq!((answer.status, answer.text.as_str()), (200, body));
    assert_eq!(answer.header("content-type"), "application/json");
    assert!(!answer.header("x-request-id").is_empty());
}

#[tokio::test]
async fn the_upstream_gets_the_clients_bytes_but_for_model_and_skills() {
    let upstream = Upstream::echo().await;
    let home = Home::with(&upstream, "");
    home.skill("", "parse-dates", "Use when dates must be parsed", "Prefer ISO 8601.");
    let host = home.start().await;
    let body = r#"{ "model":"asked", "temperature":0.70, "messages":[{"role":"system","content":"S","cache_control":{"type":"ephemeral"}},
        {"role":"user","content":"please parse these dates"}], "x-unknown":[1.0, 1e2], "user_id":"u1" }"#;
    let sent = host
        .client
        .post(host.url("/v1/chat/completions"))
        .header("traceparent", "00-1-2-01")
        .header("cookie", "c")
        .header("x-user-id", "u")
        .body(body);
    assert_eq!(sent.send().await.unwrap().status(), 200);
    let seen = upstream.last();
    let raw = String::from_utf8(seen.raw.to_vec()).unwrap();
    let block = "## Active Skills\\n\\n### parse-dates\\n_Use when dates must be parsed_\\n\\nPrefer ISO 8601.";
    assert!(raw.contains(block), "{raw}");
    let injected_end = raw.find("Prefer ISO 8601.").unwrap();
    let start = raw.find("\"S").unwrap() + 2;
    let without = format!("{}{}", &raw[..start], &raw[injected_end + raw[injected_end..].find('"').unwrap()..]);
    assert_eq!(without, body.replace("\"asked\"", "\"test-model\"").replace(", \"user_id\":\"u1\"", ""));
    // The host's key goes up and nothing of the client's but the trace.
    assert_eq!(seen.headers["authorization"], "Bearer sk-upstream-canary-7f3a");
    assert_eq!(seen.headers["traceparent"], "00-1-2-01");
    assert_eq!(seen.headers["accept-encoding"], "identity", "packed answers are not taken");
    let mut names: Vec<_> = seen.headers.keys().map(|n| n.as_str()).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "accept",
            "accept-encoding",
            "authorization",
            "content-length",
            "content-type",
            "host",
            "traceparent",
            "user-agent"
        ]
    );
}

#[tokio::test]
async fn errors_have_openais_shape_and_mean_what_openclaw_takes_them_for() {
    let upstream = Upstream::scripted(|seen| match seen.user().as_str() {
        "404" => Reply::Status(404, json!({"error": {"message": "no such model"}}).to_string()),
        "429" => Reply::Status(429, json!({"error": {"message": "slow down"}}).to_string()),
        "401" => Reply::Status(401, json!({"error": {"message": "bad key sk-upstream-canary-7f3a"}}).to_string()),
        "500" => Reply::Status(500, "<html>oops</html>".into()),
        "302" => Reply::Status(302, String::new()),
        other => Reply::Words(other.into()),
    })
    .await;
    let host = Home::with(&upstream, "proxy: { max_body: 1MiB }").start().await;
    for (text, status, code) in
        [("401", 400, "upstream_refused"), ("500", 502, "upstream_failed"), ("302", 502, "upstream_failed")]
    {
        let answer = host.say(text).send().await;
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{text}");
        assert_eq!(answer.json()["error"]["request_id"], answer.header("x-request-id"));
        assert!(!answer.text.contains("canary"), "{}", answer.text);
    }
    for (text, status, message) in [("404", 404, "no such model"), ("429", 429, "slow down")] {
        let answer = host.say(text).send().await;
        assert_eq!(
            (answer.status, answer.json()["error"]["message"].as_str()),
            (status, Some(message)),
            "the upstream's own words"
        );
    }
    let post = async |body: String| {
        let response = host.client.post(host.url("/v1/chat/completions")).body(body).send().await.unwrap();
        (
            response.status().as_u16(),
            serde_json::from_str::<serde_json::Value>(&response.text().await.unwrap()).unwrap()["error"]["code"]
                .clone(),
        )
    };
    for (body, status, code) in [
        (String::new(), 400, "invalid_body"),
        ("{\"messages\":[".into(), 400, "invalid_body"),
        ("{\"messages\":[]}".into(), 400, "invalid_body"),
        ("[".repeat(100_000), 400, "invalid_body"),
        (
            format!("{{\"messages\":[{{\"role\":\"user\",\"content\":\"{}\"}}]}}", "a".repeat(1 << 20)),
            413,
            "body_too_large",
        ),
    ] {
        assert_eq!(post(body).await, (status, code.into()));
    }
    let before = upstream.seen().len();
    let response = host.client.get(host.url("/v1/nothing")).send().await.unwrap();
    assert_eq!(response.status(), 404);
    assert_eq!(host.client.get(host.url("/v1/chat/completions")).send().await.unwrap().status(), 405);
    assert_eq!(upstream.seen().len(), before, "nothing of these reached the upstream");
}

#[tokio::test]
async fn an_upstream_that_is_not_there_is_a_502_with_its_name() {
    let upstream = Upstream::echo().await;
    let home = Home::with(&upstream, "");
    drop(upstream);
    let host = home.start().await;
    let answer = host.say("hi").send().await;
    assert_eq!((answer.status, answer.code().as_str()), (502, "upstream_unreachable"));
    assert!(answer.text.contains("`default`"), "{}", answer.text);
    let id = answer.header("x-request-id").to_owned();
    let state = tests::until("the turn is recorded", async || {
        let state = host.get(&format!("/v1/turns/{id}")).await;
        state["outcome"].is_string().then_some(state)
    })
    .await;
    assert_eq!(state["outcome"], "failed", "a turn without an answer is known by its request id");
}

#[tokio::test]
async fn bodies_of_tens_of_megabytes_pass_whole() {
    let upstream = Upstream::echo().await;
    let host = Home::with(&upstream, "").start().await;
    let big = "data ".repeat(8 << 20);
    let answer = host.say(&big).system("S").send().await;
    assert_eq!(answer.status, 200);
    assert_eq!(upstream.last().user(), big);
}

#[tokio::test]
async fn models_health_and_metrics_answer_without_a_key_and_turns_do_not() {
    let upstream = Upstream::echo().await;
    let home = Home::with(&upstream, "proxy: { api_key: \"mc-8f2kq93hzz7w1mcnv5t0\" }\n");
    let host = home.start().await;
    assert_eq!(host.get("/healthz").await["ok"], true);
    assert_eq!(host.get("/readyz").await["ready"], true);
    assert_eq!(host.get("/v1/models").await["data"][0]["id"], "test-model");
    for (key, status) in [
        (None, 401),
        (Some("Bearer wrong"), 401),
        (Some("Bearer mc-8f2kq93hzz7w1mcnv5t0x"), 401),
        (Some("Bearer mc-8f2kq93hzz7w1mcnv5t0"), 200),
    ] {
        let turn = host.say("hi");
        let turn = if let Some(key) = key { turn.header("authorization", key) } else { turn };
        assert_eq!(turn.send().await.status, status, "{key:?}");
    }
    assert_eq!(upstream.seen().len(), 1);
    assert_ne!(
        upstream.last().headers["authorization"],
        "Bearer mc-8f2kq93hzz7w1mcnv5t0",
        "the client's key is not the provider's"
    );
}

#[tokio::test]
async fn metrics_count_turns_by_agent_and_outcome() {
    let upstream = Upstream::echo().await;
    let host = Home::with(&upstream, "").start().await;
    for _ in 0..3 {
        host.say("hi").agent("a1").send().await;
    }
    let line = r#"metaclaw_turns_total{agent="a1",kind="main",outcome="complete"}"#;
    tests::until("three turns are counted", async || (host.metric(line).await == 3).then_some(())).await;
}
