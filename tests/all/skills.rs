//! Skills reach the prompts of the agent whose they are, live, and only when they fit.

use std::fs;
use std::time::Duration;

use serde_json::json;
use tests::{Home, Upstream};

#[tokio::test]
async fn an_existing_metaclaw_home_works_unchanged() {
    let upstream = Upstream::echo().await;
    let home = Home::new();
    let config = format!(
        "mode: skills_only\nllm:\n  provider: kimi\n  model_id: moonshotai/Kimi-K2.5\n  api_base: {}\n  api_key: sk-literal-in-file\nproxy:\n  port: 30000\n\
         skills:\n  enabled: true\n  retrieval_mode: template\n  top_k: 6\n  task_specific_top_k: 10\n  auto_evolve: true\n\
         rl:\n  enabled: false\n  model: moonshotai/Kimi-K2.5\n  tinker_api_key: \"\"\n  prm_model: gpt-5.2\n  lora_rank: 32\nmax_context_tokens: 20000\n",
        upstream.base()
    );
    home.config(&config);
    home.skill(
        "",
        "debug-systematically",
        "Use when diagnosing a bug or unexpected error in code",
        "Reproduce it first.",
    );
    let host = home.start().await;
    let answer = host.say("there is a bug in my code, an unexpected error").send().await;
    assert_eq!((answer.status, answer.words().as_str()), (200, "echo: there is a bug in my code, an unexpected error"));
    assert!(upstream.last().system().contains("### debug-systematically"));
    assert_eq!(upstream.last().body["model"], "moonshotai/Kimi-K2.5", "the configured model, whatever was asked");
    assert_eq!(upstream.last().headers["authorization"], "Bearer sk-literal-in-file");
}

#[tokio::test]
async fn own_skills_win_over_shared_ones_and_nothing_may_fit() {
    let upstream = Upstream::echo().await;
    let home = Home::with(&upstream, "");
    home.skill("_shared", "cite-sources", "Use when citing sources in reports", "SHARED");
    home.skill("writer", "cite-sources", "Use when citing sources in reports", "WRITERS-OWN");
    let host = home.start().await;
    for (agent, text, has, has_not) in [
        ("writer", "cite the sources of this report", "WRITERS-OWN", "SHARED"),
        ("other", "cite the sources of this report", "SHARED", "WRITERS-OWN"),
        ("writer", "good morning!", "", "Active Skills"),
    ] {
        host.say(text).agent(agent).system("You are kind.").send().await;
        let system = upstream.last().system();
        assert!(
            system.starts_with("You are kind.") && system.contains(has) && !system.contains(has_not),
            "{agent} {text}: {system}"
        );
    }
}

#[tokio::test]
async fn a_change_on_disk_is_in_the_next_prompts_within_a_second() {
    let upstream = Upstream::echo().await;
    let home = Home::with(&upstream, "");
    let host = home.start().await;
    let system = async || {
        host.say("sort my invoices").agent("clerk").send().await;
        upstream.last().system()
    };
    assert_eq!(system().await, "");
    let file = home.skill("clerk", "sort-invoices", "Use when invoices are sorted", "BY DATE");
    let within_a_second = async |what: &str, seen: &dyn Fn(&str) -> bool| {
        let waited = tokio::time::timeout(Duration::from_secs(1), async { while !seen(&system().await) {} }).await;
        assert!(waited.is_ok(), "{what}");
    };
    within_a_second("added", &|s| s.contains("BY DATE")).await;
    std::fs::write(&file, "---\nname: sort-invoices\ndescription: Use when invoices are sorted\n---\nBY AMOUNT\n")
        .unwrap();
    within_a_second("edited", &|s| s.contains("BY AMOUNT") && !s.contains("BY DATE")).await;
    std::fs::write(&file, "no front matter").unwrap();
    within_a_second("broken: skipped, and the host goes on", &|s| s.is_empty()).await;
    let (code, out, err) = home.run(&["skills", "check"]);
    assert!(code != 0 && (out + &err).contains("sort-invoices"));
}

