//! Texts that parsers disagree on: what this crate reads, OpenClaw reads alike.

use std::path::Path;

use serde_json::Value;

use crate::document::Document;
use crate::edit::digest;

#[test]
fn a_text_is_read_as_openclaw_reads_it_or_refused() {
    let cases: Vec<Value> = serde_json::from_str(include_str!("../../tests/json5/cases.json")).unwrap();
    let mut agreed = 0;
    for case in &cases {
        let (text, theirs) = (case["text"].as_str().unwrap(), case["value"].as_str());
        let (Ok((document, ours)), Some(theirs)) = (Document::read(text, Path::new("test")), theirs) else { continue };
        let theirs: Value = serde_json::from_str(theirs).unwrap();
        assert_eq!(digest(&ours), digest(&theirs), "{text:?}: {ours} {theirs}");
        assert_eq!(document.text(), text);
        agreed += 1;
    }
    assert!(agreed > 50, "{agreed} of {}", cases.len());
}

#[test]
fn the_usual_forms_of_json5_are_all_read() {
    let text = "{ a: 'x', \"b\": +1, $c_1: 0x1F, ä: .5, d: [1, 2,], e: 'a\\\nb', /* f */ g: null, } // end";
    let (_, value) = Document::read(text, Path::new("test")).unwrap();
    let same = serde_json::json!({"a": "x", "b": 1, "$c_1": 31, "ä": 0.5, "d": [1, 2], "e": "ab", "g": null});
    assert_eq!(value, same);
}
