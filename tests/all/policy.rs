//! Policies in the real host: what they decide shows, what they may not do does not happen, and how they fail is decided.

use std::time::{Duration, Instant};

use tests::{Home, Host, Upstream, guest};

/// A host whose agent `own` has this guest with these settings, and whose other agents have the built-in policy.
async fn host(upstream: &Upstream, module: &str, settings: &str, more: &str) -> (Home, Host) {
    let home = Home::with(
        upstream,
        // However busy the machine is, it is never the wall clock that ends a call.
        &format!(
            "agents: {{ own: {{ {more} policy: {{ module: \"{module}\", config: {settings}, limits: {{ wall: 20s }} }} }} }}\n"
        ),
    );
    home.skill("_shared", "file-tickets", "Use when filing tickets", "TICKETS");
    let host = home.start_with(&["--dev"]).await;
    (home, host)
}

#[tokio::test]
async fn a_policy_refuses_in_ordinary_answers_and_leads_with_its_skill() {
    let upstream = Upstream::echo().await;
    let module = guest("examples/two-agents/policy");
    let settings = "{ refuse: [horoscope], first_skill: house-style }";
    let (home, _) = host(&upstream, module.to_str().unwrap(), settings, "").await;
    home.skill("own", "house-style", "How we write", "HOUSE");
    let host = home.start_with(&["--dev"]).await;
    for stream in [false, true] {
        let answer = host.say("read my Horoscope").agent("own").with("stream", stream.into()).send().await;
        assert_eq!(answer.status, 200);
        assert!(answer.words().contains("horoscope"), "{}", answer.text);
        assert!(answer.header("x-metaclaw-policy").ends_with("source=policy"));
    }
    assert!(upstream.seen().is_empty(), "no model was asked");
    host.say("filing tickets").agent("own").send().await;
    let system = upstream.last().system();
    assert!(system.find("HOUSE").unwrap() < system.find("TICKETS").unwrap(), "{system}");
    host.say("read my horoscope, filing tickets").agent("other").send().await;
    assert!(upstream.last().system().contains("TICKETS"), "another agent is not refused");
    let module = std::fs::read(guest("examples/two-agents/policy")).unwrap();
    let digest = domain::Digest::of(&module).short();
    assert_eq!(host.say("x").agent("own").send().await.header("x-metaclaw-policy"), format!("{digest}; source=policy"));
}

/// A hostile handful: each is contained, named in a header and a metric, and neither its own agent nor another stops being served.
#[tokio::test]
async fn whatever_a_guest_does_its_turns_are_answered_and_others_are_not_touched() {
    let upstream = Upstream::echo().await;
    let module = guest("tests/guests/misbehaving");
    for (behaviour, class) in [
        ("loop", "cpu"),
        ("recurse", "stack"),
        ("memory-bomb", "memory"),
        ("panic", "trap"),
        ("unknown-skill", "bad_output"),
        ("duplicate", "bad_output"),
        ("foreign-target", "bad_output"),
        ("problem", "policy_error"),
    ] {
        let (_home, host) = host(&upstream, module.to_str().unwrap(), &format!("{{ do: {behaviour} }}"), "").await;
        let (hostile, neighbour) = tokio::join!(
            host.say("filing tickets").agent("own").send(),
            host.say("filing tickets").agent("neighbour").send()
        );
        assert_eq!((hostile.status, hostile.words().as_str()), (200, "echo: filing tickets"), "{behaviour}");
        let said = hostile.header("x-metaclaw-policy").to_owned();
        assert_eq!(said, format!("builtin; source=builtin; failed={class}"), "{behaviour}");
        assert_eq!(
            (neighbour.status, neighbour.header("x-metaclaw-policy")),
            (200, "builtin; source=builtin"),
            "{behaviour}"
        );
        assert!(upstream.last().system().contains("TICKETS"), "{behaviour}: the built-in chose");
        let counted = host.text("/metrics").await;
        assert!(counted.contains(&format!("class=\"{class}\"")), "{behaviour}: {counted}");
        assert_eq!(host.say("again").agent("own").send().await.status, 200, "{behaviour}");
    }
}

