//! The demonstration's skills are good, and found by what one would say to those agents.

use std::path::Path;

use domain::AgentId;

use crate::{SkillTree, TreeOptions};

#[test]
fn the_two_agents_of_the_example_find_their_skills() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/two-agents/skills");
    let tree = SkillTree::open(&root, TreeOptions { follow: false, ..TreeOptions::default() }).unwrap();
    assert_eq!(tree.problems(), []);
    let found = |agent: &str, query: &str| -> Vec<String> {
        let library = tree.library(&AgentId::from_trusted(agent).unwrap());
        library.search(query, 2).iter().map(|hit| hit.skill.name.to_string()).collect()
    };
    for (agent, query, want) in [
        ("researcher", "Summarise this paper on protein folding", "summarise-paper"),
        ("researcher", "Compare the two studies on sleep and memory", "compare-papers"),
        ("researcher", "I need references for these claims", "cite-sources"),
        ("assistant", "Write an email to my landlord about the heating", "write-email"),
        ("assistant", "Help me plan my day: two meetings and a deadline", "plan-day"),
        ("assistant", "Draft an invitation to the summer party", "house-style"),
        ("stranger", "What are the exact figures and dates?", "admit-uncertainty"),
    ] {
        assert!(found(agent, query).contains(&want.to_owned()), "{agent}: {query}: {:?}", found(agent, query));
    }
    for agent in ["researcher", "assistant"] {
        assert_eq!(found(agent, "hello, how are you"), Vec::<String>::new());
        assert_eq!(found(agent, "What is the capital of France?"), Vec::<String>::new());
        let library = tree.library(&AgentId::from_trusted(agent).unwrap());
        assert!(library.list().iter().all(|skill| skill.tokens < 225), "the small model's prompt stays short");
    }
}
