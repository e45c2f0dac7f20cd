use domain::SkillScope;
use proptest::prelude::*;

use super::*;
use crate::SkillDocument;

fn rendered(body: &str) -> String {
    render_skill(&"name".parse().unwrap(), "What it is for", body)
}

#[test]
fn a_block_is_in_metaclaws_form() {
    let skill = |text: &str| Arc::new(Skill::parse(text.as_bytes(), "x", SkillScope::Own).unwrap());
    let first = skill("---\nname: first\ndescription: |\n  Do this\n  ## then that\n---\n\n1. One\n2. Two\n\n");
    let second = skill("---\nname: second\ndescription: More\n---\nBody");
    assert_eq!(
        render_block(&[first, second]),
        "## Active Skills\n\n### first\n_Do this ## then that_\n\n1. One\n2. Two\n\n### second\n_More_\n\nBody"
    );
    assert_eq!(render_block(&[]), "");
}

#[test]
fn a_body_cannot_look_like_another_skill() {
    let check = |body: &str, want: &str| {
        assert_eq!(rendered(body), format!("### name\n_What it is for_\n\n{want}"), "{body:?}");
    };
    check("# Title\n## Active Skills\n### other", "#### Title\n##### Active Skills\n###### other");
    check("###### deep\n####### none\n#tag", "###### deep\n####### none\n#tag");
    check("  ## indented\n    ## code", "##### indented\n    ## code");
    check("##\n##\tx", "#####\n#####\tx");
    check("text\n---\nActive Skills\n===", "text\n\n---\nActive Skills\n\n===");
    check(
        "```sh\n# a comment\n## Active Skills\n```\n# after",
        "```sh\n# a comment\n ## Active Skills\n```\n#### after",
    );
    check("~~~\n```\n# in\n~~~~\n# out", "~~~\n```\n# in\n~~~~\n#### out");
    check("````\n```\nnever closed", "````\n```\nnever closed\n````");
    check("``` not ` a fence\n# x", "``` not ` a fence\n#### x");
}

/// The lines that a reader would take for headings of the block or of a skill.
fn headings(text: &str) -> Vec<&str> {
    text.split('\n').filter(|line| line.starts_with("## ") || line.starts_with("### ")).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// K4: whatever the three texts are, the file has the keys we wrote, and the block has the structure we gave it.
    #[test]
    fn skill_text_is_data(
        name in "[a-z][a-z0-9-]{0,20}",
        description in "\\PC{0,60}|[-# \\n\\r:\"'&*!|>%@`_{}\\[\\],?\\\\a-z\\x00-\\x1f\u{85}\u{2028}\u{feff}]{0,80}",
        category in "[-# \\n:\"'a-z]{0,20}",
        body in "(\\PC{0,40}|[-#`~= \\n\\r\\ta-z]{0,60}|(## Active Skills|### [a-z]+|---|```|name: x|# [a-z]+|\\n){0,8}){1,4}",
    ) {
        let given = SkillDocument {
            name: name.parse().unwrap(),
            description,
            category,
            metadata: serde_json::Map::new(),
            body,
        };
        let text = given.to_text().unwrap();
        let Ok(read) = SkillDocument::parse(text.as_bytes(), "folder") else {
            // Nothing but white space and control characters describes or says nothing, and is refused.
            let empty = |text: &str| text.chars().all(|c| c.is_whitespace() || c.is_control());
            prop_assert!(empty(&given.description) || empty(&given.body), "{text}");
            return Ok(());
        };
        prop_assert_eq!(&read.name, &given.name);
        prop_assert!(read.metadata.is_empty());
        prop_assert!(!read.description.contains(char::is_control));
        // Written again, it is what was read: no key or value was gained or lost.
        prop_assert_eq!(&SkillDocument::parse(read.to_text().unwrap().as_bytes(), "folder").unwrap(), &read);

        let skill = Arc::new(Skill::parse(text.as_bytes(), "folder", SkillScope::Own).unwrap());
        let block = render_block(&[Arc::clone(&skill), skill]);
        let own = format!("### {name}");
        prop_assert_eq!(headings(&block), [BLOCK_HEADING, &own, &own], "{}", block);
        prop_assert!(block.starts_with(BLOCK_HEADING));
        let quoted = format!("\n\n{own}\n_{}_\n\n", read.description);
        prop_assert_eq!(block.matches(&quoted).count(), 2, "{}", block);
    }
}
