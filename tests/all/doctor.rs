//! `metaclaw doctor`: a table of homes in which something is wrong, and what the doctor must say of each; and a healthy one.

mod cases;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use serde_json::Value;
use tests::{Home, Upstream};

use cases::{CASES, chmod, write};

/// What the doctor finds: whether all works, and its findings.
struct Found {
    code: i32,
    json: Value,
}

fn examine(home: &Home, environment: &[(&str, &str)], words: &[&str]) -> Found {
    let (code, out, err) = home.run_in(environment, &[&["doctor", "--json"], words].concat());
    assert!(!out.contains("canary") && !err.contains("canary"), "a secret was shown: {out}{err}");
    let json = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{code}: {out}{err}"));
    Found { code, json }
}

impl Found {
    /// Whether this check says this, and this remedy, at this level.
    fn says(&self, check: &str, level: &str, what: &str, remedy: &str) -> bool {
        self.json["findings"].as_array().unwrap().iter().any(|finding| {
            let has = |key: &str, part: &str| finding[key].as_str().unwrap_or_default().contains(part);
            finding["check"] == check && finding["level"] == level && has("what", what) && has("remedy", remedy)
        })
    }

    /// Every check that has something to say.
    fn complaints(&self) -> Vec<&Value> {
        self.json["findings"].as_array().unwrap().iter().filter(|finding| finding["level"] != "fine").collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_broken_home_is_diagnosed() {
    let upstream = Upstream::echo().await;
    let mut wrong = Vec::new();
    for (name, spoil, words, [check, level, what, remedy]) in CASES.iter().copied().flatten() {
        let home = Home::new();
        home.config(&format!("{}proxy: {{ port: 31995 }}\n", upstream.llm()));
        let kept = spoil(&home);
        let found = examine(&home, &[], words);
        drop(kept);
        if home.path().is_file() {
            // The folder's owner expects to remove a folder.
            fs::remove_file(home.path()).unwrap();
            fs::create_dir(home.path()).unwrap();
        }
        if !found.says(check, level, what, remedy) || (found.code == 1) != (found.json["ok"] == false) {
            wrong.push(format!("{name}: exit {}, {:#?}", found.code, found.complaints()));
        }
        if (*level == "failure") && found.code != 1 {
            wrong.push(format!("{name}: exit {}", found.code));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_healthy_home_there_is_nothing_to_say() {
    let upstream = Upstream::echo().await;
    let home = Home::with(&upstream, "proxy: { port: 0 }\nagents: { researcher: { mode: skills_only } }\n");
    chmod(&home, "", 0o700);
    home.skill("_shared", "pack-boxes", "Use when packing boxes for a move.", "Heavy things go below.");
    for running in [false, true] {
        let host = if running { Some(home.start().await) } else { None };
        let found = examine(&home, &[], &[]);
        assert_eq!((found.code, found.complaints()), (0, Vec::new()), "running: {running}");
        assert!(found.says("upstream", "fine", "answers", ""), "{}", found.json);
        drop(host);
        // It was killed, and said nothing.
        let _ = fs::remove_file(home.path().join("state/running.json"));
    }
    let (code, out, err) = home.run(&["doctor"]);
    assert!(code == 0 && out.contains("✓ home") && out.ends_with("nothing is wrong\n"), "{out}{err}");
    let asked = upstream.seen().len();
    assert_eq!(examine(&home, &[], &["--offline"]).code, 0);
    assert_eq!(upstream.seen().len(), asked, "--offline asks nobody");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_host_is_looked_at() {
    let upstream = Upstream::echo().await;
    let home = Home::with(&upstream, "proxy: { port: 0 }\n");
    let host = home.start().await;
    let note = home.path().join("state/running.json");
    let text = fs::read_to_string(&note).unwrap();
    let version = serde_json::from_str::<Value>(&text).unwrap()["version"].as_str().unwrap().to_owned();
    fs::write(&note, text.replace(&format!("\"{version}\""), "\"0.0.1\"")).unwrap();
    assert!(examine(&home, &[], &[]).says("host", "warning", "is version 0.0.1", "metaclaw stop"));
    fs::write(&note, &text).unwrap();
    home.config(&format!("{}modee: rl\n", upstream.llm()));
    let found = tests::until("the host has seen the bad configuration", async || {
        let found = examine(&home, &[], &[]);
        found.says("host", "warning", "not taken over", "config check").then_some(found)
    });
    assert_eq!(found.await.code, 1, "the configuration is wrong");
    drop(host);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_permissions_are_mended_and_only_when_asked() {
    let upstream = Upstream::echo().await;
    let home = Home::with(&upstream, "proxy: { port: 0 }\n");
    write(&home, "secrets/a.key", "sk-canary");
    for (path, mode) in [("secrets/a.key", 0o644), ("secrets", 0o755), ("config.yaml", 0o640), ("", 0o755)] {
        chmod(&home, path, mode);
    }
    let before = examine(&home, &[], &["--offline"]);
    assert_eq!(before.complaints().iter().filter(|finding| finding["check"] == "home").count(), 4);
    let fixed = examine(&home, &[], &["--offline", "--fix"]);
    assert_eq!((fixed.code, fixed.complaints(), fixed.json["fixed"].as_array().unwrap().len()), (0, Vec::new(), 4));
    let mode = |path: &str| fs::metadata(home.path().join(path)).unwrap().permissions().mode() & 0o7777;
    assert_eq!(["secrets/a.key", "secrets", "config.yaml", ""].map(mode), [0o600, 0o700, 0o600, 0o700]);
}

#[tokio::test(flavor = "multi_thread")]
async fn proxies_and_small_limits_are_noticed() {
    let upstream = Upstream::echo().await;
    let home = Home::with(&upstream, "proxy: { port: 0 }\n");
    let proxy = "http://user:canary@proxy.invalid:3128";
    let found = examine(&home, &[("http_proxy", proxy), ("https_proxy", proxy)], &[]);
    assert!(found.says("proxy", "warning", "http_proxy, https_proxy in", "llm.api_base"), "{}", found.json);
    assert!(found.says("upstream", "fine", "answers", ""), "the proxy is not used: {}", found.json);
    let line = format!(
        "ulimit -n 300 && exec {} --home {} doctor --offline --json",
        tests::metaclaw().display(),
        home.path().display()
    );
    let shell = Command::new("bash").args(["-c", &line]).env("TEST_KEY", "k").output().unwrap();
    let json = serde_json::from_slice(&shell.stdout).unwrap();
    assert!(Found { code: 0, json }.says("files", "warning", "at most 300", "ulimit"));
}
