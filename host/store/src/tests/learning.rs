//! Lessons: what is due, and that each is held once whatever happens in between.

use std::io::BufReader;

use domain::{Digest, EndReason};

use super::crash::{directory, start};
use super::*;
use crate::{Lesson, LessonState, SkillVersion, VersionChange, VersionState, database};

async fn say(store: &Store, owner: &str, name: &str, kind: TurnKind) {
    store.record_turn(TurnRecord { kind, skills: Vec::new(), ..turn(owner, name, "{}") }).await.unwrap();
}

async fn due(store: &Store, owner: &str, every: u64) -> Vec<String> {
    store.flush().await.unwrap();
    let sessions = store.due_sessions(&agent(owner), every, 10).await.unwrap();
    sessions.iter().map(|name| name.as_str().to_owned()).collect()
}

fn version(owner: &str, name: &str, text: &str, state: VersionState) -> SkillVersion {
    SkillVersion {
        agent: agent(owner),
        name: name.to_owned(),
        digest: Digest::of(text.as_bytes()),
        text: text.to_owned(),
        state,
        lesson: None,
        provenance: "{}".to_owned(),
        created: now(),
        changed: now(),
        parent: None,
        reason: None,
    }
}

fn put(version: SkillVersion) -> VersionChange {
    VersionChange::Put(Box::new(version))
}

async fn states(store: &Store, owner: &str) -> Vec<(String, VersionState)> {
    let versions = store.skill_versions(&agent(owner)).await.unwrap();
    let mut states: Vec<_> = versions.into_iter().map(|v| (v.text, v.state)).collect();
    states.sort_by(|a, b| a.0.cmp(&b.0));
    states
}

#[tokio::test]
async fn sessions_are_due_at_their_end_and_every_n_main_turns() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    for _ in 0..3 {
        say(&store, "a", "open", TurnKind::Main).await;
        say(&store, "a", "open", TurnKind::Side).await;
    }
    assert!(due(&store, "a", 4).await.is_empty(), "side turns do not count");
    assert_eq!(due(&store, "a", 3).await, ["open"]);
    assert!(due(&store, "a", 0).await.is_empty(), "0 is never");
    assert!(due(&store, "b", 1).await.is_empty());
    store.end_session(&agent("a"), &session("open"), EndReason::Header).await.unwrap();
    assert_eq!(due(&store, "a", 0).await, ["open"]);
    assert_eq!(store.agents_to_learn().await.unwrap(), [agent("a")]);

    // Housekeeping alone teaches nothing, and is not looked at again.
    say(&store, "a", "side", TurnKind::Side).await;
    store.end_session(&agent("a"), &session("side"), EndReason::Idle).await.unwrap();
    assert_eq!(store.begin_lesson(&agent("a"), &session("side")).await.unwrap(), None);
    assert_eq!(due(&store, "a", 0).await, ["open"]);

    // What an agent that does not learn has said is not held against it later.
    store.skip_lessons(&agent("b")).await.unwrap();
    store.skip_lessons(&agent("a")).await.unwrap();
    assert!(store.agents_to_learn().await.unwrap().is_empty());
    store.close().await;
}

