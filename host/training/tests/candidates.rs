//! Further answers to prompts that were answered once: the judge grades them, and the agent learns from them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod world;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use judge::{Ask, Question, Telling, Told};
use serde_json::Value;
use world::{Moody, World, agent, until};

/// How many steps an agent takes.
const STEPS: u64 = 16;

/// Likes answers most of whose letters are ASCII.
#[derive(Default)]
struct Judge {
    is_out: AtomicBool,
    asked: AtomicUsize,
}

impl Ask for Judge {
    fn ask<'a>(&'a self, question: &'a Question) -> Telling<'a> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let text = question.messages[1]["content"].as_str().unwrap();
        let lines = text.lines().skip_while(|line| !line.starts_with("<response")).skip(1);
        let response: String = lines.take_while(|line| !line.starts_with("</")).map(|line| &line[2..]).collect();
        let ascii = response.chars().filter(char::is_ascii).count();
        let score = if ascii * 2 > response.chars().count() { 1 } else { -1 };
        let is_out = self.is_out.load(Ordering::SeqCst);
        Box::pin(async move {
            match is_out {
                true => Err("the judge is out".to_owned()),
                false => Ok(Told { text: format!("{{\"why\": \"so\", \"score\": {score}}}"), whole: true }),
            }
        })
    }
}

async fn world(dir: &std::path::Path, judge: &Arc<Judge>) -> (World, Arc<Moody>) {
    let world = World::new(dir, &["with", "without"]).await;
    for (name, candidates) in [("with", 8), ("without", 0)] {
        world.change(name, |settings| {
            (settings.batch_size, settings.adam.learning_rate, settings.votes) = (4, 0.02, 1);
            settings.candidates = candidates;
        });
    }
    *world.agents.judge.lock().unwrap() = Some(judge.clone());
    let player = world.moody();
    player.ends.store(true, Ordering::SeqCst);
    (world, player)
}

/// What the steps say of themselves, the newest first.
async fn steps(world: &World, name: &str) -> Vec<Value> {
    let adapters = world.store.adapters(&agent(name)).await.unwrap();
    adapters.iter().map(|adapter| serde_json::from_str(&adapter.metrics).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_whose_rewards_teach_nothing_learns_from_candidates() {
    let dir = tempfile::tempdir().unwrap();
    let judge = Arc::new(Judge::default());
    let (mut world, _) = world(dir.path(), &judge).await;
    world.start();
    // Each prompt is answered once, and every answer was as good as usual: nothing follows from that.
    for step in 0..STEPS {
        for name in ["with", "without"] {
            for (place, prompt) in (0u64..).zip(["tell me", "tell me of it", "tell me of them", "tell me of us all"]) {
                let answer = world.say(name, prompt, step * 4 + place).await;
                world.keep(name, answer, Some(0.0)).await;
            }
            world.serves(name, step + 1).await;
        }
    }
    let mean = async |name: &str| {
        let mut sum = 0.0;
        for seed in 1000..1060 {
            let answer = world.say(name, "tell me why", seed).await.0.completion;
            // The made-up model's first tokens are bytes.
            sum += answer.iter().filter(|token| **token < 128).count() as f64 / answer.len() as f64 / 60.0;
        }
        sum
    };
    let (with, without) = (mean("with").await, mean("without").await);
    assert!(with > without + 0.1, "{with:.2} with candidates, {without:.2} without");
    for made in steps(&world, "without").await {
        assert_eq!((&made["samples"], &made["drawn"]), (&4.into(), &0.into()), "{made:#}");
    }
    let of = |made: &Value, what: &str| made[what].as_u64().unwrap();
    let with = steps(&world, "with").await;
    for made in &with {
        assert_eq!((of(made, "samples"), of(made, "drawn")), (4, 32), "{made:#}");
        assert!(
            of(made, "candidates") <= 32 && of(made, "groups") <= 4,
            "whole groups, not all equally good: {made:#}"
        );
    }
    assert!(with.iter().map(|made| of(made, "candidates")).sum::<u64>() > 32);
    let all = world.store.samples(&agent("with"), 200).await.unwrap();
    assert_eq!(all.len() as u64, STEPS * 4, "what nobody was given is no sample");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_judge_that_is_out_costs_a_few_questions_and_no_step() {
    let dir = tempfile::tempdir().unwrap();
    let judge = Arc::new(Judge { is_out: AtomicBool::new(true), ..Judge::default() });
    let (mut world, _) = world(dir.path(), &judge).await;
    world.start();
    for (place, prompt) in (0u64..).zip(["x", "xx", "xxx", "xxxx"]) {
        let answer = world.say("with", prompt, place).await;
        world.keep("with", answer, Some(place as f32 / 4.0)).await;
    }
    world.serves("with", 1).await;
    let made = &steps(&world, "with").await[0];
    assert_eq!((&made["candidates"], &made["drawn"]), (&0.into(), &3.into()), "{made:#}");
    // An empty answer is nothing to ask about.
    assert!(judge.asked.load(Ordering::SeqCst) <= 3);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_drawn_while_somebody_is_answered() {
    let dir = tempfile::tempdir().unwrap();
    let judge = Arc::new(Judge::default());
    let (mut world, player) = world(dir.path(), &judge).await;
    player.busy.store(true, Ordering::SeqCst);
    for (place, prompt) in (0u64..).zip(["x", "xx", "xxx", "xxxx"]) {
        let answer = world.say("with", prompt, place).await;
        world.keep("with", answer, Some(place as f32 / 4.0)).await;
    }
    world.start();
    let phase = async || world.status("with").await["progress"]["phase"].as_str().map(str::to_owned);
    until("it waits for its turn", async || (phase().await? == "candidates").then_some(())).await;
    assert_eq!(judge.asked.load(Ordering::SeqCst), 0);
    assert_eq!(world.store.adapters(&agent("with")).await.unwrap(), []);
    player.busy.store(false, Ordering::SeqCst);
    world.serves("with", 1).await;
    assert!(judge.asked.load(Ordering::SeqCst) > 0);
    world.stop().await;
}