/// The provider's prompt cache lives on prompts that do not change without need.
#[tokio::test]
async fn the_block_stays_byte_for_byte_while_the_choice_stays() {
    let upstream = Upstream::echo().await;
    let home = Home::with(&upstream, "");
    home.skill("", "tides", "Use for tides and harbours", "T");
    home.skill("", "harbours", "Use for harbours and tides", "H");
    let host = home.start().await;
    let mut prompts = Vec::new();
    for text in ["tides tides tides harbours", "harbours harbours harbours tides", "tides and harbours"] {
        host.say(text).session("s").send().await;
        prompts.push(upstream.last().system());
    }
    assert!(prompts[0].contains("### tides") && prompts[0].contains("### harbours"));
    assert!(prompts.iter().all(|p| *p == prompts[0]), "{prompts:#?}");
}

#[tokio::test]
async fn the_budget_holds() {
    let upstream = Upstream::echo().await;
    let home = Home::with(&upstream, "skills: { token_budget: 300 }\n");
    for part in ["masts", "sails", "keels"] {
        home.skill("", &format!("fit-{part}"), &format!("Use when fitting {part}"), &"and so on ".repeat(45));
    }
    let host = home.start().await;
    let answer = host.say("masts, sails and keels").send().await;
    assert_eq!(answer.header("x-metaclaw-skills"), "2", "each is about 120 tokens");
    let json = upstream.last().body;
    assert_eq!(json["messages"].as_array().unwrap().len(), 2);
    assert_eq!(json["messages"][1], json!({"role": "user", "content": "masts, sails and keels"}));
}

#[test]
fn skills_go_from_one_home_to_another_in_an_archive() {
    let (from, to) = (Home::new(), Home::new());
    from.skill("ada", "tides", "Use when asked for tides", "High water comes twice a day.");
    from.skill("ada", "wind", "Use when asked for wind", "It blows from the west.");
    from.skill("_shared", "house", "Use always", "Be kind.");
    let archive = from.path().join("ada.zip");
    let file = archive.to_str().unwrap();
    let (code, out, err) = from.run(&["skills", "export", "--agent", "ada", "--out", file]);
    assert!(code == 0 && out.contains("wrote 2 skills"), "{out}{err}");

    let import = |more: &[&str]| to.run(&[&["skills", "import", file, "--agent", "bob"], more].concat());
    let (code, out, err) = import(&["--dry-run"]);
    assert!(code == 0 && out.contains("would take over tides from tides/SKILL.md"), "{out}{err}");
    assert!(!to.path().join("skills").exists(), "nothing is written");
    let (code, out, err) = import(&[]);
    assert!(code == 0 && out.contains("took over wind"), "{out}{err}");
    assert!(to.run(&["skills", "show", "tides", "--agent", "bob"]).1.contains("High water comes twice a day."));
    assert_eq!(to.run(&["skills", "show", "tides", "--agent", "ada"]).0, 1, "nobody else gets it");

    fs::write(to.path().join("skills/bob/wind/SKILL.md"), "---\nname: wind\ndescription: mine\n---\nMine.\n").unwrap();
    fs::remove_dir_all(to.path().join("skills/bob/tides")).unwrap();
    let (code, _, err) = import(&[]);
    assert!(code == 1 && err.contains("there already: wind") && err.contains("--replace"), "{err}");
    assert!(!to.path().join("skills/bob/tides").exists(), "all or none");
    assert_eq!(import(&["--replace"]).0, 0);
    assert!(to.run(&["skills", "show", "wind", "--agent", "bob"]).1.contains("from the west"));

    fs::write(&archive, "PK\x03\x04 no archive").unwrap();
    let (code, _, err) = import(&["--replace"]);
    assert!(code == 1 && err.contains("cannot be read"), "{err}");
}
