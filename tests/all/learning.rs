//! Sessions become skills: of their own agent alone, once, visibly, and never behind a person's back.

mod alike;
mod demotion;
mod faults;
mod offline;
mod poison;
mod tryout;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tests::{Home, Host, Reply, Seen, Upstream, until};

/// Whether learning asks, and not a client.
fn is_lesson(seen: &Seen) -> bool {
    seen.system().starts_with("You keep the skills of one agent")
}

fn lessons_asked(upstream: &Upstream) -> usize {
    upstream.seen().iter().filter(|seen| is_lesson(seen)).count()
}

/// Answers clients, and lessons as `evolve` says.
async fn upstream(evolve: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Upstream {
    Upstream::scripted(move |seen| match is_lesson(seen) {
        true => evolve(seen),
        false => Reply::Words("certainly".into()),
    })
    .await
}

fn proposals(list: &[Value]) -> String {
    json!({ "proposals": list }).to_string()
}

fn tides(body: &str) -> Value {
    let description = "Use when asked about tides and harbours";
    json!({"action": "add", "name": "read-tides", "description": description, "category": "sea", "body": body, "why": "episode 1", "replaces": []})
}

/// A home on which every agent learns; `more` goes into `skills`.
fn home(upstream: &Upstream, more: &str) -> Home {
    let home = Home::new();
    home.config(&format!(
        "llm: {{ provider: custom, model_id: test-model, api_base: \"{}\", api_key: \"env:TEST_KEY\", retries: {{ max: 0 }}, \
           ejection: {{ failures: 0 }}, timeouts: {{ first_byte: 500ms }} }}\n\
         skills: {{ auto_evolve: true, evolution_every_n_turns: 0, evolution_retry: 20ms{more} }}\n\
         sessions: {{ idle_timeout: 1s }}\n",
        upstream.base()
    ));
    home
}

async fn session(host: &Host, agent: &str, name: &str, text: &str, done: bool) {
    let turn = host.say(text).agent(agent).session(name);
    let turn = if done { turn.header("x-session-done", "true") } else { turn };
    assert_eq!(turn.send().await.status, 200);
}

/// The system prompt that a question of this agent's goes up with.
async fn prompt(host: &Host, upstream: &Upstream, agent: &str) -> String {
    let marker = format!("when are the tides in the harbour? {}", agent);
    host.say(&marker).agent(agent).session("asking").send().await;
    let seen = upstream.seen().into_iter().rev().find(|seen| !is_lesson(seen) && seen.user() == marker);
    seen.unwrap().system()
}

async fn lessons(host: &Host, agent: &str) -> Vec<Value> {
    let history = host.admin("GET", &format!("/admin/agents/{agent}/lessons")).await;
    history["lessons"].as_array().cloned().unwrap_or_else(|| panic!("{history}"))
}

/// Waits until the agent's newest lesson stands so.
async fn stands(host: &Host, agent: &str, state: &str) -> Value {
    let what = format!("the lesson of {agent} is {state}");
    until(&what, async || lessons(host, agent).await.into_iter().next().filter(|lesson| lesson["state"] == state)).await
}

fn versions(history: &Value) -> Vec<(String, String)> {
    let word = |value: &Value| value.as_str().unwrap().to_owned();
    history["versions"].as_array().unwrap().iter().map(|v| (word(&v["name"]), word(&v["state"]))).collect()
}

#[tokio::test]
async fn however_a_session_ends_its_skill_is_in_the_next_prompts_of_its_agent_alone() {
    let learned = proposals(&[tides("Look at the harbour's own table. LEARNED-MARK")]);
    let upstream = upstream(move |_| Reply::Words(learned.clone())).await;
    let home = home(&upstream, "");
    let host = home.start().await;
    session(&host, "header", "s1", "when is high water?", true).await;
    session(&host, "idle", "s1", "when is high water?", false).await;
    for agent in ["header", "idle"] {
        let lesson = stands(&host, agent, "done").await;
        assert_eq!(lesson["proposals"][0]["fate"], "apply", "{lesson:#}");
        until("the skill is in the prompt", async || {
            prompt(&host, &upstream, agent).await.contains("LEARNED-MARK").then_some(())
        })
        .await;
    }
    assert!(!prompt(&host, &upstream, "other").await.contains("LEARNED-MARK"));
    let file = std::fs::read_to_string(home.path().join("skills/header/read-tides/SKILL.md")).unwrap();
    assert!(file.contains("LEARNED-MARK"));
    assert!(!home.path().join("skills/_shared").exists());
    session(&host, "shutdown", "s1", "when is high water?", false).await;
    assert!(host.stop().success());

    let host = home.start().await;
    stands(&host, "shutdown", "done").await;
    // The sessions in which the prompts were looked at end, too, and teach nothing new. Each lesson is one question.
    until("every lesson is held, with one question each", async || {
        let mut count = 0;
        for agent in ["header", "idle", "shutdown", "other"] {
            let lessons = lessons(&host, agent).await;
            let about = lessons.iter().filter(|lesson| lesson["session"] == "s1").count();
            assert_eq!(about, usize::from(agent != "other"), "{agent}");
            if lessons.is_empty() || lessons.iter().any(|lesson| lesson["state"] != "done") {
                return None;
            }
            count += lessons.len();
        }
        (lessons_asked(&upstream) == count).then_some(())
    })
    .await;
    let history = host.admin("GET", "/admin/agents/header/lessons").await;
    assert_eq!(versions(&history), [("read-tides".to_owned(), "active".to_owned())], "exactly once");
    let provenance = &history["versions"][0]["provenance"];
    assert_eq!(
        (&provenance["session"], &provenance["turns"], &provenance["model"]),
        (&json!("s1"), &json!([0, 1]), &json!("test-model"))
    );
    assert_eq!(host.metric("metaclaw_skills_learned_total{agent=\"shutdown\"}").await, 1);
    let (_, out, _) = home.run(&["status"]);
    assert!(out.contains("learning: "), "{out}");
}

#[tokio::test]
async fn a_session_that_goes_on_is_learned_from_every_n_turns() {
    let upstream = upstream(|_| Reply::Words("{\"proposals\":[]}".into())).await;
    let home = home(&upstream, ", evolution_every_n_turns: 3");
    let config = std::fs::read_to_string(home.path().join("config.yaml")).unwrap();
    home.config(&config.replace("evolution_every_n_turns: 0, ", "").replace("idle_timeout: 1s", "idle_timeout: 1h"));
    let host = home.start().await;
    for number in 0..7 {
        session(&host, "a", "long", &format!("question {number}"), false).await;
        if number == 2 || number == 5 {
            let turns = json!([number - 2, number + 1]);
            until("a lesson about the last three", async || {
                let lesson = lessons(&host, "a").await.into_iter().next()?;
                (lesson["state"] == "done" && lesson["turns"] == turns).then_some(())
            })
            .await;
        }
    }
    assert_eq!(lessons(&host, "a").await.len(), 2);
    let last = upstream.seen().into_iter().rev().find(is_lesson).unwrap().user();
    assert!(last.contains("| question 5") && !last.contains("| question 2"), "{last}");
    assert_eq!(host.metric("metaclaw_lessons_total{agent=\"a\",outcome=\"nothing\"}").await, 2);
}

#[tokio::test]
async fn under_review_nothing_is_injected_until_a_person_approves_and_can_be_taken_back() {
    let answers = Arc::new(Mutex::new(VecDeque::from([
        "MARK-ONE: look at the table.",
        "MARK-TWO: never guess; ask which harbour first.",
        "MARK-THREE: answer with one number and its unit.",
    ])));
    let upstream = upstream(move |_| {
        let body = answers.lock().unwrap().pop_front();
        Reply::Words(body.map_or("nothing".into(), |body| proposals(&[tides(body)])))
    })
    .await;
    let home = home(&upstream, ", review: true");
    let config = std::fs::read_to_string(home.path().join("config.yaml")).unwrap();
    home.config(&config.replace("idle_timeout: 1s", "idle_timeout: 1h"));
    let host = home.start().await;
    let run = |words: &[&str]| {
        let (code, out, err) = home.run(&[&["skills"], words, &["--agent", "a"]].concat());
        assert_eq!(code, 0, "{words:?}: {out}{err}");
        out
    };
    let has = async |mark: &str| {
        until(mark, async || {
            let prompt = prompt(&host, &upstream, "a").await;
            (if mark.is_empty() { !prompt.contains("MARK-") } else { prompt.contains(mark) }).then_some(())
        })
        .await;
    };
    session(&host, "a", "s1", "tides?", true).await;
    let lesson = stands(&host, "a", "done").await;
    assert_eq!(lesson["proposals"][0]["fate"], "hold", "{lesson:#}");
    assert!(!home.path().join("skills/a").exists());
    assert!(!prompt(&host, &upstream, "a").await.contains("MARK-"));
    assert!(run(&["log"]).contains("candidate"));
    assert!(run(&["diff", "read-tides"]).contains("+MARK-ONE"));
    run(&["approve", "read-tides"]);
    has("MARK-ONE").await;

    session(&host, "a", "s2", "tides!", true).await;
    until("the second candidate", async || (lessons(&host, "a").await.len() == 2).then_some(())).await;
    stands(&host, "a", "done").await;
    assert!(prompt(&host, &upstream, "a").await.contains("MARK-ONE"));
    let diff = run(&["diff", "read-tides"]);
    assert!(diff.contains("-MARK-ONE") && diff.contains("+MARK-TWO"), "{diff}");
    run(&["approve", "read-tides"]);
    has("MARK-TWO").await;
    run(&["rollback", "read-tides"]);
    has("MARK-ONE").await;
    run(&["retire", "read-tides"]);
    has("").await;
    assert!(!home.path().join("skills/a/read-tides").exists());

    session(&host, "a", "s3", "tides?!", true).await;
    until("the third candidate", async || (lessons(&host, "a").await.len() == 3).then_some(())).await;
    stands(&host, "a", "done").await;
    run(&["reject", "read-tides"]);
    // What a person has put there stays, unless the operator says otherwise.
    home.skill("a", "read-tides", "Use when asked about tides and harbours", "MARK-PERSON");
    let (code, _, err) = home.run(&["skills", "rollback", "read-tides", "--agent", "a"]);
    assert!(code != 0 && err.contains("a person wrote or changed"), "{err}");
    has("MARK-PERSON").await;
    let history = host.admin("GET", "/admin/agents/a/lessons").await;
    let states: Vec<String> = versions(&history).into_iter().map(|(_, state)| state).collect();
    assert_eq!(states, ["rejected", "retired", "retired"]);
    assert_ne!(home.run(&["skills", "approve", "read-tides", "--agent", "b"]).0, 0, "another agent has none");
}
