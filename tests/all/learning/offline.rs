//! What was learned can be read when no host runs, and only read.

use super::*;

#[tokio::test]
async fn the_log_and_the_differences_are_the_same_without_a_host() {
    let upstream =
        upstream(|_| Reply::Words(proposals(&[tides("Look at the harbour's own table. LEARNED-MARK")]))).await;
    let home = home(&upstream, "");
    let config = std::fs::read_to_string(home.path().join("config.yaml")).unwrap();
    home.config(&config.replace("idle_timeout: 1s", "idle_timeout: 1h"));
    let words = |words: &[&str]| home.run(&[&["skills"], words, &["--agent", "a"]].concat());
    let (code, _, err) = words(&["log"]);
    assert!(code != 0 && err.contains("nothing of what a host has learned can be read"), "{err}");
    let host = home.start().await;
    session(&host, "a", "s", "when is high water?", true).await;
    stands(&host, "a", "done").await;
    until("the skill is served", async || {
        let history = host.admin("GET", "/admin/agents/a/lessons").await;
        (history["versions"][0]["served"] == true).then_some(())
    })
    .await;
    let asked: [&[&str]; 3] = [&["log"], &["log", "--json"], &["diff", "read-tides"]];
    let running = asked.map(&words);
    assert!(running.iter().all(|(code, out, _)| *code == 0 && !out.is_empty()), "{running:?}");
    assert!(running[2].1.contains("+Look at the harbour's own table. LEARNED-MARK"), "{}", running[2].1);
    host.kill();
    assert_eq!(asked.map(&words), running);
    // Who decides needs the host.
    let (code, _, err) = words(&["retire", "read-tides"]);
    assert!(code != 0 && err.contains("no host is running"), "{err}");
    assert!(home.path().join("skills/a/read-tides/SKILL.md").exists());
    let (_, out, _) = home.run(&["skills", "log", "--agent", "b"]);
    assert!(out.contains("agent `b` has learned nothing yet"), "{out}");
}
