//! What is recorded can be read beside a host that runs, and without one.

use super::*;
use crate::{Archive, StoreError};

#[tokio::test]
async fn what_is_committed_is_read_whether_or_not_the_host_runs() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let mut records = Vec::new();
    for (number, owner) in ["a", "b", "a", "a"].iter().enumerate() {
        let record = TurnRecord { started: at(1000 + number as u64), ..turn(owner, "s", chat(&[number.to_string()])) };
        store.record_turn(record.clone()).await.unwrap();
        records.push(record);
    }
    store.flush().await.unwrap();
    store.capture(sample_of(&records[0], None), KEEP).await.unwrap();
    let check = async || {
        let archive = Archive::open(dir.path()).await.unwrap();
        let of = async |name: &str, since, limit| archive.turns(&agent(name), at(since), limit).await.unwrap();
        let ids = |numbers: &[usize]| numbers.iter().map(|n| records[*n].id).collect::<Vec<_>>();
        assert_eq!(of("a", 0, 10).await, ids(&[0, 2, 3]));
        assert_eq!(of("a", 0, 2).await, ids(&[2, 3]), "the last ones");
        assert_eq!(of("a", 1001, 10).await, ids(&[2, 3]));
        assert_eq!(of("b", 0, 10).await, ids(&[1]));
        assert_eq!(of("c", 0, 10).await, ids(&[]));
        let kept = archive.turn(records[2].id).await.unwrap().unwrap();
        assert_eq!((kept.position, kept.record.request), (1, records[2].request.clone()));
        assert!(archive.sample_of(records[0].id).await.unwrap().is_some());
        assert!(archive.sample_of(records[2].id).await.unwrap().is_none());
        archive.close().await;
    };
    check().await;
    store.close().await;
    check().await;
    let store = open(dir.path()).await;
    assert_eq!(rows(&store, "turns").await, 4, "as it was");
    store.close().await;
}

#[tokio::test]
async fn what_is_no_database_of_this_version_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(Archive::open(dir.path()).await, Err(StoreError::Io { .. })), "there is none");
    let mut older = crate::database::migrations();
    older.pop();
    let store = Store::open_with(dir.path(), StoreOptions::default(), older).await.unwrap();
    store.close().await;
    let refused = Archive::open(dir.path()).await;
    assert!(matches!(refused, Err(StoreError::Older { found, known, .. }) if found < known));
}
