//! What does not serve, and what serves no more: gates, regressions, operators' decisions, failures that stay in their lane.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod world;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use domain::{RewardSource, SampleState};
use judge::{Ask, Question, Telling, Told};
use serde_json::json;
use store::AdapterState;
use training::{Backend, BackendError, Facts, Handle, Opening, Trainer, Work};
use world::{World, agent, even, record, until};

async fn state_of(world: &World, name: &str, generation: u64) -> Option<AdapterState> {
    world.store.adapter(&agent(name), generation).await.unwrap().map(|adapter| adapter.state)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_adapter_that_drifts_too_far_never_serves_and_its_batch_is_not_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::new(dir.path(), &["a"]).await;
    // As many as are played, so that it does not matter when the driver looks.
    world.change("a", |settings| (settings.gate.max_drift, settings.batch_size) = (1e-9, 6));
    world.start();
    world.play("a", "x", 0..6, even).await;
    until("it is rejected", async || (state_of(&world, "a", 1).await == Some(AdapterState::Rejected)).then_some(()))
        .await;
    let adapter = world.store.adapter(&agent("a"), 1).await.unwrap().unwrap();
    assert!(adapter.reason.unwrap().contains("nats a token from its parent"));
    assert_eq!(world.count("a", SampleState::Consumed).await, 6, "quarantined");
    assert_eq!(world.agents.swaps.lock().unwrap().len(), 0, "nobody was served by it");
    assert_eq!(world.store.head(&agent("a")).await.unwrap(), None);
    // The next batch begins at the parent, and its number is a new one.
    world.change("a", |settings| settings.gate.max_drift = 10.0);
    world.play("a", "y", 10..16, even).await;
    world.serves("a", 2).await;
    assert_eq!(world.store.adapter(&agent("a"), 2).await.unwrap().unwrap().parent, 0);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_review_an_adapter_waits_for_a_person_who_can_go_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::new(dir.path(), &["a"]).await;
    world.change("a", |settings| settings.review = true);
    world.start();
    let id = agent("a");
    let (answer, _) = world.say("a", "x", 1).await;
    let base = world.logprobs("a", "x", &answer.completion);
    world.play("a", "x", 0..6, even).await;
    until("it waits", async || (state_of(&world, "a", 1).await == Some(AdapterState::Shadow)).then_some(())).await;
    assert_eq!(world.logprobs("a", "x", &answer.completion), base);

    assert!(world.training.promote(&id, 7, "no").await.unwrap_err().to_string().contains("no adapter 7"));
    world.training.promote(&id, 1, "looks good").await.unwrap();
    world.serves("a", 1).await;
    let first = world.logprobs("a", "x", &answer.completion);
    assert_ne!(first, base);
    assert!(world.training.promote(&id, 1, "again").await.unwrap_err().to_string().contains("serves already"));

    world.play("a", "y", 10..16, even).await;
    until("the next waits", async || (state_of(&world, "a", 2).await == Some(AdapterState::Shadow)).then_some(()))
        .await;
    world.training.promote(&id, 2, "better").await.unwrap();
    assert_ne!(world.logprobs("a", "x", &answer.completion), first);
    let diff = world.training.diff(&id, 0, 2).await.unwrap();
    assert!(diff["parameters"]["projections"]["down_proj"]["distance"].as_f64().unwrap() > 0.0, "{diff:#}");
    let back = world.training.rollback(&id, None, "worse").await.unwrap();
    assert_eq!((&back["was"], &back["live"]), (&json!(2), &json!(1)));
    assert_eq!(world.logprobs("a", "x", &answer.completion), first, "to the last bit");
    assert_eq!(state_of(&world, "a", 2).await, Some(AdapterState::RolledBack));

    let to = dir.path().join("exported");
    world.training.export(&id, None, to.clone()).await.unwrap();
    assert!(to.join("adapter_model.safetensors").exists() && !to.join("trainer.safetensors").exists());
    world.training.rollback(&id, None, "all of it").await.unwrap();
    assert_eq!(world.logprobs("a", "x", &answer.completion), base);
    assert!(world.training.rollback(&id, None, "more").await.is_err(), "there is nothing left");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_adapter_that_makes_its_agent_worse_is_taken_back_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::new(dir.path(), &["a"]).await;
    world.change("a", |settings| (settings.gate.watch, settings.batch_size) = (6, 8));
    world.start();
    // The policy's rewards say that everything was rather good, and then, under the first adapter, that everything is bad: first of
    // one prompt alone, which may be a hard one, then of others too.
    for seed in 0..8u8 {
        let said = world.say("a", &"x".repeat(1 + usize::from(seed)), seed.into()).await;
        world.keep("a", said, Some(0.7 + 0.02 * f32::from(seed))).await;
    }
    world.serves("a", 1).await;
    world.change("a", |settings| settings.batch_size = 100);
    for seed in 20..28 {
        let (trace, generation) = world.say("a", "y", seed).await;
        assert_eq!(generation, 1);
        world.keep("a", (trace, generation), Some(-0.7 - 0.02 * (seed - 20) as f32)).await;
    }
    until("the driver has seen them", async || {
        let eligible = world.store.samples_in(&agent("a"), SampleState::Eligible, 99).await.unwrap();
        (eligible.len() == 8).then_some(())
    })
    .await;
    for (seed, prompt) in (30..).zip(["z", "zz", "zzz"]) {
        let (trace, generation) = world.say("a", prompt, seed).await;
        world.keep("a", (trace, generation), Some(-0.9)).await;
    }
    world.serves("a", 0).await;
    let adapter = world.store.adapter(&agent("a"), 1).await.unwrap().unwrap();
    assert_eq!(adapter.state, AdapterState::RolledBack);
    let reason = adapter.reason.unwrap();
    assert!(reason.contains("(11 turns in 4 conversations)"), "one prompt alone says nothing: {reason}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_adapter_that_could_not_be_loaded_at_the_start_is_loaded_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::new(dir.path(), &["a"]).await;
    world.start();
    world.play("a", "x", 0..4, even).await;
    world.serves("a", 1).await;
    world.stop().await;

    let mut world = World::new(dir.path(), &["a"]).await;
    let player = world.moody();
    player.broken.store(true, Ordering::SeqCst);
    world.start();
    until("it is said", async || world.status("a").await.to_string().contains("no memory for it").then_some(())).await;
    player.broken.store(false, Ordering::SeqCst);
    world.serves("a", 1).await;
    assert!(!world.status("a").await.to_string().contains("no memory"));
    world.stop().await;
}

/// A trainer that fails for one agent's first batches: those with this many samples.
struct Failing {
    inner: Arc<dyn Trainer>,
    broken: AtomicBool,
    tried: AtomicUsize,
}

impl Trainer for Failing {
    fn facts(&self) -> Facts {
        self.inner.facts()
    }

    fn open(&self, from: Opening) -> Work<'_, Box<dyn Handle>> {
        self.tried.fetch_add(1, Ordering::SeqCst);
        match self.broken.load(Ordering::SeqCst) {
            true => Box::pin(async { Err(BackendError::Failed("the disk is on fire".to_owned())) }),
            false => self.inner.open(from),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_stays_in_its_lane_and_is_visible_and_its_batch_waits() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::new(dir.path(), &["a", "b"]).await;
    let failing = {
        let mut backend = world.agents.backend.lock().unwrap();
        let Backend { trainer, player } = backend.clone().unwrap();
        let failing = Arc::new(Failing { inner: trainer, broken: true.into(), tried: 0.into() });
        *backend = Some(Backend { trainer: failing.clone(), player });
        failing
    };
    world.start();
    world.play("a", "x", 0..6, even).await;
    let status = until("it has failed", async || {
        let status = world.status("a").await;
        (status["failures"] == 1).then_some(status)
    })
    .await;
    assert!(status["error"].as_str().unwrap().contains("on fire"), "{status:#}");
    assert!(status["waits"].as_str().unwrap().contains("tried again"), "{status:#}");
    assert_eq!(world.count("a", SampleState::Claimed).await, 6);
    failing.broken.store(false, Ordering::SeqCst);
    world.play("b", "x", 0..6, even).await;
    world.serves("b", 1).await;
    assert_eq!(state_of(&world, "a", 1).await, None, "it waits for its time");
    // An operator need not wait.
    world.training.step(&agent("a")).await.unwrap();
    world.serves("a", 1).await;
    assert_eq!(world.status("a").await["failures"], 0);
    assert_eq!(failing.tried.load(Ordering::SeqCst), 3);
    world.stop().await;
}

/// A judge that fails as often as it is told, and then finds everything good.
struct Judge {
    failures: Mutex<usize>,
    asked: Mutex<Vec<String>>,
}

impl Ask for Judge {
    fn ask<'a>(&'a self, question: &'a Question) -> Telling<'a> {
        self.asked.lock().unwrap().push(question.messages.to_string());
        let mut failures = self.failures.lock().unwrap();
        let fails = *failures > 0;
        *failures = failures.saturating_sub(1);
        Box::pin(async move {
            match fails {
                true => Err("the judge is out".to_owned()),
                false => Ok(Told { text: "{\"why\": \"good\", \"score\": 1}".to_owned(), whole: true }),
            }
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_judge_that_fails_is_asked_again_and_never_counts_as_a_bad_grade() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::new(dir.path(), &["a"]).await;
    let judge = Arc::new(Judge { failures: Mutex::new(6), asked: Mutex::default() });
    *world.agents.judge.lock().unwrap() = Some(judge.clone());
    world.start();
    let (trace, _) = world.say("a", "x", 1).await;
    let first = record("a", 0, &json!([{"role": "user", "content": "What is due?"}]));
    let (session, turn) = (first.session.clone(), first.id);
    world.keep_turn(first, Some(trace), None).await;
    let mut next = record(
        "a",
        0,
        &json!([{"role": "user", "content": "What is due?"}, {"role": "assistant", "content": "an answer"},
            {"role": "user", "content": "Well done, thank you."}]),
    );
    next.session = session;
    world.store.record_turn(next).await.unwrap();
    let score = until("it is judged", async || world.store.sample_of(turn).await.unwrap()?.score).await;
    assert_eq!((score.reward, score.votes, score.source), (1.0, 3, RewardSource::Judge));
    until("the host hears of it", async || {
        (*world.agents.outcomes.lock().unwrap() == [(agent("a"), turn, 1.0)]).then_some(())
    })
    .await;
    let asked = judge.asked.lock().unwrap().clone();
    assert!(asked.len() == 9, "two rounds of three in vain, and three votes: {}", asked.len());
    assert!(asked.iter().all(|q| q.contains("What is due?") && q.contains("an answer") && q.contains("Well done")));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sample_that_no_judge_can_grade_is_given_up_without_a_score() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::new(dir.path(), &["a"]).await;
    world.change("a", |settings| settings.retry_wait = std::time::Duration::from_millis(1));
    *world.agents.judge.lock().unwrap() = Some(Arc::new(Judge { failures: Mutex::new(1000), asked: Mutex::default() }));
    world.start();
    let said = world.say("a", "x", 1).await;
    let turn = world.keep("a", said, None).await;
    let session = world.store.turn(turn).await.unwrap().unwrap().record.session;
    world.store.end_session(&agent("a"), &session, domain::EndReason::Header).await.unwrap();
    let sample = until("it is given up", async || {
        world.store.sample_of(turn).await.unwrap().filter(|sample| sample.state == SampleState::Rejected)
    })
    .await;
    assert_eq!(sample.score, None);
    assert!(sample.reason.unwrap().contains("the judge is out"));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn held_out_prompts_are_never_trained_on_and_the_judge_compares_on_them() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::new(dir.path(), &["a"]).await;
    // Every prompt is held out: nothing is trained.
    world.change("a", |settings| {
        (settings.gate.held_out, settings.gate.judge, settings.gate.prompts) = (1, true, 4);
    });
    world.start();
    world.play("a", "x", 0..4, even).await;
    until("they are held out", async || (world.count("a", SampleState::HeldOut).await == 4).then_some(())).await;
    world.change("a", |settings| settings.gate.held_out = 0);
    let judge = Arc::new(Prefers);
    *world.agents.judge.lock().unwrap() = Some(judge);
    world.play("a", "y", 10..16, even).await;
    world.serves("a", 1).await;
    assert_eq!(world.count("a", SampleState::HeldOut).await, 4, "they stay what they are");
    let shown = world.training.adapter(&agent("a"), 1).await.unwrap();
    let gate = &shown["metrics"]["gate"];
    // One who always prefers what stands second prefers nothing.
    assert_eq!(gate["judged"]["better"].as_u64().unwrap() + gate["judged"]["worse"].as_u64().unwrap(), 0, "{gate:#}");
    assert!(gate["judged"]["equal"].as_u64().unwrap() > 0 && gate["held_out"]["better"].is_u64(), "{gate:#}");
    world.stop().await;
}

/// A judge with a fixed opinion about order.
struct Prefers;

impl Ask for Prefers {
    fn ask<'a>(&'a self, _: &'a Question) -> Telling<'a> {
        Box::pin(async { Ok(Told { text: "{\"why\": \"order\", \"better\": \"second\"}".to_owned(), whole: true }) })
    }
}
