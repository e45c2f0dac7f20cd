//! Promise H2: of the headers that a client sends only those go up that are on a list, and of an upstream's answer none comes
//! down: what the host says to either side it says itself.

use std::collections::BTreeMap;

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response};
use futures_util::{StreamExt, stream};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};
use tests::{Home, Host};
use tokio::task::JoinSet;

const CASES: usize = 10_000;
const KEY: &str = "Bearer provider-key-5c1e";

/// What a client may send that means something to somebody on the way, but for what frames a request.
const UP: [&str; 48] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "upgrade",
    "proxy-authorization",
    "http2-settings",
    "authorization",
    "x-api-key",
    "api-key",
    "x-goog-api-key",
    "x-amz-security-token",
    "cookie",
    "x-auth-token",
    "x-agent-id",
    "x-session-id",
    "x-session-key",
    "x-turn-type",
    "x-session-done",
    "x-user-id",
    "x-workspace-id",
    "x-memory-scope",
    "x-clawrouter-session-id",
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-real-ip",
    "via",
    "x-original-url",
    "x-rewrite-url",
    "x-http-method-override",
    "x-host",
    "referer",
    "from",
    "accept",
    "accept-encoding",
    "accept-language",
    "user-agent",
    "content-type",
    "content-encoding",
    "content-language",
    "range",
    "if-none-match",
    "traceparent",
    "tracestate",
    "openai-organization",
    "anthropic-beta",
];

/// What an upstream may answer beside, but for what frames an answer.
const DOWN: [&str; 36] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "trailer",
    "upgrade",
    "proxy-authenticate",
    "www-authenticate",
    "proxy-authentication-info",
    "set-cookie",
    "set-cookie2",
    "location",
    "content-location",
    "refresh",
    "link",
    "server",
    "via",
    "age",
    "etag",
    "vary",
    "warning",
    "alt-svc",
    "clear-site-data",
    "strict-transport-security",
    "access-control-allow-origin",
    "content-disposition",
    "content-security-policy",
    "cache-control",
    "retry-after",
    "x-request-id",
    "x-ratelimit-remaining",
    "openai-organization",
    "openai-processing-ms",
    "x-metaclaw-agent",
    "x-metaclaw-policy",
    "x-metaclaw-upstream",
    "x-session-id",
];

/// Names and values of headers, in order.
type Pairs = Vec<(String, Vec<u8>)>;

#[derive(Clone, Debug)]
struct Case {
    up: Pairs,
    down: Pairs,
    /// Whether the upstream is asked with the client's own credential.
    forward: bool,
    stream: bool,
}

fn pairs(known: &'static [&'static str], mark: &'static str) -> impl Strategy<Value = Pairs> {
    let name = prop_oneof![
        3 => proptest::sample::select(known).prop_map(str::to_owned),
        1 => "x-[a-z0-9_.-]{1,24}",
    ];
    // Words, and all that a header may hold, bytes that are no UTF-8 among it.
    let word = proptest::collection::vec(0x61_u8..0x7b, 0..8);
    let wild = proptest::collection::vec(prop_oneof![9 => 0x20_u8..0x7f, 1 => 0x80_u8..=0xff, 1 => Just(b'\t')], 0..12);
    let tail = prop_oneof![4 => word, 1 => wild];
    let value = tail.prop_map(move |tail| [mark.as_bytes(), &tail, b"."].concat());
    proptest::collection::vec((name, value), 0..10).prop_map(|mut pairs| {
        // A header that `Connection` names is for the next hop only.
        let names: Vec<&str> = pairs.iter().map(|(name, _)| name.as_str()).collect();
        let named = names.join(", ").into_bytes();
        for (_, value) in pairs.iter_mut().filter(|(name, _)| name == "connection") {
            value.clone_from(&named);
        }
        // Other values than these are refused.
        for (name, value) in &mut pairs {
            match name.as_str() {
                "x-turn-type" => value.clone_from(&b"main".to_vec()),
                "x-session-done" => value.clone_from(&b"false".to_vec()),
                _ => {}
            }
        }
        pairs
    })
}

