//! Promise G7: whatever bytes are offered as a module, loading ends in time with a module or an error, never in a panic,
//! and what was loaded can be asked, whatever it then does.
//!
//! An ordinary run takes at least [`MUTANTS`]; `FUZZ_SECONDS=60` goes on for so long. A failure names its seed, and
//! `FUZZ_SEED` runs that one alone.
#![cfg(test)]

mod mutation;
mod random;
mod support;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use domain::{ByteSize, PolicyLimits};
use mutation::{Random, leb, mutant};
use policy::{LoadError, Module};
use random::random_module;
use support::{ENGINE, agent, assistant, catalog, default_policy, misbehaving, sample, turn};

/// How many there are at least.
const MUTANTS: u64 = 3_000;
/// How long there are more, unless the environment says.
const SECONDS: u64 = 5;
/// Far more than one load of such a small module takes: four trials of a second each, and compiling.
const PATIENCE: Duration = Duration::from_secs(15);

#[derive(Debug, Default)]
struct Tally {
    /// Before they were compiled, or by the compiler.
    refused: u32,
    /// They were compiled, and failed when they were tried out.
    failed: u32,
    loaded: u32,
    slowest: Duration,
}

#[expect(clippy::disallowed_methods, reason = "a test's own switch")]
fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap())
}

/// Tries one module after another, each from a seed of its own.
fn try_all(what: &str, least: u64, make: impl Fn(&mut Random) -> Vec<u8>) -> Tally {
    let mut tally = Tally::default();
    if let Some(seed) = number("FUZZ_SEED") {
        try_one(seed, &make, &mut tally);
        return tally;
    }
    let end = Instant::now() + Duration::from_secs(number("FUZZ_SECONDS").unwrap_or(SECONDS));
    let first = 1_000_000 * number("FUZZ_ROUND").unwrap_or(0);
    let mut count = 0;
    while count < least || Instant::now() < end {
        try_one(first + count, &make, &mut tally);
        count += 1;
    }
    println!("{what}: seeds {first} to {}, {tally:?}", first + count);
    tally
}

fn try_one(seed: u64, make: &impl Fn(&mut Random) -> Vec<u8>, tally: &mut Tally) {
    let began = Instant::now();
    let tried = catch_unwind(AssertUnwindSafe(|| {
        let module = make(&mut Random(seed));
        let loaded = ENGINE.load(&module, None, "{}");
        if let Ok(module) = &loaded {
            ask(module);
        }
        loaded
    }));
    let took = began.elapsed();
    tally.slowest = tally.slowest.max(took);
    assert!(took < PATIENCE, "FUZZ_SEED={seed} took {took:?}");
    match tried.unwrap_or_else(|_| panic!("FUZZ_SEED={seed} panicked")) {
        Ok(_) => tally.loaded += 1,
        Err(error @ (LoadError::Stopped | LoadError::CompilerStart(_))) => panic!("FUZZ_SEED={seed}: {error}"),
        Err(error) => {
            match error {
                LoadError::Probe(_) => tally.failed += 1,
                _ => tally.refused += 1,
            }
            let text = error.to_string();
            assert!(text.len() < 20_000 && !text.chars().any(char::is_control), "FUZZ_SEED={seed}: {text:?}");
        }
    }
}

/// Puts every hook's question to it. There is an answer, be it the built-in's.
fn ask(module: &std::sync::Arc<Module>) {
    let limits = PolicyLimits {
        cpu: Duration::from_millis(5),
        filter_cpu: Duration::from_millis(5),
        memory: ByteSize(8 << 20),
        ..support::patient()
    };
    let policy = agent(module, "{}", limits);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut call = policy.turn(turn("model-b", "words"));
        call.route().await;
        let chosen = call.select(catalog(&[("alpha", 1.0, 100), ("beta", 0.5, 100)])).await.value;
        assert!(chosen.skills().iter().all(|name| name == "alpha" || name == "beta"), "{chosen:?}");
        policy.filter(sample("stop", "an answer")).await;
    });
    assert!(ENGINE.is_healthy());
}

/// A small whole policy; compiling it takes a millisecond, so most mutants are its.
fn small() -> Vec<u8> {
    wat::parse_str(format!("(component {})", include_str!("../../../tests/guests/text/policy.wat"))).unwrap()
}

#[test]
fn mutants_of_real_modules() {
    let small = small();
    let originals = [&small, default_policy(), assistant(), misbehaving()];
    let tally = try_all("mutants", MUTANTS, |random| {
        let original = if random.below(8) == 0 { 1 + random.below(3) } else { 0 };
        mutant(originals[original], &originals, random)
    });
    // Else they would be so broken that nothing but the parser was tried.
    assert!(number("FUZZ_SEED").is_some() || tally.loaded > tally.refused / 50, "{tally:?}");
}

/// Valid code that nobody would write, run by the start function and the hooks' instances.
#[test]
fn random_modules_inside_a_policy() {
    let small = small();
    let tally = try_all("random modules", 300, |random| {
        let core = random_module(random);
        // A core module section, and an instance of it without imports: the second of the policy.
        let instance = [1, 0, 1, 0];
        [&small[..], &[1], &leb(core.len()), &core, &[2], &leb(instance.len()), &instance].concat()
    });
    assert!(number("FUZZ_SEED").is_some() || tally.refused == 0 && tally.loaded > tally.failed / 50, "{tally:?}");
}
