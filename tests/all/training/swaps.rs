//! Adapters change under load.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use super::*;

/// The likeliest answer, which differs between generations.
async fn likeliest(host: &Host, session: &str) -> (u16, String, String) {
    let turn = host.say("Tell me about the sea in ten words.").agent("pupil").session(session);
    let answer = turn.with("temperature", 0.into()).with("max_tokens", 16.into()).send().await;
    (answer.status, answer.header("x-metaclaw-adapter").to_owned(), answer.words())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_swaps_under_load_fail_nobody_and_no_answer_is_of_two_generations() {
    let home = school(BOLD, "pupil: {}");
    let host = home.start().await;
    let mut said = vec![("", likeliest(&host, "base").await.2)];
    for (round, name) in ["pupil@1", "pupil@2"].into_iter().enumerate() {
        rewarded(&host, "pupil", 10 * round as u32, &[1.0, -1.0]).await;
        counted(&host, "pupil", "eligible", 2).await;
        step(&home, "pupil").await;
        said.push((name, likeliest(&host, name).await.2));
    }
    assert!(said[0].1 != said[1].1 && said[1].1 != said[2].1, "the steps are too small to tell apart: {said:?}");

    let over = AtomicBool::new(false);
    let client = async |name: &str| {
        let mut seen = Vec::new();
        while !over.load(Ordering::Relaxed) {
            let (status, adapter, words) = likeliest(&host, &format!("{name}{}", seen.len())).await;
            assert_eq!(status, 200);
            seen.push((adapter, words));
        }
        seen
    };
    let operator = async {
        for swap in 0..10 {
            let generation = 1 + swap % 2;
            let done = host.admin("POST", &format!("/admin/agents/pupil/adapters/{generation}/promote")).await;
            assert_eq!(done["live"], generation, "{done}");
            // At least one answer of each.
            let name = format!("pupil@{generation}");
            within(LONG, "it answers", async || (likeliest(&host, "look").await.1 == name).then_some(())).await;
        }
        over.store(true, Ordering::Relaxed);
    };
    let (one, two, ()) = tokio::join!(client("one"), client("two"), operator);
    let mut met = [0; 3];
    for (adapter, words) in one.iter().chain(&two) {
        let which = said.iter().position(|(name, _)| name == adapter).unwrap_or_else(|| panic!("{adapter}"));
        assert_eq!(*words, said[which].1, "an answer of {adapter}");
        met[which] += 1;
    }
    assert!(met[0] == 0 && met[1] > 0 && met[2] > 0, "{met:?}");
    let held = host.admin("GET", "/admin/status").await["adapters"].clone();
    assert_eq!(held["agents"].as_array().map(Vec::len), Some(1), "one adapter is held, whatever came before: {held}");
    assert_eq!(held["bytes"], held["agents"][0]["bytes"], "{held}");

    // Back to the model as it is, and the operator's words are kept.
    let (code, out, err) =
        home.run(&["adapters", "rollback", "--agent", "pupil", "--to", "0", "--reason", "too salty"]);
    assert!(code == 0 && out.contains("model as it is"), "{out}{err}");
    assert_eq!(likeliest(&host, "back").await, (200, String::new(), said[0].1.clone()));
    let (_, list, _) = home.run(&["adapters", "list", "--agent", "pupil"]);
    assert!(list.contains("rolled-back") && list.contains("too salty"), "{list}");
    assert_eq!(host.admin("GET", "/admin/status").await["adapters"]["agents"], json!([]));
    let log = host.log();
    assert!(host.stop().success() && !log.contains("ERROR"), "{log}");
}
