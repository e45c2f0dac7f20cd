//! What is recorded comes back, byte for byte, and costs what is new in it.

use domain::ByteSize;

use super::*;

#[tokio::test]
async fn every_field_of_a_turn_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let full = turn("researcher", "agent:main:主", chat(&["Was heißt 🦀?".to_owned()]));
    let bare = TurnRecord {
        kind: TurnKind::Side,
        first_byte: None,
        answer: Bytes::new(),
        skills: Vec::new(),
        policy: (Digest::of(b"other"), DecisionSource::Builtin),
        usage: None,
        outcome: TurnOutcome::Cancelled,
        ..turn("_default", "s", "{}")
    };
    for record in [&full, &bare] {
        store.record_turn(record.clone()).await.unwrap();
    }
    store.flush().await.unwrap();
    for record in [full, bare] {
        let kept = store.turn(record.id).await.unwrap().unwrap();
        assert_eq!(kept.position, 0);
        assert_eq!(format!("{:?}", kept.record), format!("{record:?}"));
    }
    assert!(store.turn(TurnId(Uuid::now_v7())).await.unwrap().is_none());
    store.close().await;
}

#[tokio::test]
async fn any_body_comes_back_byte_for_byte_whether_or_not_it_is_json() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let huge = chat(&(0..40).map(|i| format!("{i} ").repeat(100_000)).collect::<Vec<_>>());
    assert!(huge.len() > 8 << 20, "larger than what is kept for comparison");
    let many =
        format!(r#"{{"messages":[{}]}}"#, vec![r#"{"role":"user","content":"the same words"}"#; 20_000].join(","));
    let bodies: Vec<Bytes> = vec![
        "".into(),
        "not JSON at all".into(),
        r#"{"messages":[{"role":"user","content":"never en"#.into(),
        Bytes::from_static(b"\xff\xfe\0binary\0"),
        "\u{feff}{ \"messages\" : [ {\"content\":\"spaced\"} ,\n {\"content\":\"out\"} ] , \"n\": 1e400 }".into(),
        r#"{"a":1,"a":2,"messages":[],"messages":[{"content":"twice, with a \"quote\" and \\ "}]}"#.into(),
        huge.into(),
        many.into(),
    ];
    let mut ids = Vec::new();
    // Twice, so that each is also compared with another and with itself.
    for body in bodies.iter().chain(&bodies).chain(bodies.iter().rev()) {
        let record = turn("a", "s", body.clone());
        ids.push((record.id, body));
        store.record_turn(record).await.unwrap();
    }
    store.flush().await.unwrap();
    for (i, (id, body)) in ids.into_iter().enumerate() {
        assert!(store.turn(id).await.unwrap().unwrap().record.request == *body, "turn {i}");
    }
    store.close().await;
}

#[tokio::test]
async fn a_history_that_is_sent_again_with_every_turn_is_kept_once() {
    // Remembering much, and remembering nothing, must come to the same.
    for session_memory in [ByteSize(64 << 20), ByteSize(0)] {
        let dir = tempfile::tempdir().unwrap();
        let options = StoreOptions { session_memory, ..StoreOptions::default() };
        let store = Store::open(dir.path(), options).await.unwrap();
        let (mut history, mut sent) = (Vec::new(), Vec::new());
        for i in 0..100 {
            history.push(format!("question {i}: {}", "why? ".repeat(200)));
            let record = turn("a", "s", chat(&history));
            sent.push(record.clone());
            store.record_turn(record).await.unwrap();
            store.flush().await.unwrap();
            history.push(format!("answer {i}: {}", "so. ".repeat(250)));
        }
        let total: usize = sent.iter().map(|record| record.request.len()).sum();
        assert!(total > 10 << 20);
        assert!(rows(&store, "contents").await <= 199 + 4, "{}", rows(&store, "contents").await);
        let longest: i64 =
            sqlx::query_scalar("SELECT max(length(request)) FROM turns").fetch_one(&store.reader.pool).await.unwrap();
        assert!(longest <= 16, "a turn refers to its history in {longest} bytes");
        let kept = store.turns(&agent("a"), &session("s"), 1000).await.unwrap();
        assert_eq!(kept.len(), 100);
        for (i, (kept, sent)) in kept.iter().zip(&sent).enumerate() {
            assert_eq!(kept.position, i as u64);
            assert!(kept.record.request == sent.request);
        }
        store.close().await;
        let size = size_of_files(dir.path()) - size_when_empty().await;
        assert!(size < 400 << 10, "200 KB of text and 100 turns take {size} bytes");
    }
}

