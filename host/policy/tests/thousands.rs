//! What a thousand agents, and a thousand modules, leave behind: nothing. These tests measure the whole process, so they have one of their
//! own, and take turns in it.
#![cfg(test)]

mod support;
#[path = "../../../tests/guests/text.rs"]
#[allow(missing_docs, unreachable_pub, dead_code, reason = "it is another package's as well")]
mod text;

use std::fs;

use domain::{Verdict, WarmInstances};
use policy::{AgentPolicy, AgentPolicyParts, RouteDecision};
use support::{ENGINE, agent, misbehaving, parts, patient, sample, turn};
use text::text_guest;
use tokio::task::JoinSet;

static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Resident memory in MiB, open files, and pieces of address space.
fn held() -> (u64, usize, usize) {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let resident = line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() >> 10;
    let maps = fs::read_to_string("/proc/self/maps").unwrap().lines().count();
    (resident, fs::read_dir("/proc/self/fd").unwrap().count(), maps)
}

/// All have the same module and settings of their own, and all their turns begin at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_agents_take_turns_in_bounded_memory() {
    let _alone = ALONE.lock().await;
    let module = ENGINE.load(misbehaving(), None, "{}").unwrap();
    let agents: Vec<AgentPolicy> = (1..=1000)
        .map(|number| agent(&module, &format!(r#"{{"do":"refuse","count":"{number}"}}"#), patient()))
        .collect();
    let all = async || {
        let mut turns = JoinSet::new();
        for (at, agent) in agents.iter().enumerate() {
            let mut call = agent.turn(turn("model-a", "words"));
            turns.spawn(async move { (at, call.route().await) });
        }
        while let Some(done) = turns.join_next().await {
            let (at, got) = done.unwrap();
            assert_eq!(got.value, RouteDecision::Refuse("x".repeat(at + 1)), "agent {at}: {:?}", got.failure);
        }
    };
    all().await;
    let before = held();
    for _ in 0..5 {
        all().await;
    }
    let after = held();
    println!("{before:?}, then {after:?}");
    assert!(after.0 <= before.0 + 64 && after.1 <= before.1, "{before:?}, then {after:?}");
}

/// As on a host that is reloaded all day, each time with another module, of which an instance stays.
#[tokio::test]
async fn a_thousand_modules_come_and_go_and_leave_nothing() {
    let _alone = ALONE.lock().await;
    let instances = WarmInstances { warm: 1, ..WarmInstances::default() };
    let mut serving: Option<AgentPolicy> = None;
    let mut reload = async |number: usize| {
        let bytes = text_guest("policy", &[("i32.const 1024)", &format!("i32.const {})", 1024 + 8 * number))]);
        let module = ENGINE.load(&bytes, None, "{}").unwrap();
        let parts = AgentPolicyParts { instances, ..parts(&module, "{}", patient()) };
        let policy = match serving.take() {
            Some(before) => before.renewed(&ENGINE, parts),
            None => AgentPolicy::new(&ENGINE, parts),
        };
        for _ in 0..2 {
            let judged = policy.filter(sample("stop", "an answer")).await;
            assert_eq!((judged.value, judged.digest), (Verdict::Keep { weight: 1.0 }, module.digest()));
        }
        serving = Some(policy);
    };
    for number in 0..200 {
        reload(number).await;
    }
    let before = held();
    for number in 200..1200 {
        reload(number).await;
    }
    let after = held();
    println!("{before:?}, then {after:?}");
    // A module is a file and some 40 kB.
    assert!(after.0 <= before.0 + 8 && after.1 <= before.1 && after.2 <= before.2 + 20, "{before:?}, then {after:?}");
}
