//! Samples on their way to an adapter: each step once, by the rules, whatever is repeated and whoever dies.

mod adapters;
mod killed;
mod properties;

use domain::{EndReason, RewardSource, SampleState, Score};

use sqlx::{Connection as _, SqliteConnection};

use super::*;
use crate::{AdapterState, Batch, Claim, Lane, NewAdapter, Staleness, StoreError, ToScore, database};

fn judged(reward: f32) -> Score {
    Score { reward, votes: 3, spread: 0.5, source: RewardSource::Judge }
}

/// A prompt and an answer of one token each.
fn tokens(prompt: u32, answer: u32) -> Option<TokenTrace> {
    let trace =
        TokenTrace { prompt: [prompt].into(), completion: vec![answer], logprobs: vec![-1.0], ..<_>::default() };
    Some(trace)
}

/// A turn with a sample of these tokens.
async fn answered(store: &Store, owner: &str, name: &str, request: &str, prompt: u32, answer: u32) -> TurnId {
    let record = turn(owner, name, request.to_owned());
    let id = record.id;
    store.record_turn(record.clone()).await.unwrap();
    store.capture(sample_of(&record, tokens(prompt, answer)), KEEP).await.unwrap();
    id
}

/// So many samples that may be trained on, each of a session of its own.
async fn eligible(store: &Store, owner: &str, number: u32) -> Vec<TurnId> {
    let mut turns = Vec::new();
    for prompt in 0..number {
        let id = answered(store, owner, &Uuid::now_v7().to_string(), "{}", prompt, 1).await;
        assert!(store.score(id, judged(0.5)).await.unwrap() && store.admit(id).await.unwrap());
        turns.push(id);
    }
    turns
}

fn claim(parent: u64, turns: &[TurnId]) -> Claim {
    Claim { batch: Uuid::now_v7(), parent, turns: turns.to_vec(), least: 1 }
}

fn adapter(generation: u64, state: AdapterState) -> NewAdapter {
    NewAdapter {
        generation,
        state,
        folder: format!("g{generation:06}"),
        digest: Digest::of(&generation.to_le_bytes()),
        base: "a-model".to_owned(),
        metrics: r#"{"loss":0.5}"#.to_owned(),
        reason: None,
        baseline: Some(0.25),
    }
}

async fn state(store: &Store, turn: TurnId) -> SampleState {
    store.sample_of(turn).await.unwrap().unwrap().state
}

async fn to_score(store: &Store, owner: &str) -> Vec<(TurnId, Option<TurnId>, bool)> {
    let found = store.samples_to_score(&agent(owner), true, 100).await.unwrap();
    found.into_iter().map(|ToScore { sample, next, ended, .. }| (sample.sample.turn, next, ended)).collect()
}

/// A connection beside the store's.
async fn connect(path: &str) -> SqliteConnection {
    SqliteConnection::connect(&format!("sqlite:{path}")).await.unwrap()
}

/// What a client has said, as its own job writes it.
async fn feedback(store: &Store, owner: &str, turn: TurnId, reward: f32) {
    let sql = "INSERT INTO feedback (turn, agent, reward, skills, given) VALUES ($1, $2, $3, '[]', 0) \
        ON CONFLICT (turn) DO UPDATE SET reward = excluded.reward";
    let path = store.reader.path.display().to_string();
    let mut writer = connect(&path).await;
    let query = sqlx::query(sql).bind(turn.0.as_bytes().to_vec()).bind(owner.to_owned()).bind(f64::from(reward));
    query.execute(&mut writer).await.unwrap();
    writer.close().await.unwrap();
}

