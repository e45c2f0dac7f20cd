//! What is not loaded, and what the operator is told. Modules that no compiler would make are written as text, in `tests/guests/text`.
#![cfg(test)]

mod support;
#[path = "../../../tests/guests/text.rs"]
#[allow(missing_docs, unreachable_pub, reason = "it is another package's as well")]
mod text;

use domain::Digest;
use policy::LoadError;
use support::{ENGINE, assistant, misbehaving};
use text::{spoilt, text_guest};

fn component(body: &str) -> Vec<u8> {
    wat::parse_str(format!("(component {body})")).unwrap()
}

/// The text of the refusal.
fn refusal(bytes: &[u8]) -> String {
    match ENGINE.load(bytes, None, "{}") {
        Ok(module) => panic!("loaded: {module:?}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn what_does_not_fit_is_refused_with_a_reason() {
    let core = wat::parse_str("(module)").unwrap();
    let import = |name: &str| component(&format!(r#"(import "{name}" (instance))"#));
    let export = |name: &str| component(&format!(r#"(instance $i) (export "{name}" (instance $i))"#));
    let truncated = &misbehaving()[..misbehaving().len() / 2];
    let huge_function = format!("(core module (func {}))", "nop ".repeat(600_000));
    let many_functions = format!("(core module {})", "(func)".repeat(100_001));
    for (what, bytes, expected) in [
        ("nothing", Vec::new(), "not a valid component"),
        ("text", b"policy".to_vec(), "not a valid component"),
        ("a truncated module", truncated.to_vec(), "not a valid component"),
        ("a core module", core, "is a core WebAssembly module, not a component"),
        ("HTTP", import("wasi:http/types@0.2.0"), "imports `wasi:http/types@0.2.0`"),
        ("HTTP, with advice", import("wasi:http/types@0.2.0"), "build it without"),
        ("sockets", import("wasi:sockets/tcp@0.2.0"), "which no policy is given: sockets and HTTP are for no policy"),
        ("something else", import("acme:files/files"), "imports `acme:files/files`, which no policy is given"),
        (
            "a capability that is not there",
            import("metaclaw:policy/network@0.1.0"),
            "imports `metaclaw:policy/network@0.1.0`",
        ),
        ("a later contract", import("metaclaw:policy/turn@0.2.0"), "built for another version"),
        ("a later hook", export("metaclaw:policy/routing@0.2.0"), "built for another version"),
        ("no lifecycle", component(""), "does not export `metaclaw:policy/lifecycle@0.1`"),
        ("an empty lifecycle", export("metaclaw:policy/lifecycle@0.1.0"), "does not fit"),
        ("a huge function", component(&huge_function), "too complex"),
        ("very many functions", component(&many_functions), "too complex"),
        ("two memories", component("(core module (memory 1) (memory 1))"), "not a valid component"),
        ("64-bit memory", component("(core module (memory i64 1))"), "not a valid component"),
        ("shared memory", component("(core module (memory 1 1 shared))"), "not a valid component"),
        ("exceptions", component("(core module (tag))"), "not a valid component"),
        ("garbage collection", component("(core module (type (struct)))"), "not a valid component"),
    ] {
        let got = refusal(&bytes);
        assert!(got.contains(expected), "{what}: {got}");
    }
}

#[test]
fn only_the_pinned_bytes_are_loaded() {
    let pin = Digest::of(misbehaving());
    assert_eq!(ENGINE.load(misbehaving(), Some(pin), "{}").unwrap().digest(), pin);
    let error = ENGINE.load(assistant(), Some(pin), "{}").unwrap_err();
    let LoadError::WrongDigest { pinned, actual } = &error else { panic!("{error}") };
    assert_eq!((*pinned, *actual), (pin, Digest::of(assistant())));
    assert!(error.to_string().contains(&pin.to_string()), "{error}");
}

#[test]
fn one_flipped_bit_is_another_module() {
    let pin = Digest::of(assistant());
    for at in (0..assistant().len()).step_by(997) {
        let mut bytes = assistant().to_vec();
        bytes[at] ^= 1 << (at % 8);
        assert!(matches!(ENGINE.load(&bytes, Some(pin), "{}"), Err(LoadError::WrongDigest { .. })), "byte {at}");
    }
}

#[test]
fn a_damaged_module_is_an_error_and_never_a_panic() {
    let whole = assistant();
    for at in (0..whole.len()).step_by(whole.len() / 200) {
        assert!(ENGINE.load(&whole[..at], None, "{}").is_err(), "cut at {at}");
    }
}

#[test]
fn a_module_says_what_it_is() {
    let module = ENGINE.load(misbehaving(), None, "{}").unwrap();
    assert_eq!(module.description().name, "misbehaving");
    assert_eq!(module.description().summary, "Does what its settings say.\\u{1b}[2J");
    let again = ENGINE.load(misbehaving(), None, "{}").unwrap();
    assert!(std::sync::Arc::ptr_eq(&module, &again), "the same bytes are compiled once");
}

#[test]
fn settings_that_the_module_refuses_or_fails_on_are_not_loaded() {
    for (settings, expected) in [
        (r#"{"do":"bad-config"}"#, "the policy refuses its configuration: these settings are\\nbad"),
        (r#"{"do":"loop","in":"validate"}"#, "used up its CPU time"),
        (r#"{"do":"panic","in":"validate"}"#, "failed when it was tried out: trap"),
        (r#"{"do":"recurse","in":"validate"}"#, "failed when it was tried out: stack"),
        (r#"{"do":"memory-bomb","in":"validate"}"#, "failed when it was tried out: memory"),
        (r#"{"do":"huge-argument","in":"validate"}"#, "failed when it was tried out: bad_output"),
    ] {
        let got = ENGINE.load(misbehaving(), None, settings).unwrap_err().to_string();
        assert!(got.contains(expected), "{settings}: {got}");
    }
}

#[test]
fn the_builtin_knows_its_settings() {
    for (settings, expected) in [
        (r#"{}"#, None),
        (r#"{"max_skills": 4, "max_tokens": 0, "min_score": 0.25}"#, None),
        (r#"{"max_skils": 4}"#, Some("there is no setting \"max_skils\"; did you mean `max_skills`?")),
        (
            r#"{"refuse": []}"#,
            Some("there is no setting \"refuse\"; there are `max_skills`, `max_tokens`, `min_score`"),
        ),
        (r#"{"max_skills": 65}"#, Some("`max_skills` must be a whole number from 0 to 64")),
        (r#"{"max_skills": 1.5}"#, Some("`max_skills` must be a whole number from 0 to 64")),
        (r#"{"max_tokens": -1}"#, Some("`max_tokens` must be a whole number from 0 to 4294967295")),
        (r#"{"min_score": "0.5"}"#, Some("`min_score` must be a number, 0 or more")),
        (r#"[]"#, Some("the settings must be a mapping of names to values")),
        (r#"{"min_score": "x", "max_skills": null}"#, Some("from 0 to 64; `min_score` must be")),
    ] {
        let got = ENGINE.check_builtin_config(settings).err().map(|e| e.to_string());
        match (got, expected) {
            (None, None) => {}
            (Some(got), Some(expected)) if got.contains(expected) => {}
            (got, _) => panic!("{settings}: {got:?}"),
        }
    }
}

#[test]
fn the_text_policy_is_fine_by_itself() {
    let module = ENGINE.load(&text_guest("policy", &[]), None, "{}").unwrap();
    assert!(module.hooks().filter && !module.hooks().route && !module.hooks().select);
}

/// A start function runs when the instance is made, before any call.
#[test]
fn a_start_function_that_never_ends_is_stopped() {
    let got = refusal(&text_guest("start-loop", &[]));
    assert!(got.contains("used up its CPU time"), "{got}");
}

/// Each of these memories is within the 256 MiB that a module may have while it is tried out; two are not.
#[test]
fn memories_are_counted_together() {
    let hoarder = "(core module $hoarder (memory 2500)) (core instance (instantiate $hoarder))";
    ENGINE.load(&spoilt(hoarder, &[]), None, "{}").unwrap();
    let got = refusal(&spoilt(&format!("{hoarder} (core instance (instantiate $hoarder))"), &[]));
    assert!(got.contains("failed when it was tried out: memory"), "{got}");
}

/// The engine compares shapes only when there is an instance: loading makes one.
#[test]
fn a_record_that_has_grown_is_refused_when_it_is_loaded() {
    for (what, from, to) in [
        ("one more field", r#"(field "attrs" $text-pairs)"#, r#"(field "attrs" $text-pairs) (field "more" string)"#),
        ("one more case", r#"(case "drop" string)"#, r#"(case "drop" string) (case "later" string)"#),
        ("another name", r#"(export "validate-config""#, r#"(export "validate""#),
    ] {
        let got = refusal(&text_guest("policy", &[(from, to)]));
        assert!(got.contains("does not fit `metaclaw:policy@0.1.1`"), "{what}: {got}");
    }
}

/// A module of the same line of versions is as good as one of this very version.
#[test]
fn a_later_patch_of_the_contract_is_accepted() {
    let later = text_guest("policy", &[("@0.1.0", "@0.1.7")]);
    assert!(ENGINE.load(&later, None, "{}").unwrap().hooks().filter);
}
