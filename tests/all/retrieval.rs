//! Skills that are found by what they mean: with the real embedders, each mode, and what happens without them.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::Value;
use tests::{Home, Host, Upstream, guest, until, within};

/// Shares no telling word with the skill that fits it.
const QUESTION: &str = "what money do we owe, which bills are overdue?";
const SKILL: (&str, &str) = ("settle-accounts", "Keeps a list of unpaid invoices and when each payment is due");

/// A home with the skill that fits the question, and some that do not.
fn home(upstream: &Upstream, more: &str) -> Home {
    let home = Home::with(upstream, more);
    home.skill("_shared", SKILL.0, SKILL.1, "BILLS");
    home.skill("_shared", "french-poems", "Writes poems in French", "POEMS");
    home.skill("_shared", "find-bugs", "Finds the bug behind a crash of a program", "BUGS");
    home.skill("_shared", "hiking-routes", "Plans hiking trips in the mountains", "HIKING");
    home
}

async fn prompt(host: &Host, upstream: &Upstream, agent: &str, text: &str) -> String {
    host.say(text).agent(agent).send().await;
    upstream.last().system()
}

/// Waits until the question finds this.
async fn finds(host: &Host, upstream: &Upstream, agent: &str, text: &str, body: &str) {
    within(Duration::from_secs(20), &format!("{agent} is given {body}"), async || {
        prompt(host, upstream, agent, text).await.contains(body).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_finds_the_skill_with_which_it_shares_no_word() {
    for embedder in ["minilm", "static"] {
        let upstream = Upstream::echo().await;
        let home = home(
            &upstream,
            "agents: { words: { skills: { retrieval_mode: bm25 } }, meaning: { skills: { retrieval_mode: embedding } }, both: {}, \
             lists: { skills: { retrieval_mode: template } } }\n",
        );
        home.embedder(embedder);
        let host = home.start().await;
        finds(&host, &upstream, "both", QUESTION, "BILLS").await;
        finds(&host, &upstream, "meaning", QUESTION, "BILLS").await;
        for agent in ["both", "meaning"] {
            let system = prompt(&host, &upstream, agent, QUESTION).await;
            assert!(!system.contains("POEMS") && !system.contains("BUGS"), "{embedder}, {agent}: {system}");
            for nothing in ["thanks a lot!", "ok, go on", "hello"] {
                assert_eq!(prompt(&host, &upstream, agent, nothing).await, "", "{embedder}, {agent}: {nothing}");
            }
        }
        assert_eq!(prompt(&host, &upstream, "words", QUESTION).await, "", "{embedder}: by words nothing is found");
        let listed = prompt(&host, &upstream, "lists", "thanks a lot!").await;
        assert!(
            listed.contains("BILLS") && listed.contains("POEMS"),
            "MetaClaw's lists give every turn the general skills"
        );
        if embedder == "minilm" {
            let in_time = "metaclaw_questions_embedded_total{outcome=\"in_time\"}";
            assert!(host.metric(in_time).await > 0, "{}", host.text("/metrics").await);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_mode_changes_while_the_host_runs_and_so_do_the_skills() {
    let upstream = Upstream::echo().await;
    let home = home(&upstream, "skills: { retrieval_mode: bm25 }\n");
    home.embedder("minilm");
    let host = home.start().await;
    assert_eq!(prompt(&host, &upstream, "a", QUESTION).await, "");
    home.config(&format!("{}skills: {{ retrieval_mode: hybrid }}\n", upstream.llm()));
    finds(&host, &upstream, "a", QUESTION, "BILLS").await;
    let seasick = "I feel seasick on the ferry";
    assert!(!prompt(&host, &upstream, "a", seasick).await.contains("NAUSEA"));
    home.skill("a", "calm-nausea", "Helps against nausea when travelling by boat", "NAUSEA");
    let began = Instant::now();
    finds(&host, &upstream, "a", seasick, "NAUSEA").await;
    assert!(began.elapsed() < Duration::from_secs(5), "found by what it means within seconds: {:?}", began.elapsed());
    home.config(&format!("{}skills: {{ retrieval_mode: hybrid, embedder: none }}\n", upstream.llm()));
    until("what needs a start is said", async || {
        let state = host.admin("GET", "/admin/status").await;
        state["reload_problems"].to_string().contains("`skills.embedder` takes effect").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_found_out_is_kept_for_the_next_start() {
    let upstream = Upstream::echo().await;
    let home = home(&upstream, "");
    home.embedder("minilm");
    let host = home.start().await;
    finds(&host, &upstream, "a", QUESTION, "BILLS").await;
    host.stop();
    let kept = || {
        let folder = fs::read_dir(home.path().join("state/vectors")).unwrap();
        let files: Vec<_> = folder.map(|file| fs::read(file.unwrap().path()).unwrap()).collect();
        assert_eq!(files.len(), 1);
        files.into_iter().next().unwrap()
    };
    // A head, and a record for each skill.
    assert_eq!(kept().len(), 48 + 4 * (36 + 384));
    let host = home.start().await;
    finds(&host, &upstream, "a", QUESTION, "BILLS").await;
    host.stop();
    assert_eq!(kept().len(), 48 + 4 * (36 + 384));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_sound_embedder_words_decide_and_it_is_said() {
    let upstream = Upstream::echo().await;
    let words = "is there an unpaid invoice?";
    for (setting, damage, said) in [
        ("", None, ""),
        ("skills: { embedder: minilm }\n", None, "which is not installed: `metaclaw models fetch minilm`"),
        ("", Some(b"GGUF?" as &[u8]), "has changed since it was installed"),
    ] {
        let home = home(&upstream, setting);
        if let Some(bytes) = damage {
            home.embedder("static");
            let file = home.path().join("models/static.embedder.gguf");
            fs::remove_file(&file).unwrap();
            fs::write(&file, bytes).unwrap();
        }
        let host = home.start().await;
        assert!(prompt(&host, &upstream, "a", words).await.contains("BILLS"), "{said}");
        assert_eq!(prompt(&host, &upstream, "a", QUESTION).await, "", "{said}");
        assert!(host.log().contains(said), "{said}: {}", host.log());
        let (_, doctor, _) = home.run(&["doctor", "--offline"]);
        assert!(doctor.contains("found by their words alone") && doctor.contains(said), "{doctor}");
    }
}

/// The guest's own turns are slow; the others' are not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_that_searches_for_64_texts_holds_up_nobody() {
    let module = guest("tests/guests/misbehaving");
    for embedder in ["minilm", "static"] {
        let upstream = Upstream::echo().await;
        let settings = format!(
            "agents: {{ hostile: {{ policy: {{ module: {}, config: {{ do: search, count: \"64\" }}, limits: {{ cpu: 2s, wall: 10s }} }} }} }}\n",
            module.display()
        );
        let home = home(&upstream, &settings);
        home.embedder(embedder);
        let host = home.start_with(&["--dev"]).await;
        finds(&host, &upstream, "neighbour", QUESTION, "BILLS").await;
        let hostile = async {
            for _ in 0..20 {
                assert_eq!(host.say(QUESTION).agent("hostile").send().await.status, 200);
            }
        };
        let mut slowest = Duration::ZERO;
        let neighbour = async {
            for _ in 0..20 {
                let began = Instant::now();
                assert_eq!(host.say(QUESTION).agent("neighbour").send().await.status, 200);
                slowest = slowest.max(began.elapsed());
            }
        };
        tokio::join!(hostile, neighbour);
        assert!(slowest < Duration::from_secs(1), "{embedder}: {slowest:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_says_why_each_skill_is_chosen_or_not() {
    let upstream = Upstream::echo().await;
    let home = home(&upstream, "agents: { words: { skills: { retrieval_mode: bm25 } } }\n");
    let explain = |agent: &str, text: &str| -> Value {
        let (code, out, err) = home.run(&["skills", "explain", "--agent", agent, text, "--json"]);
        assert_eq!(code, 0, "{err}");
        serde_json::from_str(&out).unwrap()
    };
    let without = explain("a", QUESTION);
    assert!(without["lacks"].as_str().unwrap().contains("metaclaw models fetch minilm"), "{without}");
    assert!(without["skills"].as_array().unwrap().iter().all(|skill| skill["chosen"] == false));
    home.embedder("static");
    let with = explain("a", QUESTION);
    assert_eq!((&with["retrieval_mode"], &with["embedder"]), (&"hybrid".into(), &"static".into()));
    let best = &with["skills"][0];
    assert_eq!((&best["name"], &best["chosen"]), (&SKILL.0.into(), &true.into()), "{with}");
    let (score, cosine) = (best["score"].as_f64().unwrap(), best["cosine"].as_f64().unwrap());
    assert!(cosine > 0.2 && score >= cosine && score >= with["threshold"].as_f64().unwrap(), "{with}");
    let last = &with["skills"][3];
    assert!(last["chosen"] == false && last["why"].as_str().unwrap().contains("too far from the best"), "{with}");
    let words = explain("words", QUESTION);
    assert!(words["skills"][0]["why"].as_str().unwrap().contains("tell too little"), "{words}");
    assert!(words["embedder"].is_null() && words["lacks"].is_null());
    let (code, out, _) = home.run(&["skills", "explain", "thanks!"]);
    assert!(code == 0 && out.contains("no word that tells of a subject") && out.contains("0 of 4"), "{out}");
}