fn cases() -> impl Strategy<Value = Case> {
    let all = (pairs(&UP, "client-"), pairs(&DOWN, "upstream-"), any::<bool>(), any::<bool>());
    all.prop_map(|(mut up, down, forward, stream)| {
        if forward && !up.iter().any(|(name, _)| name == "authorization") {
            up.push(("authorization".to_owned(), b"client-login.".to_vec()));
        }
        Case { up, down, forward, stream }
    })
}

fn read(headers: &HeaderMap) -> Vec<(String, Vec<u8>)> {
    headers.iter().map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec())).collect()
}

fn headers(pairs: &Pairs) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(HeaderName::try_from(name).unwrap(), HeaderValue::from_bytes(value).unwrap());
    }
    headers
}

/// Answers with the headers that its question holds, and says which ones came with it.
async fn upstream() -> (String, JoinSet<()>) {
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}/v1", socket.local_addr().unwrap());
    let answer = async |came: HeaderMap, body: Bytes| {
        let body: Value = serde_json::from_slice(&body).unwrap();
        let down: Pairs = serde_json::from_str(body["messages"][0]["content"].as_str().unwrap()).unwrap();
        let words = serde_json::to_string(&read(&came)).unwrap();
        let (kind, text) = if body["stream"] == true {
            let delta = json!({"choices": [{"index": 0, "delta": {"content": words}, "finish_reason": "stop"}]});
            ("text/event-stream", format!("data: {delta}\n\ndata: [DONE]\n\n"))
        } else {
            let message = json!({"role": "assistant", "content": words});
            (
                "application/json",
                json!({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}).to_string(),
            )
        };
        let mut response = Response::new(text);
        *response.headers_mut() = headers(&down);
        response.headers_mut().insert("content-type", HeaderValue::from_static(kind));
        response
    };
    let mut server = JoinSet::new();
    server.spawn(async move { axum::serve(socket, Router::new().fallback(answer)).await.unwrap() });
    (base, server)
}

/// What came back of a case: its status, the headers that the upstream saw, and those that the client saw.
async fn outcome(host: &Host, case: &Case) -> (u16, BTreeMap<String, Vec<u8>>, BTreeMap<String, Vec<u8>>) {
    let content = serde_json::to_string(&case.down).unwrap();
    let body = json!({"messages": [{"role": "user", "content": content}], "stream": case.stream}).to_string();
    let mut sent = headers(&case.up);
    sent.remove("x-agent-id");
    sent.insert("x-agent-id", HeaderValue::from_static(if case.forward { "forward" } else { "plain" }));
    let request = host.client.post(host.url("/v1/chat/completions")).headers(sent).body(body);
    let answer = request.send().await.unwrap();
    let (status, down) = (answer.status().as_u16(), read(answer.headers()));
    let mut names: Vec<_> = down.iter().map(|(name, _)| name).collect();
    names.dedup();
    assert_eq!(names.len(), down.len(), "a header stands twice: {down:?}");
    let text = answer.text().await.unwrap();
    let words = match case.stream {
        true if text.starts_with("data: ") => {
            text.lines().next().and_then(|line| line.strip_prefix("data: ")).unwrap_or_default()
        }
        _ => &text,
    };
    let said: Value = serde_json::from_str(words).unwrap_or_else(|_| panic!("{case:?}: {text}"));
    let choice = &said["choices"][0];
    let content = choice["message"]["content"].as_str().or(choice["delta"]["content"].as_str());
    let up: Pairs = content.map_or_else(Vec::new, |content| serde_json::from_str(content).unwrap());
    let count = up.len();
    let up: BTreeMap<_, _> = up.into_iter().collect();
    assert_eq!(up.len(), count, "a header went up twice: {case:?}");
    (status, up, down.into_iter().collect())
}

