//! Every limit of a call, at what is just allowed and at one more. What the other limits are, and where they are tested so:
//!
//! | limit | test |
//! | --- | --- |
//! | slices of processor time | `policy::state::tests` |
//! | functions, and bytes of one | `policy::inspect::tests` |
//! | files, names, bytes and depth of a folder | `skills::agent_files::tests::quota` |
//! | keys and values | `tests/all/grants.rs` |
//! | processor time, memory and code of a compilation | `metaclaw/tests/{bombs,compiling}.rs` |
//! | settings of these limits | `config` goldens (`out-of-range`, `policies-refused`) |
#![cfg(test)]

#[path = "support/log.rs"]
mod log;
mod support;
#[path = "../../../tests/guests/text.rs"]
#[allow(missing_docs, unreachable_pub, reason = "it is another package's as well")]
mod text;

use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use domain::{ByteSize, FileGrant, PolicyGrants, PolicyLimits, Verdict};
use log::Log;
use policy::FailureClass::{BadOutput, Memory, Queue, Wall};
use policy::{
    AgentPolicy, AgentPolicyParts, CatalogSource, Engine, EngineOptions, Failure, FileEntry, FileRoot, FileSource,
    HookModules, LoadError, Preopened, Refused, RouteDecision,
};
use support::{ENGINE, agent, catalog, misbehaving, parts, patient, sample, storing, turn};
use text::{spoilt, text_guest};
use tokio::task::JoinSet;

/// What becomes of a sample that is judged by this module.
async fn judged(module: &[u8], limits: PolicyLimits) -> Result<Verdict, Failure> {
    let module = ENGINE.load(module, None, "{}").unwrap();
    let got = agent(&module, "{}", limits).filter(sample("stop", "an answer")).await;
    got.failure.map_or(Ok(got.value), Err)
}