#[tokio::test]
async fn a_lesson_goes_one_way_and_each_step_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let owner = agent("a");
    for _ in 0..2 {
        say(&store, "a", "s", TurnKind::Main).await;
    }
    assert_eq!(due(&store, "a", 2).await, ["s"]);
    let lesson = store.begin_lesson(&owner, &session("s")).await.unwrap().unwrap();
    assert_eq!((lesson.from, lesson.to, lesson.state, lesson.attempts), (0, 2, LessonState::Begun, 0));
    assert_eq!(store.begin_lesson(&owner, &session("s")).await.unwrap(), None, "it is under way");
    say(&store, "a", "s", TurnKind::Main).await;
    store.end_session(&owner, &session("s"), EndReason::Header).await.unwrap();
    assert!(due(&store, "a", 2).await.is_empty(), "first the one that is under way");

    let until = at(4_000_000_000);
    let late = store.postpone(lesson.id, "the model is ill", Some(until)).await.unwrap().unwrap();
    assert_eq!((late.attempts, late.not_before, late.error.as_deref()), (1, until, Some("the model is ill")));
    assert_eq!(store.finish_lesson(lesson.id, "[]", vec![]).await.unwrap(), None, "nothing was proposed");
    let proposed = store.propose(lesson.id, "m", "[1]").await.unwrap().unwrap();
    assert_eq!((proposed.state, proposed.attempts), (LessonState::Proposed, 0));
    assert_eq!(store.propose(lesson.id, "m", "[2]").await.unwrap(), None, "the first answer counts");
    assert_eq!(store.open_lessons().await.unwrap(), [proposed]);
    assert_eq!(store.turns_of_lesson(&lesson, 10).await.unwrap().len(), 2);
    let change = put(version("a", "n", "one", VersionState::Active));
    let done = store.finish_lesson(lesson.id, "[3]", vec![change.clone()]).await.unwrap().unwrap();
    assert_eq!((done.state, done.proposals.as_deref(), done.error), (LessonState::Done, Some("[3]"), None));
    assert_eq!(store.finish_lesson(lesson.id, "[4]", vec![change]).await.unwrap(), None);
    assert_eq!(states(&store, "a").await, [("one".to_owned(), VersionState::Active)]);

    // The rest of the session, given up and tried again by hand.
    assert_eq!(due(&store, "a", 0).await, ["s"]);
    let rest = store.begin_lesson(&owner, &session("s")).await.unwrap().unwrap();
    assert_eq!((rest.from, rest.to), (2, 3));
    let failed = store.postpone(rest.id, "no", None).await.unwrap().unwrap();
    assert_eq!(failed.state, LessonState::Failed);
    assert!(due(&store, "a", 0).await.is_empty() && store.open_lessons().await.unwrap().is_empty());
    let counts = store.lesson_counts().await.unwrap();
    assert_eq!(
        counts.iter().map(|c| (c.state, c.count)).collect::<Vec<_>>(),
        [(LessonState::Done, 1), (LessonState::Failed, 1)]
    );
    assert_eq!(store.retry_lesson(&agent("b"), rest.id).await.unwrap(), None, "another agent's");
    let again = store.retry_lesson(&owner, rest.id).await.unwrap().unwrap();
    assert_eq!((again.state, again.attempts), (LessonState::Begun, 0));
    assert_eq!(store.retry_lesson(&owner, lesson.id).await.unwrap(), None, "it is done");
    store.close().await;
}

#[tokio::test]
async fn how_far_a_tryout_is_and_what_it_asks_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let owner = agent("a");
    say(&store, "a", "s", TurnKind::Main).await;
    store.flush().await.unwrap();
    let lesson = store.begin_lesson(&owner, &session("s")).await.unwrap().unwrap().id;
    assert_eq!(store.note_tryout(lesson, "[0]", 7, 4).await.unwrap(), None, "nothing was proposed");
    assert_eq!(store.tryout_questions(&owner, 7).await.unwrap(), 0);
    store.propose(lesson, "m", "[1]").await.unwrap().unwrap();
    for (proposals, day, questions, asked) in [("[2]", 7, 4, 4), ("[3]", 7, 0, 4), ("[4]", 7, 8, 12), ("[5]", 8, 4, 4)]
    {
        let noted = store.note_tryout(lesson, proposals, day, questions).await.unwrap().unwrap();
        assert_eq!((noted.state, noted.proposals.as_deref()), (LessonState::Proposed, Some(proposals)));
        assert_eq!(store.tryout_questions(&owner, day).await.unwrap(), asked, "{proposals}");
    }
    assert_eq!(store.tryout_questions(&owner, 7).await.unwrap(), 0, "yesterday is forgotten");
    assert_eq!(store.tryout_questions(&agent("b"), 8).await.unwrap(), 0);
    store.close().await;
    let store = open(dir.path()).await;
    assert_eq!(store.tryout_questions(&owner, 8).await.unwrap(), 4);
    store.finish_lesson(lesson, "[6]", vec![]).await.unwrap().unwrap();
    assert_eq!(store.note_tryout(lesson, "[7]", 8, 4).await.unwrap(), None, "it is done");
    assert_eq!(store.tryout_questions(&owner, 8).await.unwrap(), 4);
    store.close().await;
}

#[tokio::test]
async fn one_version_of_a_skill_is_active() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let owner = agent("a");
    let stands = |text: &str, state| VersionChange::Stands {
        name: "n".into(),
        digest: Digest::of(text.as_bytes()),
        state,
        reason: None,
    };
    use VersionState::{Active, Candidate, Rejected, Retired};
    let changes = vec![
        put(version("a", "n", "1", Active)),
        put(version("a", "n", "2", Active)),
        put(version("a", "n", "3", Candidate)),
    ];
    store.change_versions(&owner, changes).await.unwrap();
    let want =
        |states: [VersionState; 3]| ["1", "2", "3"].map(str::to_owned).into_iter().zip(states).collect::<Vec<_>>();
    assert_eq!(states(&store, "a").await, want([Retired, Active, Candidate]));
    store.change_versions(&owner, vec![stands("1", Active), stands("3", Rejected)]).await.unwrap();
    assert_eq!(states(&store, "a").await, want([Active, Retired, Rejected]));
    assert!(states(&store, "b").await.is_empty());

    say(&store, "a", "s", TurnKind::Main).await;
    store.flush().await.unwrap();
    store.begin_lesson(&owner, &session("s")).await.unwrap().unwrap();
    store.purge(&owner).await.unwrap();
    assert_eq!((rows(&store, "lessons").await, rows(&store, "skill_versions").await), (0, 0));
    store.close().await;
}

