//! What a policy writes is what its agent knows next, for better or worse, and nobody else notices.

use std::thread;
use std::time::{Duration, Instant};

use super::*;
use crate::{Shelf, SkillTree, TreeOptions, add_skill};

const SKILL: &str = "---\ndescription: Use for tests.\n---\nLearned.\n";

fn within_a_second(what: &str, done: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(1);
    while !done() {
        assert!(Instant::now() < deadline, "not within a second: {what}");
        thread::park_timeout(Duration::from_millis(5));
    }
}

#[test]
fn a_written_skill_is_served_and_a_bad_one_spoils_itself_alone() {
    let disk = Disk::new();
    disk.file("skills/_shared/plan/SKILL.md", SKILL.as_bytes());
    disk.file("skills/other/mine/SKILL.md", SKILL.as_bytes());
    // Notifications alone: the periodic look would come too late to help.
    let options = TreeOptions { follow: true, rescan: Duration::from_secs(60) };
    let tree = SkillTree::open(&disk.at("skills"), options).unwrap();
    let names = |agent: &str| -> Vec<String> {
        let library = tree.library(&AgentId::from_trusted(agent).unwrap());
        library.list().iter().map(|skill| skill.name.to_string()).collect()
    };
    let problems = || -> Vec<String> { tree.problems().into_iter().map(|problem| problem.path).collect() };
    let files = disk.mine();

    files.write(Root::Skills, "learned/SKILL.md", SKILL.as_bytes()).unwrap();
    files.write(Root::Skills, "learned/notes/more.txt", b"beside it").unwrap();
    within_a_second("a new skill", || names("me") == ["learned", "plan"]);
    files.write(Root::Skills, "learned/SKILL.md", b"no front matter").unwrap();
    within_a_second("a spoiled skill", || names("me") == ["plan"] && problems() == ["me/learned"]);
    files.write(Root::Skills, "plan/SKILL.md", b"spoils nothing").unwrap();
    within_a_second("another", || problems() == ["me/learned", "me/plan"]);
    assert_eq!(names("other"), ["mine", "plan"]);
    assert_eq!(names("stranger"), ["plan"]);
    for path in ["learned/SKILL.md", "plan/SKILL.md", "plan"] {
        files.remove(Root::Skills, path).unwrap();
    }
    files.write(Root::Skills, "learned/SKILL.md", SKILL.as_bytes()).unwrap();
    within_a_second("a repaired skill", || names("me") == ["learned", "plan"] && problems().is_empty());

    // Nothing that a policy can write makes its folder somebody else's skill.
    for path in ["SKILL.md", "SKILL.md/SKILL.md", "skill.md"] {
        assert_eq!(files.write(Root::Skills, path, SKILL.as_bytes()).unwrap_err().kind(), "bad-path", "{path}");
    }
    assert_eq!(names("_default"), ["plan"]);
    tree.close();
}

#[test]
fn an_operator_and_a_policy_write_at_the_same_time() {
    let disk = Disk::new();
    let (root, shelf) = (disk.at("skills"), Shelf::Agent(AgentId::from_trusted("me").unwrap()));
    let files = disk.files("me", FileLimits { patience: Duration::from_secs(60), ..FileLimits::default() });
    let text = |n: usize| format!("---\nname: by-hand\ndescription: Use for {n}.\n---\nBody.\n");
    thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0..300 {
                add_skill(&root, &shelf, text(n).as_bytes(), None, true).unwrap();
            }
        });
        for n in 0..300 {
            files.write(Root::Skills, "by-policy/SKILL.md", SKILL.as_bytes()).unwrap();
            files.write(Root::Skills, &format!("by-policy/{}", n % 7), b"x").unwrap();
        }
    });
    assert_eq!(ask(&disk, &files, "read skills by-hand/SKILL.md"), format!("= {}", text(299)));
    assert_eq!(ask(&disk, &files, "list skills"), "by-hand/, by-policy/");
}