/// `misbehaving`, doing so much of something.
fn doing(deed: &str, count: usize) -> AgentPolicy {
    let module = ENGINE.load(misbehaving(), None, "{}").unwrap();
    agent(&module, &format!(r#"{{"do":"{deed}","count":"{count}"}}"#), patient())
}

/// Why it is not loaded; none when it is.
fn refusal(module: &[u8]) -> Option<String> {
    ENGINE.load(module, None, "{}").err().map(|error| error.to_string())
}

/// Instances of one module with this in it, one for each number that stands for `N`.
fn instances(body: &str, numbers: &[usize]) -> String {
    let instance = |(at, number): (usize, &usize)| {
        let body = body.replace('N', &number.to_string());
        format!("(core module $m{at} {body}) (core instance (instantiate $m{at}))")
    };
    numbers.iter().enumerate().map(instance).collect()
}

/// 64 MiB are 1,024 pages. The policy itself has one; the others are in memories that are so large from the beginning, or grow.
#[tokio::test]
async fn memories_count_together_to_the_page() {
    const GROWS: &str =
        "(memory 0) (func $f (if (i32.lt_s (memory.grow (i32.const N)) (i32.const 0)) (then unreachable))) (start $f)";
    assert_eq!(PolicyLimits::default().memory, ByteSize(1024 << 16));
    for body in ["(memory N)", GROWS] {
        for (pages, fits) in [
            (&[1023][..], true),
            (&[1024], false),
            (&[511, 512], true),
            (&[512, 512], false),
            (&[341, 341, 341], true),
            (&[341, 342, 341], false),
        ] {
            let got = judged(&spoilt(&instances(body, pages), &[]), patient()).await;
            match got {
                Ok(verdict) => {
                    assert!(fits && verdict == Verdict::Keep { weight: 1.0 }, "{body} {pages:?}: {verdict:?}")
                }
                Err(failure) => assert!(!fits && failure.class == Memory, "{body} {pages:?}: {failure}"),
            }
        }
    }
}

/// What a module may have while it is tried out is four times that.
#[test]
fn a_module_that_is_tried_out_has_its_own_limit() {
    for (pages, fits) in [(&[2000, 2095][..], true), (&[2000, 2096], false)] {
        let got = refusal(&spoilt(&instances("(memory N)", pages), &[]));
        assert!(got.is_none() == fits && got.iter().all(|got| got.contains("memory")), "{pages:?}: {got:?}");
    }
}

#[test]
fn tables_count_together_to_the_element() {
    const GROWS: &str = "(table $t 0 funcref) (func $f
        (if (i32.lt_s (table.grow $t (ref.null func) (i32.const N)) (i32.const 0)) (then unreachable))) (start $f)";
    for body in ["(table N funcref)", GROWS] {
        for (elements, fits) in
            [(&[10_000][..], true), (&[10_001], false), (&[5_000, 5_000], true), (&[5_000, 5_001], false)]
        {
            let got = refusal(&spoilt(&instances(body, elements), &[]));
            let expected = got.iter().all(|got| got.contains("failed when it was tried out: memory"));
            assert!(got.is_none() == fits && expected, "{body} {elements:?}: {got:?}");
        }
    }
}

/// Core instances, memories and tables: the policy itself has one, one and none.
#[test]
fn a_call_has_so_many_objects_and_no_more() {
    for (body, most, what) in
        [("", 40 - 1, "instance"), ("(memory 0)", 4 - 1, "memory"), ("(table 0 funcref)", 16, "table")]
    {
        assert_eq!(refusal(&spoilt(&instances(body, &vec![0; most]), &[])), None, "{most} of {body:?}");
        let got = refusal(&spoilt(&instances(body, &vec![0; most + 1]), &[])).unwrap();
        assert!(got.contains(&format!("{what} count too high at")), "{} of {body:?}: {got}", most + 1);
    }
}

/// Guests that hold all that one call may have, in as many calls as there may be, leave the neighbour's place alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_takes_the_pool_from_others() {
    const NEVER_ENDS: (&str, &str) = (
        r#"(func (export "filter") (param i32) (result i32)"#,
        r#"(func (export "filter") (param i32) (result i32) (loop (br 0))"#,
    );
    let engine = Engine::new(EngineOptions { concurrency: 4, warm: 0, ..EngineOptions::default() }).unwrap();
    for body in ["", "(memory 1)", "(table 1 funcref)"] {
        let greedy = |count: usize| spoilt(&instances(body, &vec![0; count]), &[NEVER_ENDS]);
        let most = (0..200).find(|count| engine.load(&greedy(count + 1), None, "{}").is_err()).unwrap();
        let module = engine.load(&greedy(most), None, "{}").unwrap();
        let limits = PolicyLimits { filter_cpu: Duration::from_secs(20), concurrency: 3, ..patient() };
        let hostile = AgentPolicy::new(&engine, parts(&module, "{}", limits));
        let mut calls = JoinSet::new();
        for _ in 0..3 {
            let hostile = hostile.clone();
            calls.spawn(async move { hostile.filter(sample("stop", "an answer")).await.failure });
        }
        let neighbour =
            AgentPolicy::new(&engine, AgentPolicyParts { limits: patient(), ..AgentPolicyParts::default() });
        for round in 0..20 {
            let got = neighbour.turn(turn("model-b", "words")).route().await;
            assert!(
                got.failure.is_none() && got.value == RouteDecision::To(1),
                "{most} of {body:?}, round {round}: {got:?}"
            );
            tokio::task::yield_now().await;
        }
        // With the neighbour's place taken, too, another module can be tried out.
        let mut held = neighbour.turn(turn("model-b", "words"));
        assert!(held.route().await.failure.is_none());
        let another = spoilt(&instances(body, &vec![0; most]), &[]);
        assert!(engine.load(&another, None, "{}").is_ok(), "{most} of {body:?}");
        assert!(calls.try_join_next().is_none(), "they ended before the neighbour had spoken");
        calls.shutdown().await;
    }
}

/// Handles of the guest's own resources, which live in the host's tables.
#[test]
fn a_call_has_so_many_handles() {
    for (count, fits) in [(128, true), (129, false)] {
        let counted = format!(
            "(local $n i32) (loop (drop (call $new (i32.const 0)))
                (br_if 0 (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const {count}))))"
        );
        let got = refusal(&text_guest("many-handles", &[("(loop (drop (call $new (i32.const 0))) (br 0))", &counted)]));
        assert!(got.is_none() == fits, "{count}: {got:?}");
    }
}

/// What a guest passes at once, to the host or as its answer, in bytes of the host.
#[tokio::test]
async fn the_host_takes_a_mebibyte_at_once() {
    const MIB: usize = 1 << 20;
    let routed = async |count| doing("refuse", count).turn(turn("model-a", "words")).route().await.failure.unwrap();
    for (count, taken) in [(MIB, true), (MIB + 1, false)] {
        let failure = routed(count).await;
        assert_eq!(failure.class, BadOutput);
        assert_eq!(failure.message.contains(&format!("its refusal has {count} bytes")), taken, "{count}: {failure}");
    }
    // A text is a pointer, a length and a capacity here, however short it is.
    let most = MIB / size_of::<String>();
    for (count, taken) in [(most, true), (most + 1, false)] {
        let failure = doing("blanks", count).turn(turn("model-a", "words")).select(skills(1)).await.failure.unwrap();
        assert_eq!(failure.message.contains(&format!("it selected {count} skills")), taken, "{count}: {failure}");
    }
    let most = MIB - "warn".len();
    for (count, taken) in [(most, true), (most + 1, false)] {
        let failure = doing("log", count).turn(turn("model-a", "words")).select(skills(1)).await.failure;
        assert_eq!(failure.is_none(), taken, "{count}: {failure:?}");
    }
}

