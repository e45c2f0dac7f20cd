//! What a policy may do beside deciding: nothing, unless its module asks for it and its operator gives it; and then within its own
//! agent's folders and values, whatever it tries.

use std::fs;
use std::path::Path;

use tests::{Home, Host, Upstream, guest};

const ALL: &str = "{ skills: write, lora: read, kv: 64KiB, log: 1KiB }";

/// A home with two agents that have the same module, which does what the user says.
pub(crate) fn home(upstream: &Upstream, module: &Path, grants: &str) -> Home {
    let policy = format!("policy: {{ module: {}, grants: {grants}, limits: {{ wall: 2s }} }}", module.display());
    let home = Home::with(upstream, &format!("agents: {{ a: {{ {policy} }}, b: {{ {policy} }} }}\n"));
    home.skill("_shared", "common", "For all", "COMMON");
    home.skill("a", "mine", "For a", "OF-A");
    home.skill("b", "mine", "For b", "OF-B");
    home
}

/// What the module answers.
pub(crate) async fn tell(host: &Host, agent: &str, words: &str) -> String {
    let answer = host.say(words).agent(agent).session("s").send().await;
    assert_eq!(answer.status, 200, "{words}: {}", answer.text);
    assert!(answer.header("x-metaclaw-policy").ends_with("source=policy"), "{words}: {:?}", answer.headers);
    answer.words()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_reads_and_writes_in_its_own_agents_folders() {
    let upstream = Upstream::echo().await;
    let home = home(&upstream, &guest("tests/guests/storing"), ALL);
    let host = home.start_with(&["--dev"]).await;
    for (agent, words, starts) in [
        ("a", "list skills ", "mine:folder:0"),
        ("a", "read skills mine/SKILL.md", "---\nname: mine"),
        ("a", "read shared common/SKILL.md", "---\nname: common"),
        ("a", "write skills notes/today.txt remember the tides", "done"),
        ("a", "read skills notes/today.txt", "remember the tides"),
        ("a", "stat skills notes/today.txt", "today.txt:file:18"),
        ("b", "read skills notes/today.txt", "not-found: "),
        ("a", "remove skills notes/today.txt", "done"),
        ("a", "read skills notes/today.txt", "not-found: "),
        ("a", "write shared common/SKILL.md mine now", "read-only: "),
        ("a", "write lora x y", "read-only: "),
        ("a", "list lora ", ""),
        ("a", "list elsewhere ", "bad-path: "),
        ("a", "read skills ../b/mine/SKILL.md", "bad-path: "),
        ("a", "read skills /etc/passwd", "bad-path: "),
        ("a", "write-big skills big.txt 262144", "done"),
        ("a", "write-big skills big.txt 262145", "too-large: "),
    ] {
        let said = tell(&host, agent, words).await;
        assert!(said.starts_with(starts), "{agent} {words:?}: {said:?}");
    }
    assert!(fs::read_to_string(home.path().join("skills/_shared/common/SKILL.md")).unwrap().contains("COMMON"));
    assert!(fs::read_to_string(home.path().join("skills/b/mine/SKILL.md")).unwrap().contains("OF-B"));
}

/// A policy that writes a skill teaches its own agent, at once, and no other.
#[tokio::test(flavor = "multi_thread")]
async fn a_skill_that_a_policy_writes_is_its_agents_own() {
    let upstream = Upstream::echo().await;
    let home = home(&upstream, &guest("tests/guests/storing"), ALL);
    let host = home.start_with(&["--dev"]).await;
    let skill = "---\nname: tides\ndescription: Use when tides are asked for\n---\nLOOK AT THE MOON";
    assert_eq!(tell(&host, "a", &format!("write skills tides/SKILL.md {skill}")).await, "done");
    let (_, a, _) = home.run(&["skills", "list", "--agent", "a"]);
    let (_, b, _) = home.run(&["skills", "list", "--agent", "b"]);
    assert!(a.contains("tides") && !b.contains("tides"), "{a}\n{b}");
}

/// Values: each agent's own, kept over a restart, gone with a call that fails, and within their size.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_policy_keeps_is_its_agents_own_and_survives() {
    let upstream = Upstream::echo().await;
    let home = home(&upstream, &guest("tests/guests/storing"), ALL);
    let host = home.start_with(&["--dev"]).await;
    for (agent, words, said) in [
        ("a", "count", "0"),
        ("a", "count", "1"),
        ("b", "count", "0"),
        ("a", "set city Lisbon", "done"),
        ("a", "get city", "Lisbon"),
        ("b", "get city", "nothing"),
        ("a", "keys c", "city count"),
        ("a", "set-big rest 65537", "quota: a value has at most 65536 bytes"),
        ("a", "set-big rest 65536", "quota: all keys and values together may have 65536 bytes"),
        ("a", "set-big rest 60000", "done"),
        ("a", "set-big more 10000", "quota: all keys and values together may have 65536 bytes"),
        ("a", "delete rest", "done"),
        ("a", "set-big more 10000", "done"),
        // Keys and values count, to the byte.
        ("b", "delete count", "done"),
        ("b", "set-big rest 65533", "quota: all keys and values together may have 65536 bytes"),
        ("b", "set-big rest 65532", "done"),
        ("b", "set x ", "quota: all keys and values together may have 65536 bytes"),
        ("b", "delete rest", "done"),
        ("b", "set-key 128", "done"),
        ("b", "set-key 129", "bad-key: a key has 1 to 128 bytes, this one 129"),
        ("b", "set-key 0", "bad-key: a key has 1 to 128 bytes, this one 0"),
        ("b", "set count 1", "done"),
        ("a", "flood", "1024 quota"),
        ("a", "get key-5", "(nothing)"),
    ] {
        assert_eq!(tell(&host, agent, words).await, said, "{agent} {words}");
    }
    let failed = host.say("set-and-panic city Porto").agent("a").send().await;
    assert!(failed.header("x-metaclaw-policy").contains("failed=trap"), "{:?}", failed.headers);
    assert_eq!(tell(&host, "a", "get city").await, "Lisbon", "nothing of a call that failed stays");
    assert!(host.stop().success());
    let host = home.start_with(&["--dev"]).await;
    assert_eq!(tell(&host, "a", "get city").await, "Lisbon");
    assert_eq!(tell(&host, "a", "count").await, "2");
    assert_eq!(tell(&host, "b", "count").await, "1");
}

