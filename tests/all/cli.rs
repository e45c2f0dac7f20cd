//! The command as a person or a script meets it.

use tests::{Home, Reply, Upstream};

#[tokio::test(flavor = "multi_thread")]
async fn start_status_stop_in_the_background() {
    let upstream = Upstream::echo().await;
    let home = Home::with(&upstream, "");
    let (code, _, err) = home.run(&["status"]);
    assert_eq!(code, 69, "{err}");
    assert!(err.contains("metaclaw start"), "{err}");
    let (code, out, err) = home.run(&["start", "--daemon", "--port", "0", "--json"]);
    assert_eq!(code, 0, "{err}");
    let started: serde_json::Value = serde_json::from_str(&out).unwrap();
    let (code, out, _) = home.run(&["status", "--json"]);
    let status: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &status["running"]["pid"], &status["state"]["ready"]), (0, &started["pid"], &true.into()));
    let (code, out, _) = home.run(&["chat", "--agent", "helper", "are you there?"]);
    assert_eq!((code, out.as_str()), (0, "echo: are you there?\n"));
    assert_eq!(home.run(&["start", "--daemon", "--port", "0"]).0, 1, "one host for a home");
    assert_eq!(home.run(&["start", "--port", "0"]).0, 75, "one host for a home");
    assert_eq!(home.run(&["stop"]).0, 0);
    assert_eq!(home.run(&["status"]).0, 69);
}

#[tokio::test(flavor = "multi_thread")]
async fn chat_reads_any_answer_and_lets_no_model_drive_the_terminal() {
    let upstream = Upstream::scripted(|seen| {
        if seen.user() == "whole" {
            return Reply::Status(200, r#"{"choices":[{"message":{"content":"in one\u0007 piece"}}]}"#.into());
        }
        let (sender, pieces) = tokio::sync::mpsc::channel(1);
        let stream = concat!(
            "data: {\"choices\":[{\"delta\":{\"content\":\"clear\\u001b[2J\"}}]}\r\n\r\n",
            "data:{\"choices\":[{\"delta\":{\"content\":\"ed\"},\"finish_reason\":\"stop\"}]}\r\n\r\ndata: [DONE]\r\n\r\n",
        );
        sender.try_send(Ok(stream.into())).unwrap();
        Reply::Pieces("text/event-stream", pieces)
    })
    .await;
    // The module of the other agent is not pinned, as while one writes it.
    let home = Home::with(&upstream, "agents: { other: { policy: { module: \"policies/mine.wasm\" } } }\n");
    let _host = home.start_with(&["--dev"]).await;
    for (text, words) in [("streamed", "clear[2Jed\n"), ("whole", "in one piece\n")] {
        let (code, out, err) = home.run(&["chat", text]);
        assert_eq!((code, out.as_str()), (0, words), "{err}");
    }
    let (code, _, err) = home.run(&["skills", "list"]);
    assert_eq!(code, 0, "{err}");
}

#[tokio::test]
async fn a_bad_configuration_is_reported_whole_and_nothing_starts() {
    let home = Home::new();
    home.config("modee: rl\nproxy: { port: 99999999, host: 0.0.0.0 }\nllm: { provider: custom, api_base: \"nonsense\" }\nagents: { ../x: {}, _shared: {} }\n");
    assert_eq!(home.run(&["start", "--daemon"]).0, 64, "said here, not in a log");
    let (code, out, err) = home.run(&["start"]);
    assert_eq!((code, out.as_str()), (64, ""));
    for part in ["modee", "`mode`", "proxy.port", "proxy.host", "llm.api_base", "../x", "_shared"] {
        assert!(err.contains(part), "{part} is missing in: {err}");
    }
    assert!(!home.path().join("state").exists());
}

#[test]
fn agents_are_added_shown_and_removed() {
    let home = Home::new();
    home.config("# mine\nllm: { provider: embedded }\n");
    let (code, out, err) = home.run(&["agents", "add", "Researcher", "--mode", "rl"]);
    assert_eq!(code, 0, "{out}{err}");
    let (_, out, _) = home.run(&["agents", "list", "--json"]);
    let list: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(list[1]["agent"], "researcher");
    assert_eq!(list[1]["mode"], "rl");
    let (_, out, _) = home.run(&["agents", "show", "researcher"]);
    assert!(out.contains("rl"), "{out}");
    assert_ne!(home.run(&["agents", "add", "researcher"]).0, 0, "twice");
    assert_ne!(home.run(&["agents", "add", "../x"]).0, 0);
    assert_eq!(home.run(&["agents", "remove", "researcher"]).0, 0);
    let (_, out, _) = home.run(&["agents", "list", "--json"]);
    let list: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(list.as_array().unwrap().len(), 1);
    assert!(std::fs::read_to_string(home.path().join("config.yaml")).unwrap().contains("# mine"));
}

#[test]
fn every_command_explains_itself() {
    let home = Home::new();
    for words in [
        &[][..],
        &["setup"],
        &["doctor"],
        &["completions"],
        &["man"],
        &["start"],
        &["stop"],
        &["status"],
        &["agents"],
        &["skills"],
        &["models"],
        &["config"],
        &["keys"],
        &["keys", "add"],
        &["keys", "rotate"],
        &["chat"],
        &["openclaw"],
        &["openclaw", "connect"],
        &["openclaw", "disconnect"],
        &["openclaw", "status"],
    ] {
        let (code, out, _) = home.run(&[words, &["--help"]].concat());
        assert_eq!(code, 0, "{words:?}");
        assert!(out.contains("Usage:") && out.len() > 200, "{words:?}: {out}");
    }
}

#[test]
fn shells_complete_the_command_and_every_command_has_a_page() {
    let home = Home::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let (code, out, err) = home.run(&["completions", shell]);
        assert_eq!(code, 0, "{err}");
        assert!(out.contains("doctor") && !out.contains("compile-policy"), "{shell}: {out}");
    }
    let (_, script, _) = home.run(&["completions", "bash"]);
    let file = home.path().join("metaclaw.bash");
    std::fs::write(&file, script).unwrap();
    // What bash offers after `metaclaw do`.
    let line = format!(
        "source {} && COMP_WORDS=(metaclaw do) COMP_CWORD=1 && _metaclaw metaclaw do metaclaw && echo \"${{COMPREPLY[@]}}\"",
        file.display()
    );
    let bash = std::process::Command::new("bash").args(["-c", &line]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&bash.stdout).trim(), "doctor", "{}", String::from_utf8_lossy(&bash.stderr));

    let folder = home.path().join("man");
    let (code, out, err) = home.run(&["man", folder.to_str().unwrap()]);
    assert_eq!(code, 0, "{out}{err}");
    let (_, help, _) = home.run(&["--help"]);
    let commands = help.lines().skip_while(|line| !line.starts_with("Commands:")).skip(1);
    let commands: Vec<&str> =
        commands.take_while(|line| !line.is_empty()).filter_map(|line| line.strip_prefix("  ")).collect();
    let names: Vec<&str> =
        commands.iter().filter_map(|line| line.split(' ').next()).filter(|name| !name.is_empty()).collect();
    assert!(names.len() > 10, "{names:?}");
    for name in names.iter().filter(|name| **name != "help") {
        let page = std::fs::read_to_string(folder.join(format!("metaclaw-{name}.1")))
            .unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(page.contains(".TH metaclaw") && page.len() > 400, "{name}: {page}");
    }
    assert!(!folder.join("metaclaw-compile-policy.1").exists());
    let (code, page, _) = home.run(&["man"]);
    assert!(code == 0 && page.contains(".SH SYNOPSIS"), "{page}");
}
