//! Who speaks: every kind of id has its decided outcome, and agents never meet.

use std::collections::HashSet;

use serde_json::Value;
use tests::{Home, Upstream};

/// Two agents, the same session ids and prompts, interleaved: nothing of one reaches the other.
#[tokio::test]
async fn two_agents_share_nothing_over_two_thousand_turns() {
    let upstream = Upstream::echo().await;
    let home = Home::with(&upstream, "agents: { alpha: { mode: rl }, beta: { mode: rl } }\n");
    home.skill("_shared", "shared-rule", "Use when harbours are described", "SHARED-BODY");
    home.skill("alpha", "report-style", "Use when a report is due", "ALPHA-BODY");
    home.skill("beta", "report-style", "Use when a report is due", "BETA-BODY");
    let host = home.start().await;
    let turns: Vec<(usize, String, String)> = futures_util::future::join_all((0..2000).map(|i| {
        let host = &host;
        async move {
            let agent = ["alpha", "beta"][i % 2];
            let session = format!("s{}", (i / 2) % 25);
            let answer = host.say(&format!("harbours report {}", i / 2)).agent(agent).session(&session).send().await;
            assert_eq!(answer.status, 200, "{}", answer.text);
            assert_eq!(answer.header("x-metaclaw-agent"), agent);
            (i, session, answer.header("x-request-id").to_owned())
        }
    }))
    .await;

    // What the upstream saw carries the words of the agent that spoke: with each text, once each body.
    let mut seen = std::collections::HashMap::<String, Vec<&str>>::new();
    for request in upstream.seen() {
        let system = request.system();
        assert!(system.contains("SHARED-BODY"), "{system}");
        let who = match (system.contains("ALPHA-BODY"), system.contains("BETA-BODY")) {
            (true, false) => "alpha",
            (false, true) => "beta",
            other => panic!("skills mixed or missing: {other:?}: {system}"),
        };
        seen.entry(request.user()).or_default().push(who);
    }
    assert_eq!(seen.len(), 1000);
    for (text, mut who) in seen {
        who.sort_unstable();
        assert_eq!(who, ["alpha", "beta"], "{text}");
    }

    // What is kept: each turn and its sample under its own agent and session.
    for (i, session, turn) in &turns {
        let state = tests::until("the sample is durable", async || {
            let state = host.get(&format!("/v1/turns/{turn}")).await;
            state["sample"].is_object().then_some(state)
        })
        .await;
        assert_eq!(
            (&state["agent"], &state["session"]),
            (&Value::from(["alpha", "beta"][i % 2]), &Value::from(session.as_str()))
        );
    }
    assert!(host.stop().success());
    let store = store::Store::open(&home.path().join("state"), store::StoreOptions::default()).await.unwrap();
    let mut ids = HashSet::new();
    for agent in ["alpha", "beta"] {
        let agent = domain::AgentId::Named(agent.parse().unwrap());
        let samples = store.samples(&agent, 5000).await.unwrap();
        assert_eq!(samples.len(), 1000);
        assert!(
            samples.iter().all(|s| s.sample.agent == agent && ids.insert(s.sample.turn)),
            "a sample in two buffers"
        );
        let sessions = store.sessions(&agent, 100).await.unwrap();
        assert_eq!(sessions.len(), 25);
        assert!(sessions.iter().all(|s| s.turns == 40 && s.ended.is_some()), "{sessions:?}");
    }
    store.close().await;
}