#[tokio::test]
async fn a_sample_goes_its_way_and_no_step_is_done_twice_or_out_of_order() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let owner = agent("a");
    let id = answered(&store, "a", "s", "{}", 1, 1).await;
    assert!(!store.admit(id).await.unwrap() && !store.hold_out(id).await.unwrap(), "it has no score");
    assert!(store.claim(&owner, claim(0, &[id])).await.unwrap().is_none(), "it is not eligible");
    assert!(store.score(id, judged(0.5)).await.unwrap());
    assert!(!store.score(id, judged(-1.0)).await.unwrap(), "it has a score");
    assert!(!store.postpone_score(id, "late", None).await.unwrap());
    assert!(store.admit(id).await.unwrap() && !store.admit(id).await.unwrap());
    assert!(!store.hold_out(id).await.unwrap(), "it may be trained on");

    let batch = store.claim(&owner, claim(0, &[id])).await.unwrap().unwrap();
    assert_eq!((batch.parent, batch.generation, batch.samples.len()), (0, 1, 1));
    let claimed = &batch.samples[0];
    assert_eq!((claimed.sample.turn, claimed.state, claimed.score), (id, SampleState::Claimed, Some(judged(0.5))));
    assert_eq!((claimed.batch, claimed.sample.tokens.clone()), (Some(batch.id), tokens(1, 1)));
    assert!(!store.reject(id, "no").await.unwrap(), "a batch has it");
    assert_eq!(expire_all(&store, "a").await, 0, "a batch has it");

    let live = store.commit(batch.id, adapter(1, AdapterState::Live)).await.unwrap().unwrap();
    assert_eq!((live.generation, live.parent, live.batch, live.state), (1, 0, Some(batch.id), AdapterState::Live));
    assert_eq!(state(&store, id).await, SampleState::Consumed);
    assert!(store.open_batch(&owner).await.unwrap().is_none());
    for refused in [
        store.score(id, judged(0.1)).await.unwrap(),
        store.admit(id).await.unwrap(),
        store.reject(id, "no").await.unwrap(),
        store.release(batch.id).await.unwrap(),
        store.abandon(batch.id, "no").await.unwrap(),
    ] {
        assert!(!refused, "it is consumed");
    }
    assert!(store.claim(&owner, claim(1, &[id])).await.unwrap().is_none());
    let again = store.commit(batch.id, adapter(2, AdapterState::Rejected)).await.unwrap().unwrap();
    assert_eq!(again, live, "a second commit changes nothing");
    let lane = store.lane(&owner).await.unwrap();
    assert_eq!((lane.steps, lane.baseline), (1, Some(0.25)));
    store.close().await;
}

async fn expire_all(store: &Store, owner: &str) -> u64 {
    let staleness = Staleness { oldest: at(4_000_000_000), least_adapter: 0, skill_generation: None };
    store.expire(&agent(owner), staleness).await.unwrap()
}

#[tokio::test]
async fn scores_are_rewards_and_what_cannot_be_scored_is_tried_later_or_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let id = answered(&store, "a", "s", "{}", 1, 1).await;
    for (reward, spread) in
        [(f32::NAN, 0.0), (1.1, 0.0), (-1.1, 0.0), (0.0, f32::NAN), (0.0, -1.0), (f32::INFINITY, 0.0)]
    {
        let refused = store.score(id, Score { reward, spread, ..judged(0.0) }).await;
        assert!(matches!(refused, Err(StoreError::Score { .. })), "{reward} {spread}");
    }
    assert_eq!(state(&store, id).await, SampleState::Captured);
    store.end_session(&agent("a"), &session("s"), EndReason::Header).await.unwrap();
    assert_eq!(to_score(&store, "a").await, [(id, None, true)]);
    assert!(store.postpone_score(id, "the judge is ill", Some(at(4_000_000_000))).await.unwrap());
    assert!(to_score(&store, "a").await.is_empty(), "later");
    assert!(store.postpone_score(id, "the judge is ill", Some(at(1))).await.unwrap());
    let found = store.samples_to_score(&agent("a"), true, 9).await.unwrap();
    assert_eq!((found[0].attempts, found[0].sample.reason.as_deref()), (2, Some("the judge is ill")));
    assert_eq!(found[0].sample.score, None, "a failure is no score");
    assert!(store.postpone_score(id, "the judge is dead", None).await.unwrap());
    let kept = store.sample_of(id).await.unwrap().unwrap();
    assert_eq!(
        (kept.state, kept.reason.as_deref(), kept.score),
        (SampleState::Rejected, Some("the judge is dead"), None)
    );
    assert!(!store.score(id, judged(0.5)).await.unwrap());
    store.close().await;
}

