//! Kill -9 of a host that captures, scores, claims and commits for two agents at once.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{BufRead as _, BufReader};
use std::sync::Arc;

use super::super::crash::{directory, start};
use super::*;

/// Captures and trains until it is killed, saying each step once it is durable.
async fn train(store: &Store, owner: &str) {
    let name = agent(owner);
    // Other prompts in each life.
    let [.., a, b, c, d] = *Uuid::now_v7().as_bytes();
    let mut prompt = u32::from_ne_bytes([a, b, c, d]);
    loop {
        // What an earlier life has left claimed is trained on again, with the same samples.
        let open = store.open_batch(&name).await.unwrap();
        let batch = match open {
            Some(batch) => batch,
            None => {
                for _ in 0..3 {
                    prompt = prompt.wrapping_add(1);
                    let id = answered(store, owner, "s", "{}", prompt, 1).await;
                    println!("\nstep {owner} captured {id}");
                    store.score(id, judged(0.5)).await.unwrap();
                    store.admit(id).await.unwrap();
                    println!("\nstep {owner} eligible {id}");
                }
                let eligible = store.samples_in(&name, SampleState::Eligible, 100).await.unwrap();
                let turns: Vec<_> = eligible.iter().map(|sample| sample.sample.turn).collect();
                // More is there than a batch takes: the rest must stay.
                let parent = store.head(&name).await.unwrap().map_or(0, |head| head.generation);
                let Some(batch) = store.claim(&name, claim(parent, &turns[..2])).await.unwrap() else { continue };
                batch
            }
        };
        let turns: Vec<_> = batch.samples.iter().map(|sample| sample.sample.turn.to_string()).collect();
        println!("\nstep {owner} claimed {} {}", batch.id, turns.join(","));
        let made = store.commit(batch.id, adapter(batch.generation, AdapterState::Live)).await.unwrap().unwrap();
        println!("\nstep {owner} committed {} {}", batch.id, made.generation);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the child of `no_sample_is_lost_or_trained_on_twice_when_the_host_is_killed`"]
async fn trainee() {
    if let Some(dir) = directory() {
        let store = Arc::new(open(&dir).await);
        tokio::join!(train(&store, "a"), train(&store, "b"));
    }
}

#[tokio::test]
async fn no_sample_is_lost_or_trained_on_twice_when_the_host_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let (mut captured, mut admitted) = (HashSet::new(), HashSet::new());
    let (mut claimed, mut committed) = (HashMap::<String, String>::new(), BTreeMap::<String, u64>::new());
    let kinds = ["captured", "eligible", "claimed", "committed"];
    for round in 0..20 * kinds.len() {
        // Right after one kind of step, while the other agent is somewhere else.
        let (last, most) = (kinds[round % kinds.len()], 2 + round % 3);
        let mut child = start(":", "training::killed::trainee", dir.path());
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut said = 0;
        for line in output.lines().map_while(Result::ok) {
            let words: Vec<_> = line.split(' ').collect();
            match words.as_slice() {
                ["step", owner, "captured", id] => drop(captured.insert((owner.to_string(), id.to_string()))),
                ["step", _, "eligible", id] => drop(admitted.insert(id.to_string())),
                ["step", _, "claimed", batch, turns] => {
                    let before = claimed.insert(batch.to_string(), turns.to_string());
                    assert!(before.is_none_or(|before| before == *turns), "a batch is the same after a crash");
                }
                ["step", _, "committed", batch, generation] => {
                    let before = committed.insert(batch.to_string(), generation.parse().unwrap());
                    assert_eq!(before, None, "a batch is committed once");
                }
                _ => continue,
            }
            said += usize::from(words[2] == last);
            if said == most {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
    }
    assert!(committed.len() > 60, "{}", committed.len());

    let store = open(dir.path()).await;
    store.check().await.unwrap();
    let mut consumed = HashSet::new();
    for batch in committed.keys() {
        for turn in claimed[batch].split(',') {
            assert!(consumed.insert(turn), "{turn} was trained on twice");
            assert_eq!(state(&store, turn.parse().unwrap()).await, SampleState::Consumed);
        }
    }
    for (owner, id) in &captured {
        let sample = store.sample_of(id.parse().unwrap()).await.unwrap().expect("an acknowledged sample is lost");
        assert_eq!(sample.sample.agent.as_str(), owner);
        if admitted.contains(id) {
            assert!(matches!(sample.state, SampleState::Eligible | SampleState::Claimed | SampleState::Consumed));
        }
    }
    for owner in ["a", "b"] {
        let adapters = store.adapters(&agent(owner)).await.unwrap();
        let live = adapters.iter().filter(|made| made.state == AdapterState::Live).count();
        let numbers: Vec<_> = adapters.iter().rev().map(|made| made.generation).collect();
        assert_eq!((live, numbers), (1, (1..=adapters.len() as u64).collect()), "no number is left out or used twice");
        let open = store.open_batch(&agent(owner)).await.unwrap();
        let open: Vec<_> = open.iter().flat_map(|batch| &batch.samples).collect();
        assert!(open.iter().all(|sample| sample.state == SampleState::Claimed));
        // All that was ever captured is in one place.
        let counts = store.sample_counts().await.unwrap();
        let of = |wanted| counts.iter().find(|c| c.agent.as_str() == owner && c.state == wanted).map_or(0, |c| c.count);
        assert_eq!(of(SampleState::Claimed), open.len() as u64);
        assert_eq!(of(SampleState::Consumed), 2 * adapters.len() as u64);
    }
    store.close().await;
}