fn is_text(value: &[u8]) -> bool {
    str::from_utf8(value).is_ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_header_goes_through_that_is_not_on_the_list() {
    let (base, _server) = upstream().await;
    let home = Home::new();
    home.config(&format!(
        "upstreams:\n  plain: {{ api_base: \"{base}\", api_key: \"env:KEY\" }}\n  forward: {{ api_base: \"{base}\", auth: forward }}\n\
         agents: {{ plain: {{ upstream: plain }}, forward: {{ upstream: forward }}, _default: {{ upstream: plain }} }}\n"
    ));
    let host = home.start_in(&[("KEY", KEY.strip_prefix("Bearer ").unwrap())]).await;

    // What the host says of itself, and nobody else.
    let bare = |stream| Case { up: Vec::new(), down: Vec::new(), forward: false, stream };
    let plain = [outcome(&host, &bare(false)).await, outcome(&host, &bare(true)).await];
    let own_words = ["accept", "accept-encoding", "content-type", "host", "user-agent"];
    assert_eq!(plain[0].1.keys().filter(|name| own_words.contains(&name.as_str())).count(), own_words.len());
    assert_eq!(plain[0].1["authorization"], KEY.as_bytes());

    let mut runner = TestRunner::deterministic();
    let strategy = cases();
    let generated: Vec<Case> = (0..CASES).map(|_| strategy.new_tree(&mut runner).unwrap().current()).collect();
    let outcomes = stream::iter(&generated)
        .map(|case| {
            let host = &host;
            async move { (case, outcome(host, case).await) }
        })
        .buffered(32);
    let answered = outcomes
        .map(|(case, (status, up, down))| {
            let single = |name: &str| {
                let mut values = case.up.iter().filter(|(n, _)| n == name).map(|(_, value)| value);
                (values.next(), values.next().is_some())
            };
            // Of what came down, every name is one of the host's, and no value the upstream's.
            let usual = &plain[usize::from(case.stream)].2;
            for (name, value) in &down {
                let known = usual.contains_key(name)
                    || ["content-length", "connection", "x-metaclaw-upstream"].contains(&name.as_str());
                assert!(known, "{name} came down: {case:?}");
                assert!(memchr::memmem::find(value, b"upstream-").is_none(), "{name} is the upstream's: {case:?}");
            }
            if status != 200 {
                assert_eq!(status, if up.is_empty() { status } else { 0 }, "refused, and yet asked: {case:?}");
                return false;
            }
            // Of what went up, all is the host's own but the trace, and the credential where config says so.
            for (name, value) in &up {
                let theirs = single(name).0.map(|value| value.trim_ascii());
                match name.as_str() {
                    "traceparent" | "tracestate" => assert_eq!(Some(value.as_slice()), theirs, "{case:?}"),
                    "authorization" | "x-api-key" if case.forward => {
                        assert_eq!(Some(value.as_slice()), theirs, "{case:?}");
                    }
                    "content-length" => {}
                    _ => assert_eq!(Some(value), plain[0].1.get(name), "{name} went up: {case:?}"),
                }
            }
            assert_eq!(
                up.contains_key("authorization"),
                !case.forward || single("authorization").0.is_some(),
                "{case:?}"
            );
            for name in own_words {
                assert!(up.contains_key(name), "{name} is missing: {case:?}");
            }
            true
        })
        .filter(|answered| std::future::ready(*answered))
        .count()
        .await;
    println!("{answered} of {CASES} were answered, the others refused");
    assert!(answered * 2 > CASES, "{answered}");
    // The cases are of the kind that matters.
    let some = |test: fn(&Case) -> bool| generated.iter().filter(|case| test(case)).count();
    assert!(some(|case| case.up.iter().any(|(name, _)| name == "connection")) > 500);
    assert!(some(|case| case.up.iter().any(|(_, value)| !is_text(value))) > 500);
    assert!(some(|case| case.down.iter().any(|(name, _)| name == "set-cookie")) > 500);
}
