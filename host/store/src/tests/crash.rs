//! What is acknowledged survives: the process's death, a full disk, an operator's umask.
//!
//! These tests run themselves again as a child process: an ignored test that reads its directory from standard input.

use std::collections::HashSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use domain::ByteSize;

use super::*;
use crate::{Health, StoreError};

/// Starts `test`, below `tests`, of this binary in `dir`, in a shell that first runs `prepare`.
pub(super) fn start(prepare: &str, test: &str, dir: &Path) -> Child {
    let script = format!("{prepare}; exec \"$0\" --exact tests::{test} --ignored --nocapture");
    let mut command = Command::new("sh");
    command.arg("-c").arg(script).arg(std::env::current_exe().unwrap());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    writeln!(child.stdin.take().unwrap(), "{}", dir.display()).unwrap();
    child
}

/// The child's side: where to work, unless nobody started this as a child.
pub(super) fn directory() -> Option<std::path::PathBuf> {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    (!line.trim().is_empty()).then(|| line.trim().into())
}

/// Reads the ids that the child says are acknowledged, at most `most`.
fn acknowledged(output: &mut impl std::io::BufRead, most: usize) -> Vec<TurnId> {
    let ids = output.lines().map_while(Result::ok).filter_map(|line| line.strip_prefix("ack ")?.parse().ok());
    ids.take(most).collect()
}

/// Checks that each id is there once, whole, with its turn.
async fn verify(dir: &Path, ids: &[TurnId]) {
    let store = open(dir).await;
    store.check().await.unwrap();
    assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len());
    for id in ids {
        let sample = store.sample_of(*id).await.unwrap().expect("an acknowledged sample is missing");
        assert_eq!(sample.sample.tokens.unwrap().prompt.len(), 3000);
        let turn = store.turn(*id).await.unwrap().unwrap();
        assert!(turn.record.request.ends_with(b"}"), "torn");
    }
    let doubled: Vec<i64> = sqlx::query_scalar("SELECT count(*) FROM samples GROUP BY turn HAVING count(*) > 1")
        .fetch_all(&store.reader.pool)
        .await
        .unwrap();
    assert!(doubled.is_empty());
    for name in ["s0", "s1", "s2", "s3"] {
        let turns = store.turns(&agent("a"), &session(name), usize::MAX).await.unwrap();
        assert!(turns.iter().enumerate().all(|(i, turn)| turn.position == i as u64), "out of order");
    }
    store.close().await;
}

/// Records and captures in four sessions until told to stop by an error, saying what is acknowledged.
async fn work(store: Store) -> StoreError {
    let store = Arc::new(store);
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..4 {
        let store = store.clone();
        writers.spawn(async move {
            let mut history = Vec::new();
            loop {
                history.push(format!("message {}", "x".repeat(500)));
                let record = turn("a", &format!("s{writer}"), chat(&history));
                if let Err(error) = store.record_turn(record.clone()).await {
                    return error;
                }
                // Each its own, also of one that began where another was killed.
                let completion = record.id.0.as_bytes().iter().copied().map(u32::from).collect();
                let tokens = TokenTrace { prompt: (0..3000).collect(), completion, ..TokenTrace::default() };
                match store.capture(sample_of(&record, Some(tokens)), KEEP).await {
                    Ok(_) => println!("\nack {}", record.id),
                    Err(error) => return error,
                }
            }
        });
    }
    let error = writers.join_next().await.unwrap().unwrap();
    writers.shutdown().await;
    store.close().await;
    error
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the child of `acknowledged_samples_survive_kill_9`"]
async fn victim() {
    if let Some(dir) = directory() {
        work(open(&dir).await).await;
    }
}

#[tokio::test]
async fn acknowledged_samples_survive_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let mut ids = Vec::new();
    for round in 0..5 {
        let mut child = start(":", "crash::victim", dir.path());
        let mut output = BufReader::new(child.stdout.take().unwrap());
        ids.extend(acknowledged(&mut output, 60 + 17 * round));
        match Store::open(dir.path(), StoreOptions::default()).await {
            Err(StoreError::Locked { pid, .. }) => assert_eq!(pid, Some(child.id())),
            _ => panic!("the directory was not held"),
        }
        child.kill().unwrap();
        // What it said before it died counts too.
        ids.extend(acknowledged(&mut output, usize::MAX));
        child.wait().unwrap();
        verify(dir.path(), &ids).await;
    }
    assert!(ids.len() >= 5 * 60);
}

#[tokio::test]
#[ignore = "the child of `a_failed_write_poisons`"]
async fn crowded() {
    if let Some(dir) = directory() {
        let error = work(open(&dir).await).await;
        println!("\nend {error}");
    }
}

