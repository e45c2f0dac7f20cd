//! What a skill says already, in other words, is not learned beside it.

use super::*;

const BODY: &str = "1. Behind each claim put the number of its source and whether it was read.\n\
                    2. End with the list of sources: author, year, title; what is not known is `?`.\n\
                    3. Invent no page, link or identifier.";
const PARAPHRASE: &str = "Number every claim with its source and mark whether you have read it. Close the answer with a bibliography of \
                          author, year and title, with a question mark for what is unknown; never make up a link, page or identifier.";

/// The same matter under another name; of its words it shares less than a fifth.
fn again() -> Value {
    let description = "Use when a claim needs a reference, citation or source, or the user asks where that is said";
    json!({"action": "add", "name": "name-your-references", "description": description, "category": "research",
        "body": PARAPHRASE, "why": "episode 1", "replaces": []})
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_matter_in_other_words_becomes_an_update_or_is_refused_by_name() {
    let first = json!({"action": "add", "name": "cite-sources",
        "description": "Use when claims need sources, references, citations or evidence. Where does it say that.",
        "category": "research", "body": BODY, "why": "episode 1", "replaces": []});
    let answers = Mutex::new(VecDeque::from([first.clone(), again(), again()]));
    let upstream = upstream(move |_| {
        let next = answers.lock().unwrap().pop_front();
        Reply::Words(proposals(next.as_slice()))
    })
    .await;
    let home = home(&upstream, "");
    home.embedder("static");
    let config = std::fs::read_to_string(home.path().join("config.yaml")).unwrap();
    home.config(&config.replace("idle_timeout: 1s", "idle_timeout: 1h"));
    home.skill("person", "cite-sources", first["description"].as_str().unwrap(), BODY);
    let host = home.start().await;
    for (number, agent) in ["learner", "learner", "person"].into_iter().enumerate() {
        session(&host, agent, &format!("s{number}"), "cite this", true).await;
        until("the lesson is done", async || {
            let found = lessons(&host, agent).await;
            found
                .into_iter()
                .find(|lesson| lesson["session"] == format!("s{number}").as_str() && lesson["state"] == "done")
        })
        .await;
        until("the skill is served", async || {
            let (_, out, _) = home.run(&["skills", "list", "--agent", agent]);
            out.contains("cite-sources").then_some(())
        })
        .await;
    }
    let last = lessons(&host, "learner").await.remove(0);
    let proposal = &last["proposals"][0];
    assert_eq!((&proposal["name"], &proposal["fate"]), (&json!("cite-sources"), &json!("apply")), "{last:#}");
    assert!(proposal["reason"].as_str().unwrap().contains("proposed as name-your-references"), "{last:#}");
    let folders: Vec<_> = std::fs::read_dir(home.path().join("skills/learner")).unwrap().flatten().collect();
    assert_eq!(folders.len(), 1, "{folders:?}");
    let refused = lessons(&host, "person").await.remove(0);
    assert_eq!(refused["proposals"][0]["reason"], "the skill cite-sources says it already", "{refused:#}");
}
