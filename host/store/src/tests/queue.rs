//! Whoever finds the queue full waits, and the writer does not let them wait for company: load loses nothing.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Waker};

use domain::ByteSize;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::*;
use crate::queue::{BATCH, Job, Queue, Room, Shared};
use crate::{Health, StoreError};

/// What a record of these tests costs, when its request has 1000 bytes.
const COST: usize = 512 + 63 + 1000;
/// A commit that nothing hurries does not happen in the time of a test.
const NEVER: Duration = Duration::from_secs(3600);
/// For what should happen at once.
const SOON: Duration = Duration::from_secs(20);

/// A queue of eight records, bounded by entries or by bytes.
fn small() -> [StoreOptions; 2] {
    let unhurried = StoreOptions { flush_every: NEVER, ..StoreOptions::default() };
    let entries = StoreOptions { queue_entries: 8, ..unhurried };
    [entries, StoreOptions { queue_bytes: ByteSize(8 * COST as u64), ..unhurried }]
}

fn record(name: &str) -> TurnRecord {
    turn("a", name, "x".repeat(1000))
}

fn turn_job(record: TurnRecord) -> Job {
    Job::Turn(Box::new(record))
}

#[tokio::test]
async fn a_full_queue_is_committed_at_once_for_who_waits_and_never_otherwise() {
    for options in small() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), options).await.unwrap();
        let records: Vec<_> = (0..100).map(|_| record("s")).collect();
        for record in &records[..7] {
            store.record_turn(record.clone()).await.unwrap();
        }
        assert_eq!(rows(&store, "turns").await, 0, "there is room: nothing hurries");
        for record in &records[7..] {
            timeout(SOON, store.record_turn(record.clone())).await.expect("room is made").unwrap();
        }
        let committed = rows(&store, "turns").await;
        assert!(committed >= 100 - 2 * 8, "only what is queued or on its way may be missing, not all but {committed}");
        store.flush().await.unwrap();
        let kept = store.turns(&agent("a"), &session("s"), 1000).await.unwrap();
        let ids = |records: &[TurnRecord]| records.iter().map(|record| record.id).collect::<Vec<_>>();
        assert_eq!(kept.iter().map(|turn| turn.record.id).collect::<Vec<_>>(), ids(&records), "all, in order");
        assert_eq!((store.lost_turns(), store.health()), (0, Health::Ok));
        store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_who_wait_all_proceed_and_each_keeps_its_order() {
    for options in small() {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(dir.path(), options).await.unwrap());
        let mut callers = JoinSet::new();
        for caller in 0..30 {
            let store = store.clone();
            callers.spawn(async move {
                let name = format!("s{caller}");
                let mut ids = Vec::new();
                for i in 0..20 {
                    let record = record(&name);
                    ids.push(record.id);
                    store.record_turn(record.clone()).await.unwrap();
                    if i % 5 == 0 {
                        // Its turn was handed over before it, so it is never unknown.
                        store.capture(sample_of(&record, None), KEEP).await.unwrap();
                    }
                }
                (name, ids)
            });
        }
        let sent = timeout(SOON, callers.join_all()).await.expect("nobody waits for ever");
        store.flush().await.unwrap();
        for (name, ids) in sent {
            let kept = store.turns(&agent("a"), &session(&name), 1000).await.unwrap();
            assert_eq!(kept.iter().map(|turn| turn.record.id).collect::<Vec<_>>(), ids);
        }
        assert_eq!(rows(&store, "samples").await, 30 * 4);
        store.close().await;
    }
}

