//! What comes of skills: each turn counts once, a later or better word takes the place of the one before, and all of it fades.

use std::io::BufReader;

use domain::{Digest, RewardSource};

use super::crash::{directory, start};
use super::*;
use crate::{Credit, Feedback, Noted, Outcome, SkillUse, StoreError};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn model(name: &str) -> Digest {
    Digest::of(name.as_bytes())
}

fn credit(skill: &str, reward: f32, moves: f32) -> Credit {
    Credit { skill: skill.to_owned(), digest: Digest::of(b"its text"), reward, moves }
}

fn outcome(turn: &TurnRecord, source: RewardSource, reward: f32, credits: &[Credit]) -> Outcome {
    Outcome {
        turn: turn.id,
        agent: turn.agent.clone(),
        source,
        reward,
        credits: credits.to_vec(),
        question: Some((model("m"), vec![1.0, 0.0])),
        feedback: None,
        given: at(1_000_000),
    }
}

async fn say(store: &Store, owner: &str) -> TurnRecord {
    let record = TurnRecord { skills: Vec::new(), ..turn(owner, "s", "{}") };
    store.record_turn(record.clone()).await.unwrap();
    record
}

async fn uses(store: &Store, owner: &str, skill: &str) -> Option<SkillUse> {
    let found = store.skill_uses(&agent(owner)).await.unwrap();
    found.into_iter().find(|sums| sums.skill == skill)
}

/// What succeeded, what failed, and what it helped with.
fn sums(found: &SkillUse) -> (f64, f64, &[f32]) {
    (found.succeeded, found.failed, &found.helped)
}

#[tokio::test]
async fn skills_are_counted_when_offered_and_when_injected() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    for _ in 0..3 {
        store.record_turn(turn("a", "s", "{}")).await.unwrap();
        store.note_offered(&agent("a"), vec!["plan".into(), "other".into()]).await.unwrap();
    }
    store.flush().await.unwrap();
    store.record_turn(turn("a", "s", "{}")).await.unwrap();
    store.flush().await.unwrap();
    let counts = |found: SkillUse| (found.offered, found.injected, found.succeeded, found.failed);
    assert_eq!(uses(&store, "a", "plan").await.map(counts), Some((3, 4, 0.0, 0.0)));
    assert_eq!(uses(&store, "a", "other").await.map(counts), Some((3, 0, 0.0, 0.0)));
    assert_eq!(store.skill_uses(&agent("b")).await.unwrap(), [], "another agent has seen nothing of it");
    store.close().await;
}

#[tokio::test]
async fn a_turn_counts_once_and_the_best_word_on_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    use RewardSource::{Feedback as Said, Judge, Policy};
    let one = say(&store, "a").await;
    let good = |source| outcome(&one, source, 0.5, &[credit("plan", 0.5, 0.5)]);
    let noted = store.note_outcome(good(Policy)).await.unwrap();
    assert!(noted.counted && noted.uses.iter().any(|sums| sums.skill == "plan" && sums.helped == [0.5, 0.0]));
    let nothing = Noted { counted: false, uses: Vec::new() };
    for _ in 0..3 {
        let again = Outcome { given: at(2_000_000), ..good(Policy) };
        assert_eq!(store.note_outcome(again).await.unwrap(), nothing, "the same word again");
    }
    assert_eq!(sums(&uses(&store, "a", "plan").await.unwrap()), (0.5, 0.0, &[0.5, 0.0][..]));

    // A better source says otherwise, and names another skill.
    let bad = outcome(&one, Said, -1.0, &[credit("plan", -1.0, 0.0), credit("other", 0.0, 1.0)]);
    assert!(store.note_outcome(bad.clone()).await.unwrap().counted);
    assert_eq!(sums(&uses(&store, "a", "plan").await.unwrap()), (0.0, 1.0, &[][..]));
    assert_eq!(sums(&uses(&store, "a", "other").await.unwrap()), (0.0, 0.0, &[1.0, 0.0][..]));
    assert_eq!(store.note_outcome(good(Judge)).await.unwrap(), nothing, "a judge does not correct a person");
    // The agent's own row counts the turn, not its skills.
    assert_eq!(sums(&uses(&store, "a", "").await.unwrap()), (0.0, 1.0, &[][..]));

    // A second turn adds to it; the first one taken back leaves the second alone.
    let two = say(&store, "a").await;
    store.note_outcome(outcome(&two, Said, 1.0, &[credit("plan", 1.0, 1.0)])).await.unwrap();
    store.note_outcome(outcome(&one, Said, 0.0, &[])).await.unwrap();
    assert_eq!(sums(&uses(&store, "a", "plan").await.unwrap()), (1.0, 0.0, &[1.0, 0.0][..]));
    assert_eq!(sums(&uses(&store, "a", "other").await.unwrap()), (0.0, 0.0, &[][..]));
    assert_eq!(sums(&uses(&store, "a", "").await.unwrap()), (1.0, 0.0, &[][..]));
    store.close().await;
}