/// And so much in one call, however many times.
#[tokio::test]
async fn the_host_takes_16_mebibytes_in_one_call() {
    for (count, taken) in [(16 << 20, true), ((16 << 20) + 1, false)] {
        let failure = doing("pass", count).turn(turn("model-a", "words")).select(skills(1)).await.failure;
        assert_eq!(failure.is_none(), taken, "{count}: {failure:?}");
        assert!(failure.iter().all(|failure| failure.message.contains("passed the host more than 16777216 bytes")));
    }
}

fn skills(count: usize) -> Arc<dyn CatalogSource> {
    let names: Vec<String> = (0..count).map(|number| format!("skill-{number:02}")).collect();
    catalog(&names.iter().map(|name| (name.as_str(), 1.0, 100)).collect::<Vec<_>>())
}

#[tokio::test]
async fn answers_are_as_long_as_they_may_be() {
    for (count, fits) in [(0, false), (1, true), (4096, true), (4097, false)] {
        let got = doing("refuse", count).turn(turn("model-a", "words")).route().await;
        assert_eq!(got.value == RouteDecision::Refuse("x".repeat(count)), fits, "{count}: {got:?}");
    }
    for (count, fits) in [(0, true), (64, true), (65, false)] {
        let got = doing("names", count).turn(turn("model-a", "words")).select(skills(70)).await;
        assert_eq!(got.failure.is_none() && got.value.skills().len() == count, fits, "{count}: {got:?}");
    }
    for (deed, fits) in [("heaviest-weight", true), ("heavy-weight", false)] {
        let got = doing(deed, 0).filter(sample("stop", "an answer")).await;
        assert_eq!(got.value == Verdict::Keep { weight: 10.0 }, fits, "{deed}: {got:?}");
    }
    // A reason is cut, with a mark, and not refused.
    for (count, kept) in [(1024, "x".repeat(1024)), (1025, "x".repeat(1024) + "…")] {
        let got = doing("drop", count).filter(sample("stop", "an answer")).await;
        assert_eq!(got.value, Verdict::Drop { reason: kept }, "{count}");
    }
}

#[tokio::test]
async fn the_operator_reads_as_many_bytes_as_are_granted() {
    for (count, cut) in [(8 << 10, false), ((8 << 10) + 1, true)] {
        let log = Log::of("policy::guest");
        let _collecting = tracing::subscriber::set_default(log.clone());
        doing("log", count).turn(turn("model-a", "words")).select(skills(1)).await;
        let lines = log.lines();
        assert_eq!(lines[0], "x".repeat(8 << 10), "{count}");
        assert_eq!(
            lines.get(1).is_some_and(|line| line == "the policy's log was cut off"),
            cut,
            "{count}: {}",
            lines.len()
        );
    }
}

/// A component of exactly so many bytes.
fn padded(length: usize) -> Vec<u8> {
    let small = text_guest("policy", &[]);
    // A section that says nothing: its number, its length in four bytes, and an empty name.
    let content = length - small.len() - 5;
    let digits = [0, 7, 14, 21].map(|shift| u8::try_from(content >> shift & 0x7f).unwrap() | 0x80);
    let digits = [digits[0], digits[1], digits[2], digits[3] & 0x7f];
    [&small[..], &[0], &digits, &vec![0; content]].concat()
}

#[test]
fn a_module_has_at_most_32_mebibytes() {
    assert_eq!(padded(32 << 20).len(), 32 << 20);
    assert_eq!(refusal(&padded(32 << 20)), None);
    let error = ENGINE.load(&padded((32 << 20) + 1), None, "{}").unwrap_err();
    assert!(matches!(error, LoadError::TooLarge { limit: 33_554_432, .. }), "{error}");
}

/// How many calls fit depends on the processor; a thousand small ones do, a million do not.
#[test]
fn a_stack_of_half_a_mebibyte_holds_thousands_of_calls_and_not_millions() {
    assert_eq!(refusal(&text_guest("deep", &[("1_000_000", "1_000")])), None);
    let got = refusal(&text_guest("deep", &[])).unwrap();
    assert!(got.contains("failed when it was tried out: stack"), "{got}");
}