#[tokio::test]
async fn however_a_history_changes_between_turns_it_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let mut seed = 1_u64;
    let mut random = |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % below
    };
    let mut messages: Vec<String> = vec!["a beginning".to_owned()];
    let mut body = chat(&messages).into_bytes();
    let mut sent = Vec::new();
    for i in 0..400 {
        match random(8) {
            // The client forgets, repeats, edits, starts anew.
            0 if messages.len() > 2 => drop(messages.remove(random(messages.len()))),
            1 => messages.push(messages[random(messages.len())].clone()),
            2 => {
                let at = random(messages.len());
                messages[at] = "é".repeat(random(3000));
            }
            3 if random(5) == 0 => messages = vec!["anew".to_owned()],
            _ => messages.push(format!("{i}, \"{}\"", "x ".repeat(random(200)))),
        }
        if random(4) == 0 {
            // Bytes changed, cut off or doubled anywhere: a body is a body.
            let at = random(body.len());
            match random(3) {
                0 => body[at] = b"\"[]{},\\ "[random(8)],
                1 => body.truncate(at + 1),
                _ => body.extend_from_within(at..),
            }
            body.truncate(1 << 20);
        } else {
            body = chat(&messages).into_bytes();
        }
        let kind = if random(5) == 0 { TurnKind::Side } else { TurnKind::Main };
        let record = TurnRecord { kind, ..turn("a", "s", body.clone()) };
        sent.push(record.clone());
        store.record_turn(record).await.unwrap();
        if random(10) == 0 {
            store.flush().await.unwrap();
        }
    }
    store.flush().await.unwrap();
    let kept = store.turns(&agent("a"), &session("s"), usize::MAX).await.unwrap();
    assert_eq!(kept.len(), sent.len());
    for (kept, sent) in kept.iter().zip(&sent) {
        assert_eq!(kept.record.id, sent.id);
        assert!(kept.record.request == sent.request);
    }
    store.close().await;
}

#[tokio::test]
async fn agents_with_the_same_session_names_and_words_share_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let body = chat(&["the same secret words".to_owned()]);
    for i in 0..50 {
        for owner in ["alice", "bob", "_default"] {
            let record = TurnRecord { model: format!("{owner}-{i}"), ..turn(owner, "main", body.clone()) };
            store.record_turn(record).await.unwrap();
        }
    }
    store.flush().await.unwrap();
    let of_one = rows(&store, "contents").await / 3;
    assert_eq!(rows(&store, "contents").await, of_one * 3, "each has pieces of its own");
    let others = "SELECT count(*) FROM contents a JOIN contents b ON a.hash = b.hash WHERE a.session <> b.session";
    let equal: i64 = sqlx::query_scalar(others).fetch_one(&store.reader.pool).await.unwrap();
    assert_eq!(equal, of_one * 6, "and they are the same pieces");
    for owner in ["alice", "bob", "_default"] {
        let sessions = store.sessions(&agent(owner), 10).await.unwrap();
        assert_eq!(sessions.iter().map(|s| s.turns).collect::<Vec<_>>(), [50]);
        let turns = store.turns(&agent(owner), &session("main"), 1000).await.unwrap();
        let models: Vec<_> = turns.iter().map(|turn| turn.record.model.clone()).collect();
        assert_eq!(models, (0..50).map(|i| format!("{owner}-{i}")).collect::<Vec<_>>());
        assert!(turns.iter().all(|turn| turn.record.agent == agent(owner)));
    }
    assert!(store.turns(&agent("carol"), &session("main"), 10).await.unwrap().is_empty());
    store.close().await;
}

#[tokio::test]
async fn the_first_record_of_a_turn_stays() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let first = turn("a", "s", r#"{"model":"first"}"#);
    let second = TurnRecord { request: r#"{"model":"second"}"#.into(), ..first.clone() };
    store.record_turn(first.clone()).await.unwrap();
    store.record_turn(second).await.unwrap();
    store.flush().await.unwrap();
    assert_eq!(store.turn(first.id).await.unwrap().unwrap().record.request, first.request);
    assert_eq!(rows(&store, "turns").await, 1);
    store.close().await;
}

#[tokio::test]
async fn the_last_turns_of_a_session_are_read_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    for i in 0..10 {
        store.record_turn(turn("a", "s", format!("{i}"))).await.unwrap();
    }
    store.flush().await.unwrap();
    let last = store.turns(&agent("a"), &session("s"), 3).await.unwrap();
    assert_eq!(last.iter().map(|turn| turn.record.request.as_ref()).collect::<Vec<_>>(), [b"7", b"8", b"9"]);
    store.close().await;
}