#[tokio::test]
async fn a_sample_is_due_when_there_is_something_to_go_by() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let first = answered(&store, "a", "s", "one", 1, 1).await;
    // Without tokens it is never trained on, so nobody need judge it.
    let textual = turn("a", "t", "{}");
    store.record_turn(textual.clone()).await.unwrap();
    store.capture(sample_of(&textual, None), KEEP).await.unwrap();
    store.end_session(&agent("a"), &session("t"), EndReason::Header).await.unwrap();
    assert!(to_score(&store, "a").await.is_empty(), "nobody has answered it, and the session goes on");
    store.record_turn(TurnRecord { kind: TurnKind::Side, ..turn("a", "s", "housekeeping") }).await.unwrap();
    store.record_turn(turn("b", "s", "of another agent")).await.unwrap();
    store.flush().await.unwrap();
    assert!(to_score(&store, "a").await.is_empty(), "that is no reaction");

    let second = answered(&store, "a", "s", "one two", 2, 2).await;
    assert_eq!(to_score(&store, "a").await, [(first, Some(second), false)]);
    let without_judge = store.samples_to_score(&agent("a"), false, 9).await.unwrap();
    assert!(without_judge.is_empty(), "nobody is there to judge");
    store.end_session(&agent("a"), &session("s"), EndReason::Header).await.unwrap();
    assert_eq!(to_score(&store, "a").await, [(first, Some(second), true), (second, None, true)]);
    assert!(to_score(&store, "b").await.is_empty());

    // A reward needs no judge.
    let record = turn("b", "s", "{}");
    store.record_turn(record.clone()).await.unwrap();
    store.capture(Sample { reward: Some(-0.5), ..sample_of(&record, tokens(1, 1)) }, KEEP).await.unwrap();
    let said = answered(&store, "b", "said", "{}", 2, 1).await;
    feedback(&store, "b", said, 0.75).await;
    let found = store.samples_to_score(&agent("b"), false, 9).await.unwrap();
    let rewards: Vec<_> =
        found.iter().map(|due| (due.sample.sample.turn, due.sample.sample.reward, due.feedback)).collect();
    assert_eq!(rewards, [(record.id, Some(-0.5), None), (said, None, Some(0.75))]);
    store.close().await;
}

