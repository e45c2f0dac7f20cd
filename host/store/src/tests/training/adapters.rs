//! Adapters: one of an agent is live, and numbers are used once.

use super::*;
use crate::StoredAdapter;
use AdapterState::{Live, Rejected, Removed, Retired, RolledBack, Shadow};

/// Trains once more, on the live adapter.
async fn trained(store: &Store, owner: &str, state: AdapterState) -> StoredAdapter {
    let ids = eligible(store, owner, 1).await;
    let parent = live(store, owner).await;
    let batch = store.claim(&agent(owner), claim(parent, &ids)).await.unwrap().unwrap();
    store.commit(batch.id, adapter(batch.generation, state)).await.unwrap().unwrap()
}

async fn live(store: &Store, owner: &str) -> u64 {
    store.head(&agent(owner)).await.unwrap().map_or(0, |head| head.generation)
}

async fn standing(store: &Store, owner: &str) -> Vec<(u64, u64, AdapterState)> {
    let adapters = store.adapters(&agent(owner)).await.unwrap();
    adapters.iter().rev().map(|a| (a.generation, a.parent, a.state)).collect()
}

#[tokio::test]
async fn one_adapter_of_an_agent_is_live_and_a_rejected_one_leaves_it_so() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    trained(&store, "a", Live).await;
    trained(&store, "a", Rejected).await;
    trained(&store, "a", Live).await;
    trained(&store, "a", Shadow).await;
    trained(&store, "b", Live).await;
    assert_eq!(standing(&store, "a").await, [(1, 0, Retired), (2, 1, Rejected), (3, 1, Live), (4, 3, Shadow)]);
    let heads = store.heads().await.unwrap();
    let heads: Vec<_> = heads.iter().map(|head| (head.agent.as_str(), head.generation)).collect();
    assert_eq!(heads, [("a", 3), ("b", 1)]);
    let three = store.adapter(&agent("a"), 3).await.unwrap().unwrap();
    assert_eq!((three.folder.as_str(), three.digest), ("g000003", Digest::of(&3u64.to_le_bytes())));
    assert_eq!((three.base.as_str(), three.metrics.as_str()), ("a-model", r#"{"loss":0.5}"#));

    assert!(
        !store.promote(&agent("a"), 3, "again").await.unwrap() && !store.promote(&agent("a"), 9, "").await.unwrap()
    );
    assert!(store.promote(&agent("a"), 4, "a person wants it").await.unwrap());
    assert_eq!(live(&store, "a").await, 4);
    assert!(store.promote(&agent("a"), 0, "none").await.unwrap() && !store.promote(&agent("a"), 0, "").await.unwrap());
    assert_eq!((live(&store, "a").await, live(&store, "b").await), (0, 1));
    store.close().await;
}

#[tokio::test]
async fn a_rollback_goes_to_what_nothing_speaks_against() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let owner = agent("a");
    assert_eq!(store.rollback(&owner, None, "nothing is live").await.unwrap(), None);
    for _ in 0..4 {
        trained(&store, "a", Live).await;
    }
    assert!(store.remove_adapter(&owner, 2, "old").await.unwrap());
    let (was, is) = store.rollback(&owner, None, "worse").await.unwrap().unwrap();
    assert_eq!((was.generation, was.state, was.reason.as_deref()), (4, RolledBack, Some("worse")));
    assert_eq!(is.unwrap().generation, 3);
    let (_, is) = store.rollback(&owner, None, "worse").await.unwrap().unwrap();
    assert_eq!(is.unwrap().generation, 1, "the files of 2 are gone");
    assert_eq!(store.rollback(&owner, Some(2), "").await.unwrap(), None);
    assert_eq!(store.rollback(&owner, Some(1), "").await.unwrap(), None, "it is live");
    let (_, is) = store.rollback(&owner, Some(3), "an operator knows better").await.unwrap().unwrap();
    assert_eq!(is.unwrap().generation, 3);
    let (_, is) = store.rollback(&owner, None, "worse").await.unwrap().unwrap();
    assert_eq!(is, None, "1 was taken back, so it is the model alone");
    assert_eq!(
        standing(&store, "a").await.iter().map(|a| a.2).collect::<Vec<_>>(),
        [RolledBack, Removed, RolledBack, RolledBack]
    );
    assert_eq!(store.next_generation(&owner).await.unwrap(), 5, "no number is used again");
    assert_eq!(trained(&store, "a", Live).await.generation, 5);
    store.close().await;
}

