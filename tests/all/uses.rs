//! Selection that learns from use: what is said of turns counts once, for one agent, and for good; a skill that harms sinks, one
//! that is useful rises, and a session keeps its prompt.

use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};
use tests::{Answer, Home, Host, Upstream, guest, until};

const SKILL: (&str, &str) = ("settle-accounts", "Keeps a list of unpaid invoices and when each payment is due");
/// Finds that skill by its words.
const QUESTION: &str = "is there an unpaid invoice?";

fn home(upstream: &Upstream, more: &str) -> Home {
    let home = Home::with(upstream, more);
    home.skill("_shared", SKILL.0, SKILL.1, "BILLS");
    home.skill("_shared", "french-poems", "Writes poems in French", "POEMS");
    home.skill("_shared", "hiking-routes", "Plans hiking trips in the mountains", "HIKING");
    home
}

/// Says of an agent's turn how it was, as soon as it is answered.
async fn feedback(host: &Host, agent: &str, said: &Value) -> (u16, Value) {
    let request = host.client.post(host.url("/v1/feedback")).header("x-agent-id", agent);
    let answer = request.header("content-type", "application/json").body(said.to_string()).send().await.unwrap();
    (answer.status().as_u16(), serde_json::from_str(&answer.text().await.unwrap()).unwrap())
}

/// Asks in a session of its own, says how it went, and gives back the prompt.
async fn rated(host: &Host, upstream: &Upstream, agent: &str, text: &str, said: Value) -> String {
    let answer = alone(host, agent, text).await;
    let system = upstream.last().system();
    let mut said = said;
    said["turn"] = answer.header("x-request-id").into();
    let (status, told) = feedback(host, agent, &said).await;
    assert_eq!((status, &told["changed"]), (200, &true.into()), "{told}");
    system
}

/// Asks in a session of its own.
async fn alone(host: &Host, agent: &str, text: &str) -> Answer {
    static SESSIONS: AtomicU32 = AtomicU32::new(0);
    let session = format!("alone-{}", SESSIONS.fetch_add(1, Ordering::Relaxed));
    let answer = host.say(text).agent(agent).session(&session).send().await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer
}

async fn prompt(host: &Host, upstream: &Upstream, agent: &str, text: &str) -> String {
    alone(host, agent, text).await;
    upstream.last().system()
}

/// What `skills explain` says of a skill.
fn explained(home: &Home, agent: &str, text: &str, skill: &str) -> Value {
    let (code, out, err) = home.run(&["skills", "explain", "--agent", agent, text, "--json"]);
    assert_eq!(code, 0, "{err}");
    let all: Value = serde_json::from_str(&out).unwrap();
    assert!(all["unknown"].is_null(), "{all}");
    all["skills"].as_array().unwrap().iter().find(|one| one["name"] == skill).unwrap().clone()
}

