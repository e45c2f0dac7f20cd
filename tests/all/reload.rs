//! A running host takes over what changes, and keeps what works when the new does not.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use futures_util::StreamExt;
use rustix::process::Signal;
use serde_json::Value;
use tests::{Home, Host, Reply, Upstream, guest, until};

use crate::grants;
use crate::streaming::by_hand;

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
    let unmade = "upstreams: { other: { provider: embedded, models: [no-such-model] } }\n";
    home.config(&format!("{}{unmade}agents: {{ a: {{ mode: rl }} }}\n", upstream.llm()));
    let problems = hang_up(&host).await;
    assert!(problems[0].contains("no-such-model"), "{problems:?}");
    host.say("tides?").agent("a").send().await;
    assert!(!upstream.last().system().contains("TIDES"), "what it says of skills has not been taken over either");
}

/// Upstreams come, move, change their credential and go; each turn is whole, and the one that has begun goes on where it began.
#[tokio::test]
async fn upstreams_are_taken_over() {
    let (first, second) = (Upstream::echo().await, Upstream::echo().await);
    let (stream, feed) = by_hand().await;
    let home = Home::new();
    let key = home.path().join("provider.key");
    put_key(&key, "sk-one");
    let config = |upstreams: &[(&str, &Upstream, &str)], agent: &str| {
        let one = |(name, upstream, more): &(&str, &Upstream, &str)| {
            let key = key.display();
            let base = upstream.base();
            format!("  {name}: {{ api_base: \"{base}\", api_key: \"file:{key}\", models: [m]{more} }}\n")
        };
        let all: String = upstreams.iter().map(one).collect();
        home.config(&format!("upstreams:\n{all}agents: {{ a: {{ upstream: {agent} }} }}\n"));
    };
    config(&[("default", &first, "")], "default");
    let host = home.start().await;
    let say = async || host.say("hi").agent("a").send().await;
    assert_eq!((say().await.words().as_str(), first.seen().len()), ("echo: hi", 1));

    config(&[("default", &second, "")], "default");
    assert_eq!(hang_up(&host).await, Vec::<String>::new());
    assert_eq!((say().await.status, first.seen().len(), second.seen().len()), (200, 1, 1), "it has moved");

    config(&[("default", &second, ""), ("stream", &stream, "")], "stream");
    assert_eq!(hang_up(&host).await, Vec::<String>::new());
    let begun = host.say("hi").agent("a").with("stream", true.into());
    let (response, sender) = tokio::join!(begun.begin(), async {
        let sender = until("it is asked", async || feed.lock().unwrap().take()).await;
        sender.send(Ok("data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n".into())).await.unwrap();
        sender
    });
    config(&[("default", &second, ", timeouts: { total: 9s }")], "default");
    assert_eq!(hang_up(&host).await, Vec::<String>::new());
    assert_eq!((say().await.status, second.seen().len()), (200, 2), "it is gone");
    let end = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
    sender.send(Ok(end.into())).await.unwrap();
    drop(sender);
    let whole = response.text().await.unwrap();
    assert!(whole.contains("\"a\"") && whole.ends_with("data: [DONE]\n\n"), "{whole}");

    // Nobody tells the host: it looks at the files that hold secrets as well.
    put_key(&key, "sk-two");
    let shown = until("the new key is shown", async || {
        say().await;
        let shown = second.last().headers["authorization"].to_str().unwrap().to_owned();
        (shown != "Bearer sk-one").then_some(shown)
    });
    assert_eq!(shown.await, "Bearer sk-two");
}

/// What bounds clients, and how long sessions and answers may take.
#[tokio::test]
async fn limits_are_taken_over() {
    let (upstream, feed) = by_hand().await;
    let home = Home::with(&upstream, "proxy: { keep_alive: 0s, shutdown_grace: 10m }\n");
    let host = home.start().await;
    let long = async || host.say(&"x".repeat(100_000)).with("stream", true.into()).begin().await.status().as_u16();
    let limits =
        "sessions: { idle_timeout: 1s }\nproxy: { max_body: 64KiB, keep_alive: 20ms, shutdown_grace: 200ms }\n";
    home.config(&format!("{}{limits}", upstream.llm()));
    assert_eq!(hang_up(&host).await, Vec::<String>::new());
    assert_eq!(long().await, 413, "by default, a larger one is taken");
    // Before, nothing would have come before the upstream's first word.
    let response = host.say("hi").session("silent").with("stream", true.into()).begin().await;
    let _sender = until("the upstream is asked", async || feed.lock().unwrap().take()).await;
    let mut body = response.bytes_stream();
    assert_eq!(body.next().await.unwrap().unwrap(), ": keep-alive\n\n");
    drop(body);
    let ended = "metaclaw_sessions_ended_total{reason=\"idle\"}";
    until("silence ends the session", async || (host.metric(ended).await == 1).then_some(())).await;
    let _kept = host.say("hi").with("stream", true.into()).begin().await;
    // The upstream never ends this answer: with the grace from before, the host would wait for minutes.
    assert!(host.stop().success());
}

fn put_key(file: &Path, key: &str) {
    let new = file.with_extension("new");
    fs::write(&new, key).unwrap();
    fs::set_permissions(&new, Permissions::from_mode(0o600)).unwrap();
    fs::rename(new, file).unwrap();
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

/// A thousand changes of an agent's module and upstream and of the host's limits under load: no turn fails, each sees one version
/// whole, and the host holds no more at the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_reloads_disturb_no_turn() {
    // It answers with the name of the model that it is asked for.
    let upstream = Upstream::scripted(|seen| Reply::Words(seen.body["model"].as_str().unwrap().to_owned())).await;
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
        // Another patience makes another upstream, with other connections.
        let (base, patience) = (upstream.base(), 60 + skill.len());
        let llm = format!("llm: {{ api_base: \"{base}\", model_id: {skill}, timeouts: {{ total: {patience}s }} }}\n");
        let limits = format!("sessions: {{ idle_timeout: {patience}m }}\nproxy: {{ max_body: {patience}KiB }}\n");
        (format!("{llm}{limits}agents: {{ a: {{ mode: rl, policy: {policy} }} }}\n"), digest.short(), skill)
    });
    home.config(&versions[0].0);
    let host = home.start().await;
    let (turns, over) = (AtomicU64::new(0), AtomicBool::new(false));
    let speak = async || {
        while !over.load(Ordering::Relaxed) {
            let answer = host.say("tides and harbours").agent("a").send().await;
            assert_eq!(answer.status, 200, "{}", answer.text);
            let policy = answer.header("x-metaclaw-policy");
            let version = versions.iter().find(|(_, digest, _)| policy == format!("{digest}; source=policy"));
            let (.., model) = version.unwrap_or_else(|| panic!("{policy}"));
            assert_eq!(answer.words(), *model, "the module of one version, and the upstream of another");
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
