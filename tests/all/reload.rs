//! A running host takes over what changes, and keeps what works when the new does not.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::process::Signal;
use serde_json::Value;
use tests::{Home, Host, Upstream, guest, until};

use crate::grants;

/// How often the host has read its configuration anew, and what it could not take over.
async fn reloads(host: &Host) -> (u64, Vec<String>) {
    let state = host.admin("GET", "/admin/status").await;
    let problems = state["reload_problems"].as_array().unwrap().iter().map(|p| p.as_str().unwrap().to_owned());
    (state["reloads"].as_u64().unwrap(), problems.collect())
}

/// Sends SIGHUP and waits until the host has done what it means.
async fn hang_up(host: &Host) -> Vec<String> {
    let (before, _) = reloads(host).await;
    host.signal(Signal::HUP);
    until("the host has read its configuration anew", async || {
        let (count, problems) = reloads(host).await;
        (count > before).then_some(problems)
    })
    .await
}

/// An edited file is taken over by itself, within some seconds.
#[tokio::test]
async fn a_changed_file_is_taken_over() {
    let upstream = Upstream::echo().await;
    let home = Home::with(&upstream, "agents: { a: { skills: { enabled: false } } }\n");
    home.skill("a", "tides", "Use when tides are asked for", "TIDES");
    let host = home.start().await;
    host.say("tides?").agent("a").send().await;
    assert!(!upstream.last().system().contains("TIDES"));
    home.config(&format!("{}agents: {{ a: {{}} }}\n", upstream.llm()));
    let injected = async || {
        host.say("tides?").agent("a").send().await;
        upstream.last().system().contains("TIDES").then_some(())
    };
    until("the new configuration serves", injected).await;
    assert_eq!(host.metric("metaclaw_reloads_total{result=\"ok\"}").await, 1);
}

/// A module in another version is taken over; one that does not load leaves the one before serving, and says why, in the log, in
/// `status`, in the metric and by the command's exit.
#[tokio::test(flavor = "multi_thread")]
async fn a_module_that_does_not_load_leaves_the_old_one_serving() {
    let upstream = Upstream::echo().await;
    let home = Home::new();
    let module = home.path().join("policy.wasm");
    let policy = format!("{{ module: {}, config: {{ refuse: [horoscope] }} }}", module.display());
    home.config(&format!("{}agents: {{ a: {{ policy: {policy} }}, b: {{}} }}\n", upstream.llm()));
    fs::copy(guest("examples/two-agents/policy"), &module).unwrap();
    let host = home.start_with(&["--dev"]).await;
    let decided = async || host.say("x").agent("a").send().await.header("x-metaclaw-policy").to_owned();
    let first = decided().await;
    assert!(first.ends_with("source=policy"), "{first}");

    fs::copy(guest("tests/guests/misbehaving"), &module).unwrap();
    assert_eq!(hang_up(&host).await, Vec::<String>::new());
    let second = decided().await;
    assert!(second.ends_with("source=policy") && second != first, "{second}");

    fs::write(&module, b"\0asm no component").unwrap();
    let problems = hang_up(&host).await;
    assert!(
        problems.len() == 1 && problems[0].contains("agent `a`") && problems[0].contains("serves on"),
        "{problems:?}"
    );
    assert_eq!(decided().await, second, "the old one serves");
    assert_eq!(host.say("x").agent("b").send().await.status, 200);
    assert_eq!(host.metric("metaclaw_reloads_total{result=\"partly\"}").await, 1);
    let (code, out, err) = home.run(&["reload"]);
    assert!(code == 1 && out.contains("agent `a`") && err.contains("what served before does"), "{code} {out} {err}");
    let (_, out, _) = home.run(&["status"]);
    assert!(out.contains("not taken over: agent `a`"), "{out}");

    fs::copy(guest("examples/two-agents/policy"), &module).unwrap();
    let (code, out, err) = home.run(&["reload"]);
    assert_eq!((code, out.trim()), (0, "reloaded"), "{err}");
    assert_eq!(decided().await, first);
}

/// What serves on because the new version cannot be had is held to the new configuration all the same: a grant that is gone is gone.
#[tokio::test]
async fn what_serves_on_has_no_grant_that_was_withdrawn() {
    let upstream = Upstream::echo().await;
    let module = guest("tests/guests/storing");
    let agents = |grants: &str| {
        let policy = format!("{{ module: \"{}\", grants: {{ lora: read, {grants} }} }}", module.display());
        format!("{}agents: {{ a: {{ policy: {policy} }} }}\n", upstream.llm())
    };
    let home = Home::new();
    home.config(&agents("skills: write, kv: 1KiB, log: 1KiB"));
    let host = home.start_with(&["--dev"]).await;
    assert_eq!(grants::tell(&host, "a", "write skills notes.txt words").await, "done");
    home.config(&agents("skills: read, kv: 1KiB, log: 1KiB"));
    let problems = hang_up(&host).await;
    assert!(problems[0].contains("skills: write") && problems[0].contains("serves on"), "{problems:?}");
    assert_eq!(grants::tell(&host, "a", "read skills notes.txt").await, "words");
    let refused = grants::tell(&host, "a", "write skills notes.txt others").await;
    assert!(refused.starts_with("not-granted"), "{refused}");
}