#[tokio::test]
async fn a_failed_write_poisons() {
    // Files cannot grow beyond 2048 blocks of 512 bytes: write() itself fails in the middle of a commit.
    let dir = tempfile::tempdir().unwrap();
    let child = start("ulimit -f 2048; trap '' XFSZ", "crash::crowded", dir.path()).wait_with_output().unwrap();
    let output = String::from_utf8(child.stdout).unwrap();
    assert!(output.contains("\nend the store stopped keeping samples after a failed write"), "{output}");
    let ids = acknowledged(&mut output.as_bytes(), usize::MAX);
    assert!(!ids.is_empty());
    verify(dir.path(), &ids).await;
}

#[tokio::test]
async fn a_full_database_poisons_until_it_is_opened_with_room() {
    let dir = tempfile::tempdir().unwrap();
    let options = StoreOptions { database_limit: Some(ByteSize(512 << 10)), ..StoreOptions::default() };
    let store = Store::open(dir.path(), options).await.unwrap();
    let mut acknowledged = Vec::new();
    let reason = loop {
        let record = turn("a", "s", format!("{}{}", acknowledged.len(), "x".repeat(40_000)));
        store.record_turn(record.clone()).await.unwrap();
        match store.capture(sample_of(&record, None), KEEP).await {
            Ok(_) => acknowledged.push(record),
            Err(StoreError::Poisoned { reason }) => break reason,
            Err(other) => panic!("{other}"),
        }
    };
    assert!((5..13).contains(&acknowledged.len()) && reason.contains("full"), "{reason}");
    assert_eq!(store.health(), Health::Poisoned { reason });
    assert_eq!(store.lost_turns(), 1);
    // Nothing is promised any more, not even what would fit; what was kept can still be read.
    let refused = store.record_turn(turn("a", "s", "{}")).await;
    assert!(matches!(refused, Err(StoreError::Poisoned { .. })));
    assert_eq!(store.lost_turns(), 1, "who is refused knows");
    let again = store.capture(sample_of(&acknowledged[0], None), KEEP).await;
    assert!(matches!(again, Err(StoreError::Poisoned { .. })));
    assert!(matches!(store.flush().await, Err(StoreError::Poisoned { .. })));
    assert!(store.sample_of(acknowledged[0].id).await.unwrap().is_some());
    store.close().await;

    let store = open(dir.path()).await;
    for record in &acknowledged {
        assert_eq!(store.turn(record.id).await.unwrap().unwrap().record.request, record.request);
        assert!(store.capture(sample_of(record, None), KEEP).await.unwrap().existed);
    }
    assert_eq!(store.health(), Health::Ok);
    store.close().await;
}

#[cfg(unix)]
mod modes {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().permissions().mode() & 0o777
    }

    #[tokio::test]
    #[ignore = "the child of `only_the_owner_can_read_whatever_the_umask`"]
    async fn careless() {
        if let Some(dir) = directory() {
            let store = open(&dir).await;
            let record = turn("a", "s", "{}");
            store.record_turn(record.clone()).await.unwrap();
            store.capture(sample_of(&record, None), KEEP).await.unwrap();
            for entry in std::fs::read_dir(&dir).unwrap() {
                let entry = entry.unwrap();
                println!("\nfile {} {:o}", entry.file_name().display(), mode(&entry.path()));
            }
            store.close().await;
        }
    }

    #[tokio::test]
    async fn only_the_owner_can_read_whatever_the_umask() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("a").join("state");
        for umask in ["000", "077", "022"] {
            let child = start(&format!("umask {umask}"), "crash::modes::careless", &state).wait_with_output().unwrap();
            let output = String::from_utf8(child.stdout).unwrap();
            let mut files: Vec<_> = output.lines().filter_map(|line| line.strip_prefix("file ")).collect();
            files.sort_unstable();
            assert_eq!(files, ["lock 600", "metaclaw.db 600", "metaclaw.db-shm 600", "metaclaw.db-wal 600"], "{umask}");
            assert_eq!(mode(&state), 0o700);
            assert_eq!(mode(state.parent().unwrap()), 0o700);
        }
        // What somebody opened up is closed again.
        std::fs::set_permissions(&state, PermissionsExt::from_mode(0o777)).unwrap();
        std::fs::set_permissions(state.join("metaclaw.db"), PermissionsExt::from_mode(0o666)).unwrap();
        open(&state).await.close().await;
        assert_eq!((mode(&state), mode(&state.join("metaclaw.db"))), (0o700, 0o600));
    }
}