/// Polls `future` once, on behalf of nobody.
fn poll<T>(future: std::pin::Pin<&mut impl Future<Output = T>>) -> std::task::Poll<T> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[tokio::test]
async fn the_queue_holds_no_more_than_its_bounds() {
    // The writer's side is this test's: it takes nothing unless told.
    for (entries, bytes) in [(8, 1 << 20), (100, 8 * COST)] {
        let shared = Arc::new(Shared::new(bytes));
        let (queue, mut jobs) = Queue::new(entries, Arc::clone(&shared));
        for _ in 0..8 {
            assert!(poll(pin!(queue.hand_over(turn_job(record("s"))))).is_ready());
        }
        assert!(!shared.is_urgent());
        {
            let ninth = record("s");
            let mut waits = pin!(queue.hand_over(turn_job(ninth.clone())));
            assert!(poll(waits.as_mut()).is_pending());
            assert!(shared.is_urgent(), "who waits for room makes a commit due");
            assert_eq!(jobs.len(), 8);
            let taken = [jobs.try_recv().unwrap()];
            drop(Room::of(&taken, &shared));
            assert!(poll(waits).is_ready());
        }
        assert!(!shared.is_urgent());
        {
            let mut waits = pin!(queue.hand_over(turn_job(record("s"))));
            assert!(poll(waits.as_mut()).is_pending());
        }
        assert!(!shared.is_urgent(), "who gave up hurries nobody");
        assert_eq!(jobs.len(), 8, "and has left nothing behind");
    }
}

#[tokio::test]
async fn a_small_record_does_not_overtake_a_large_one_that_waits() {
    let shared = Arc::new(Shared::new(2 * COST));
    let (queue, mut jobs) = Queue::new(100, Arc::clone(&shared));
    assert!(poll(pin!(queue.hand_over(turn_job(record("first"))))).is_ready());
    let mut large = pin!(queue.hand_over(turn_job(turn("a", "large", "x".repeat(1900)))));
    let mut small = pin!(queue.hand_over(turn_job(turn("a", "small", ""))));
    assert!(poll(large.as_mut()).is_pending());
    assert!(poll(small.as_mut()).is_pending(), "it would fit, and the large one would never get its turn");
    let taken = [jobs.try_recv().unwrap()];
    drop(Room::of(&taken, &shared));
    assert!(poll(large).is_ready() && poll(small).is_ready());
    assert_eq!(jobs.len(), 2);
}

#[tokio::test]
async fn what_is_larger_than_the_queue_passes_when_it_is_empty() {
    let dir = tempfile::tempdir().unwrap();
    let options = StoreOptions { queue_bytes: ByteSize(1000), flush_every: NEVER, ..StoreOptions::default() };
    let store = Store::open(dir.path(), options).await.unwrap();
    for completion in 0..3 {
        let record = record("s");
        timeout(SOON, store.record_turn(record.clone())).await.expect("it passes").unwrap();
        let completion = vec![completion];
        let tokens = TokenTrace { prompt: (0..3000).collect(), completion, ..TokenTrace::default() };
        store.capture(sample_of(&record, Some(tokens)), KEEP).await.unwrap();
        store.record_turn(turn("a", "s", "{}")).await.unwrap();
    }
    store.flush().await.unwrap();
    assert_eq!((rows(&store, "turns").await, rows(&store, "samples").await), (6, 3));
    assert_eq!(store.shared.room_left(), 1000, "all room came back");
    store.close().await;
}

#[tokio::test]
async fn room_comes_back_in_full_whatever_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let all = store.shared.room_left();
    let mut history = Vec::new();
    for i in 0..200 {
        history.push(format!("message {i} {}", "words ".repeat(50)));
        let record = turn("a", "s", chat(&history));
        store.record_turn(record.clone()).await.unwrap();
        let tokens = TokenTrace { prompt: (0..i * 100).collect(), ..TokenTrace::default() };
        store.capture(sample_of(&record, Some(tokens)), KEEP).await.unwrap();
    }
    store.end_session(&agent("a"), &session("s"), domain::EndReason::Idle).await.unwrap();
    store.check().await.unwrap();
    assert_eq!(store.shared.room_left(), all);
    store.close().await;
}

#[tokio::test]
async fn a_turn_is_durable_without_being_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let record = turn("a", "s", "{}");
    store.record_turn(record.clone()).await.unwrap();
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while store.turn(record.id).await.unwrap().is_none() {
        assert!(std::time::Instant::now() < deadline, "not committed by itself");
        tokio::task::yield_now().await;
    }
    store.close().await;
}