/// The host puts random bytes together before the guest has room for them.
#[test]
fn random_bytes_come_64_kibibytes_at_a_time() {
    const ASKS: &str = r#"
        (import "wasi:random/random@0.2.0" (instance $random
            (export "get-random-bytes" (func (param "len" u64) (result (list u8))))))
        (core module $room
            (memory (export "memory") 3)
            (func (export "realloc") (param i32 i32 i32 i32) (result i32) i32.const 1024))
        (core instance $room (instantiate $room))
        (core func $bytes (canon lower (func $random "get-random-bytes")
            (memory (core memory $room "memory")) (realloc (core func $room "realloc"))))
        (core module $asks
            (import "" "bytes" (func $bytes (param i64 i32)))
            (func $f (call $bytes (i64.const N) (i32.const 16)))
            (start $f))
        (core instance (instantiate $asks (with "" (instance (export "bytes" (func $bytes))))))"#;
    assert_eq!(refusal(&spoilt(&ASKS.replace('N', "65536"), &[])), None);
    let got = refusal(&spoilt(&ASKS.replace('N', "65537"), &[])).unwrap();
    assert!(got.contains("exceeds limit 65536"), "{got}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_many_turns_as_there_are_places_are_in_the_policy_at_once() {
    let limits = PolicyLimits { concurrency: 3, queue: Duration::from_millis(20), ..patient() };
    let module = ENGINE.load(misbehaving(), None, "{}").unwrap();
    let policy = agent(&module, "{}", limits);
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut call = policy.turn(turn("model-a", "words"));
        assert!(call.route().await.failure.is_none());
        held.push(call);
    }
    let failed = async || policy.turn(turn("model-a", "words")).route().await.failure.map(|failure| failure.class);
    assert_eq!(failed().await, Some(Queue));
    held.pop();
    assert_eq!(failed().await, None);
}

/// Files of which nothing is known until somebody says so.
struct SlowFiles(Mutex<Receiver<()>>);

impl FileSource for SlowFiles {
    fn stat(&self, _: FileRoot, _: &str) -> Result<FileEntry, Refused> {
        // Whoever would say so may have gone.
        let _ = self.0.lock().unwrap().recv();
        Ok(FileEntry { name: "slow".into(), folder: false, size: 1 })
    }
    fn list(&self, _: FileRoot, _: &str) -> Result<Vec<FileEntry>, Refused> {
        Ok(Vec::new())
    }
    fn read(&self, _: FileRoot, _: &str, _: u64, _: u32) -> Result<Vec<u8>, Refused> {
        Ok(Vec::new())
    }
    fn write(&self, _: FileRoot, _: &str, _: &[u8]) -> Result<(), Refused> {
        Ok(())
    }
    fn remove(&self, _: FileRoot, _: &str) -> Result<(), Refused> {
        Ok(())
    }
    fn preopen(&self, _: FileRoot) -> Result<Option<Preopened>, Refused> {
        Ok(None)
    }
}

/// The guest itself does next to nothing: all the time goes by in the host.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wall_time_goes_by_while_the_host_works() {
    let module = ENGINE.load(storing(), None, "{}").unwrap();
    let grants = PolicyGrants {
        skills: Some(FileGrant::Write),
        lora: true,
        kv: Some(ByteSize(1 << 10)),
        ..PolicyGrants::default()
    };
    let ask = async |wall: Duration, answers: bool| {
        let (say, hear) = channel();
        if answers {
            say.send(()).unwrap();
        }
        let limits = PolicyLimits { wall, ..patient() };
        let parts = AgentPolicyParts {
            modules: HookModules::all(&module, "{}"),
            limits,
            grants,
            ..AgentPolicyParts::default()
        };
        let mut asked = Arc::into_inner(turn("model-a", "stat skills x")).unwrap();
        asked.files = Some(Arc::new(SlowFiles(Mutex::new(hear))));
        let got = AgentPolicy::new(&ENGINE, parts).turn(Arc::new(asked)).route().await;
        // Ends the work that nobody waits for any more.
        drop(say);
        got
    };
    let prompt = ask(Duration::from_secs(20), true).await;
    assert_eq!(prompt.value, RouteDecision::Refuse("slow:file:1".to_owned()), "{prompt:?}");
    let late = ask(Duration::from_millis(100), false).await;
    assert_eq!(late.failure.map(|failure| failure.class), Some(Wall));
}
