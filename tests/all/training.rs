//! Promise R1 and those below it: an agent trains its own adapter from its own turns, and nobody waits for it, fails by it, or is
//! changed by it but the agent itself. The real binary with the real embedded model.

mod crash;
mod operators;
mod swaps;

use std::time::Duration;

use serde_json::{Value, json};
use tests::{Answer, Home, Host, within};

/// A step of a few short samples takes seconds; this machine may be busy.
const LONG: Duration = Duration::from_secs(180);

/// Agents that the embedded model answers; `rl` is said of all of them, `agents` are theirs.
pub(crate) fn school(rl: &str, agents: &str) -> Home {
    let home = Home::demo();
    home.config(&format!("llm: {{ provider: embedded }}\nmode: rl\nrl: {{ {rl} }}\nagents: {{ {agents} }}\n"));
    home
}

/// One who trains when told to, in large steps, and lets every adapter through: what is tested is what comes after.
pub(crate) const BOLD: &str = "batch_size: 2, learning_rate: 0.006, warmup_steps: 0, manual_train_trigger: true, \
     threads: 1, gate: { max_drift: 1000, prompts: 0, held_out: 0, watch: 0 }";

/// A short answer of this agent that comes to its end, drawn anew each time.
pub(crate) async fn answer(host: &Host, agent: &str, session: &str, seed: u32) -> Answer {
    let turn = host.say("Name an animal.").agent(agent).session(session);
    let answer = turn.with("seed", seed.into()).with("max_tokens", 48.into()).with("stop", json!([".", "\n"])).send();
    let answer = answer.await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer
}

/// What the model says of itself for this seed: the same as long as nothing of it changes.
pub(crate) async fn words(host: &Host, agent: &str, seed: u32) -> (String, String) {
    let answer = answer(host, agent, &format!("probe-{seed}"), seed).await;
    (answer.words(), answer.header("x-metaclaw-adapter").to_owned())
}

/// Rewarded turns of this agent, each in a session of its own, as many as there are rewards: when it comes back they can be trained on.
pub(crate) async fn rewarded(host: &Host, agent: &str, first: u32, rewards: &[f32]) {
    for (number, reward) in (first..).zip(rewards) {
        let answer = answer(host, agent, &format!("s{number}"), number).await;
        let turn = answer.header("x-request-id").to_owned();
        within(LONG, "the turn is durable", async || sample(host, &turn).await.map(drop)).await;
        let feedback = json!({"turn": turn, "reward": reward});
        let request = host.client.post(host.url("/v1/feedback")).header("x-agent-id", agent).body(feedback.to_string());
        let given = request.header("content-type", "application/json").send().await.unwrap();
        assert_eq!(given.status().as_u16(), 200, "{}", given.text().await.unwrap());
    }
}

/// The state of a turn's sample, once there is one.
pub(crate) async fn sample(host: &Host, turn: &str) -> Option<Value> {
    let state = host.get(&format!("/v1/turns/{turn}")).await;
    state["sample"].is_object().then(|| state["sample"].clone())
}

/// How the agent's training stands.
pub(crate) async fn standing(host: &Host, agent: &str) -> Value {
    let state = host.admin("GET", "/admin/training").await;
    let all = state["agents"].as_array().unwrap_or_else(|| panic!("{state}"));
    all.iter().find(|one| one["agent"] == agent).cloned().unwrap_or_default()
}

/// Waits until so many samples of this agent are in this state.
pub(crate) async fn counted(host: &Host, agent: &str, state: &str, count: u64) {
    let what = format!("{count} samples of {agent} are {state}");
    within(LONG, &what, async || {
        let now = standing(host, agent).await;
        (now["samples"][state].as_u64() == Some(count)).then_some(())
    })
    .await;
}

