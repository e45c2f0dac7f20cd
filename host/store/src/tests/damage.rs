//! What is not ours, newer, damaged, or in use is refused by name and left as it is.

use std::borrow::Cow;
use std::path::PathBuf;

use sqlx::SqlStr;
use sqlx::migrate::{Migration, MigrationType};

use super::*;
use crate::{StoreError, database};

fn database(dir: &Path) -> PathBuf {
    dir.join("metaclaw.db")
}

async fn refused(dir: &Path) -> StoreError {
    match Store::open(dir, StoreOptions::default()).await {
        Ok(_) => panic!("{} was opened", dir.display()),
        Err(error) => error,
    }
}

#[tokio::test]
async fn a_second_opener_is_refused_and_told_who_holds_the_directory() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let error = refused(dir.path()).await;
    assert!(matches!(error, StoreError::Locked { pid, .. } if pid == Some(std::process::id())), "{error}");
    assert!(error.to_string().contains(&format!("in use by process {}", std::process::id())));
    store.close().await;
    open(dir.path()).await.close().await;
}

#[tokio::test]
async fn what_is_no_database_of_this_host_is_refused_and_untouched() {
    let ours = tempfile::tempdir().unwrap();
    open(ours.path()).await.close().await;
    let mut foreign = std::fs::read(database(ours.path())).unwrap();
    foreign[68..72].copy_from_slice(&7_i32.to_be_bytes());
    let notes = b"some notes of somebody's, longer than any header of a database could be, and longer yet than that";
    let cases: [(&[u8], &str); 4] = [
        (b"", "is damaged"),
        (b"SQLite", "is not a database"),
        (notes, "is not a database"),
        (&foreign, "is not a database"),
    ];
    for (content, expected) in cases {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(database(dir.path()), content).unwrap();
        let error = refused(dir.path()).await;
        assert!(error.to_string().contains(expected), "{error}");
        assert_eq!(std::fs::read(database(dir.path())).unwrap(), content);
    }
    #[cfg(unix)]
    {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(database(ours.path()), database(dir.path())).unwrap();
        assert!(matches!(refused(dir.path()).await, StoreError::NotOurs { .. }));
    }
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("metaclaw.db-wal"), "frames of a lost database").unwrap();
    assert!(matches!(refused(dir.path()).await, StoreError::Damaged { .. }));
}

#[tokio::test]
async fn an_older_schema_is_brought_up_to_date_and_a_newer_one_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let record = turn("a", "s", chat(&["kept".to_owned()]));
    store.record_turn(record.clone()).await.unwrap();
    store.close().await;

    let mut next = database::migrations();
    let newest = next.last().unwrap().version;
    let sql = SqlStr::from_static("ALTER TABLE sessions ADD COLUMN note TEXT");
    next.push(Migration::new(newest + 1, Cow::Borrowed("notes"), MigrationType::Simple, sql, false));
    let store = Store::open_with(dir.path(), StoreOptions::default(), next).await.unwrap();
    assert_eq!(store.turn(record.id).await.unwrap().unwrap().record.request, record.request);
    store.close().await;

    let before = std::fs::read(database(dir.path())).unwrap();
    let error = refused(dir.path()).await;
    assert!(
        matches!(error, StoreError::Newer { found, known, .. } if found == newest + 1 && known == newest),
        "{error}"
    );
    assert!(std::fs::read(database(dir.path())).unwrap() == before);
}

#[tokio::test]
async fn an_attempt_that_was_cut_off_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    for leftover in ["metaclaw.db.new", "metaclaw.db.new-journal"] {
        std::fs::write(dir.path().join(leftover), "half a database").unwrap();
    }
    let store = open(dir.path()).await;
    store.record_turn(turn("a", "s", "{}")).await.unwrap();
    store.flush().await.unwrap();
    store.close().await;
}

#[tokio::test]
async fn damage_is_found_and_never_a_panic_or_another_text() {
    let whole = tempfile::tempdir().unwrap();
    let store = open(whole.path()).await;
    let mut history = Vec::new();
    let mut records = Vec::new();
    for i in 0..30 {
        history.push(format!("message {i} {}", "words ".repeat(300)));
        let record = turn("a", "s", chat(&history));
        store.record_turn(record.clone()).await.unwrap();
        let tokens = TokenTrace { completion: vec![i], ..TokenTrace::default() };
        store.capture(sample_of(&record, Some(tokens)), KEEP).await.unwrap();
        records.push(record);
    }
    store.close().await;
    let bytes = std::fs::read(database(whole.path())).unwrap();

    let cut = (0..8).map(|eighth| bytes[..bytes.len() * eighth / 8].to_vec());
    let flip = (0..60).map(|i| {
        let mut copy = bytes.clone();
        let at = (bytes.len() / 60 * i + i * 97 + 13) % bytes.len();
        copy[at] ^= 1 << (i % 8);
        copy
    });
    let overwrite = (0..bytes.len() / 4096).map(|page| {
        let mut copy = bytes.clone();
        copy[page * 4096..][..4096].fill(0xa5);
        copy
    });
    let (mut found, mut harmless) = (0, 0);
    for copy in cut.chain(flip).chain(overwrite.take(40)) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(database(dir.path()), &copy).unwrap();
        let store = match Store::open(dir.path(), StoreOptions::default()).await {
            Ok(store) => store,
            Err(error) => {
                let typed = matches!(error, StoreError::Damaged { .. } | StoreError::NotOurs { .. });
                assert!(typed, "{error:?}");
                assert!(std::fs::read(database(dir.path())).unwrap() == copy, "a refused file stays as it is");
                found += 1;
                continue;
            }
        };
        let mut damaged = store.samples(&agent("a"), 100).await.is_err();
        for record in &records {
            match store.turn(record.id).await {
                Ok(Some(kept)) => assert!(kept.record.request == record.request, "a changed text was passed off"),
                Ok(None) => damaged = true,
                Err(error) => {
                    assert!(matches!(error, StoreError::Damaged { .. }), "{error:?}");
                    damaged = true;
                }
            }
        }
        *(if damaged { &mut found } else { &mut harmless }) += 1;
        store.close().await;
    }
    // A flipped bit in unused space, an answer or a time is not noticed; whole pages and cut files are.
    assert!(found >= 60 && harmless < 60, "{found} found, {harmless} not noticed");
}