#[tokio::test]
async fn who_asks_the_same_again_has_not_answered() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let first = answered(&store, "a", "s", r#"{"messages":["how?"]}"#, 1, 1).await;
    // The same body; then another temperature, which leaves the prompt's tokens as they were.
    let second = answered(&store, "a", "s", r#"{"messages":["how?"]}"#, 1, 2).await;
    assert!(to_score(&store, "a").await.is_empty());
    let third = answered(&store, "a", "s", r#"{"messages":["how?"],"temperature":0.5}"#, 1, 3).await;
    assert!(to_score(&store, "a").await.is_empty());
    let reaction = answered(&store, "a", "s", r#"{"messages":["how?","so.","no!"]}"#, 9, 1).await;
    assert_eq!(to_score(&store, "a").await, [(third, Some(reaction), false)], "it is about the last answer");
    store.end_session(&agent("a"), &session("s"), EndReason::Idle).await.unwrap();
    let found = to_score(&store, "a").await;
    assert_eq!(found[..3], [(first, None, true), (second, None, true), (third, Some(reaction), true)]);

    let keys: Vec<_> = store.samples(&agent("a"), 9).await.unwrap().iter().map(|sample| sample.prompt_key).collect();
    assert!(keys[1] == keys[2] && keys[2] == keys[3] && keys[0] != keys[1], "one group: {keys:?}");
    store.close().await;
}

#[tokio::test]
async fn identical_captures_are_one_row() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let first = answered(&store, "a", "s", "{}", 1, 1).await;
    let again = turn("a", "s", "{}");
    store.record_turn(again.clone()).await.unwrap();
    let captured = store.capture(sample_of(&again, tokens(1, 1)), KEEP).await.unwrap();
    assert!(captured.existed && store.sample_of(again.id).await.unwrap().is_none());
    let kept = |owner: &'static str, name: &'static str, prompt, answer| {
        let store = &store;
        async move {
            let id = answered(store, owner, name, "{}", prompt, answer).await;
            store.sample_of(id).await.unwrap().is_some()
        }
    };
    assert!(kept("a", "s", 1, 2).await && kept("a", "s", 2, 1).await, "other tokens");
    assert!(kept("a", "t", 1, 1).await && kept("b", "s", 1, 1).await, "another conversation");
    // Two of one commit are as one after the other, and a dropped one is in nobody's way.
    let records: Vec<_> = (0..8).map(|_| turn("a", "u", "{}")).collect();
    for record in &records {
        store.record_turn(record.clone()).await.unwrap();
    }
    let drop =
        store.capture(sample_of(&records[0], tokens(1, 1)), Verdict::Drop { reason: "no".into() }).await.unwrap();
    assert_eq!(drop.state, SampleState::Dropped);
    let (one, other) = tokio::join!(
        store.capture(sample_of(&records[1], tokens(1, 1)), KEEP),
        store.capture(sample_of(&records[2], tokens(1, 1)), KEEP)
    );
    assert!(!one.unwrap().existed && other.unwrap().existed);
    // A later state is what a repeated capture is told.
    assert!(store.score(first, judged(1.0)).await.unwrap());
    let late = store.capture(sample_of(&records[3], tokens(1, 1)), KEEP).await.unwrap();
    assert_eq!((late.state, late.existed), (SampleState::Captured, true));
    let again = Sample { session: session("s"), ..sample_of(&again, tokens(1, 1)) };
    assert_eq!(store.capture(again, KEEP).await.unwrap().state, SampleState::Scored);
    store.close().await;
}

#[tokio::test]
async fn what_a_client_says_replaces_a_score_until_a_batch_has_the_sample() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let owner = agent("a");
    let ids = eligible(&store, "a", 2).await;
    feedback(&store, "a", ids[0], -0.75).await;
    let said = Some(Score::said(-0.75, RewardSource::Feedback));
    let scores = |samples: &[crate::StoredSample]| samples.iter().map(|sample| sample.score).collect::<Vec<_>>();
    let eligible = store.samples_in(&owner, SampleState::Eligible, 9).await.unwrap();
    assert_eq!(scores(&eligible), [said, Some(judged(0.5))]);
    let rewarded = store.rewarded(&owner, 3).await.unwrap();
    assert_eq!(rewarded.iter().map(|one| one.reward).collect::<Vec<_>>(), [0.5, -0.75], "the newest first");
    assert!(rewarded.iter().all(|one| one.prompt_key.is_some()));
    let batch = store.claim(&owner, claim(0, &ids)).await.unwrap().unwrap();
    assert_eq!(scores(&batch.samples), [said, Some(judged(0.5))]);
    // A batch that is trained on again must be the same.
    feedback(&store, "a", ids[0], 1.0).await;
    feedback(&store, "a", ids[1], 1.0).await;
    assert_eq!(scores(&store.open_batch(&owner).await.unwrap().unwrap().samples), [said, Some(judged(0.5))]);
    store.close().await;
}

#[tokio::test]
async fn a_claim_takes_what_is_left_of_its_own_agents_and_the_rest_stays() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let (owner, other) = (agent("a"), agent("b"));
    let ids = eligible(&store, "a", 6).await;
    let foreign = eligible(&store, "b", 2).await;
    let enough = Claim { least: 3, ..claim(0, &[ids[3], ids[0], foreign[0], foreign[1]]) };
    assert!(store.claim(&owner, enough).await.unwrap().is_none(), "two of them are another agent's");
    assert_eq!(store.samples_in(&owner, SampleState::Eligible, 9).await.unwrap().len(), 6);
    assert!(store.claim(&owner, claim(0, &[])).await.unwrap().is_none());
    assert!(store.claim(&owner, claim(7, &ids)).await.unwrap().is_none(), "no such adapter is live");

    let wanted = claim(0, &[ids[3], ids[0], ids[3], foreign[0]]);
    let batch = store.claim(&owner, wanted.clone()).await.unwrap().unwrap();
    let turns = |batch: &Batch| batch.samples.iter().map(|sample| sample.sample.turn).collect::<Vec<_>>();
    assert_eq!(turns(&batch), [ids[0], ids[3]], "the oldest first, each once");
    let again = store.claim(&owner, wanted).await.unwrap().unwrap();
    assert_eq!((again.id, turns(&again)), (batch.id, turns(&batch)), "asked again it is that batch");
    assert!(store.claim(&owner, claim(0, &ids)).await.unwrap().is_none(), "one at a time");
    assert!(store.claim(&other, claim(0, &foreign)).await.unwrap().is_some(), "each agent");
    let left = store.samples_in(&owner, SampleState::Eligible, 9).await.unwrap();
    assert_eq!(left.iter().map(|s| s.sample.turn).collect::<Vec<_>>(), [ids[1], ids[2], ids[4], ids[5]]);

    // Given back, they are claimed again; given up, they are not.
    assert!(store.release(batch.id).await.unwrap());
    assert_eq!(store.samples_in(&owner, SampleState::Eligible, 9).await.unwrap().len(), 6);
    assert!(store.commit(batch.id, adapter(1, AdapterState::Live)).await.unwrap().is_none(), "it is not under way");
    assert!(
        store.claim(&owner, Claim { batch: batch.id, ..claim(0, &ids) }).await.unwrap().is_none(),
        "a name is used once"
    );
    let batch = store.claim(&owner, claim(0, &ids[..2])).await.unwrap().unwrap();
    assert!(store.abandon(batch.id, "the loss is not a number").await.unwrap());
    let given_up = store.sample_of(ids[1]).await.unwrap().unwrap();
    assert_eq!(given_up.state, SampleState::Rejected);
    assert_eq!(given_up.reason.as_deref(), Some("the loss is not a number"));
    store.close().await;
}

