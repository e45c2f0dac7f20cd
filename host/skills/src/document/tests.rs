use serde_json::json;

use super::*;
use crate::InvalidSkillName;

fn parse(text: &str) -> Result<SkillDocument, SkillsError> {
    SkillDocument::parse(text.as_bytes(), "folder-name")
}

#[test]
fn front_matter_is_yaml_as_the_format_has_it() {
    let check = |text: &str, name: &str, description: &str, category: &str, body: &str| {
        let document = parse(text).unwrap_or_else(|e| panic!("{text:?}: {e}"));
        let SkillDocument { name: n, description: d, category: c, body: b, .. } = &document;
        assert_eq!((n.as_str(), d.as_str(), c.as_str(), b.as_str()), (name, description, category, body), "{text:?}");
    };
    check("---\nname: a\ndescription: Plain words\n---\nBody\n", "a", "Plain words", "general", "Body");
    check("---\ndescription: x\n---\nBody", "folder-name", "x", "general", "Body");
    check(
        "---\nname: \"a\"\ndescription: 'it''s: quoted # not a comment'\n---\n\n\nB",
        "a",
        "it's: quoted # not a comment",
        "general",
        "B",
    );
    check(
        "---\nname: a\ndescription: >\n  folded over\n  two lines\n---\nB",
        "a",
        "folded over two lines",
        "general",
        "B",
    );
    check("---\nname: a\ndescription: |\n  literal\n  lines\n---\nB", "a", "literal lines", "general", "B");
    check("---\nname: a\ndescription: x\ncategory: Data  Analysis\n---\nB", "a", "x", "Data Analysis", "B");
    check("---\nname: a\ndescription: x\nmetadata:\n  category: research\n---\nB", "a", "x", "research", "B");
    check("---\nname: 2048\ndescription: yes\n---\nB", "2048", "yes", "general", "B");
    check("\u{feff}---\r\nname: a\r\ndescription: x\r\n---\r\nB\r\nC\r\n", "a", "x", "general", "B\nC");
    check("--- \nname: a\ndescription: x\n---\t\nB\n---\nC", "a", "x", "general", "B\n---\nC");
    check(
        "---\nname: a\ndescription: x\nlicense: MIT\nallowed-tools: [Read, Bash]\n# note\n---\nB",
        "a",
        "x",
        "general",
        "B",
    );
    check("---\nname: a\ndescription: x\n---\nred \u{1b}[31m\u{7}bell", "a", "x", "general", "red [31mbell");
}

#[test]
fn metadata_is_kept_as_it_is() {
    let document =
        parse("---\nname: a\ndescription: x\nmetadata:\n  author: me\n  tags: [b, c]\n  n: 3\n---\nB").unwrap();
    assert_eq!(serde_json::Value::Object(document.metadata), json!({"author": "me", "tags": ["b", "c"], "n": 3}));
}

#[test]
fn a_bad_file_says_why() {
    let long = "x".repeat(1025);
    let name = |text: &str, why| SkillsError::Name { text: text.into(), why };
    let check = |text: &str, want: SkillsError| assert_eq!(parse(text), Err(want), "{text:?}");
    check("", SkillsError::NoFrontMatter);
    check("# Title\n---\n", SkillsError::NoFrontMatter);
    check(" ---\nname: a\n---\nB", SkillsError::NoFrontMatter);
    check("---\nname: a\ndescription: x\nB", SkillsError::UnclosedFrontMatter);
    check("---\nname: a\n---\nB", SkillsError::NoDescription);
    check("---\nname: a\ndescription: '  '\n---\nB", SkillsError::NoDescription);
    check("---\nname: a\ndescription: x\n---\n \n\n", SkillsError::NoBody);
    check("---\nname: A b\ndescription: x\n---\nB", name("A b", InvalidSkillName::Character('A')));
    check("---\nname: ../../etc\ndescription: x\n---\nB", name("../../etc", InvalidSkillName::Character('.')));
    check("---\nname: \"a\\nb\"\ndescription: x\n---\nB", name("a\\nb", InvalidSkillName::Character('\n')));
    check(&format!("---\nname: a\ndescription: {long}\n---\nB"), SkillsError::LongDescription(1025));
    check(&format!("---\nname: a\ndescription: x\ncategory: {}\n---\nB", &long[..65]), SkillsError::LongCategory(65));
    assert_eq!(SkillDocument::parse(b"---\nname: \xff\n", "x"), Err(SkillsError::NotUtf8(10)));
}

#[test]
fn yaml_is_strict_and_bounded() {
    let deep = format!("---\nname: a\ndescription: x\nmetadata: {{a: {}1{}}}\n---\nB", "[".repeat(20), "]".repeat(20));
    let wide = format!("---\nname: a\ndescription: x\nmetadata: {{a: [{}]}}\n---\nB", "1,".repeat(5000));
    for (text, word) in [
        ("---\nname: a\nname: b\ndescription: x\n---\nB", "duplicate"),
        ("---\nname: &n a\ndescription: x\n---\nB", "anchor"),
        ("---\nname: [a]\ndescription: x\n---\nB", "string"),
        ("---\nname: a\ndescription: {a: b}\n---\nB", "string"),
        ("---\nname: a\ndescription: x: y\n---\nB", ""),
        ("---\n- a\n- b\n---\nB", ""),
        ("---\nname: a\ndescription: x\nmetadata: word\n---\nB", "map"),
        ("---\nname: a\ndescription: \"open\n---\nB", ""),
        ("---\nname: a\ndescription: x\n...\nname: b\n---\nB", ""),
        (&deep, ""),
        (&wide, "budget"),
    ] {
        match parse(text) {
            Err(SkillsError::FrontMatter(why)) => {
                assert!(why.to_lowercase().contains(word) && !why.contains('\n'), "{word}: {why}");
            }
            other => panic!("{:.80}: {other:?}", text),
        }
    }
}
