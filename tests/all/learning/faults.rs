//! What goes wrong in a lesson, and the death of the host in one.

use std::collections::HashMap;
use std::time::Duration;

use tests::within;

use super::*;

/// What the model says in the place of this answer, which would be good.
type Fault = fn(&str) -> Reply;
type Faults = Vec<Fault>;

fn faults<const N: usize>(list: [Fault; N]) -> Faults {
    list.to_vec()
}

#[tokio::test]
async fn faults_of_the_model_lose_nothing_and_are_not_silent() {
    let good = || Reply::Words(proposals(&[tides("Look at the table.")]));
    let whole = proposals(&[tides("Look at the table.")]);
    let twice = |fault: Fault| faults([fault, fault]);
    // What the model answers first, and how many attempts fail before the good answer comes.
    let cases: Vec<(&str, Faults, u64)> = vec![
        ("repaired", faults([|_| Reply::Words("{\"proposals\": [".into())]), 0),
        ("prose", faults([|whole| Reply::Words(format!("Sure! Here:\n```json\n{whole}\n```\nAnything else?"))]), 0),
        ("badjson", twice(|_| Reply::Words("{\"proposals\": [}".into())), 1),
        ("truncated", twice(|whole| Reply::Words(whole[..whole.len() / 2].into())), 1),
        ("empty", twice(|_| Reply::Words(String::new())), 1),
        ("shape", twice(|_| Reply::Words("{\"proposals\": \"none\"}".into())), 1),
        ("huge", twice(|_| Reply::Words("x".repeat(1 << 20))), 1),
        ("error", faults([|_| Reply::Status(500, "{}".into()), |_| Reply::Status(503, "{}".into())]), 2),
        ("limit", faults([|_| Reply::Status(429, "{}".into())]), 1),
        ("silent", faults([|_| Reply::Silence]), 1),
        ("garbage", faults([|_| Reply::Status(200, "<html>".into())]), 1),
    ];
    let scripts: HashMap<String, VecDeque<Fault>> =
        cases.iter().map(|(name, faults, _)| (format!("case-{name}"), faults.iter().copied().collect())).collect();
    let scripts = Mutex::new(scripts);
    let upstream = upstream(move |seen| {
        let mut scripts = scripts.lock().unwrap();
        if seen.body["messages"][1].to_string().contains("case-hopeless") {
            return Reply::Words("no".into());
        }
        let asked = seen.body["messages"][1].to_string();
        let case = scripts.iter_mut().find(|(name, _)| asked.contains(name.as_str()));
        case.and_then(|(_, faults)| faults.pop_front()).map_or_else(good, |fault| fault(&whole))
    })
    .await;
    let home = home(&upstream, "");
    let host = home.start().await;
    for (name, _, _) in &cases {
        session(&host, name, "s", &format!("case-{name}: tides?"), true).await;
    }
    for (name, _, failures) in &cases {
        let lesson = within(Duration::from_secs(20), name, async || {
            lessons(&host, name).await.into_iter().next().filter(|lesson| lesson["state"] == "done")
        })
        .await;
        assert_eq!(lesson["proposals"][0]["fate"], "apply", "{name}: {lesson:#}");
        let line = |outcome: &str| format!("metaclaw_lessons_total{{agent=\"{name}\",outcome=\"{outcome}\"}}");
        assert_eq!(host.metric(&line("retried")).await, *failures, "{name}");
        assert_eq!(host.metric(&line("learned")).await, 1, "{name}");
        let said = host
            .log()
            .lines()
            .filter(|l| l.contains("a lesson has failed") && l.contains(&format!("agent={name} ")))
            .count();
        assert_eq!(said as u64, *failures, "{name}: {}", host.log());
    }
    // One that never comes to anything is given up, and says so.
    session(&host, "hopeless", "s", "case-hopeless", true).await;
    let lesson = stands(&host, "hopeless", "failed").await;
    assert_eq!(lesson["attempts"], 6, "{lesson:#}");
    assert!(lesson["error"].as_str().unwrap().contains("no JSON object"), "{lesson:#}");
    let (_, out, _) = home.run(&["status"]);
    assert!(out.contains("1 lessons of agent `hopeless` were given up"), "{out}");
    let (_, out, _) = home.run(&["skills", "log", "--agent", "hopeless"]);
    assert!(out.contains("no JSON object"), "{out}");
    let id = lesson["lesson"].as_str().unwrap().to_owned();
    let before = lessons_asked(&upstream);
    assert_eq!(home.run(&["skills", "retry", &id, "--agent", "hopeless"]).0, 0);
    until("it is tried again", async || (lessons_asked(&upstream) > before).then_some(())).await;
}

#[tokio::test]
async fn a_host_that_is_killed_in_a_lesson_holds_it_once() {
    let held = Arc::new(Mutex::new(true));
    let hold = held.clone();
    let upstream = upstream(move |_| match *hold.lock().unwrap() {
        true => Reply::Silence,
        false => Reply::Words(proposals(&[tides("Look at the table.")])),
    })
    .await;
    let home = home(&upstream, "");
    let config = std::fs::read_to_string(home.path().join("config.yaml")).unwrap();
    home.config(&config.replace("500ms", "1h").replace("idle_timeout: 1s", "idle_timeout: 1h"));

    // While the model is asked: it is asked again.
    let host = home.start().await;
    session(&host, "a", "s", "tides?", true).await;
    until("it is asked", async || (lessons_asked(&upstream) == 1).then_some(())).await;
    host.kill();
    *held.lock().unwrap() = false;
    // After it has answered, while its skill cannot be written: it is not asked again.
    let block = home.path().join("skills/a/SKILL.md");
    std::fs::create_dir_all(block.parent().unwrap()).unwrap();
    std::fs::write(&block, "in the way").unwrap();
    let host = home.start().await;
    until("it cannot be written", async || {
        let lesson = lessons(&host, "a").await.into_iter().next()?;
        (lesson["state"] == "proposed" && lesson["attempts"].as_u64() > Some(0)).then_some(())
    })
    .await;
    assert_eq!(lessons_asked(&upstream), 2);
    host.kill();
    std::fs::remove_file(&block).unwrap();
    let host = home.start().await;
    // The last attempts may be used up already.
    if lessons(&host, "a").await[0]["state"] == "failed" {
        let id = lessons(&host, "a").await[0]["lesson"].as_str().unwrap().to_owned();
        assert_eq!(home.run(&["skills", "retry", &id, "--agent", "a"]).0, 0);
    }
    stands(&host, "a", "done").await;
    host.kill();
    // After it is done: nothing more happens.
    let host = home.start().await;
    session(&host, "b", "s", "tides?", true).await;
    stands(&host, "b", "done").await;
    assert_eq!(lessons_asked(&upstream), 3, "one of them b's");
    let history = host.admin("GET", "/admin/agents/a/lessons").await;
    assert_eq!(versions(&history), [("read-tides".to_owned(), "active".to_owned())]);
    assert_eq!(history["lessons"].as_array().unwrap().len(), 1);
}
