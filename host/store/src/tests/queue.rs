//! The answer path never waits: what does not fit is dropped and counted.

use domain::ByteSize;

use super::*;
use crate::{Health, StoreError};

#[tokio::test]
async fn a_full_queue_drops_and_counts() {
    // The runtime has one thread and this test does not yield, so nothing leaves the queue meanwhile.
    let entries = StoreOptions { queue_entries: 8, ..StoreOptions::default() };
    let bytes = StoreOptions { queue_bytes: ByteSize(8 * (512 + 63 + 1000)), ..StoreOptions::default() };
    for options in [entries, bytes] {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), options).await.unwrap();
        let accepted = (0..20).filter(|_| store.record_turn(turn("a", "s", "x".repeat(1000)))).count();
        assert_eq!((accepted, store.dropped_turns()), (8, 12));
        store.flush().await.unwrap();
        assert!(store.record_turn(turn("a", "s", "x".repeat(1000))), "there is room again");
        store.flush().await.unwrap();
        assert_eq!((rows(&store, "turns").await, store.dropped_turns()), (9, 12));
        assert_eq!(store.health(), Health::Ok);
        store.close().await;
    }
}

#[tokio::test]
async fn what_is_larger_than_the_queue_is_dropped_as_a_turn_and_waited_for_as_a_sample() {
    let dir = tempfile::tempdir().unwrap();
    let options = StoreOptions { queue_bytes: ByteSize(1000), ..StoreOptions::default() };
    let store = Store::open(dir.path(), options).await.unwrap();
    assert!(!store.record_turn(turn("a", "s", "x".repeat(1000))));
    for _ in 0..3 {
        let record = turn("a", "s", "{}");
        assert!(store.record_turn(record.clone()));
        let tokens = TokenTrace { prompt: (0..3000).collect(), ..TokenTrace::default() };
        store.capture(sample_of(&record, Some(tokens)), KEEP).await.unwrap();
    }
    assert_eq!((store.dropped_turns(), rows(&store, "samples").await), (1, 3));
    store.close().await;
}

#[tokio::test]
async fn a_turn_is_durable_without_being_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let record = turn("a", "s", "{}");
    store.record_turn(record.clone());
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while store.turn(record.id).await.unwrap().is_none() {
        assert!(std::time::Instant::now() < deadline, "not committed by itself");
        tokio::task::yield_now().await;
    }
    store.close().await;
}

#[tokio::test]
async fn closing_commits_what_waits_and_refuses_what_comes() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    for _ in 0..3000 {
        assert!(store.record_turn(turn("a", "s", "{}")));
    }
    store.close().await;
    store.close().await;
    let late = turn("a", "s", "{}");
    assert!(!store.record_turn(late.clone()));
    assert_eq!(store.dropped_turns(), 1);
    assert!(matches!(store.capture(sample_of(&late, None), KEEP).await, Err(StoreError::Closed)));
    assert!(matches!(store.flush().await, Err(StoreError::Closed)));
    assert!(matches!(store.sessions(&agent("a"), 1).await, Err(StoreError::Closed)));
    let store = open(dir.path()).await;
    assert_eq!(rows(&store, "turns").await, 3000);
    store.close().await;
}
