//! Sessions begin with a turn, end by word, silence or shutdown, and may come back.

use domain::EndReason;

use super::*;

#[tokio::test]
async fn a_session_ends_once_and_comes_back_with_its_next_turn() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let (owner, name) = (agent("a"), session("s"));
    let at_work = || async { store.sessions(&owner, 10).await.unwrap().remove(0) };
    let first = TurnRecord { started: at(1000), duration: Duration::from_secs(5), ..turn("a", "s", "{}") };
    store.record_turn(first).await.unwrap();
    store
        .record_turn(TurnRecord { started: at(1010), duration: Duration::from_secs(2), ..turn("a", "s", "{}") })
        .await
        .unwrap();
    assert!(store.end_session(&owner, &name, EndReason::Header).await.unwrap());
    let ended = at_work().await;
    assert_eq!((ended.started, ended.last_active, ended.turns, ended.generation), (at(1000), at(1012), 2, 0));
    assert_eq!(ended.ended.map(|(_, reason)| reason), Some(EndReason::Header));
    assert!(!store.end_session(&owner, &name, EndReason::Idle).await.unwrap(), "it has ended already");
    assert!(!store.end_session(&owner, &session("never"), EndReason::Idle).await.unwrap());
    assert!(!store.end_session(&agent("b"), &name, EndReason::Idle).await.unwrap(), "another agent's");
    assert_eq!(at_work().await, ended);

    store.record_turn(TurnRecord { started: at(2000), ..turn("a", "s", "{}") }).await.unwrap();
    store.flush().await.unwrap();
    let back = at_work().await;
    assert_eq!((back.ended, back.turns, back.generation, back.started), (None, 3, 1, at(1000)));
    store.close().await;

    // It counts on after a restart.
    let store = open(dir.path()).await;
    assert_eq!(store.session(&owner, &name).await.unwrap().map(|s| (s.turns, s.client_key)), Some((3, None)));
    assert_eq!(store.session(&agent("b"), &name).await.unwrap(), None);
    let keyed = |key: Option<&str>| TurnRecord { session_key: key.map(str::to_owned), ..turn("a", "s", "{}") };
    store.record_turn(keyed(Some("agent:a:main"))).await.unwrap();
    store.flush().await.unwrap();
    let turns = store.turns(&owner, &name, 10).await.unwrap();
    assert_eq!(turns.iter().map(|turn| turn.position).collect::<Vec<_>>(), [0, 1, 2, 3]);
    store.close().await;

    // A turn that names no key leaves the session's.
    let store = open(dir.path()).await;
    store.record_turn(keyed(None)).await.unwrap();
    store.flush().await.unwrap();
    assert_eq!(at_key(&store).await.as_deref(), Some("agent:a:main"));
    store.record_turn(keyed(Some("agent:a:other"))).await.unwrap();
    store.flush().await.unwrap();
    assert_eq!(at_key(&store).await.as_deref(), Some("agent:a:other"));
    store.close().await;
}

async fn at_key(store: &Store) -> Option<String> {
    store.session(&agent("a"), &session("s")).await.unwrap().unwrap().client_key
}

#[tokio::test]
async fn silent_sessions_are_found_and_shutdown_ends_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let quick = Duration::from_secs(1);
    for (owner, name, started) in [("a", "old", 100), ("a", "older", 50), ("b", "old", 80), ("b", "new", 900)] {
        store
            .record_turn(TurnRecord { started: at(started), duration: quick, ..turn(owner, name, "{}") })
            .await
            .unwrap();
    }
    store.flush().await.unwrap();
    let names = |sessions: Vec<crate::StoredSession>| {
        sessions.into_iter().map(|s| format!("{}/{}", s.agent, s.session.as_str())).collect::<Vec<_>>()
    };
    assert_eq!(names(store.idle_sessions(at(500), 10).await.unwrap()), ["a/older", "b/old", "a/old"]);
    assert_eq!(names(store.idle_sessions(at(500), 1).await.unwrap()), ["a/older"]);
    let since = at(500);
    assert!(store.end_silent_session(&agent("a"), &session("older"), since).await.unwrap());
    assert!(!store.end_silent_session(&agent("b"), &session("new"), since).await.unwrap(), "it has spoken since");
    assert_eq!(names(store.idle_sessions(at(500), 10).await.unwrap()), ["b/old", "a/old"]);
    assert_eq!(names(store.sessions(&agent("b"), 10).await.unwrap()), ["b/new", "b/old"]);

    assert_eq!(store.end_all_open(EndReason::Shutdown).await.unwrap(), 3);
    assert!(store.idle_sessions(at(5000), 10).await.unwrap().is_empty());
    assert_eq!(store.end_all_open(EndReason::Shutdown).await.unwrap(), 0);
    // What is remembered knows it too.
    store.record_turn(turn("b", "new", "{}")).await.unwrap();
    store.flush().await.unwrap();
    let back = store.sessions(&agent("b"), 1).await.unwrap().remove(0);
    assert_eq!((back.ended, back.generation), (None, 1));
    store.close().await;
}

#[tokio::test]
async fn a_purged_agent_leaves_not_a_byte() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let (marker, other) = ("the quick brown marker", "somebody else's words");
    let found = |text: &str| {
        let bytes = |entry: std::io::Result<std::fs::DirEntry>| std::fs::read(entry.unwrap().path()).unwrap();
        let files = std::fs::read_dir(dir.path()).unwrap().map(bytes);
        files.map(|file| file.windows(text.len()).filter(|w| *w == text.as_bytes()).count()).sum::<usize>()
    };
    for i in 0..200 {
        let mut record = turn("gone", "s", chat(&[format!("{i} {marker}")]));
        record.answer = format!("{marker} {i}").into();
        store.record_turn(record.clone()).await.unwrap();
        store.record_turn(turn("stays", "s", chat(&[format!("{i} {other}")]))).await.unwrap();
        store.capture(sample_of(&record, None), Verdict::Drop { reason: format!("{marker} {i}") }).await.unwrap();
    }
    // Names in no order split the pages of an index, and a split may leave copies behind.
    for i in 1..=500_u64 {
        let name = format!("{:016x} {marker}", i.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        store.record_turn(turn("gone", &name, "{}")).await.unwrap();
        store.record_turn(turn("stays", &name.replace(marker, other), "{}")).await.unwrap();
        if i % 100 == 0 {
            store.flush().await.unwrap();
        }
    }
    assert!(found(marker) >= 1100 && found(other) >= 700);
    assert_eq!(store.purge(&agent("gone")).await.unwrap(), 501);
    assert_eq!(found(marker), 0);
    assert!(found(other) >= 200);
    assert_eq!((rows(&store, "turns").await, rows(&store, "samples").await), (700, 0));
    assert_eq!(store.turns(&agent("stays"), &session("s"), 1000).await.unwrap().len(), 200);
    // The name may begin again.
    store.record_turn(turn("gone", "s", "{}")).await.unwrap();
    store.flush().await.unwrap();
    assert_eq!(store.sessions(&agent("gone"), 1).await.unwrap()[0].turns, 1);
    assert_eq!(store.purge(&agent("nobody")).await.unwrap(), 0);
    store.close().await;
}
