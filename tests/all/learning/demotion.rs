//! A learned skill with which turns go worse goes by itself; a person's stays, and is reported.

use super::*;

const MARK: &str = "LEARNED-MARK";

/// A turn in a session of its own, and what is said of it. True when the skill was in its prompt.
async fn rated(host: &Host, upstream: &Upstream, agent: &str, text: &str, number: usize, rating: &str) -> bool {
    let answer = host.say(text).agent(agent).session(&format!("{rating}-{number}")).send().await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let seen = upstream.seen().into_iter().rev().find(|seen| !is_lesson(seen)).unwrap();
    let said = json!({"turn": answer.header("x-request-id"), "rating": rating});
    let request = host.client.post(host.url("/v1/feedback")).header("x-agent-id", agent);
    let told = request.header("content-type", "application/json").body(said.to_string()).send().await.unwrap();
    assert_eq!(told.status().as_u16(), 200);
    seen.system().contains(MARK)
}

#[tokio::test]
async fn a_learned_skill_that_hurts_goes_and_a_persons_stays() {
    let body = format!("Look at the harbour's own table. {MARK}");
    let learned = proposals(&[tides(&body)]);
    let upstream = upstream(move |_| Reply::Words(learned.clone())).await;
    let home = home(&upstream, "");
    let config = std::fs::read_to_string(home.path().join("config.yaml")).unwrap();
    home.config(&config.replace("idle_timeout: 1s", "idle_timeout: 1h"));
    home.skill("person", "read-tides", "Use when asked about tides and harbours", &body);
    let host = home.start().await;
    session(&host, "learner", "first", "when is high water?", true).await;
    stands(&host, "learner", "done").await;
    for agent in ["learner", "person"] {
        until("the skill is in the prompt", async || {
            prompt(&host, &upstream, agent).await.contains(MARK).then_some(())
        })
        .await;
        for number in 0..12 {
            let with = rated(&host, &upstream, agent, "good morning", number, "up").await;
            assert!(!with, "the others are without it");
        }
        for number in 0..3 {
            let text = "when are the tides in the harbour?";
            assert!(rated(&host, &upstream, agent, text, number, "down").await, "{agent}, {number}");
        }
    }
    let history = async |agent: &str| host.admin("GET", &format!("/admin/agents/{agent}/lessons")).await;
    let version = until("it is retired", async || {
        let version = history("learner").await["versions"][0].clone();
        (version["state"] == "retired").then_some(version)
    })
    .await;
    let reason = version["reason"].as_str().unwrap();
    assert!(reason.starts_with("turns with it went worse: 0 % of 3 good with it, 100 % of 12 without"), "{reason}");
    assert!(!home.path().join("skills/learner/read-tides").exists());
    assert_eq!(host.metric("metaclaw_skills_demoted_total{agent=\"learner\"}").await, 1);
    assert!(host.log().contains("a learned skill is retired: turns with it went worse"), "{}", host.log());
    let (_, out, _) = home.run(&["skills", "log", "--agent", "learner"]);
    assert!(out.contains("retired") && out.contains(reason), "{out}");
    until("it is in no prompt any more", async || {
        (!prompt(&host, &upstream, "learner").await.contains(MARK)).then_some(())
    })
    .await;
    // It is not learned again.
    session(&host, "learner", "again", "when is high water?", true).await;
    let refused = until("the next lesson", async || {
        lessons(&host, "learner").await.into_iter().find(|l| l["session"] == "again" && l["state"] == "done")
    })
    .await;
    let why = refused["proposals"][0]["reason"].as_str().unwrap();
    assert!(why.contains("was retired: turns with it went worse"), "{refused:#}");

    let hurts = &history("person").await["hurts"];
    assert_eq!((&hurts[0]["skill"], &hurts[0]["stays"]), (&json!("read-tides"), &json!(true)), "{hurts}");
    assert!(home.path().join("skills/person/read-tides/SKILL.md").exists());
    let (_, out, _) = home.run(&["skills", "log", "--agent", "person"]);
    assert!(
        out.contains("read-tides seems to hurt") && out.contains("it is for people to decide on, and stays"),
        "{out}"
    );
    // A person takes the retired one back, and then it stays, whatever more is said of it.
    assert_eq!(home.run(&["skills", "rollback", "read-tides", "--agent", "learner"]).0, 0);
    // It is looked at when something new is said, once the file is seen.
    let mut number = 100;
    until("that it hurts is said", async || {
        number += 1;
        rated(&host, &upstream, "learner", "good morning", number, "up").await;
        host.log().contains("seems to hurt, and stays").then_some(())
    })
    .await;
    let history = history("learner").await;
    assert_eq!(versions(&history), [("read-tides".to_owned(), "active".to_owned())]);
    assert!(home.path().join("skills/learner/read-tides/SKILL.md").exists());
}