/// How turns with the skill ended: so many well, so many badly.
fn ends(home: &Home, agent: &str) -> (f64, f64) {
    let uses = explained(home, agent, QUESTION, SKILL.0)["uses"].clone();
    let sum = |name: &str| (uses[name].as_f64().unwrap_or(0.0) * 100.0).round() / 100.0;
    (sum("succeeded"), sum("failed"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_counts_once_and_the_last_word_on_it() {
    let upstream = Upstream::echo().await;
    let home = home(&upstream, "");
    let host = home.start().await;
    // At once after its answer, and again and again.
    let turn = alone(&host, "a", QUESTION).await.header("x-request-id").to_owned();
    for (said, changed, want) in [
        (json!({"rating": "up"}), true, (1.0, 0.0)),
        (json!({"rating": "up"}), false, (1.0, 0.0)),
        (json!({"reward": 1.0}), false, (1.0, 0.0)),
        (json!({"reward": -0.5}), true, (0.0, 0.5)),
        (json!({"skills": [SKILL.0]}), true, (1.0, 0.0)),
        (json!({"reward": -1, "skills": ["french-poems"]}), true, (0.0, 1.0)),
        (json!({"reward": 0}), true, (0.0, 0.0)),
        (json!({"reward": 0.25}), true, (0.25, 0.0)),
    ] {
        let mut body = said.clone();
        body["turn"] = turn.as_str().into();
        let (status, told) = feedback(&host, "a", &body).await;
        assert_eq!((status, &told["changed"]), (200, &changed.into()), "{said}: {told}");
        assert_eq!((told["turn"].as_str(), told["agent"].as_str()), (Some(&*turn), Some("a")));
        assert_eq!(ends(&home, "a"), want, "{said}");
    }
    let uses = explained(&home, "a", QUESTION, SKILL.0)["uses"].clone();
    assert_eq!((&uses["offered"], &uses["injected"]), (&1.into(), &1.into()), "{uses}");

    // The same word from many at once is one word.
    let turn = alone(&host, "a", QUESTION).await.header("x-request-id").to_owned();
    let said = json!({"turn": turn, "rating": "up"});
    let (one, two, three) =
        tokio::join!(feedback(&host, "a", &said), feedback(&host, "a", &said), feedback(&host, "a", &said));
    let changed = [one, two, three].iter().filter(|(_, told)| told["changed"] == true).count();
    assert_eq!((changed, ends(&home, "a")), (1, (1.25, 0.0)));
    host.kill();
    let host = home.start().await;
    assert_eq!(feedback(&host, "a", &said).await.1["changed"], false, "it is known after kill -9");
    assert_eq!(ends(&home, "a"), (1.25, 0.0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_understood_is_refused_with_what_would_be() {
    let upstream = Upstream::echo().await;
    let home = home(&upstream, "");
    let host = home.start().await;
    let turn = alone(&host, "a", QUESTION).await.header("x-request-id").to_owned();
    let theirs = alone(&host, "b", QUESTION).await.header("x-request-id").to_owned();
    for (body, status, code, word) in [
        (json!({"turn": turn}), 400, "invalid_feedback", "says nothing of the turn"),
        (json!({"turn": turn, "raiting": "up"}), 400, "invalid_feedback", "unknown field `raiting`"),
        (json!({"turn": turn, "reward": 2}), 400, "invalid_feedback", "-1 to 1"),
        (json!({"turn": turn, "skills": ["no-such"]}), 400, "unknown_skill", "metaclaw skills list --agent a"),
        (json!({"turn": turn, "rating": "up", "pad": "x".repeat(16 << 10)}), 413, "body_too_large", "16384"),
        (json!({"turn": theirs, "rating": "up"}), 404, "turn_not_found", "no turn has this id"),
        (json!({"turn": "x", "rating": "up"}), 404, "turn_not_found", "no turn has this id"),
    ] {
        let (got, told) = feedback(&host, "a", &body).await;
        let (error, message) = (&told["error"], told["error"]["message"].as_str().unwrap());
        assert_eq!((got, error["code"].as_str()), (status, Some(code)), "{told}");
        assert!(message.contains(word), "{word}: {message}");
    }
    // Another agent's turn, old or new, looks like one that nobody has made.
    let without_id = |mut told: Value| {
        told["error"]["request_id"] = Value::Null;
        told
    };
    let last = if theirs.ends_with('0') { "1" } else { "0" };
    let nowhere = json!({"turn": format!("{}{last}", &theirs[..theirs.len() - 1]), "rating": "up"});
    let theirs = json!({"turn": theirs, "rating": "up"});
    let (foreign, unknown) = tokio::join!(feedback(&host, "a", &theirs), feedback(&host, "a", &nowhere));
    assert_eq!((foreign.0, without_id(foreign.1)), (unknown.0, without_id(unknown.1)));
    assert_eq!((ends(&home, "a"), ends(&home, "b")), ((0.0, 0.0), (0.0, 0.0)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_skill_that_harms_one_agent_sinks_for_that_one_until_its_text_changes() {
    let upstream = Upstream::echo().await;
    let home = home(&upstream, "");
    let host = home.start().await;
    let down = || json!({"rating": "down"});
    let mut bad = 0;
    while prompt(&host, &upstream, "a", QUESTION).await.contains("BILLS") {
        rated(&host, &upstream, "a", QUESTION, down()).await;
        bad += 1;
        assert!(bad < 10, "{}", explained(&home, "a", QUESTION, SKILL.0));
    }
    assert!(bad > 2, "one bad turn, or two, are chance: {bad}");
    assert_eq!(prompt(&host, &upstream, "a", QUESTION).await, "", "though nothing else fits");
    let why = explained(&home, "a", QUESTION, SKILL.0);
    assert!(why["chosen"] == false && why["why"].as_str().unwrap().contains("ended badly too often"), "{why}");
    assert!(why["harm"].as_f64().unwrap() > 0.25, "{why}");
    assert!(prompt(&host, &upstream, "b", QUESTION).await.contains("BILLS"), "another agent has seen none of it");
    assert_eq!(explained(&home, "b", QUESTION, SKILL.0)["chosen"], true);

    host.kill();
    let host = home.start().await;
    assert_eq!(prompt(&host, &upstream, "a", QUESTION).await, "", "not forgotten after kill -9");
    home.skill("_shared", SKILL.0, SKILL.1, "BETTER BILLS");
    until("its new text is tried", async || {
        prompt(&host, &upstream, "a", QUESTION).await.contains("BETTER BILLS").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_skill_that_helped_is_found_for_what_it_helped_with() {
    let upstream = Upstream::echo().await;
    let home = home(&upstream, "");
    home.embedder("static");
    let host = home.start().await;
    let (taught, asked) = ("which boots for a muddy ridge on Sunday?", "my boots got muddy on the ridge again");
    until("every skill's meaning is known", async || {
        prompt(&host, &upstream, "a", "hiking in the mountains").await.contains("HIKING").then_some(())
    })
    .await;
    assert_eq!(prompt(&host, &upstream, "a", asked).await, "", "cold, nothing fits");
    for _ in 0..3 {
        rated(&host, &upstream, "a", taught, json!({"skills": ["hiking-routes"]})).await;
    }
    let system = prompt(&host, &upstream, "a", asked).await;
    assert!(system.contains("HIKING"), "{}", explained(&home, "a", asked, "hiking-routes"));
    assert!(!system.contains("POEMS") && !system.contains("BILLS"), "{system}");
    let why = explained(&home, "a", asked, "hiking-routes");
    assert!(why["use"].as_f64().unwrap() > why["cosine"].as_f64().unwrap() + 0.1, "{why}");
    assert_eq!(prompt(&host, &upstream, "b", asked).await, "", "another agent has learned nothing of it");
    host.kill();
    let host = home.start().await;
    assert!(prompt(&host, &upstream, "a", asked).await.contains("HIKING"), "not forgotten after kill -9");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_policy_makes_of_a_turn_counts_as_well_and_less_than_a_person() {
    let upstream = Upstream::echo().await;
    let module = guest("tests/guests/hooks");
    let digest = domain::Digest::of(&fs::read(&module).unwrap());
    let policy = format!("{{ module: {}, sha256: \"{digest}\" }}", module.display());
    let home = home(&upstream, &format!("agents: {{ a: {{ mode: rl, policy: {policy} }} }}\n"));
    let host = home.start().await;
    let turn = alone(&host, "a", QUESTION).await.header("x-request-id").to_owned();
    until("the policy's reward counts", async || (ends(&home, "a") == (0.0, 0.5)).then_some(())).await;
    let (_, told) = feedback(&host, "a", &json!({"turn": turn, "rating": "up"})).await;
    assert_eq!((&told["changed"], ends(&home, "a")), (&true.into(), (1.0, 0.0)));
}

/// Ten questions about one thing, in other words each time.
const BILLS: [&str; 10] = [
    QUESTION,
    "which payment is due first?",
    "and the second?",
    "thanks",
    "list the unpaid ones",
    "what is an invoice without a number good for?",
    "ok, go on",
    "when was that payment due?",
    "is any invoice paid twice?",
    "list all invoices again",
];

/// Sends a conversation as it has grown, and gives back the system prompt.
async fn grown(host: &Host, upstream: &Upstream, said: &[&str]) -> String {
    let roles = ["user", "assistant"].iter().cycle();
    let messages: Vec<Value> =
        said.iter().zip(roles).map(|(text, role)| json!({"role": role, "content": text})).collect();
    let turn = host.say("").agent("a").session("s").with("messages", messages.into());
    assert_eq!(turn.send().await.status, 200);
    upstream.last().system()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conversation_keeps_its_prompt_and_a_change_of_subject_gets_its_skill() {
    for embedder in [None, Some("static")] {
        let upstream = Upstream::echo().await;
        let home = home(&upstream, "");
        home.skill("_shared", "date-letters", "Puts a date on letters and lists", "DATES");
        if let Some(embedder) = embedder {
            home.embedder(embedder);
        }
        let host = home.start().await;
        until("every skill's meaning is known", async || {
            prompt(&host, &upstream, "a", "hiking in the mountains").await.contains("HIKING").then_some(())
        })
        .await;
        let mut said = Vec::new();
        let first = grown(&host, &upstream, &[BILLS[0]]).await;
        assert!(first.contains("BILLS"), "{first}");
        for question in BILLS {
            said.push(question);
            assert_eq!(grown(&host, &upstream, &said).await, first, "{embedder:?}: {question}");
            said.push("It is so.");
        }
        said.push("write French poems");
        let both = grown(&host, &upstream, &said).await;
        assert!(both.contains("POEMS"), "{embedder:?}: {both}");
        let kept = first.lines().filter(|line| !both.contains(line)).collect::<Vec<_>>();
        assert!(kept.is_empty() && both.contains("BILLS"), "what was there stays: {kept:?}");
        let order = ["BILLS", "POEMS"].map(|body| both.find(body).unwrap());
        assert!(order[0] < order[1], "and comes first, so that what the provider keeps begins the same: {both}");
        said.extend(["Voilà.", "which payment is due first?"]);
        assert_eq!(grown(&host, &upstream, &said).await, both, "{embedder:?}: back again");
        let (code, out, err) =
            home.run(&["skills", "explain", "--agent", "a", "--session", "s", "hiking in the mountains", "--json"]);
        assert_eq!(code, 0, "{err}");
        let session = serde_json::from_str::<Value>(&out).unwrap()["session"].clone();
        assert_eq!(session["before"], json!([SKILL.0, "french-poems"]));
        assert_eq!(session["after"], json!([SKILL.0, "french-poems", "hiking-routes"]), "{embedder:?}");
        // Another session of the same agent begins anew.
        assert!(!prompt(&host, &upstream, "a", "write French poems").await.contains("BILLS"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_has_no_more_skills_than_fit() {
    let upstream = Upstream::echo().await;
    let home = home(&upstream, "skills: { top_k: 2 }\n");
    let host = home.start().await;
    let mut said = vec![QUESTION];
    let first = grown(&host, &upstream, &said).await;
    said.extend(["Yes.", "write French poems"]);
    let both = grown(&host, &upstream, &said).await;
    assert!(first.contains("BILLS") && both.contains("BILLS") && both.contains("POEMS"), "{both}");
    said.extend(["Voilà.", "plans for hiking trips?"]);
    let third = grown(&host, &upstream, &said).await;
    assert!(third.contains("HIKING") && !third.contains("BILLS") && !third.contains("POEMS"), "{third}");
}
