//! Skills that are tried out before they are used: the turns that they come from, answered with and without them, before a judge.

use std::time::Duration;

use tests::within;

use super::*;

const MARK: &str = "LEARNED-MARK";

/// What a question of the host's own is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Lesson,
    /// The turn again, as things are.
    Before,
    /// The turn again, with what is new.
    After,
    Judge,
}

fn asked(seen: &Seen) -> Option<Asked> {
    let system = seen.system();
    match () {
        () if is_lesson(seen) => Some(Asked::Lesson),
        () if system.starts_with("You compare two responses") => Some(Asked::Judge),
        () if seen.body["max_tokens"] != 512 => None,
        () if system.contains(MARK) => Some(Asked::After),
        () => Some(Asked::Before),
    }
}

fn count(upstream: &Upstream, what: Asked) -> usize {
    upstream.seen().iter().filter(|seen| asked(seen) == Some(what)).count()
}

/// A model that proposes one skill and obeys its prompt, and judges as `judge` says.
async fn obedient(judge: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Upstream {
    Upstream::scripted(move |seen| match asked(seen) {
        Some(Asked::Lesson) => Reply::Words(proposals(&[tides(&format!("Look at the harbour's own table. {MARK}"))])),
        Some(Asked::Judge) => judge(seen),
        _ if seen.system().contains(MARK) => Reply::Words("The table says: half past six.".into()),
        _ => Reply::Words("certainly".into()),
    })
    .await
}

/// What a judge says that prefers the answer with the table in it, wherever it stands.
fn prefers_the_table(seen: &Seen, likes: bool) -> Reply {
    let user = seen.user();
    let first = user.split("<second-").next().unwrap().contains("The table says");
    let word = if first == likes { "first" } else { "second" };
    Reply::Words(format!("{{\"why\": \"w\", \"better\": \"{word}\"}}"))
}

fn trying_home(upstream: &Upstream, more: &str) -> Home {
    let home = home(upstream, &format!(", verify: always{more}"));
    let config = std::fs::read_to_string(home.path().join("config.yaml")).unwrap();
    home.config(&(config.replace("idle_timeout: 1s", "idle_timeout: 1h") + "rl: { judge: own }\n"));
    home
}

async fn history(host: &Host, agent: &str) -> Value {
    host.admin("GET", &format!("/admin/agents/{agent}/lessons")).await
}

#[tokio::test]
async fn only_what_makes_answers_better_is_used() {
    let upstream = obedient(|seen| match seen.user() {
        user if user.contains("case-good") => prefers_the_table(seen, true),
        user if user.contains("case-bad") => prefers_the_table(seen, false),
        // Whatever stands first is better: that says nothing.
        user if user.contains("case-place") => Reply::Words("Better: first".into()),
        _ => Reply::Words("{\"better\": \"same\"}".into()),
    })
    .await;
    let home = trying_home(&upstream, "");
    let host = home.start().await;
    for agent in ["good", "bad", "place", "same"] {
        let text = format!("case-{agent}: when is high water?");
        session(&host, agent, "s", &text, false).await;
        session(&host, agent, "s", &format!("no, that's wrong (case-{agent})"), true).await;
    }
    for (agent, fate, says, state) in [
        ("good", "apply", "better on 2, worse on 0", Some("active")),
        ("bad", "refuse", "better on 0, worse on 2", None),
        ("place", "hold", "better on 0, worse on 0", Some("candidate")),
        ("same", "hold", "better on 0, worse on 0", Some("candidate")),
    ] {
        let lesson = stands(&host, agent, "done").await;
        let proposal = &lesson["proposals"][0];
        assert_eq!(proposal["fate"], fate, "{agent}: {lesson:#}");
        assert!(proposal["reason"].as_str().unwrap().contains(says), "{agent}: {lesson:#}");
        let history = history(&host, agent).await;
        let found: Vec<_> = versions(&history).into_iter().map(|(_, state)| state).collect();
        assert_eq!(found, state.into_iter().collect::<Vec<_>>(), "{agent}");
        assert_eq!(home.path().join("skills").join(agent).exists(), state == Some("active"), "{agent}");
        // What was answered on the way is not kept.
        assert!(!lesson.to_string().contains("The table says"), "{lesson:#}");
    }
    let score = &history(&host, "good").await["versions"][0]["provenance"]["tryout"]["score"];
    assert_eq!(*score, json!({"better": 2, "same": 0, "worse": 0}));
    let (_, out, _) = home.run(&["skills", "log", "--agent", "bad"]);
    assert!(out.contains("refused: tried out on 2 turns: better on 0, worse on 2"), "{out}");
    // What is asked on the side is nobody's turn: each agent's session has the client's two.
    let judged: Vec<_> = upstream.seen().into_iter().filter(|seen| asked(seen) == Some(Asked::Judge)).collect();
    assert_eq!(judged.len(), 4 * 2 * 2);
    assert!(judged.iter().any(|seen| seen.user().contains("| (After an earlier answer to this the user went on:)")));
    let replayed = upstream.seen().into_iter().find(|seen| asked(seen) == Some(Asked::After)).unwrap();
    assert_eq!((&replayed.body["temperature"], &replayed.body["stream"]), (&json!(0.0), &Value::Null));
    assert_eq!(host.metric("metaclaw_skills_learned_total{agent=\"good\"}").await, 1);
}

#[tokio::test]
async fn a_day_has_so_many_questions_and_what_they_do_not_reach_for_waits() {
    let upstream = obedient(|seen| prefers_the_table(seen, true)).await;
    let home = trying_home(&upstream, ", verify_budget: 7");
    let mut host = home.start().await;
    for (number, agent) in ["a", "a", "b"].into_iter().enumerate() {
        session(&host, agent, &format!("s{number}"), "when is high water?", true).await;
        let lesson = stands_new(&host, agent, number).await;
        let (fate, says) = match (number, agent) {
            (1, _) => ("hold", "the day's questions are used up"),
            _ => ("apply", "better on 1"),
        };
        assert_eq!(lesson["proposals"][0]["fate"], fate, "{number}: {lesson:#}");
        assert!(lesson["proposals"][0]["reason"].as_str().unwrap().contains(says), "{lesson:#}");
        // The day's questions are counted through a death.
        host.kill();
        if number == 0 {
            // So that the next proposal is not one that changes nothing.
            std::fs::remove_dir_all(home.path().join("skills/a")).unwrap();
        }
        host = home.start().await;
    }
    let questions: usize = [Asked::Before, Asked::After, Asked::Judge].map(|what| count(&upstream, what)).iter().sum();
    assert_eq!(questions, 2 * 4, "four for a, four for b");
}

/// The lesson about session number so and so, when it is done.
async fn stands_new(host: &Host, agent: &str, number: usize) -> Value {
    let session = format!("s{number}");
    until("the lesson is done", async || {
        let found = lessons(host, agent).await;
        found.into_iter().find(|lesson| lesson["session"] == session.as_str() && lesson["state"] == "done")
    })
    .await
}

#[tokio::test]
async fn a_judge_that_fails_decides_nothing_and_is_asked_again() {
    let faults = Mutex::new(VecDeque::from([
        Reply::Status(500, "{}".into()),
        Reply::Status(500, "{}".into()),
        Reply::Words("no idea".into()),
        Reply::Words("Better: perhaps".into()),
    ]));
    let upstream =
        obedient(move |seen| faults.lock().unwrap().pop_front().unwrap_or_else(|| prefers_the_table(seen, true))).await;
    let home = trying_home(&upstream, "");
    let host = home.start().await;
    session(&host, "a", "s", "when is high water?", true).await;
    let lesson = stands(&host, "a", "done").await;
    assert_eq!(lesson["proposals"][0]["fate"], "apply", "{lesson:#}");
    assert!(host.metric("metaclaw_lessons_total{agent=\"a\",outcome=\"retried\"}").await >= 2);
    let log = host.log();
    assert!(log.contains("a lesson has failed") && log.contains("the judge gave 0 usable votes of 2"), "{log}");
    // What was answered before is not asked again.
    let counts = [Asked::Lesson, Asked::Before, Asked::After].map(|what| count(&upstream, what));
    assert_eq!(counts, [1, 1, 1]);
}

#[tokio::test]
async fn a_host_that_is_killed_while_a_skill_is_tried_out_goes_on_where_it_was() {
    let silent = Arc::new(Mutex::new(None));
    let says = silent.clone();
    let upstream = Upstream::scripted(move |seen| match asked(seen) {
        what if what.is_some() && what == *says.lock().unwrap() => Reply::Silence,
        Some(Asked::Lesson) => Reply::Words(proposals(&[tides(&format!("Look at the harbour's own table. {MARK}"))])),
        Some(Asked::Judge) => prefers_the_table(seen, true),
        _ if seen.system().contains(MARK) => Reply::Words("The table says: half past six.".into()),
        _ => Reply::Words("certainly".into()),
    })
    .await;
    let home = trying_home(&upstream, "");
    let config = std::fs::read_to_string(home.path().join("config.yaml")).unwrap();
    home.config(&config.replace("first_byte: 500ms", "first_byte: 1h"));
    *silent.lock().unwrap() = Some(Asked::Lesson);
    let mut host = home.start().await;
    session(&host, "a", "s", "when is high water?", true).await;
    let steps = [Asked::Lesson, Asked::Before, Asked::After, Asked::Judge];
    for (at, step) in steps.into_iter().enumerate() {
        within(Duration::from_secs(20), &format!("{step:?} is asked"), async || {
            (count(&upstream, step) > 0).then_some(())
        })
        .await;
        // What was answered before it, is not asked again, and was asked twice: once in vain.
        let before: Vec<usize> = steps[..at].iter().map(|step| count(&upstream, *step)).collect();
        assert_eq!(before, vec![2; at], "when {step:?} is asked");
        host.kill();
        *silent.lock().unwrap() = steps.get(at + 1).copied();
        host = home.start().await;
    }
    let lesson = stands(&host, "a", "done").await;
    assert_eq!(lesson["proposals"][0]["fate"], "apply", "{lesson:#}");
    let counts = [Asked::Lesson, Asked::Before, Asked::After].map(|what| count(&upstream, what));
    assert_eq!(counts, [2, 2, 2]);
    host.kill();
    let host = home.start().await;
    session(&host, "b", "s", "when is high water?", true).await;
    stands(&host, "b", "done").await;
    let history = history(&host, "a").await;
    assert_eq!(versions(&history), [("read-tides".to_owned(), "active".to_owned())], "exactly once");
    assert_eq!(history["lessons"].as_array().unwrap().len(), 1);
}