/// Ids that are not agent names get a 400 that says why; none becomes a folder or a server error.
#[tokio::test]
async fn every_kind_of_agent_id_has_its_decided_outcome() {
    let upstream = Upstream::echo().await;
    let home = Home::with(&upstream, "");
    home.skill("_shared", "s", "Use for tests", "x");
    let host = home.start().await;
    let a65 = "a".repeat(65);
    let a64 = "a".repeat(64);
    for (id, outcome) in [
        ("A", Ok("a")),
        ("Code-Reviewer_7", Ok("code-reviewer_7")),
        (&a64, Ok(&*a64)),
        ("../x", Err("invalid_identity")),
        ("..", Err("invalid_identity")),
        ("/etc", Err("invalid_identity")),
        ("a/b", Err("invalid_identity")),
        ("a\\b", Err("invalid_identity")),
        ("a%2fb", Err("invalid_identity")),
        ("_shared", Err("invalid_identity")),
        ("_default", Err("invalid_identity")),
        (&a65, Err("invalid_identity")),
        ("агент", Err("invalid_identity")),
        ("ａ", Err("invalid_identity")),
        ("a,b", Err("invalid_identity")),
        ("a b", Err("invalid_identity")),
        ("con", Err("invalid_identity")),
        ("", Err("invalid_identity")),
    ] {
        let answer = host.say("hi").agent(id).send().await;
        match outcome {
            Ok(agent) => assert_eq!((answer.status, answer.header("x-metaclaw-agent")), (200, agent), "{id:?}"),
            Err(code) => assert_eq!((answer.status, answer.code().as_str()), (400, code), "{id:?}"),
        }
    }
    let twice = host.say("hi").agent("a").agent("b").send().await;
    assert_eq!((twice.status, twice.code().as_str()), (400, "ambiguous_header"));
    for (name, value) in
        [("x-session-id", "a".repeat(300)), ("x-turn-type", "both".into()), ("x-user-id", "u".repeat(300))]
    {
        let answer = host.say("hi").header(name, &value).send().await;
        assert_eq!((answer.status, answer.code().as_str()), (400, "invalid_identity"), "{name}");
    }
    let mut folders: Vec<_> =
        std::fs::read_dir(home.path().join("skills")).unwrap().map(|e| e.unwrap().file_name()).collect();
    folders.sort();
    assert_eq!(folders, ["_shared"], "no request makes a folder");
}

#[tokio::test]
async fn unknown_agents_follow_the_configured_rule() {
    let upstream = Upstream::echo().await;
    for (rule, answers) in [
        ("agents_unknown: own\nagents_unknown_cap: 2\n", [(200, "n1"), (200, "n2"), (400, "")]),
        ("agents_unknown: default\n", [(200, "_default"), (200, "_default"), (200, "_default")]),
        ("agents_unknown: reject\n", [(400, ""), (400, ""), (400, "")]),
    ] {
        let host = Home::with(&upstream, rule).start().await;
        for (id, (status, agent)) in ["n1", "n2", "n3"].into_iter().zip(answers) {
            let answer = host.say("hi").agent(id).send().await;
            assert_eq!((answer.status, answer.header("x-metaclaw-agent")), (status, agent), "{rule} {id}");
        }
    }
}

#[tokio::test]
async fn turn_type_and_body_fallbacks_follow_metaclaw() {
    let upstream = Upstream::echo().await;
    let home = Home::with(&upstream, "");
    home.skill("", "greet-well", "Use when greeting people politely", "GREET");
    let host = home.start().await;
    let injected = async |turn: tests::Turn<'_>| {
        assert_eq!(turn.send().await.status, 200);
        upstream.last().system().contains("GREET")
    };
    let say = || host.say("greeting people politely");
    assert!(injected(say()).await, "neither session nor type: main");
    assert!(injected(say().session("s")).await);
    assert!(!injected(say().header("x-session-id", "s")).await, "a session without a type: side");
    assert!(!injected(say().header("x-turn-type", "side")).await);
    assert!(!injected(say().with("session_id", "s".into())).await);
    assert!(injected(say().with("session_id", "s".into()).with("turn_type", "main".into())).await);
    let sent = upstream.last().body;
    assert!(sent.get("session_id").is_none() && sent.get("turn_type").is_none(), "{sent}");
}

#[tokio::test]
async fn clients_without_headers_get_a_session_for_each_conversation() {
    let upstream = Upstream::echo().await;
    let host = Home::with(&upstream, "").start().await;
    let say = async |messages: &[(&str, &str)]| {
        let list: Vec<Value> =
            messages.iter().map(|(role, text)| serde_json::json!({"role": role, "content": text})).collect();
        host.say("").with("messages", list.into()).send().await.header("x-metaclaw-session").to_owned()
    };
    let first = say(&[("user", "hello")]).await;
    let going_on = say(&[("user", "hello"), ("assistant", "hi"), ("user", "more")]).await;
    let other = say(&[("user", "something else")]).await;
    let again = say(&[("user", "hello")]).await;
    assert_eq!(first, going_on);
    assert_eq!(HashSet::from([&first, &other, &again]).len(), 3, "{first} {other} {again}");
}