#[tokio::test]
async fn what_is_too_old_expires() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let owner = agent("a");
    let ids = eligible(&store, "a", 2).await;
    let fresh = Staleness { oldest: at(1), least_adapter: 3, skill_generation: Some(7) };
    assert_eq!(store.expire(&owner, fresh).await.unwrap(), 0, "as they were made");
    assert_eq!(store.expire(&owner, Staleness { skill_generation: None, ..fresh }).await.unwrap(), 0);
    assert_eq!(store.expire(&agent("b"), Staleness { least_adapter: 4, ..fresh }).await.unwrap(), 0);
    let reason = async |id| store.sample_of(id).await.unwrap().unwrap().reason.unwrap();
    assert_eq!(store.expire(&owner, Staleness { skill_generation: Some(8), ..fresh }).await.unwrap(), 2);
    assert_eq!(reason(ids[0]).await, "answered with other skills");
    let ids = eligible(&store, "a", 1).await;
    assert_eq!(store.expire(&owner, Staleness { least_adapter: 4, ..fresh }).await.unwrap(), 1);
    assert_eq!(reason(ids[0]).await, "answered with an adapter from too long ago");
    let id = answered(&store, "a", "s", "{}", 1, 1).await;
    let textual = turn("a", "s", "{}");
    store.record_turn(textual.clone()).await.unwrap();
    store.capture(sample_of(&textual, None), KEEP).await.unwrap();
    assert_eq!(expire_all(&store, "a").await, 1, "without tokens it is on no way");
    assert_eq!((state(&store, id).await, reason(id).await), (SampleState::Expired, "too old".to_owned()));
    assert!(!store.score(id, judged(0.1)).await.unwrap());
    store.close().await;
}

#[tokio::test]
async fn held_out_samples_stay_and_are_never_trained_on() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let mut ids = Vec::new();
    for prompt in 0..3 {
        let id = answered(&store, "a", "s", "{}", prompt, 1).await;
        assert!(store.score(id, judged(0.5)).await.unwrap() && store.hold_out(id).await.unwrap());
        ids.push(id);
    }
    assert!(!store.admit(ids[0]).await.unwrap() && !store.reject(ids[0], "no").await.unwrap());
    assert_eq!(expire_all(&store, "a").await, 0);
    assert!(store.claim(&agent("a"), claim(0, &ids)).await.unwrap().is_none());
    let held = store.samples_in(&agent("a"), SampleState::HeldOut, 2).await.unwrap();
    assert_eq!(held.iter().map(|s| s.sample.turn).collect::<Vec<_>>(), [ids[2], ids[1]], "the newest");
    store.close().await;
}

#[tokio::test]
async fn samples_from_before_there_was_training_expire_and_those_without_tokens_stay() {
    let dir = tempfile::tempdir().unwrap();
    let before: Vec<_> = database::migrations().into_iter().filter(|m| m.version < 6).collect();
    let store = Store::open_with(dir.path(), StoreOptions::default(), before).await.unwrap();
    let path = store.reader.path.display().to_string();
    store.close().await;
    let mut writer = connect(&path).await;
    // As the version before wrote them.
    for sql in [
        "INSERT INTO sessions VALUES (zeroblob(16), 'a', 's', 0, 0, NULL, NULL, 2, 0, NULL, 2)",
        "INSERT INTO turns SELECT unhex(printf('%032x', v)), zeroblob(16), v, 'main', 0, 0, NULL, 'u', 'm', x'', x'', '[]', \
             zeroblob(32), 'builtin', NULL, NULL, 'complete' FROM (SELECT 1 AS v UNION SELECT 2)",
        "INSERT INTO samples SELECT id, 'a', 'captured', NULL, 1, zeroblob(32), 0, 0, \
             CASE position WHEN 1 THEN x'' END, CASE position WHEN 1 THEN x'01000000' END, \
             CASE position WHEN 1 THEN x'000080bf' END, NULL FROM turns",
    ] {
        sqlx::query(sql).execute(&mut writer).await.unwrap();
    }
    writer.close().await.unwrap();
    let store = open(dir.path()).await;
    let states: Vec<_> = store.samples(&agent("a"), 9).await.unwrap().iter().map(|s| s.state).collect();
    assert_eq!(states, [SampleState::Captured, SampleState::Expired]);
    store.close().await;
}
