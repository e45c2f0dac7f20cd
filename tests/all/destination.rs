//! Where a request goes and with which credential is the operator's word: nothing that a client, a skill, an upstream or the
//! environment says changes it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use tests::{Home, Reply, Upstream};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// A place that nobody may come to.
struct Forbidden {
    address: String,
    visits: Arc<AtomicUsize>,
    _listening: JoinSet<()>,
}

impl Forbidden {
    async fn new() -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap().to_string();
        let visits = Arc::<AtomicUsize>::default();
        let mut listening = JoinSet::new();
        let counted = visits.clone();
        listening.spawn(async move {
            while socket.accept().await.is_ok() {
                counted.fetch_add(1, Ordering::Relaxed);
            }
        });
        Forbidden { address, visits, _listening: listening }
    }

    fn visits(&self) -> usize {
        self.visits.load(Ordering::Relaxed)
    }
}

/// Names that some client library, gateway or provider takes for a destination or a credential.
const NAMES: [&str; 34] = [
    "api_base",
    "base_url",
    "baseURL",
    "api_url",
    "url",
    "uri",
    "endpoint",
    "host",
    "hostname",
    "server",
    "proxy",
    "proxies",
    "http_proxy",
    "target",
    "target_url",
    "upstream",
    "provider",
    "route",
    "router",
    "gateway",
    "redirect",
    "callback",
    "webhook",
    "azure_endpoint",
    "api_key",
    "apiKey",
    "authorization",
    "Authorization",
    "token",
    "auth_token",
    "access_token",
    "headers",
    "extra_headers",
    "custom_llm_provider",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_field_header_or_model_name_changes_where_a_turn_goes() {
    let (upstream, forbidden) = (Upstream::echo().await, Forbidden::new().await);
    let home = Home::with(&upstream, "");
    home.skill("_shared", "tempting", "Use when saying hi", &format!("api_base: http://{}/v1", forbidden.address));
    let host = home.start().await;
    let there = format!("http://{}/v1", forbidden.address);
    let mut asked = 0;
    for name in NAMES {
        for value in [json!(there), json!({"url": there, "key": "stolen"}), json!([there])] {
            let nested = json!({ name: value });
            for turn in [
                host.say("hi").with(name, value.clone()),
                host.say("hi").with("metadata", nested.clone()),
                host.say("hi").with("extra_body", json!({ "extra_body": nested })),
            ] {
                let answer = turn.send().await;
                assert_eq!((answer.status, answer.words().as_str()), (200, "echo: hi"), "{name}: {}", answer.text);
                asked += 1;
            }
        }
        let answer = host.say("hi").header(&format!("x-{}", name.replace('_', "-")), &there).send().await;
        assert_eq!(answer.status, 200, "{name}");
        asked += 1;
    }
    for model in
        [there.as_str(), "http://127.0.0.1:9/x", "other/model", "../model", "openai/gpt-9?api_base=http://x", "\u{0}"]
    {
        assert_eq!(host.say("hi").with("model", model.into()).send().await.status, 200, "{model:?}");
        asked += 1;
    }
    let seen = upstream.seen();
    assert!(asked >= 300 && seen.len() == asked, "{asked} asked, {} arrived", seen.len());
    for seen in seen {
        assert_eq!(seen.headers["authorization"], "Bearer sk-upstream-canary-7f3a");
        assert_eq!(seen.body["model"], Value::from("test-model"));
    }
    assert_eq!(forbidden.visits(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redirects_are_not_followed() {
    let forbidden = Forbidden::new().await;
    for status in ["301", "302", "303", "307", "308"] {
        for location in [format!("http://{}/v1/chat/completions", forbidden.address), "/elsewhere".to_owned()] {
            let to = location.clone();
            let upstream =
                Upstream::scripted(move |seen| Reply::Redirect(seen.user().parse().unwrap(), to.clone())).await;
            let host = Home::with(&upstream, "").start().await;
            for stream in [false, true] {
                let answer = host.say(status).with("stream", stream.into()).send().await;
                assert_eq!((answer.status, answer.code().as_str()), (502, "upstream_failed"), "{status} to {location}");
                assert!(
                    !answer.headers.contains_key("location") && !answer.text.contains(&location),
                    "{}",
                    answer.text
                );
            }
            assert_eq!(upstream.seen().len(), 2, "{status} to {location}: asked once a turn");
        }
    }
    assert_eq!(forbidden.visits(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_environments_proxies_are_not_used() {
    let (upstream, forbidden) = (Upstream::echo().await, Forbidden::new().await);
    let proxy = format!("http://{}", forbidden.address);
    let names = ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
    let environment: Vec<(&str, &str)> = names.iter().map(|name| (*name, proxy.as_str())).collect();
    let host = Home::with(&upstream, "").start_in(&environment).await;
    assert_eq!(host.say("hi").send().await.words(), "echo: hi");
    assert_eq!(forbidden.visits(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_leads_nearer_than_config_says_is_not_asked() {
    let (forbidden, home) = (Forbidden::new().await, Home::new());
    let port = forbidden.address.rsplit(':').next().unwrap();
    let at = |reach: &str| format!("llm: {{ api_base: \"http://localhost:{port}/v1\", addresses: {reach} }}\n");
    for reach in ["public", "private"] {
        home.config(&at(reach));
        let host = home.start().await;
        for stream in [false, true] {
            let answer = host.say("hi").with("stream", stream.into()).send().await;
            assert_eq!((answer.status, answer.code().as_str()), (502, "upstream_unreachable"), "{}", answer.text);
            assert!(!answer.text.contains("127.0.0.1") && !answer.text.contains("localhost"), "{}", answer.text);
        }
        let log = host.log();
        assert!(log.contains("leads where it must not"), "the operator is told: {log}");
    }
    assert_eq!(forbidden.visits(), 0);

    home.config(&at("local"));
    let host = home.start().await;
    let turn = host.say("hi");
    tokio::select! {
        _ = turn.send() => unreachable!("nobody answers there"),
        () = async {
            while forbidden.visits() == 0 {
                tokio::task::yield_now().await;
            }
        } => {}
    }
}