/// A configuration with a mistake changes nothing at all, and settings that need a start are named.
#[tokio::test]
async fn a_bad_configuration_changes_nothing() {
    let upstream = Upstream::echo().await;
    let home = Home::with(&upstream, "agents: { a: { mode: rl } }\n");
    home.skill("a", "tides", "Use when tides are asked for", "TIDES");
    let host = home.start().await;
    home.config(&format!("{}agents: {{ a: {{ skills: {{ enabled: false }}, mod: rl }} }}\n", upstream.llm()));
    let problems = hang_up(&host).await;
    assert!(problems[0].contains("agents.a.mod"), "{problems:?}");
    host.say("tides?").agent("a").send().await;
    assert!(upstream.last().system().contains("TIDES"), "nothing of it was taken over");
    home.config(&format!(
        "{}proxy: {{ port: 31999 }}\nagents: {{ a: {{ skills: {{ enabled: false }} }} }}\n",
        upstream.llm()
    ));
    let problems = hang_up(&host).await;
    assert!(problems.len() == 1 && problems[0].contains("proxy.port"), "{problems:?}");
    host.say("tides?").agent("a").send().await;
    assert!(!upstream.last().system().contains("TIDES"), "the rest of it was");
    let elsewhere = "upstreams: { other: { provider: custom, api_base: \"http://127.0.0.1:9/v1\" } }\n";
    home.config(&format!("{}{elsewhere}agents: {{ a: {{ upstream: other }} }}\n", upstream.llm()));
    let problems = hang_up(&host).await;
    assert!(problems[0].contains("`other`"), "{problems:?}");
    assert_eq!(host.say("tides?").agent("a").send().await.status, 200);
}

/// Keys come and go with the configuration.
#[tokio::test]
async fn keys_are_taken_over() {
    let upstream = Upstream::echo().await;
    let home = Home::with(&upstream, "");
    let host = home.start_in(&[("NEW_KEY", "alpha-8d1e5c90b37f264a")]).await;
    let status = async |key: &str| host.say("x").header("authorization", &format!("Bearer {key}")).send().await.status;
    assert_eq!(status("anything").await, 200);
    home.config(&format!("{}agents: {{ a: {{ client_key: \"env:NEW_KEY\" }} }}\n", upstream.llm()));
    assert_eq!(hang_up(&host).await, Vec::<String>::new());
    assert_eq!((status("anything").await, status("alpha-8d1e5c90b37f264a").await), (401, 200));
}

/// A thousand changes of an agent's module and settings under load: no turn fails, each sees one version whole, and the host
/// holds no more at the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_reloads_disturb_no_turn() {
    let upstream = Upstream::echo().await;
    let home = Home::with(&upstream, "");
    for skill in ["ebbs", "floods", "harbours"] {
        home.skill("a", skill, "Use for tides and harbours", "T");
    }
    // Three modules, so that the one that comes is neither in use nor the previous one; each leads with another skill.
    let module = fs::read(guest("examples/two-agents/policy")).unwrap();
    let versions = ["ebbs", "floods", "harbours"].map(|skill| {
        let bytes = [&module[..], &[0, 1 + 1 + skill.len() as u8, skill.len() as u8], skill.as_bytes(), b"."].concat();
        let file = home.path().join(format!("{skill}.wasm"));
        fs::write(&file, &bytes).unwrap();
        let (file, digest) = (file.display(), domain::Digest::of(&bytes));
        let policy = format!(
            "{{ module: {file}, sha256: \"{digest}\", config: {{ first_skill: {skill} }}, instances: {{ warm: 2 }} }}"
        );
        (format!("{}agents: {{ a: {{ mode: rl, policy: {policy} }} }}\n", upstream.llm()), digest.short())
    });
    home.config(&versions[0].0);
    let host = home.start().await;
    let (turns, over) = (AtomicU64::new(0), AtomicBool::new(false));
    let speak = async || {
        while !over.load(Ordering::Relaxed) {
            let answer = host.say("tides and harbours").agent("a").send().await;
            assert_eq!(answer.status, 200, "{}", answer.text);
            let policy = answer.header("x-metaclaw-policy");
            assert!(versions.iter().any(|(_, digest)| policy == format!("{digest}; source=policy")), "{policy}");
            turns.fetch_add(1, Ordering::Relaxed);
        }
    };
    let change = async {
        let mut early = None;
        for round in 1..=1100 {
            home.config(&versions[round % 3].0);
            assert_eq!(hang_up(&host).await, Vec::<String>::new(), "round {round}");
            if round == 100 {
                early = Some((host.resident(), host.open_files().len()));
            }
        }
        let (early, late) = (early.unwrap(), (host.resident(), host.open_files().len()));
        println!("MiB and open files: {early:?} after 100 reloads, {late:?} after 1,100");
        assert!(late.0 <= early.0 + 32 && late.1 <= early.1 + 2, "{early:?} {late:?}");
        over.store(true, Ordering::Relaxed);
    };
    tokio::join!(speak(), speak(), speak(), change);
    assert!(turns.load(Ordering::Relaxed) > 1000, "{turns:?}");
    assert!(host.metric("metaclaw_reloads_total{result=\"ok\"}").await >= 1000);
    let ready: Value = host.get("/readyz").await;
    assert_eq!(ready["ready"], true);
}
