//! A sample is durable when it is acknowledged, and exists once.

use domain::{SampleState, SampledWith};

use super::*;
use crate::{Captured, SampleCount, StoreError};

#[tokio::test]
async fn a_sample_comes_back_with_its_tokens_and_a_dropped_one_with_its_reason() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let kept = turn("a", "s", "{}");
    let dropped = turn("a", "s", "{}");
    let textual = turn("a", "s", "{}");
    let trace = TokenTrace {
        prompt: (0..5000).collect(),
        completion: vec![1, u32::MAX],
        logprobs: vec![-0.25, f32::NEG_INFINITY],
        sampled_with: SampledWith {
            temperature: 0.7,
            top_p: 0.95,
            top_k: 50,
            penalized: true,
            base: Some(Digest::of(b"model")),
        },
    };
    for record in [&kept, &dropped, &textual] {
        store.record_turn(record.clone()).await.unwrap();
    }
    let verdict = Verdict::Keep { weight: 2.5 };
    let captured = store.capture(sample_of(&kept, Some(trace.clone())), verdict).await.unwrap();
    assert_eq!(captured, Captured { state: SampleState::Captured, existed: false });
    let reason = "ü".repeat(2000);
    let captured = store.capture(sample_of(&dropped, Some(trace.clone())), Verdict::Drop { reason }).await.unwrap();
    assert_eq!(captured, Captured { state: SampleState::Dropped, existed: false });
    store.capture(sample_of(&textual, None), KEEP).await.unwrap();

    let found = store.sample_of(kept.id).await.unwrap().unwrap();
    assert_eq!((found.state, found.reason, found.sample.weight), (SampleState::Captured, None, 2.5));
    assert_eq!((found.sample.tokens, found.sample.policy), (Some(trace), kept.policy.0));
    assert_eq!((found.sample.skill_generation, found.sample.adapter, found.sample.session), (7, 3, kept.session));
    let found = store.sample_of(dropped.id).await.unwrap().unwrap();
    assert_eq!((found.state, found.sample.tokens), (SampleState::Dropped, None));
    assert_eq!(found.reason.unwrap(), "ü".repeat(512), "cut at a character");
    assert_eq!(store.sample_of(textual.id).await.unwrap().unwrap().sample.tokens, None);

    let all = store.samples(&agent("a"), 10).await.unwrap();
    assert_eq!(all.iter().map(|s| s.sample.turn).collect::<Vec<_>>(), [textual.id, dropped.id, kept.id]);
    assert!(store.samples(&agent("b"), 10).await.unwrap().is_empty());
    let count = |state, count| SampleCount { agent: agent("a"), state, count };
    let want = [count(SampleState::Captured, 2), count(SampleState::Dropped, 1)];
    assert_eq!(store.sample_counts().await.unwrap(), want);
    store.close().await;
}

#[tokio::test]
async fn prompts_that_grow_are_kept_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    for turns in 1..=50 {
        let record = turn("a", "s", "{}");
        let tokens = TokenTrace { prompt: (0..turns * 1000).collect(), ..TokenTrace::default() };
        store.record_turn(record.clone()).await.unwrap();
        store.capture(sample_of(&record, Some(tokens.clone())), KEEP).await.unwrap();
        assert_eq!(store.sample_of(record.id).await.unwrap().unwrap().sample.tokens, Some(tokens));
    }
    store.close().await;
    // 50,000 tokens of 4 bytes, and half a piece of 4 KiB lost at the end of each prompt; not 5 MB.
    let size = size_of_files(dir.path()) - size_when_empty().await;
    assert!(size < 500 << 10, "{size}");
}

#[tokio::test]
async fn one_turn_gives_one_sample_however_often_it_is_captured() {
    let dir = tempfile::tempdir().unwrap();
    let store = std::sync::Arc::new(open(dir.path()).await);
    let record = turn("a", "s", "{}");
    store.record_turn(record.clone()).await.unwrap();
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let (store, sample) = (store.clone(), sample_of(&record, None));
        callers.spawn(async move { store.capture(sample, KEEP).await.unwrap() });
    }
    let answers = callers.join_all().await;
    assert_eq!(answers.iter().filter(|captured| !captured.existed).count(), 1);
    // A later and different verdict changes nothing.
    let late = store.capture(sample_of(&record, None), Verdict::Drop { reason: "late".into() }).await.unwrap();
    assert_eq!(late, Captured { state: SampleState::Captured, existed: true });
    assert_eq!(rows(&store, "samples").await, 1);
    store.close().await;

    let store = open(dir.path()).await;
    assert!(store.capture(sample_of(&record, None), KEEP).await.unwrap().existed);
    store.close().await;
}

#[tokio::test]
async fn a_turn_is_durable_before_or_with_its_sample() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    for _ in 0..20 {
        let record = turn("a", "s", "{}");
        store.record_turn(record.clone()).await.unwrap();
        // Nothing was flushed: the acknowledgement alone must imply the turn.
        store.capture(sample_of(&record, None), KEEP).await.unwrap();
        assert!(store.turn(record.id).await.unwrap().is_some());
    }
    store.close().await;
}

#[tokio::test]
async fn a_sample_without_its_turn_in_its_session_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let record = turn("a", "s", "{}");
    store.record_turn(record.clone()).await.unwrap();
    store.record_turn(turn("b", "s", "{}")).await.unwrap();
    store.flush().await.unwrap();
    let unrecorded = sample_of(&turn("a", "s", "{}"), None);
    let foreign = Sample { agent: agent("b"), ..sample_of(&record, None) };
    let elsewhere = Sample { session: session("other"), ..sample_of(&record, None) };
    for sample in [unrecorded, foreign, elsewhere] {
        let id = sample.turn;
        assert!(matches!(store.capture(sample, KEEP).await, Err(StoreError::UnknownTurn(turn)) if turn == id));
    }
    for weight in [f32::NAN, f32::INFINITY, -0.1, 10.1] {
        let refused = store.capture(sample_of(&record, None), Verdict::Keep { weight }).await;
        assert!(matches!(refused, Err(StoreError::Weight(_))));
    }
    assert_eq!(rows(&store, "samples").await, 0);
    assert!(!store.capture(sample_of(&record, None), KEEP).await.unwrap().existed, "it is still free");
    store.close().await;
}
