use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::process::Command;

use domain::SkillScope;
use tempfile::TempDir;

use super::*;
use crate::scan::{MAX_FILE_BYTES, MAX_FOLDER_SKILLS};

/// One byte more than is read.
const HUGE: usize = 1 + (256 << 10);

/// A skills root on a real disk.
struct Disk(TempDir);

impl Disk {
    fn new() -> Self {
        Disk(tempfile::tempdir().unwrap())
    }

    fn root(&self) -> std::path::PathBuf {
        self.0.path().join("skills")
    }

    fn write(&self, path: &str, bytes: &[u8]) {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// Puts a good skill into a folder; the name is the folder's.
    fn put(&self, folder: &str, body: &str) {
        self.write(&format!("{folder}/SKILL.md"), text(body).as_bytes());
    }

    /// Puts a skill in another's place at one moment: nobody sees half a file.
    fn replace(&self, folder: &str, body: &str) {
        self.write(&format!("{folder}/.draft"), text(body).as_bytes());
        let folder = self.root().join(folder);
        fs::rename(folder.join(".draft"), folder.join("SKILL.md")).unwrap();
    }

    fn remove(&self, folder: &str) {
        fs::remove_dir_all(self.root().join(folder)).unwrap();
    }

    /// What is there now, without a thread.
    fn read(&self) -> Arc<SkillTree> {
        SkillTree::open(&self.root(), TreeOptions { follow: false, ..TreeOptions::default() }).unwrap()
    }

    /// Followed by notifications alone: the net would come too late to help.
    fn follow(&self) -> Arc<SkillTree> {
        SkillTree::open(&self.root(), TreeOptions { follow: true, rescan: Duration::from_secs(60) }).unwrap()
    }
}

fn text(body: &str) -> String {
    format!("---\ndescription: Use for {body}\n---\n{body}\n")
}

fn agent(name: &str) -> AgentId {
    AgentId::from_trusted(name).unwrap()
}

/// Names, scopes and bodies, as an agent sees them.
fn seen(tree: &SkillTree, of: &str) -> Vec<(String, SkillScope, String)> {
    let library = tree.library(&agent(of));
    library.list().iter().map(|s| (s.name.to_string(), s.scope, s.body.clone())).collect()
}

fn names(tree: &SkillTree, of: &str) -> Vec<String> {
    seen(tree, of).into_iter().map(|(name, ..)| name).collect()
}

/// Whether an agent sees a skill of this name with this body. While a file is written it may see none.
fn says(tree: &SkillTree, of: &str, name: &str, body: &str) -> bool {
    tree.library(&agent(of)).get(name).is_some_and(|skill| skill.body == body)
}

/// Waits for `done`, for a second at most: the promise of the tree.
fn within_a_second(what: &str, done: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(1);
    while !done() {
        assert!(Instant::now() < deadline, "not within a second: {what}");
        thread::park_timeout(Duration::from_millis(5));
    }
}

fn problems(tree: &SkillTree) -> Vec<(String, SkillsError)> {
    tree.problems().into_iter().map(|p| (p.path, p.reason)).collect()
}

#[test]
fn each_agent_sees_the_shared_skills_and_its_own() {
    let disk = Disk::new();
    disk.put("_shared/cite", "shared cite");
    disk.put("_shared/plan", "shared plan");
    disk.put("researcher/cite", "own cite");
    disk.put("assistant/remind", "own remind");
    disk.put("flat-skill", "flat");
    disk.put("both", "flat both");
    disk.put("_default/both", "default both");
    let tree = disk.read();
    let (shared, own) = (SkillScope::Shared, SkillScope::Own);
    let check = |of: &str, want: &[(&str, SkillScope, &str)]| {
        let want: Vec<_> = want.iter().map(|(n, s, b)| (n.to_string(), *s, b.to_string())).collect();
        assert_eq!(seen(&tree, of), want, "{of}");
    };
    check("researcher", &[("cite", own, "own cite"), ("plan", shared, "shared plan")]);
    check(
        "assistant",
        &[("cite", shared, "shared cite"), ("plan", shared, "shared plan"), ("remind", own, "own remind")],
    );
    check("stranger", &[("cite", shared, "shared cite"), ("plan", shared, "shared plan")]);
    check(
        "_default",
        &[
            ("both", own, "default both"),
            ("cite", shared, "shared cite"),
            ("flat-skill", own, "flat"),
            ("plan", shared, "shared plan"),
        ],
    );
    assert_eq!(problems(&tree), []);
    assert_eq!(tree.agents(), [agent("_default"), agent("assistant"), agent("researcher")]);
    assert!(Arc::ptr_eq(&tree.library(&agent("stranger")), &tree.library(&agent("another"))));
    let library = tree.library(&agent("researcher"));
    assert_eq!(library.get("cite").unwrap().path, "researcher/cite");
    assert!(library.get("remind").is_none() && library.search("own remind", 16).is_empty());
    assert!(!disk.root().join("stranger").exists(), "reading creates nothing");
}

#[test]
fn a_bad_file_is_reported_and_the_rest_load() {
    let disk = Disk::new();
    disk.put("a/good", "good");
    disk.write("a/no-front/SKILL.md", b"# Just Markdown");
    disk.write("a/binary/SKILL.md", b"---\nname: x\xff\xfe");
    disk.write("a/huge/SKILL.md", &vec![b'x'; HUGE]);
    disk.write("a/empty/notes.txt", b"");
    disk.write("a/lower/skill.md", text("x").as_bytes());
    disk.write("a/SKILL.MD", text("x").as_bytes());
    disk.write("a/other/SKILL.md", b"---\nname: good\ndescription: x\n---\nB");
    disk.write("a/UPPER/SKILL.md", text("x").as_bytes());
    disk.write("_private/x/SKILL.md", text("x").as_bytes());
    disk.write("Capital/x/SKILL.md", text("x").as_bytes());
    disk.write("outer/SKILL.md", text("outer").as_bytes());
    disk.write("outer/inner/SKILL.md", text("inner").as_bytes());
    disk.write(".git/x/SKILL.md", b"hidden");
    disk.write("README.md", b"ignored");
    let tree = disk.read();
    assert_eq!(names(&tree, "a"), ["good"]);
    assert_eq!(names(&tree, "_default"), ["outer"]);
    let bad = SkillsError::Name { text: "UPPER".into(), why: crate::InvalidSkillName::Character('U') };
    let good = "good".parse().unwrap();
    assert_eq!(
        problems(&tree),
        [
            ("Capital".into(), SkillsError::FolderName("Capital".into())),
            ("_private".into(), SkillsError::ReservedFolder),
            ("outer".into(), SkillsError::NestedSkill("inner".into())),
            ("a/SKILL.MD".into(), SkillsError::StrayFile),
            ("a/UPPER".into(), bad),
            ("a/binary".into(), SkillsError::NotUtf8(11)),
            ("a/empty".into(), SkillsError::NoFile),
            ("a/huge".into(), SkillsError::TooLarge(1 + MAX_FILE_BYTES)),
            ("a/lower".into(), SkillsError::NoFile),
            ("a/no-front".into(), SkillsError::NoFrontMatter),
            ("a/other".into(), SkillsError::Duplicate { name: good, by: "a/good".into() }),
        ]
    );
    assert_eq!(tree.library(&agent("a")).problems().len(), 8);
    assert_eq!(tree.library(&agent("b")).problems(), [], "another agent's problems are not ours to see");
}

#[test]
fn links_fifos_and_second_names_are_refused_at_every_depth_and_nothing_hangs() {
    let disk = Disk::new();
    let outside = disk.0.path().join("outside");
    fs::create_dir_all(outside.join("x")).unwrap();
    fs::write(outside.join("x/SKILL.md"), text("outside")).unwrap();
    disk.put("a/good", "good");
    for folder in ["a/file-link", "a/fifo", "a/hard", "a/dir", "_shared/hard"] {
        fs::create_dir_all(disk.root().join(folder)).unwrap();
    }
    let at = |path: &str| disk.root().join(path);
    let fifo = |path: &str| assert!(Command::new("mkfifo").arg(at(path)).status().unwrap().success());
    symlink(&outside, at("linked-agent")).unwrap();
    symlink(outside.join("x"), at("a/linked-skill")).unwrap();
    symlink(outside.join("x/SKILL.md"), at("a/file-link/SKILL.md")).unwrap();
    symlink("nowhere", at("a/dangling")).unwrap();
    fifo("fifo-agent");
    fifo("a/fifo-skill");
    fifo("a/fifo/SKILL.md");
    fs::hard_link(outside.join("x/SKILL.md"), at("a/hard/SKILL.md")).unwrap();
    fs::create_dir(at("a/dir/SKILL.md")).unwrap();
    fs::hard_link(at("a/good/SKILL.md"), at("_shared/hard/SKILL.md")).unwrap();

    let started = Instant::now();
    let tree = disk.read();
    assert!(started.elapsed() < Duration::from_secs(1));
    assert_eq!(
        problems(&tree),
        [
            ("fifo-agent".into(), SkillsError::NotRegular),
            ("linked-agent".into(), SkillsError::Link),
            ("_shared/hard".into(), SkillsError::HardLinks(2)),
            ("a/dangling".into(), SkillsError::Link),
            ("a/dir".into(), SkillsError::NotRegular),
            ("a/fifo".into(), SkillsError::NotRegular),
            ("a/fifo-skill".into(), SkillsError::NotRegular),
            ("a/file-link".into(), SkillsError::Link),
            ("a/good".into(), SkillsError::HardLinks(2)),
            ("a/hard".into(), SkillsError::HardLinks(3 - 1)),
            ("a/linked-skill".into(), SkillsError::Link),
        ]
    );
    assert!(tree.agents().iter().all(|agent| tree.library(agent).is_empty()));
}

#[test]
fn a_folder_is_bounded_in_skills_and_bytes() {
    let disk = Disk::new();
    for n in 0..MAX_FOLDER_SKILLS {
        disk.put(&format!("many/s{n:03}"), "x");
    }
    assert_eq!(problems(&disk.read()), []);
    disk.put("many/t", "one more");
    let body = "y".repeat(HUGE - 101);
    for n in 0..65 {
        disk.put(&format!("large/s{n:02}"), "tiny");
        disk.write(&format!("large/s{n:02}/SKILL.md"), format!("---\ndescription: x\n---\n{body}").as_bytes());
    }
    let tree = disk.read();
    assert_eq!(tree.library(&agent("many")).len(), MAX_FOLDER_SKILLS);
    assert_eq!(tree.library(&agent("large")).len(), 64);
    assert_eq!(
        problems(&tree),
        [("large/s64".into(), SkillsError::TooManyBytes), ("many/t".into(), SkillsError::TooManySkills)]
    );
}

#[test]
fn changes_are_seen_within_a_second() {
    let disk = Disk::new();
    let tree = disk.follow();
    assert!(tree.library(&agent("a")).is_empty(), "there is no root yet");
    disk.put("_shared/cite", "shared");
    within_a_second("the root appears", || names(&tree, "a") == ["cite"]);
    disk.put("a/plan", "first");
    within_a_second("a skill is added", || names(&tree, "a") == ["cite", "plan"]);
    disk.put("a/plan", "other");
    within_a_second("a skill is edited", || says(&tree, "a", "plan", "other"));
    disk.put("a/cite", "own");
    within_a_second("own shadows shared", || says(&tree, "a", "cite", "own"));
    assert_eq!(seen(&tree, "b")[0].2, "shared");
    disk.remove("a/cite");
    within_a_second("own goes, shared is back", || says(&tree, "a", "cite", "shared"));
    disk.remove("a/plan");
    disk.put("a/plan", "anew");
    within_a_second("removed and made again", || says(&tree, "a", "plan", "anew"));
    disk.put("a/plan", "ANEW");
    within_a_second("a folder made again is still watched", || says(&tree, "a", "plan", "ANEW"));
    disk.write("a/plan/SKILL.md", b"broken");
    within_a_second("broken", || names(&tree, "a") == ["cite"] && tree.problems().len() == 1);
    disk.put("a/plan", "mended");
    within_a_second("mended", || names(&tree, "a") == ["cite", "plan"] && tree.problems().is_empty());
    fs::rename(disk.root().join("a"), disk.root().join("c")).unwrap();
    within_a_second("an agent's folder is renamed", || names(&tree, "c").len() == 2 && names(&tree, "a").len() == 1);
    fs::remove_dir_all(disk.root()).unwrap();
    within_a_second("the root goes", || names(&tree, "c").is_empty());
    disk.put("c/back", "back");
    within_a_second("the root is back", || names(&tree, "c") == ["back"]);
    tree.close();
    disk.put("c/late", "late");
    thread::park_timeout(Duration::from_millis(1));
    assert_eq!(names(&tree, "c"), ["back"], "a closed tree stays as it was");
    tree.close();
}

#[test]
fn an_edit_of_equal_length_right_after_the_read_is_seen() {
    let disk = Disk::new();
    disk.put("a/x", "body 0");
    let tree = disk.follow();
    for n in 1..9 {
        disk.put("a/x", &format!("body {n}"));
        within_a_second("edited", || says(&tree, "a", "x", &format!("body {n}")));
    }
}

#[test]
fn a_generation_names_what_an_agent_sees() {
    let disk = Disk::new();
    disk.put("_shared/cite", "shared");
    disk.put("a/plan", "first");
    disk.put("b/plan", "second");
    let generation = |of: &str| disk.read().library(&agent(of)).generation();
    let (a, b) = (generation("a"), generation("b"));
    assert_ne!(a, b);
    assert_eq!(a, generation("a"), "it outlives a restart");
    assert!(a < 1 << 63);
    disk.put("b/plan", "changed");
    assert_eq!(generation("a"), a, "another agent's change is none of ours");
    let changed = generation("b");
    assert_ne!(changed, b);
    disk.put("b/plan", "second");
    assert_eq!(generation("b"), b, "taken back");
    disk.put("_shared/new", "new");
    assert!(generation("a") != a && generation("b") != b);
}

#[test]
fn only_what_changed_is_read_again() {
    let disk = Disk::new();
    disk.put("_shared/cite", "shared");
    disk.put("a/plan", "first");
    disk.put("b/plan", "first");
    let tree = disk.follow();
    let (a, cite) = (tree.library(&agent("a")), Arc::clone(tree.library(&agent("b")).get("cite").unwrap()));
    disk.replace("_shared/cite", "shared");
    disk.replace("b/plan", "second");
    within_a_second("b changes", || says(&tree, "b", "plan", "second"));
    assert!(Arc::ptr_eq(&a, &tree.library(&agent("a"))), "a's library is the same one");
    assert!(Arc::ptr_eq(&cite, tree.library(&agent("b")).get("cite").unwrap()), "the same text is the same skill");
}

#[test]
fn a_folder_closed_to_us_is_reported() {
    let disk = Disk::new();
    disk.put("a/x", "x");
    let folder = disk.root().join("a");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o000)).unwrap();
    let tree = disk.read();
    let root = fs::metadata("/proc/self").unwrap().uid() == 0;
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
    if root {
        // Nothing is closed to root.
        assert_eq!(names(&tree, "a"), ["x"]);
    } else {
        assert!(matches!(problems(&tree)[..], [(_, SkillsError::Io { .. })]));
    }
}

#[test]
fn a_root_that_is_a_file_is_reported() {
    let disk = Disk::new();
    fs::write(disk.root(), "not a folder").unwrap();
    let tree = disk.read();
    assert!(matches!(&problems(&tree)[..], [(path, SkillsError::Io { .. })] if path.is_empty()));
}