#[tokio::test]
async fn what_was_said_before_there_was_learning_is_not_learned_from() {
    let dir = tempfile::tempdir().unwrap();
    let before = database::migrations().into_iter().filter(|m| ![5, 8].contains(&m.version)).collect();
    let store = Store::open_with(dir.path(), StoreOptions::default(), before).await.unwrap();
    say(&store, "a", "s", TurnKind::Main).await;
    store.end_all_open(EndReason::Shutdown).await.unwrap();
    store.close().await;
    let store = open(dir.path()).await;
    assert!(due(&store, "a", 1).await.is_empty());
    say(&store, "a", "s", TurnKind::Main).await;
    assert_eq!(due(&store, "a", 1).await, ["s"]);
    let lesson = store.begin_lesson(&agent("a"), &session("s")).await.unwrap().unwrap();
    assert_eq!((lesson.from, lesson.to), (1, 2));
    store.close().await;
}

/// Takes every lesson that is open or due one step further, saying each step once it is durable.
async fn learn(store: &Store) {
    for number in 0.. {
        say(store, "a", &format!("s{number}"), TurnKind::Main).await;
        store.end_session(&agent("a"), &session(&format!("s{number}")), EndReason::Header).await.unwrap();
        for name in store.due_sessions(&agent("a"), 0, 10).await.unwrap() {
            if let Some(lesson) = store.begin_lesson(&agent("a"), &name).await.unwrap() {
                println!("\nstep begun {}", lesson.id);
            }
        }
        for Lesson { id, state, .. } in store.open_lessons().await.unwrap() {
            if state == LessonState::Begun && store.propose(id, "m", "[]").await.unwrap().is_some() {
                println!("\nstep proposed {id}");
            }
            let change = put(version("a", &format!("n-{id}"), &id.to_string(), VersionState::Active));
            if store.finish_lesson(id, "[]", vec![change]).await.unwrap().is_some() {
                println!("\nstep done {id}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the child of `lessons_survive_kill_9_and_are_held_once`"]
async fn learner() {
    if let Some(dir) = directory() {
        learn(&open(&dir).await).await;
    }
}

#[tokio::test]
async fn lessons_survive_kill_9_and_are_held_once() {
    let dir = tempfile::tempdir().unwrap();
    let (mut done, mut proposed) = (Vec::new(), Vec::new());
    for round in 0..6 {
        let mut child = start(":", "learning::learner", dir.path());
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut said = 0;
        for line in std::io::BufRead::lines(output).map_while(Result::ok) {
            let Some(step) = line.strip_prefix("step ") else { continue };
            let (step, id) = step.split_once(' ').unwrap();
            match step {
                "done" => done.push(id.to_owned()),
                "proposed" => proposed.push(id.to_owned()),
                _ => {}
            }
            said += 1;
            if said == 40 + round {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
    }
    let store = open(dir.path()).await;
    let lessons = store.lessons(&agent("a"), 1000).await.unwrap();
    let state = |id: &String| lessons.iter().find(|lesson| lesson.id.to_string() == *id).unwrap().state;
    assert!(done.len() > 60 && done.iter().all(|id| state(id) == LessonState::Done), "what was done stays done");
    assert!(proposed.iter().all(|id| state(id) != LessonState::Begun), "what was proposed is not asked for again");
    let mut once = proposed.clone();
    once.sort();
    once.dedup();
    assert_eq!(once.len(), proposed.len());
    let learned = rows(&store, "skill_versions").await;
    let finished = lessons.iter().filter(|lesson| lesson.state == LessonState::Done).count();
    assert_eq!(usize::try_from(learned).unwrap(), finished, "a version comes with its lesson's end and not without");
    let unlearned: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM sessions WHERE learned > turns OR (learned < turns AND id IN \
        (SELECT session FROM lessons WHERE state = 'done'))",
    )
    .fetch_one(&store.reader.pool)
    .await
    .unwrap();
    assert_eq!(unlearned, 0);
    store.close().await;
}