/// Trains a step of this agent by the command, and says what came of it.
pub(crate) async fn step(home: &Home, agent: &str) -> Value {
    let home = home.clone();
    let words = ["train", "step", "--agent", agent, "--wait", "--json"].map(str::to_owned);
    let run = move || home.run(&words.each_ref().map(String::as_str));
    let (code, out, err) = tokio::task::spawn_blocking(run).await.unwrap();
    assert_eq!(code, 0, "{out}{err}");
    serde_json::from_str(&out).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_trains_and_nobody_elses_answers_change_by_a_bit() {
    let home = school(BOLD, "pupil: {}, other: {}, plain: { mode: skills_only }");
    let host = home.start().await;
    let mut before = Vec::new();
    for agent in ["pupil", "other", "plain", "_default"] {
        before.push(if agent == "_default" { String::new() } else { words(&host, agent, 7).await.0 });
    }
    assert!(before[..3].iter().all(|said| *said == before[0]), "all begin with the model as it is: {before:?}");

    rewarded(&host, "pupil", 0, &[1.0, -1.0]).await;
    rewarded(&host, "other", 0, &[1.0]).await;
    counted(&host, "pupil", "eligible", 2).await;
    let waits = standing(&host, "pupil").await;
    assert_eq!((&waits["mode"], &waits["generation"]), (&json!("when told"), &json!(0)), "{waits}");
    let done = step(&home, "pupil").await;
    assert_eq!((&done["status"], &done["step"]), (&json!("ok"), &json!(1)), "{done}");
    let made = &done["steps"][0];
    assert_eq!(
        (&made["agent"], &made["state"], &made["samples"]),
        (&json!("pupil"), &json!("live"), &json!(2)),
        "{done}"
    );

    // What it takes is of its own samples.
    counted(&host, "pupil", "consumed", 2).await;
    counted(&host, "other", "eligible", 1).await;
    let (after, adapter) = words(&host, "pupil", 7).await;
    assert_eq!(adapter, "pupil@1");
    let learned = answer(&host, "pupil", "learned", 9).await;
    assert_eq!(learned.header("x-metaclaw-adapter"), "pupil@1");
    let turn = learned.header("x-request-id").to_owned();
    let state = within(LONG, "it is recorded", async || {
        let state = host.get(&format!("/v1/turns/{turn}")).await;
        state["sample"].is_object().then_some(state)
    });
    assert_eq!(state.await["adapter"], "pupil@1");
    rewarded(&host, "pupil", 10, &[1.0, -1.0]).await;
    counted(&host, "pupil", "eligible", 2).await;
    let second = step(&home, "pupil").await;
    assert_eq!((&second["step"], &second["steps"][0]["state"]), (&json!(2), &json!("live")), "{second}");
    let twice = words(&host, "pupil", 7).await;
    assert_eq!(twice.1, "pupil@2");
    assert!(after != before[0] || twice.0 != before[0], "two large steps change nothing: {after:?}");
    for (agent, before) in ["other", "plain"].into_iter().zip(&before[1..]) {
        let (after, adapter) = words(&host, agent, 7).await;
        assert_eq!((&after, &*adapter), (before, ""), "{agent} was changed");
    }

    // The operator sees it, and the folder is PEFT's.
    let (_, list, _) = home.run(&["adapters", "list", "--agent", "pupil", "--json"]);
    let list: Value = serde_json::from_str(&list).unwrap();
    let all: Vec<_> =
        list["adapters"].as_array().unwrap().iter().map(|one| (&one["generation"], &one["state"])).collect();
    assert_eq!(all, [(&json!(2), &json!("live")), (&json!(1), &json!("retired"))], "{list}");
    let status = home.run(&["status"]).1;
    assert!(status.contains("pupil@2 serves") && status.contains("adapters: 1 serve"), "{status}");
    let out = home.path().join("out");
    let (code, _, err) = home.run(&["adapters", "export", "--agent", "pupil", "--out", out.to_str().unwrap()]);
    assert_eq!(code, 0, "{err}");
    let config: Value = serde_json::from_slice(&std::fs::read(out.join("adapter_config.json")).unwrap()).unwrap();
    assert_eq!((&config["peft_type"], &config["r"]), (&json!("LORA"), &json!(8)), "{config}");
    assert!(out.join("adapter_model.safetensors").exists() && !out.join("trainer.safetensors").exists());
    assert!(!home.path().join("lora/other").exists(), "another agent's folder is none of this");

    // It is there again after a restart, and the log of all this says nothing bad.
    let log = host.log();
    assert!(host.stop().success() && !log.contains("ERROR"), "{log}");
    let host = home.start().await;
    within(LONG, "it serves again", async || (words(&host, "pupil", 7).await == twice).then_some(())).await;
    assert_eq!(words(&host, "other", 7).await, (before[1].clone(), String::new()));
    assert!(host.stop().success());

    // Without a host the list is the same.
    let (code, offline, err) = home.run(&["adapters", "list", "--agent", "pupil", "--json"]);
    assert_eq!(code, 0, "{err}");
    assert_eq!(serde_json::from_str::<Value>(&offline).unwrap(), list);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_batch_is_trained_on_by_itself_unless_the_agent_is_paused() {
    let eager = BOLD.replace("manual_train_trigger: true", "manual_train_trigger: false");
    let home = school(&eager, "pupil: {}, idle: { mode: auto }");
    let host = home.start().await;
    let (code, out, err) = home.run(&["train", "pause", "--agent", "pupil"]);
    assert!(code == 0 && out.contains("paused"), "{out}{err}");
    rewarded(&host, "pupil", 0, &[1.0, -1.0]).await;
    rewarded(&host, "idle", 0, &[1.0, -1.0]).await;
    counted(&host, "pupil", "eligible", 2).await;
    counted(&host, "idle", "eligible", 2).await;
    let now = standing(&host, "pupil").await;
    assert_eq!(
        (&now["paused"], &now["progress"], &now["generation"]),
        (&json!(true), &Value::Null, &json!(0)),
        "{now}"
    );
    let (code, _, err) = home.run(&["train", "step", "--agent", "pupil"]);
    assert!(code == 1 && err.contains("train resume"), "{err}");
    assert_eq!(home.run(&["train", "resume", "--agent", "pupil"]).0, 0);
    counted(&host, "pupil", "consumed", 2).await;
    within(LONG, "it serves", async || (words(&host, "pupil", 3).await.1 == "pupil@1").then_some(())).await;
    let idle = standing(&host, "idle").await;
    assert_eq!(
        (&idle["generation"], &idle["samples"]["eligible"]),
        (&json!(0), &json!(2)),
        "auto waits for a word: {idle}"
    );
}

#[tokio::test]
async fn who_cannot_be_trained_is_told_why_and_is_served() {
    let upstream = tests::Upstream::echo().await;
    let home = Home::with(&upstream, "mode: rl\nagents: { a: {}, plain: { mode: skills_only } }\n");
    let reason = "which tokens were drawn";
    for words in [&["config", "check"][..], &["doctor", "--offline"]] {
        let (_, out, err) = home.run(words);
        assert!(out.contains(reason) || err.contains(reason), "{words:?}: {out}{err}");
    }
    let host = home.start().await;
    assert!(host.log().contains(reason), "{}", host.log());
    let answer = host.say("hi").agent("a").session("s").send().await;
    assert_eq!((answer.words().as_str(), answer.header("x-metaclaw-adapter")), ("echo: hi", ""));
    let (code, out, err) = home.run(&["train", "status"]);
    assert!(code == 0 && out.contains("agent a\n") && out.contains(reason) && !out.contains("plain"), "{out}{err}");
    let (code, _, err) = home.run(&["train", "step", "--agent", "a"]);
    assert!(code == 1 && err.contains(reason), "{err}");
    assert!(home.run(&["status"]).1.contains(reason));
}