#[tokio::test]
async fn a_full_batch_is_due_before_its_time() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), StoreOptions { flush_every: NEVER, ..StoreOptions::default() }).await.unwrap();
    for _ in 0..=BATCH {
        store.record_turn(turn("a", "s", "{}")).await.unwrap();
    }
    let deadline = std::time::Instant::now() + SOON;
    while rows(&store, "turns").await < BATCH as i64 {
        assert!(std::time::Instant::now() < deadline, "not committed when full");
    }
    store.close().await;
}

#[tokio::test]
async fn closing_commits_what_waits_and_refuses_what_comes() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    for _ in 0..3000 {
        store.record_turn(turn("a", "s", "{}")).await.unwrap();
    }
    store.close().await;
    store.close().await;
    let late = turn("a", "s", "{}");
    assert!(matches!(store.record_turn(late.clone()).await, Err(StoreError::Closed)));
    assert!(matches!(store.capture(sample_of(&late, None), KEEP).await, Err(StoreError::Closed)));
    assert!(matches!(store.flush().await, Err(StoreError::Closed)));
    assert!(matches!(store.sessions(&agent("a"), 1).await, Err(StoreError::Closed)));
    let store = open(dir.path()).await;
    assert_eq!(rows(&store, "turns").await, 3000);
    store.close().await;
}

/// Records in 30 sessions until refused; what was accepted, by session, and every refusal.
async fn record_until_refused(
    store: &Arc<Store>,
    size: usize,
    meanwhile: impl Future<Output = ()>,
) -> (HashMap<String, usize>, Vec<StoreError>) {
    let mut callers = JoinSet::new();
    for caller in 0..30 {
        let store = store.clone();
        callers.spawn(async move {
            let name = format!("s{caller}");
            for accepted in 0.. {
                let body = format!("{accepted}{}", "x".repeat(size));
                if let Err(error) = store.record_turn(turn("a", &name, body)).await {
                    return (name, accepted, error);
                }
            }
            unreachable!("it is refused at last")
        });
    }
    meanwhile.await;
    let ended = timeout(SOON, callers.join_all()).await.expect("all are woken");
    let accepted = ended.iter().map(|(name, accepted, _)| (name.clone(), *accepted)).collect();
    (accepted, ended.into_iter().map(|(.., error)| error).collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_wakes_who_waits_and_keeps_what_was_accepted() {
    for options in small() {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(dir.path(), options).await.unwrap());
        let busy = async {
            while rows(&store, "turns").await < 100 {
                tokio::task::yield_now().await;
            }
            store.close().await;
        };
        let (accepted, errors) = record_until_refused(&store, 1000, busy).await;
        assert!(errors.iter().all(|error| matches!(error, StoreError::Closed)), "{errors:?}");
        let store = open(dir.path()).await;
        for (name, count) in accepted {
            let kept = store.turns(&agent("a"), &session(&name), usize::MAX).await.unwrap();
            assert_eq!(kept.len(), count, "{name}");
        }
        store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn poisoning_wakes_who_waits() {
    for options in small() {
        let dir = tempfile::tempdir().unwrap();
        let options = StoreOptions { database_limit: Some(ByteSize(1 << 20)), ..options };
        let store = Arc::new(Store::open(dir.path(), options).await.unwrap());
        let (accepted, errors) = record_until_refused(&store, 10_000, async {}).await;
        assert!(errors.iter().all(|error| matches!(error, StoreError::Poisoned { .. })), "{errors:?}");
        let accepted: usize = accepted.values().sum();
        let kept = usize::try_from(rows(&store, "turns").await).unwrap();
        assert!(kept > 0);
        store.close().await;
        assert_eq!(
            accepted - kept,
            usize::try_from(store.lost_turns()).unwrap(),
            "what was accepted is kept or counted"
        );
    }
}