/// What the module asks for and is not given keeps it from being loaded, and the message names the keys.
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_names_the_grants_to_add() {
    let upstream = Upstream::echo().await;
    for (grants, missing) in [
        ("{}", "`grants: { skills: write, lora: read, kv: 64KiB }`"),
        ("{ skills: read, lora: read, kv: 1KiB }", "`grants: { skills: write }`"),
        ("{ skills: write, kv: 1KiB }", "`grants: { lora: read }`"),
    ] {
        let home = home(&upstream, &guest("tests/guests/storing"), grants);
        let host = home.start_with(&["--dev"]).await;
        let answer = host.say("count").agent("a").send().await;
        assert_eq!((answer.status, answer.code().as_str()), (503, "policy_unavailable"));
        assert!(answer.text.contains(missing), "{grants}: {}", answer.text);
        assert_eq!(host.say("x").agent("c").send().await.status, 200, "other agents are served");
    }
}

/// Grants are a module's own: an agent with another module does not inherit them.
#[tokio::test(flavor = "multi_thread")]
async fn grants_are_not_inherited_by_another_module() {
    let upstream = Upstream::echo().await;
    let module = guest("tests/guests/storing");
    let home = Home::with(
        &upstream,
        &format!(
            "agents: {{ _default: {{ policy: {{ module: {m}, grants: {ALL} }} }}, a: {{ policy: {{ module: {m} }} }} }}\n",
            m = module.display()
        ),
    );
    let host = home.start_with(&["--dev"]).await;
    assert_eq!(host.say("count").agent("a").send().await.status, 503);
    assert_eq!(tell(&host, "anybody", "count").await, "0");
    assert_eq!(tell(&host, "somebody", "count").await, "0", "agents that are not listed have values of their own");
    assert_eq!(tell(&host, "anybody", "count").await, "1");
}

/// An agent that is not listed has the usual adapter folder, whatever `_default`'s is: no name that a client makes up leads beside it.
#[tokio::test(flavor = "multi_thread")]
async fn an_unlisted_agents_adapters_are_in_the_usual_place() {
    let upstream = Upstream::echo().await;
    let elsewhere = tempfile::tempdir().unwrap();
    fs::create_dir(elsewhere.path().join("anybody")).unwrap();
    fs::write(elsewhere.path().join("anybody/key.txt"), "NOT-FOR-POLICIES").unwrap();
    let module = guest("tests/guests/storing");
    let policy = format!("policy: {{ module: {}, grants: {ALL} }}", module.display());
    let lora = elsewhere.path().join("default");
    let home = Home::with(
        &upstream,
        &format!("agents: {{ _default: {{ {policy}, rl: {{ lora_output: {} }} }} }}\n", lora.display()),
    );
    fs::create_dir_all(home.path().join("lora/anybody")).unwrap();
    fs::write(home.path().join("lora/anybody/adapter.txt"), "MINE").unwrap();
    let host = home.start_with(&["--dev"]).await;
    assert_eq!(tell(&host, "anybody", "read lora adapter.txt").await, "MINE");
    assert!(tell(&host, "anybody", "read lora key.txt").await.starts_with("not-found: "));
}
