//! Who waits for a registry, and for how long.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::Response;
use domain::Digest;
use tests::{Home, Host, Registry, Upstream};
use tokio::net::TcpListener;

use super::{own, policy, push, said};

/// One that takes connections and says nothing.
async fn silent() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

fn reference(registry: &TcpListener, name: &str) -> String {
    format!("\"oci://{}/{name}@sha256:{}\"", registry.local_addr().unwrap(), Digest::of(name.as_bytes()))
}

/// A registry that says nothing holds up neither the turns of others nor the end.
#[tokio::test]
async fn a_host_that_waits_for_a_registry_serves_and_can_be_stopped() {
    let upstream = Upstream::echo().await;
    let silent = silent().await;
    let home = Home::with(&upstream, "");
    let host = home.start().await;
    home.config(&format!("{}{}", upstream.llm(), own(&reference(&silent, "p"))));
    let (_waiting, _) = silent.accept().await.unwrap();
    let began = Instant::now();
    assert_eq!(said(&host, "own").await, "200 builtin", "the old configuration serves until the new one is there");
    assert!(host.stop().success());
    assert!(began.elapsed() < Duration::from_secs(5), "it took {:?}", began.elapsed());
}

/// However many modules and registries a configuration has, a start waits for all of them ten seconds, and then serves whom it can.
#[tokio::test]
async fn silent_registries_hold_up_a_start_for_ten_seconds_at_most() {
    let upstream = Upstream::echo().await;
    let registries = [silent().await, silent().await, silent().await, silent().await];
    let home = Home::with(&upstream, &own(&reference(&registries[0], "p")));
    let host = home.start().await;
    assert_eq!(said(&host, "own").await, "503 policy_unavailable");
    assert_eq!(said(&host, "other").await, "200 builtin");
    logged(&host, "too slow").await;
    drop(host);

    let agents: Vec<String> =
        (0..12).map(|n| format!("a{n}: {{ policy: {} }}", reference(&registries[n % 4], &format!("p{n}")))).collect();
    home.config(&format!("{}agents: {{ {} }}\n", upstream.llm(), agents.join(", ")));
    let host = home.start().await;
    assert_eq!(said(&host, "a11").await, "503 policy_unavailable");
    assert_eq!(said(&host, "other").await, "200 builtin");
    // What is asked first uses the time up, and the rest is not asked at all.
    logged(&host, "no time left").await;
}

async fn logged(host: &Host, words: &str) {
    tests::within(Duration::from_secs(10), words, async || host.log().contains(words).then_some(())).await;
}

/// Nobody has to do anything when a registry comes back: the host asks again after ten seconds.
#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_comes_back_is_asked_again() {
    let upstream = Upstream::echo().await;
    let sound = Registry::start().await;
    let home = Home::new();
    let pinned = push(&home, &policy(), &sound.reference("team/topics:1"), &[]);
    let ill = Arc::new(AtomicBool::new(true));
    let sick = ill.clone();
    let broken = || Response::builder().status(503).body(Body::empty()).unwrap();
    let registry = Registry::scripted(move |_| sick.load(Relaxed).then(broken)).await;
    registry.copy_of(&sound);
    let pinned = pinned.replace(&sound.name(), &registry.name());
    home.config(&format!("{}{}", upstream.llm(), own(&format!("\"{pinned}\""))));
    let host = home.start().await;
    assert_eq!(said(&host, "own").await, "503 policy_unavailable");
    ill.store(false, Relaxed);
    let served = async || (said(&host, "own").await == "200 policy").then_some(());
    tests::within(Duration::from_secs(30), "the host asks again", served).await;
}