#[tokio::test]
async fn another_agents_turn_and_one_that_is_not_there_are_unknown_alike() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let theirs = say(&store, "b").await;
    let foreign = Outcome { agent: agent("a"), ..outcome(&theirs, RewardSource::Feedback, 1.0, &[]) };
    let nowhere = Outcome { turn: TurnId(Uuid::now_v7()), ..foreign.clone() };
    for unknown in [foreign, nowhere] {
        let turn = unknown.turn;
        let said = store.note_outcome(unknown).await;
        assert!(matches!(said, Err(StoreError::UnknownTurn(id)) if id == turn), "{said:?}");
    }
    assert_eq!(store.skill_uses(&agent("a")).await.unwrap(), []);
    assert_eq!(store.skill_uses(&agent("b")).await.unwrap(), []);
    store.close().await;
}

#[tokio::test]
async fn sums_fade_and_what_is_taken_out_has_faded_alike() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let (one, two) = (say(&store, "a").await, say(&store, "a").await);
    let then = at(1_000_000);
    let good = |turn, given| Outcome { given, ..outcome(turn, RewardSource::Judge, 1.0, &[credit("plan", 1.0, 1.0)]) };
    store.note_outcome(good(&one, then)).await.unwrap();
    store.note_outcome(good(&two, then + 30 * DAY)).await.unwrap();
    let found = uses(&store, "a", "plan").await.unwrap();
    assert_eq!(sums(&found), (1.5, 0.0, &[1.5, 0.0][..]));
    assert!((found.left(then + 60 * DAY) - 0.5).abs() < 1e-9);
    // A month after it was counted, the first is found to have been bad.
    let bad =
        Outcome { given: then + 30 * DAY, ..outcome(&one, RewardSource::Judge, -1.0, &[credit("plan", -1.0, 0.0)]) };
    store.note_outcome(bad).await.unwrap();
    assert_eq!(sums(&uses(&store, "a", "plan").await.unwrap()), (1.0, 1.0, &[1.0, 0.0][..]));
    store.close().await;
}

#[tokio::test]
async fn a_changed_skill_keeps_what_it_helped_with_and_loses_its_bad_name() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let turns = [say(&store, "a").await, say(&store, "a").await, say(&store, "a").await];
    let source = RewardSource::Feedback;
    store.note_outcome(outcome(&turns[0], source, -1.0, &[credit("plan", -1.0, 0.0)])).await.unwrap();
    store.note_outcome(outcome(&turns[1], source, 0.0, &[credit("plan", 0.0, 1.0)])).await.unwrap();
    let edited = Credit { digest: Digest::of(b"another text"), ..credit("plan", 0.5, 0.0) };
    store.note_outcome(outcome(&turns[2], source, 0.5, &[edited])).await.unwrap();
    assert_eq!(sums(&uses(&store, "a", "plan").await.unwrap()), (0.5, 0.0, &[1.0, 0.0][..]));
    // What was said of the old text may be taken back without touching the new one's count.
    store.note_outcome(outcome(&turns[0], source, 1.0, &[])).await.unwrap();
    assert_eq!(sums(&uses(&store, "a", "plan").await.unwrap()), (0.5, 0.0, &[1.0, 0.0][..]));
    store.close().await;
}

