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
    let deep = format!("---\nname: a\ndescription: x\nmetadata:\n  a: {}1{}\n---\nB", "[".repeat(20), "]".repeat(20));
    let wide = format!("---\nname: a\ndescription: x\nmetadata:\n  a: [{}]\n---\nB", "1,".repeat(5000));
    for (text, word) in [
        ("---\nname: a\nname: b\ndescription: x\n---\nB", "duplicate"),
        ("---\nname: &n a\ndescription: x\n---\nB", "anchor"),
        ("---\nname: [a]\ndescription: x\n---\nB", "string"),
        ("---\nname: a\ndescription:\n  a: b\n---\nB", "string"),
        ("---\n- a\n- b\n---\nB", ""),
        ("---\nname: a\ndescription: x\nmetadata:\n- word\n---\nB", "map"),
        ("---\nname: a\ndescription: \"open\n  end\n---\nB", ""),
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

#[test]
fn unquoted_lines_are_read_as_metaclaw_reads_them() {
    let check = |front: &str, name: &str, description: &str, category: &str| {
        let text = format!("---\n{front}\n---\n\nB\n");
        let document = parse(&text).unwrap_or_else(|e| panic!("{front:?}: {e}"));
        let SkillDocument { name: n, description: d, category: c, body, metadata } = &document;
        assert_eq!((n.as_str(), d.as_str(), c.as_str()), (name, description, category), "{front:?}");
        assert!(body == "B" && metadata.is_empty(), "{front:?}");
    };
    // What a description holds needs no quotes.
    for description in [
        "Use when the task is: fix it",
        r#"Use for "x": y"#,
        r#""x" or "y": both"#,
        r#""x" or "y""#,
        "'tis: so",
        r#""open: the quote"#,
        "@mention somebody",
        "`cargo test` fails",
        "*emphasis* matters",
        "&c. and others",
        "% of the whole",
        "[WIP] when unsure",
        "[WIP]",
        "{braces} and: more",
        "{a: b}",
        "> 5 files changed: split the commit",
        "| pipes",
        "- a dash: first",
        "? a question: what",
        "# a number sign, which is YAML's comment",
        "#1 cause: caches",
        "über alles: 東京 🙂",
        "a\\nname: b: no escapes outside quotes",
        "--- : ---",
    ] {
        check(&format!("name: a\ndescription: {description}\ncategory: coding"), "a", description, "coding");
        check(&format!("category: coding\r\n\r\ndescription:{description}\r\nname:a"), "a", description, "coding");
    }
    // One broken line does not change what its neighbours say.
    check("name: \"a\"\ndescription: x: y\ncategory: 'c d'", "a", "x: y", "c d");
    check("name: a\ndescription: 'it''s: so'\ncategory: c: d", "a", "it's: so", "c: d");
    check("name: a\ndescription: \"one\\n\\u0074wo\"\ncategory: c: d", "a", "one two", "c: d");
    check("description: x: y", "folder-name", "x: y", "general");
    check("name:\ndescription:   x:   y  \ncategory:", "folder-name", "x: y", "general");
    // Other keys are nobody's business, whatever they hold.
    check(
        "name: a\ndescription: x: y\nmetadata: {category: c, name: b}\nName: b\nallowed-tools: *",
        "a",
        "x: y",
        "general",
    );
    // Where YAML reads it, YAML decides.
    check("name: a\ndescription: x # y", "a", "x", "general");
    check("name: a\ndescription: !important things", "a", "things", "general");
}

#[test]
fn what_neither_reading_accepts_is_reported_in_the_words_of_yaml() {
    let long = format!("name: a\ndescription: x: {}", "y".repeat(1024));
    let many: String = (0..70).map(|i| format!("k{i}: a: b\n")).collect();
    let large = format!("name: a\ndescription: x: y\nother: {}", "z".repeat(16 << 10));
    for front in [
        "name: a\ndescription: x: y\nname: b",
        "name: a\ndescription: x: y\nk: 1\nk: 2",
        "name: A b\ndescription: x: y",
        "name: ../up\ndescription: x: y",
        "name: \"a\\nb\"\ndescription: x: y",
        "name: a\ndescription: x: y\n  and more",
        "name: a\ndescription: x: y\n\tand: more",
        "name: a\ndescription: x: y\nmetadata:\n  category: c",
        "name: a\ndescription: x: y\ntags:\n- b",
        "name: a\ndescription: x: y\nwithout a colon",
        "name: a\ndescription: x: y\n# a comment: like this",
        "name: a\ndescription: x: y\n\"name\": b",
        "name: a\ndescription: x: y\nname : b",
        "name: a\ncategory: x: y",
        "name: a\ndescription:\ncategory: x: y",
        "name: a\ndescription: ''\ncategory: x: y",
        "name: a: b\ndescription: x",
        &format!("name: a\ndescription: x: y\n{many}"),
        &long,
        &large,
    ] {
        let found = parse(&format!("---\n{front}\n---\nB"));
        assert!(matches!(found, Err(SkillsError::FrontMatter(_))), "{front:.80}: {found:?}");
    }
    for nothing in ["", "''", "~", "null", "|", ">-"] {
        let found = parse(&format!("---\nname: a\ndescription: {nothing}\n---\nB"));
        assert_eq!(found, Err(SkillsError::NoDescription), "{nothing:?}");
    }
}

#[test]
fn what_was_read_by_lines_is_written_as_yaml() {
    let document = parse("---\nname: a\ndescription: Use for \"x\": 'y' # z\n---\nB").unwrap();
    let text = document.to_text().unwrap();
    assert!(text.contains("description: \"Use for \\\"x\\\": 'y' # z\""), "{text}");
    assert_eq!(parse(&text).unwrap(), document);
}
