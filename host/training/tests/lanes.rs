//! Each agent trains its own adapter from its own samples, one step at a time, and nothing of it reaches another.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod world;

use std::time::Duration;

use domain::{SampleState, TokenTrace};
use serde_json::json;
use store::AdapterState;
use training::{Mode, OperatorError};
use world::{World, agent, even, odd, record, until};

/// How many steps each of two agents takes.
const ROUNDS: u64 = 12;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_agent_learns_its_own_reward_and_who_gets_none_stays_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::new(dir.path(), &["even", "odd", "still"]).await;
    for name in ["even", "odd", "still"] {
        world.change(name, |settings| (settings.batch_size, settings.adam.learning_rate) = (12, 0.02));
    }
    world.start();
    let mut first = Vec::new();
    for round in 0..ROUNDS {
        let seeds = round * 12..round * 12 + 12;
        world.play("even", "numbers?", seeds.clone(), even).await;
        world.play("odd", "numbers?", seeds, odd).await;
        for name in ["even", "odd"] {
            world.serves(name, round + 1).await;
        }
        if round == 0 {
            first = world.store.adapters(&agent("even")).await.unwrap();
        }
    }
    assert_eq!((first.len(), first[0].generation, first[0].parent), (1, 1, 0));
    let mean = async |name: &str, reward: fn(&[u32]) -> f32| {
        let mut sum = 0.0;
        for seed in 1000..1060 {
            sum += reward(&world.say(name, "numbers?", seed).await.0.completion) / 60.0;
        }
        sum
    };
    let (base, own, other) = (mean("still", even).await, mean("even", even).await, mean("odd", even).await);
    assert!(own > base + 0.2 && other < base - 0.2, "even {own:.2}, base {base:.2}, odd {other:.2}");
    let (answer, generation) = world.say("still", "numbers?", 1).await;
    assert_eq!(generation, 0);
    assert_eq!(world.store.adapters(&agent("still")).await.unwrap(), []);

    // Every sample was used once, in the batch whose adapter says so; the files are what the rows say.
    for name in ["even", "odd"] {
        let adapters = world.store.adapters(&agent(name)).await.unwrap();
        assert_eq!(adapters.len() as u64, ROUNDS);
        assert_eq!(adapters.iter().filter(|a| a.state == AdapterState::Live).count(), 1);
        let all = world.store.samples(&agent(name), 200).await.unwrap();
        let used = all.iter().filter(|sample| sample.state == SampleState::Consumed).count();
        let left = all.iter().filter(|sample| sample.state == SampleState::Rejected).count();
        assert_eq!(
            (all.len() as u64, used + left),
            (ROUNDS * 12, all.len()),
            "{:?}",
            all.iter().map(|s| s.state).collect::<Vec<_>>()
        );
        let shown = world.training.adapters(&agent(name)).await.unwrap();
        assert_eq!((&shown["live"], &shown["adapters"][0]["state"]), (&json!(ROUNDS), &json!("live")));
        assert!(shown["adapters"][0]["metrics"]["gate"]["drift"].as_f64().unwrap() >= 0.0, "{shown:#}");
        // The live one, its parent and three more are on the shelf.
        let folder = dir.path().join("lora").join(name);
        let current = std::fs::read_to_string(folder.join("current")).unwrap();
        assert_eq!(current.trim(), adapters[0].folder);
        let there = std::fs::read_dir(&folder).unwrap().filter(|e| e.as_ref().unwrap().path().is_dir()).count();
        assert_eq!(there, 5);
    }
    let before = world.logprobs("even", "numbers?", &answer.completion);
    world.stop().await;

    // What was live is live again.
    let mut world = World::new(dir.path(), &["even", "odd", "still"]).await;
    world.start();
    world.serves("even", ROUNDS).await;
    assert_eq!(world.logprobs("even", "numbers?", &answer.completion), before);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_learning_rate_of_nothing_changes_nothing_to_the_last_bit_while_a_neighbour_learns() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::new(dir.path(), &["a", "b"]).await;
    world.change("b", |settings| settings.adam.learning_rate = 0.0);
    let (answer, _) = world.say("b", "a question", 3).await;
    let before = world.logprobs("b", "a question", &answer.completion);
    world.start();
    world.play("a", "x", 0..6, even).await;
    world.play("b", "x", 0..6, even).await;
    world.serves("a", 1).await;
    world.serves("b", 1).await;
    assert_eq!(world.logprobs("b", "a question", &answer.completion), before);
    assert_ne!(world.logprobs("a", "a question", &answer.completion), before);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_teach_costs_no_step() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::new(dir.path(), &["a"]).await;
    world.start();
    // Equal rewards in a group; no tokens; greedy answers; answers of another model.
    world.play("a", "same", 0..6, |_| 1.0).await;
    let turn = record("a", 0, &json!([{"role": "user", "content": "hello"}]));
    let without = world.keep_turn(turn, None, Some(1.0)).await;
    let change = async |seed, change: fn(&mut TokenTrace)| {
        let (mut trace, generation) = world.say("a", "other", seed).await;
        change(&mut trace);
        world.keep("a", (trace, generation), Some(1.0)).await
    };
    let cold = change(1, |trace| trace.sampled_with.temperature = 0.0).await;
    let broken = change(2, |trace| trace.logprobs[0] = f32::NAN).await;
    let foreign = change(3, |trace| trace.sampled_with.base = Some(domain::Digest::of(b"another"))).await;
    for (turn, says) in [(cold, "temperature 0"), (broken, "no log-probability"), (foreign, "another base model")] {
        let what = format!("it is rejected: {says}");
        until(&what, async || {
            let sample = world.store.sample_of(turn).await.unwrap()?;
            let reason = sample.reason.filter(|reason| reason.contains(says))?;
            (sample.state == SampleState::Rejected).then_some(reason)
        })
        .await;
    }
    assert!(world.store.sample_of(without).await.unwrap().is_none_or(|s| s.state != SampleState::Consumed));
    until("the group is rejected", async || (world.count("a", SampleState::Rejected).await == 9).then_some(())).await;
    assert_eq!(world.store.adapters(&agent("a")).await.unwrap(), [], "no step was taken");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_pauses_resumes_and_wants_steps() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::new(dir.path(), &["a", "collects", "off"]).await;
    world.change("collects", |settings| settings.mode = Mode::WhenTold);
    world.change("off", |settings| settings.mode = Mode::Off);
    world.start();
    let id = agent("a");
    let refused = |error: OperatorError| error.to_string();
    assert!(refused(world.training.step(&agent("nobody")).await.unwrap_err()).contains("no agent `nobody`"));
    assert!(refused(world.training.step(&agent("off")).await.unwrap_err()).contains("is not trained"));
    assert!(refused(world.training.step(&id).await.unwrap_err()).contains("0 of 4 samples are there"));

    world.training.pause(&id).await.unwrap();
    world.play("a", "x", 0..6, even).await;
    world.play("collects", "x", 0..6, even).await;
    for name in ["a", "collects"] {
        until("they are eligible", async || (world.count(name, SampleState::Eligible).await == 6).then_some(())).await;
    }
    assert!(refused(world.training.step(&id).await.unwrap_err()).contains("paused"));
    assert!(world.status("a").await["waits"].as_str().unwrap().contains("paused"));
    let status = world.status("collects").await;
    assert!(status["waits"].as_str().unwrap().contains("metaclaw train step"), "{status:#}");

    world.training.resume(&id).await.unwrap();
    world.serves("a", 1).await;
    assert_eq!(world.store.adapters(&agent("collects")).await.unwrap(), [], "it takes none by itself");
    let step = world.training.step(&agent("collects")).await.unwrap();
    assert_eq!((&step["samples"], &step["parent"]), (&json!(6), &json!(0)));
    world.serves("collects", 1).await;

    // Fewer than a batch, when an operator wants it.
    world.play("a", "y", 0..2, |_| 1.0).await;
    until("they are eligible", async || (world.count("a", SampleState::Eligible).await == 2).then_some(())).await;
    let equal = world.training.step(&id).await.unwrap_err().to_string();
    assert!(equal.contains("every answer to their prompts was as good"), "{equal}");
    // One more answer to the same prompt, and not as good: the two that were equal have waited for it.
    world.play("a", "y", 2..3, |_| -1.0).await;
    until("it is eligible", async || (world.count("a", SampleState::Eligible).await == 3).then_some(())).await;
    let step = world.training.step(&id).await.unwrap();
    assert_eq!(step["samples"], 3, "{step:#}");
    world.serves("a", 2).await;
    let status = world.status("a").await;
    assert_eq!((&status["generation"], &status["last"]["outcome"]), (&json!(2), &json!("live")), "{status:#}");
    // A batch of later answers has come without one: they wait no longer.
    world.play("a", "v", 0..2, |_| 1.0).await;
    world.play("a", "w", 0..1, even).await;
    until("they are eligible", async || (world.count("a", SampleState::Eligible).await == 3).then_some(())).await;
    assert_eq!(world.training.step(&id).await.unwrap()["samples"], 1);
    world.serves("a", 3).await;
    assert_eq!(world.count("a", SampleState::Rejected).await, 2);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_judge_samples_wait_and_expire_and_status_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::new(dir.path(), &["a"]).await;
    world.start();
    for seed in 0..3 {
        let said = world.say("a", "x", seed).await;
        world.keep("a", said, None).await;
    }
    let status = world.status("a").await;
    assert!(status["waits"].as_str().unwrap().contains("no judge"), "{status:#}");
    assert_eq!(world.count("a", SampleState::Captured).await, 3);
    world.change("a", |settings| settings.staleness.age = Duration::ZERO);
    until("they expire", async || (world.count("a", SampleState::Expired).await == 3).then_some(())).await;
    world.stop().await;
}
