//! A thousand modules that come and go leave nothing. The only test of its file: it measures its own process.
#![cfg(test)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use domain::{Verdict, WarmInstances};
use policy::{AgentPolicy, AgentPolicyParts, Engine, EngineOptions};
use support::{idle, parts, patient, sample};

/// What this process holds.
#[derive(Debug)]
struct Held {
    /// In KB.
    resident: u64,
    /// In KB. Code and pools are mapped: what is never unmapped shows here first.
    mapped: u64,
    files: usize,
    threads: usize,
}

fn held() -> Held {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let kilobytes = |key: &str| {
        let line = status.lines().find(|line| line.starts_with(key)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    let count = |folder: &str| std::fs::read_dir(folder).unwrap().count();
    Held {
        resident: kilobytes("VmRSS:"),
        mapped: kilobytes("VmSize:"),
        files: count("/proc/self/fd"),
        threads: count("/proc/self/task"),
    }
}

#[tokio::test]
async fn a_thousand_reloads_leave_nothing_behind() {
    let engine = Engine::new(EngineOptions::default()).unwrap();
    let instances = WarmInstances { warm: 1, max_calls: 1_000, idle: Duration::from_secs(600) };
    let mut serving: Option<AgentPolicy> = None;
    let mut reload = async |number: u32| {
        // A custom section of its own makes it another module.
        let bytes = [&idle("")[..], &[0, 9, 4, b'n', b'u', b'm', b'b'], &number.to_le_bytes()].concat();
        let module = engine.load(&bytes, None, "{}").unwrap();
        assert_eq!(Arc::strong_count(&module), 1, "it is a new one");
        let parts = AgentPolicyParts { instances, ..parts(&module, "{}", patient()) };
        let policy = match serving.take() {
            Some(before) => before.renewed(&engine, parts),
            None => AgentPolicy::new(&engine, parts),
        };
        for _ in 0..2 {
            let kept = policy.filter(sample("stop", "an answer")).await;
            assert_eq!((kept.value, kept.digest), (Verdict::Keep { weight: 1.0 }, module.digest()));
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
    println!("{before:?}\n{after:?}");
    // One module's code and one instance are some 60 KB: a thousand of either would be 60 MB.
    assert!(after.resident < before.resident + (8 << 10), "{before:?} {after:?}");
    assert!(after.mapped < before.mapped + (64 << 10), "{before:?} {after:?}");
    assert_eq!((after.files, after.threads), (before.files, before.threads));
}