#[tokio::test]
async fn a_batch_whose_parent_is_not_live_any_more_is_not_committed() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let owner = agent("a");
    trained(&store, "a", Live).await;
    trained(&store, "a", Live).await;
    let ids = eligible(&store, "a", 2).await;
    let batch = store.claim(&owner, claim(2, &ids)).await.unwrap().unwrap();
    assert!(!store.remove_adapter(&owner, 2, "live").await.unwrap());
    store.rollback(&owner, None, "worse").await.unwrap().unwrap();
    assert!(!store.remove_adapter(&owner, 2, "a batch begins with it").await.unwrap());
    assert_eq!(store.commit(batch.id, adapter(batch.generation, Live)).await.unwrap(), None);
    assert_eq!((live(&store, "a").await, state(&store, ids[0]).await), (1, SampleState::Claimed), "nothing is changed");
    assert!(store.release(batch.id).await.unwrap() && store.remove_adapter(&owner, 2, "bad").await.unwrap());
    assert!(!store.promote(&owner, 2, "its files are gone").await.unwrap());
    store.close().await;
}

#[tokio::test]
async fn an_adapter_from_elsewhere_has_a_number_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let owner = agent("a");
    let ids = eligible(&store, "a", 1).await;
    let batch = store.claim(&owner, claim(0, &ids)).await.unwrap().unwrap();
    assert_eq!(batch.generation, 1);
    assert_eq!(store.add_adapter(&owner, 0, adapter(1, Live)).await.unwrap(), None, "1 is being made");
    assert_eq!(store.next_generation(&owner).await.unwrap(), 2);
    let added = store.add_adapter(&owner, 0, adapter(2, Shadow)).await.unwrap().unwrap();
    assert_eq!((added.generation, added.batch, added.state), (2, None, Shadow));
    assert_eq!(store.commit(batch.id, adapter(1, Live)).await.unwrap(), None, "numbers only grow");
    assert_eq!(store.commit(batch.id, adapter(3, Live)).await.unwrap().unwrap().generation, 3);
    let resumed = store.add_adapter(&owner, 0, adapter(4, Live)).await.unwrap().unwrap();
    assert_eq!((resumed.state, live(&store, "a").await), (Live, 4));
    store.close().await;
}

#[tokio::test]
async fn failures_count_in_their_own_lane_until_a_commit() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let owner = agent("a");
    assert_eq!(store.lane(&owner).await.unwrap(), Lane::default());
    store.set_paused(&owner, true).await.unwrap();
    let until = at(4_000_000_000);
    assert_eq!(store.lane_failed(&owner, "no memory", until).await.unwrap(), 1);
    assert_eq!(store.lane_failed(&owner, "no memory at all", until).await.unwrap(), 2);
    let lane = store.lane(&owner).await.unwrap();
    let want = Lane {
        paused: true,
        failures: 2,
        error: Some("no memory at all".to_owned()),
        not_before: Some(until),
        ..Lane::default()
    };
    assert_eq!(lane, want);
    assert_eq!(store.lane(&agent("b")).await.unwrap(), Lane::default());
    trained(&store, "a", Live).await;
    let want = Lane { paused: true, steps: 1, baseline: Some(0.25), ..Lane::default() };
    assert_eq!(store.lane(&owner).await.unwrap(), want);
    store.set_paused(&owner, false).await.unwrap();
    let ids = eligible(&store, "a", 1).await;
    let batch = store.claim(&owner, claim(1, &ids)).await.unwrap().unwrap();
    let unmoved = NewAdapter { baseline: None, ..adapter(2, Rejected) };
    store.commit(batch.id, unmoved).await.unwrap().unwrap();
    let lane = store.lane(&owner).await.unwrap();
    assert_eq!((lane.paused, lane.steps, lane.baseline), (false, 2, Some(0.25)));
    store.close().await;
}

#[tokio::test]
async fn a_purge_takes_all_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    for owner in ["a", "b"] {
        trained(&store, owner, Live).await;
        store.lane_failed(&agent(owner), "no", at(1)).await.unwrap();
        let ids = eligible(&store, owner, 1).await;
        store.claim(&agent(owner), claim(1, &ids)).await.unwrap().unwrap();
    }
    store.purge(&agent("a")).await.unwrap();
    for (table, left) in [("samples", 2), ("batches", 2), ("adapters", 1), ("lanes", 1)] {
        assert_eq!(rows(&store, table).await, left, "{table}");
    }
    assert!(store.open_batch(&agent("a")).await.unwrap().is_none());
    assert!(store.open_batch(&agent("b")).await.unwrap().is_some());
    assert_eq!(store.next_generation(&agent("a")).await.unwrap(), 1);
    store.close().await;
}
