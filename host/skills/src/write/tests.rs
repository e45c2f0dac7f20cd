use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

const TEXT: &[u8] =
    b"---\nname: cite\ndescription: Use when citing.\ncategory: research\nlicense: MIT\n---\n\nName the source.\n";

fn agent(name: &str) -> Shelf {
    Shelf::Agent(AgentId::from_trusted(name).unwrap())
}

#[test]
fn a_skill_is_written_where_it_belongs_for_its_owner_only() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("home/skills");
    for (shelf, path) in [(Shelf::Shared, "_shared/cite"), (agent("_default"), "_default/cite"), (agent("a"), "a/cite")]
    {
        let added = add_skill(&root, &shelf, TEXT, None, false).unwrap();
        assert_eq!((added.skill.path.as_str(), added.replaced), (path, false));
        let file = root.join(path).join("SKILL.md");
        assert_eq!(fs::read(&file).unwrap(), TEXT);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&file), 0o600);
        assert!(file.ancestors().skip(1).take(3).all(|folder| mode(folder) == 0o700));
        let inside: Vec<_> = fs::read_dir(file.parent().unwrap()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(inside, ["SKILL.md"], "no draft stays behind");
    }
}

#[test]
fn an_existing_skill_is_replaced_only_on_demand() {
    let dir = tempfile::tempdir().unwrap();
    add_skill(dir.path(), &agent("a"), TEXT, None, false).unwrap();
    let other = TEXT.to_ascii_uppercase();
    let other = [&TEXT[..TEXT.len() - 18], &other[other.len() - 18..]].concat();
    let refused = add_skill(dir.path(), &agent("a"), &other, None, false).unwrap_err();
    assert_eq!(refused, SkillsError::Exists { name: "cite".parse().unwrap(), shelf: "a".into() });
    assert!(add_skill(dir.path(), &agent("a"), &other, None, true).unwrap().replaced);
    assert_eq!(fs::read(dir.path().join("a/cite/SKILL.md")).unwrap(), other);
}

#[test]
fn a_new_name_goes_into_the_front_matter() {
    let dir = tempfile::tempdir().unwrap();
    let name: SkillName = "quote".parse().unwrap();
    let added = add_skill(dir.path(), &agent("a"), TEXT, Some(&name), false).unwrap();
    assert_eq!(added.skill.name, name);
    let file = fs::read(dir.path().join("a/quote/SKILL.md")).unwrap();
    let read = Skill::parse(&file, "a/quote", SkillScope::Own).unwrap();
    assert_eq!(
        (read.name.as_str(), read.category.as_str(), read.body.as_str()),
        ("quote", "research", "Name the source.")
    );
}

#[test]
fn bad_text_writes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("skills");
    let huge = vec![b'x'; 1 + (256 << 10)];
    assert_eq!(add_skill(&root, &Shelf::Shared, b"# No", None, false).unwrap_err(), SkillsError::NoFrontMatter);
    assert!(matches!(add_skill(&root, &Shelf::Shared, &huge, None, false), Err(SkillsError::TooLarge(_))));
    let climbing = b"---\nname: ../../x\ndescription: x\n---\nB";
    assert!(matches!(add_skill(&root, &Shelf::Shared, climbing, None, false), Err(SkillsError::Name { .. })));
    let nameless = b"---\ndescription: x\n---\nB";
    assert!(matches!(add_skill(&root, &Shelf::Shared, nameless, None, false), Err(SkillsError::Name { .. })));
    assert!(!root.exists());
}

#[test]
fn writing_never_leaves_the_tree() {
    let dir = tempfile::tempdir().unwrap();
    let (root, outside) = (dir.path().join("skills"), dir.path().join("outside"));
    fs::create_dir_all(root.join("b/cite")).unwrap();
    fs::create_dir_all(&outside).unwrap();
    symlink(&outside, root.join("a")).unwrap();
    assert_eq!(add_skill(&root, &agent("a"), TEXT, None, true).unwrap_err(), SkillsError::Link);
    symlink(outside.join("victim"), root.join("b/cite/SKILL.md")).unwrap();
    assert_eq!(add_skill(&root, &agent("b"), TEXT, None, true).unwrap_err(), SkillsError::Link);
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);

    fs::create_dir_all(root.join("flat")).unwrap();
    fs::write(root.join("flat/SKILL.md"), TEXT).unwrap();
    let refused = add_skill(&root, &agent("flat"), TEXT, None, false).unwrap_err();
    assert!(matches!(refused, SkillsError::ShelfIsSkill(_)));
}
