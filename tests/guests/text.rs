//! Guests that are written as text, below `text/`. Included by the tests of `policy` and by those of the whole product.

use std::path::Path;

/// What most text guests end with: a whole policy.
const POLICY: &str = include_str!("text/policy.wat");

/// `text/NAME.wat` as a component, with each of these texts, which must be there, replaced by another. A file that is no whole component
/// is what is put in front of `text/policy.wat`.
pub fn text_guest(name: &str, changes: &[(&str, &str)]) -> Vec<u8> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .map(|above| above.join(format!("tests/guests/text/{name}.wat")))
        .find(|file| file.exists())
        .unwrap_or_else(|| panic!("there is no text/{name}.wat"));
    let text = std::fs::read_to_string(&file).unwrap();
    match text.lines().any(|line| line.starts_with("(component")) {
        true => assemble(text, changes),
        false if name == "policy" => spoilt("", changes),
        false => spoilt(&text, changes),
    }
}

/// The policy of `text/policy.wat` with this in front of it.
pub fn spoilt(front: &str, changes: &[(&str, &str)]) -> Vec<u8> {
    assemble(format!("(component {front} {POLICY})"), changes)
}

fn assemble(mut text: String, changes: &[(&str, &str)]) -> Vec<u8> {
    for (from, to) in changes {
        assert!(text.contains(from), "the text does not say {from:?}");
        text = text.replace(from, to);
    }
    wat::parse_str(&text).unwrap_or_else(|e| panic!("{e}"))
}