#[tokio::test]
async fn vectors_of_two_models_are_never_added() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let (one, two) = (say(&store, "a").await, say(&store, "a").await);
    let good =
        |turn, question| Outcome { question, ..outcome(turn, RewardSource::Judge, 1.0, &[credit("plan", 1.0, 1.0)]) };
    store.note_outcome(good(&one, Some((model("old"), vec![0.0, 1.0, 0.0])))).await.unwrap();
    store.note_outcome(good(&two, Some((model("new"), vec![1.0, 0.0])))).await.unwrap();
    let found = uses(&store, "a", "plan").await.unwrap();
    assert_eq!((found.model, sums(&found)), (Some(model("new")), (2.0, 0.0, &[1.0, 0.0][..])));
    // Without a question the first is still counted, and moves nothing.
    let judged = Outcome { source: RewardSource::Feedback, reward: -1.0, ..good(&one, None) };
    store.note_outcome(Outcome { credits: vec![credit("plan", -1.0, 0.0)], ..judged }).await.unwrap();
    assert_eq!(sums(&uses(&store, "a", "plan").await.unwrap()), (1.0, 1.0, &[1.0, 0.0][..]));
    store.close().await;
}

#[tokio::test]
async fn feedback_is_kept_as_it_was_given() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let one = say(&store, "a").await;
    let said = |reward, skills: &[&str], given| Feedback {
        reward,
        skills: skills.iter().map(|skill| (*skill).to_owned()).collect(),
        given,
    };
    let give = async |feedback: Feedback| {
        let reward = feedback.reward.unwrap_or(1.0);
        let counted = outcome(&one, RewardSource::Feedback, reward, &[]);
        store.note_outcome(Outcome { feedback: Some(feedback), ..counted }).await.unwrap();
        store.feedback(one.id).await.unwrap().unwrap()
    };
    assert_eq!(store.feedback(one.id).await.unwrap(), None);
    let first = said(Some(0.25), &["plan"], at(1));
    assert_eq!(give(first.clone()).await, first);
    assert_eq!(give(Feedback { given: at(2), ..first.clone() }).await, first, "the same words do not make it younger");
    let second = said(None, &["plan", "über"], at(3));
    assert_eq!(give(second.clone()).await, second);
    store.purge(&agent("a")).await.unwrap();
    for table in ["feedback", "outcomes", "skill_uses"] {
        assert_eq!(rows(&store, table).await, 0, "{table}");
    }
    store.close().await;
}

#[tokio::test]
async fn what_came_of_skills_long_gone_is_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let one = say(&store, "a").await;
    let long_ago = Outcome { given: at(1), ..outcome(&one, RewardSource::Judge, 1.0, &[credit("first", 1.0, 1.0)]) };
    store.note_outcome(long_ago).await.unwrap();
    let names = |range: std::ops::Range<i64>| range.map(|i| format!("skill-{i}")).collect::<Vec<_>>();
    // With `first` and the agent's own row one too many.
    store.note_offered(&agent("a"), names(0..crate::uses::MOST_USES - 1)).await.unwrap();
    store.note_offered(&agent("b"), vec!["kept".into()]).await.unwrap();
    store.close().await;
    let store = open(dir.path()).await;
    assert_eq!(rows(&store, "skill_uses").await, crate::uses::MOST_USES + 1);
    let left = [uses(&store, "a", "first").await, uses(&store, "a", "").await, uses(&store, "b", "kept").await];
    assert_eq!(left.map(|found| found.is_some()), [false, true, true]);
    store.close().await;
}

/// Counts an outcome of each new turn, twice, saying when it is durable.
async fn count(store: &Store) {
    loop {
        let one = say(store, "a").await;
        for _ in 0..2 {
            store.note_outcome(outcome(&one, RewardSource::Judge, 1.0, &[credit("plan", 1.0, 1.0)])).await.unwrap();
        }
        println!("\ncounted {}", one.id);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the child of `sums_and_turns_agree_after_kill_9`"]
async fn counter() {
    if let Some(dir) = directory() {
        count(&open(&dir).await).await;
    }
}

#[tokio::test]
async fn sums_and_turns_agree_after_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = 0;
    for round in 0..4 {
        let mut child = start(":", "uses::counter", dir.path());
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut said = 0;
        for line in std::io::BufRead::lines(output).map_while(Result::ok) {
            if line.starts_with("counted ") {
                said += 1;
                if said == 15 + round {
                    child.kill().unwrap();
                }
            }
        }
        child.wait().unwrap();
        acknowledged += said;
    }
    let store = open(dir.path()).await;
    let turns = rows(&store, "outcomes").await / 2;
    let found = uses(&store, "a", "plan").await.unwrap();
    assert!(turns >= acknowledged && acknowledged > 60, "{turns} {acknowledged}");
    assert_eq!(sums(&found), (turns as f64, 0.0, &[turns as f32, 0.0][..]));
    store.close().await;
}