/// A filter that always uses up its time is many seconds behind soon. Only its own samples wait for it.
#[tokio::test]
async fn a_slow_filter_holds_up_nobody_elses_records() {
    let upstream = Upstream::echo().await;
    let module = guest("tests/guests/misbehaving");
    let settings = "{ do: loop, in: filter }";
    let (_home, host) = host(&upstream, module.to_str().unwrap(), settings, "mode: rl,").await;
    futures_util::future::join_all((0..64).map(|_| host.say("hi").agent("own").send())).await;
    let began = Instant::now();
    let turn = host.say("hi").agent("neighbour").send().await.header("x-request-id").to_owned();
    let recorded = async || (host.get(&format!("/v1/turns/{turn}")).await["outcome"] == "complete").then_some(());
    tests::until("the neighbour's turn is recorded", recorded).await;
    assert!(began.elapsed() < Duration::from_secs(3), "it took {:?}", began.elapsed());
}

#[tokio::test]
async fn a_module_that_cannot_be_had_takes_its_own_agent_out_of_service_only() {
    let upstream = Upstream::echo().await;
    let module = guest("examples/two-agents/policy");
    let wrong = "0".repeat(64);
    for policy in [
        "module: /nowhere.wasm".to_owned(),
        format!("module: \"{}\", sha256: \"{wrong}\"", module.display()),
        format!("module: \"{}\", config: {{ refuse: 7 }}", module.display()),
        format!("module: \"{}\"", tests::root().join("README.md").display()),
    ] {
        let home = Home::with(&upstream, &format!("agents: {{ own: {{ policy: {{ {policy} }} }} }}\n"));
        let host = home.start_with(&["--dev"]).await;
        let own = host.say("hi").agent("own").send().await;
        assert_eq!((own.status, own.code().as_str()), (503, "policy_unavailable"), "{policy}: {}", own.text);
        assert_eq!(host.say("hi").agent("other").send().await.status, 200, "{policy}");
    }
    let home =
        Home::with(&upstream, &format!("agents: {{ own: {{ policy: {{ module: \"{}\" }} }} }}\n", module.display()));
    let (code, _, err) = home.run(&["start", "--port", "0"]);
    assert_eq!(code, 64, "outside --dev a module without `sha256` is refused: {err}");
    assert!(err.contains("sha256"), "{err}");
}

#[tokio::test]
async fn the_sample_filter_decides_what_is_kept_and_why_not() {
    let upstream = Upstream::scripted(|seen| {
        tests::Reply::Words(if seen.user() == "say nothing" { "  ".into() } else { "words".into() })
    })
    .await;
    let home = Home::with(&upstream, "agents: { learner: { mode: rl }, plain: { mode: skills_only } }\n");
    let host = home.start().await;
    for (agent, text, kind, want) in [
        ("learner", "say words", "main", Some("captured")),
        ("learner", "say nothing", "main", Some("dropped")),
        ("learner", "say words", "side", None),
        ("plain", "say words", "main", None),
    ] {
        let answer = host.say(text).agent(agent).header("x-turn-type", kind).send().await;
        let id = answer.header("x-request-id").to_owned();
        let state = tests::until("it is durable", async || {
            let state = host.get(&format!("/v1/turns/{id}")).await;
            (state["outcome"] == "complete" && (want.is_none() || state["sample"].is_object())).then_some(state)
        })
        .await;
        assert_eq!(state["sample"]["state"].as_str(), want, "{agent} {text} {kind}");
    }
}

/// Where the operator wants it, one instance serves turn after turn of its agent, and of no other; a reload begins anew.
#[tokio::test]
async fn a_warm_instance_remembers_its_own_agents_turns_only() {
    let upstream = Upstream::echo().await;
    let module = guest("tests/guests/misbehaving");
    let agents = |more: &str| {
        let policy = format!(
            "{{ module: \"{}\", config: {{ do: count }}, instances: {{ warm: 1 }}, limits: {{ wall: 20s {more} }} }}",
            module.display()
        );
        format!("agents: {{ _default: {{ policy: {policy} }}, named: {{ policy: {policy} }} }}\n")
    };
    let home = Home::with(&upstream, &agents(""));
    let host = home.start_with(&["--dev"]).await;
    let count = async |agent: &str| host.say("hi").agent(agent).send().await.words();
    for (agent, before) in [("named", "0"), ("named", "1"), ("stranger", "0"), ("named", "2"), ("another", "0")] {
        assert_eq!(count(agent).await, before, "{agent}");
    }
    home.config(&format!("{}{}", upstream.llm(), agents(", queue: 30ms")));
    assert_eq!(home.run(&["reload"]).0, 0);
    assert_eq!(count("named").await, "0");
}
