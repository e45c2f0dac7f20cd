//! P2 and P3: whatever lies there and whatever is asked, nothing outside is read or touched, and nothing hangs.

use std::collections::BTreeMap;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};

use super::*;

/// No answer may take longer.
const AT_MOST: Duration = Duration::from_secs(1);

/// What lies there, what is asked, what must come.
struct Case {
    lies: String,
    ask: String,
    comes: String,
}

fn case(lies: impl Into<String>, ask: impl Into<String>, comes: impl Into<String>) -> Case {
    Case { lies: lies.into(), ask: ask.into(), comes: comes.into() }
}

/// Asks, and looks that nothing else changed: nothing at all when it was refused, nothing of others' when it was done.
fn run(case: &Case, disk: &Disk) {
    let all = ["skills", "lora", "outside"];
    let others = ["skills/other", "skills/_shared", "skills/_default", "lora", "outside"];
    let (before, before_others) = (disk.snapshot(&all), disk.snapshot(&others));
    let came = ask(disk, &disk.mine(), &case.ask);
    assert_eq!(came, case.comes, "{}: {:?}", case.lies, case.ask);
    if came == "done" {
        assert_eq!(disk.snapshot(&others), before_others, "{}: {:?} touched something else", case.lies, case.ask);
    } else {
        assert_eq!(disk.snapshot(&all), before, "{}: {:?} changed something", case.lies, case.ask);
    }
}

/// Runs all, once as the kernel is and once where it refuses `openat2`, as old kernels and some containers do. A case that
/// hangs fails the test; its thread is left behind.
fn run_all(cases: &[Case]) {
    for openat2_works in [true, false] {
        let (tell, told) = mpsc::channel();
        let asked: Vec<String> = cases.iter().map(|case| format!("{}: {:?}", case.lies, case.ask)).collect();
        let cases: Vec<Case> = cases.iter().map(|c| case(&*c.lies, &*c.ask, &*c.comes)).collect();
        let worker = thread::spawn(move || {
            if !openat2_works {
                refuse_openat2();
            }
            for same_disk in cases.chunk_by(|a, b| a.lies == b.lies && a.comes != "done") {
                let disk = Disk::new();
                disk.put(&same_disk[0].lies);
                for case in same_disk {
                    run(case, &disk);
                    tell.send(()).unwrap();
                }
            }
        });
        for asked in asked {
            match told.recv_timeout(AT_MOST) {
                Ok(()) => {}
                Err(mpsc::RecvTimeoutError::Timeout) => panic!("hangs: {asked}"),
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
            }
        }
        assert!(worker.join().is_ok(), "failed with openat2 {}", if openat2_works { "working" } else { "refused" });
    }
}

/// For this thread, for ever.
fn refuse_openat2() {
    const OPENAT2: i64 = 437;
    let rules = BTreeMap::from([(OPENAT2, vec![])]);
    let (others, this) =
        (SeccompAction::Allow, SeccompAction::Errno(rustix::io::Errno::PERM.raw_os_error().unsigned_abs()));
    let filter = SeccompFilter::new(rules, others, this, std::env::consts::ARCH.try_into().unwrap()).unwrap();
    apply_filter(&BpfProgram::try_from(filter).unwrap()).unwrap();
    let refused = openat2(CWD, ".", OFlags::PATH, Mode::empty(), ResolveFlags::BENEATH);
    assert_eq!(refused.unwrap_err(), rustix::io::Errno::PERM);
}

#[test]
fn nothing_but_plain_files_and_folders_exists_at_any_depth() {
    let (link, no_file, no_folder) = ("link", "not-a-file", "not-a-folder");
    let mut kinds = vec![
        // What, how it is made, what comes when it is used as a file, as a folder, and when the tree is handed out.
        ("symlink to a file outside", "symlink PATH @outside/secret", link, link, link),
        ("symlink to a folder outside", "symlink PATH @outside/dir", link, link, link),
        ("symlink to another agent", "symlink PATH @skills/other", link, link, link),
        ("symlink to shared skills", "symlink PATH @skills/_shared", link, link, link),
        ("symlink to a file inside", "file ROOT/real; symlink PATH @ROOT/real", link, link, link),
        ("symlink to a folder inside", "folder ROOT/real; symlink PATH @ROOT/real", link, link, link),
        ("relative symlink upwards", "symlink PATH ..", link, link, link),
        ("relative symlink far upwards", "symlink PATH ../../../../../../../../../../../etc/passwd", link, link, link),
        ("relative symlink to a file beside it", "file DIR/.real; symlink PATH .real", link, link, link),
        ("relative symlink to a folder beside it", "file DIR/.real/secret; symlink PATH .real", link, link, link),
        ("symlink to nothing", "symlink PATH nothing", link, link, link),
        ("symlink to itself", "symlink PATH x", link, link, link),
        ("symlink to a device", "symlink PATH /dev/zero", link, link, link),
        ("symlink into proc", "symlink PATH /proc/self/environ", link, link, link),
        ("symlink to an open file", "symlink PATH /proc/self/fd/0", link, link, link),
        ("hard link to a file outside", "hardlink PATH @outside/secret", link, no_folder, link),
        ("hard link to another agent's", "hardlink PATH @skills/other/secret", link, no_folder, link),
        ("hard link within", "file ROOT/real; hardlink PATH @ROOT/real", link, no_folder, link),
        ("fifo", "fifo PATH", no_file, no_folder, no_file),
        ("socket", "socket PATH", no_file, no_folder, no_file),
    ];
    // Not everybody may make devices.
    let disk = Disk::new();
    if mknodat(CWD, disk.at("x"), FileType::CharacterDevice, 0o600.into(), makedev(1, 5)).is_ok() {
        kinds.push(("device", "device PATH", no_file, no_folder, no_file));
    }
    let mut cases = Vec::new();
    for (root, place) in [("skills", "skills/me"), ("lora", "lora/me"), ("shared", "skills/_shared")] {
        for depth in 1..=7 {
            let above = "d/".repeat(depth - 1);
            for (_, made, as_file, as_folder, whole) in &kinds {
                let lies = made
                    .replace("PATH", &format!("{place}/{above}x"))
                    .replace("ROOT", place)
                    .replace("DIR", &format!("{place}/{above}"));
                let changes = |comes: &str| if root == "skills" { comes.to_owned() } else { "read-only".to_owned() };
                for (ask, comes) in [
                    (format!("read {root} {above}x"), (*as_file).to_owned()),
                    (format!("stat {root} {above}x"), (*as_file).to_owned()),
                    (format!("write {root} {above}x"), changes(as_file)),
                    (format!("remove {root} {above}x"), changes(as_file)),
                    (format!("list {root} {above}x"), (*as_folder).to_owned()),
                    (format!("read {root} {above}x/secret"), (*as_folder).to_owned()),
                    (format!("stat {root} {above}x/secret"), (*as_folder).to_owned()),
                    (format!("write {root} {above}x/new"), changes(as_folder)),
                    (format!("remove {root} {above}x/secret"), changes(as_folder)),
                    (format!("preopen {root}"), (*whole).to_owned()),
                ] {
                    cases.push(case(&*lies, ask, comes));
                }
                if depth > 1 {
                    cases.push(case(lies, format!("list {root} {}", above.trim_end_matches('/')), ""));
                }
            }
        }
    }
    assert!(cases.len() > 3500, "{}", cases.len());
    run_all(&cases);
}

#[test]
fn a_path_that_is_not_plain_is_refused_and_not_corrected() {
    let long = "l".repeat(129);
    let deep = ["d"; 9].join("/");
    let wide = vec!["w".repeat(128); 8].join("/");
    let bad = [
        ".",
        "..",
        "../other/secret",
        "../../outside/secret",
        "a/../../other/secret",
        "a/..",
        "a/.",
        "./a",
        "a/./b",
        "/",
        "/etc/passwd",
        "//a",
        "a//b",
        "a/",
        "a/b/",
        "\\",
        "..\\other",
        "a\\b",
        "C:\\x",
        "c:",
        "a:stream",
        "\0",
        "a\0",
        "a\0/../other",
        "\n",
        "a\nb",
        "a\tb",
        "\x1b[31m",
        "\u{7f}",
        "\u{80}",
        "\u{85}",
        "~",
        "~root",
        "~/x",
        "-rf",
        " a",
        "a ",
        "a.",
        "a..",
        "...",
        "a/...",
        "a /b",
        ".metaclaw",
        ".metaclaw-draft-1-0",
        ".SKILL.md.1.0",
        ".git/config",
        ".hidden",
        "a/.hidden",
        "con",
        "NUL",
        "nul.txt",
        "a/aux",
        "com1",
        "LPT9.log",
        "com¹",
        "lpt³.x",
        "CONIN$",
        "con .x",
        "a*",
        "a?",
        "<a>",
        "a|b",
        "\"a\"",
        "\u{feff}a",
        "a\u{200b}",
        "a\u{202e}b",
        "a\u{2028}b",
        "a\u{a0}b",
        "a\u{3000}b",
        "a\u{ad}b",
        "\u{e0041}",
        "\u{2066}a",
        "../../../outside/secret",
        "a/b/../../..",
        "./..",
        "..a",
        "a\r",
        "prn",
        "aux.md",
        "CLOCK$",
        "com0",
        "a\u{1680}b",
        "a/\u{200e}",
        &long,
        &deep,
        &wide,
    ];
    let mut cases = Vec::new();
    for path in bad {
        for verb in ["read", "stat", "list", "write", "remove"] {
            cases.push(case("file skills/me/a; folder skills/me/b", format!("{verb} skills {path}"), "bad-path"));
        }
    }
    assert!(cases.len() >= 5 * 80, "{}", cases.len());
    run_all(&cases);
}

#[test]
fn what_looks_like_an_escape_and_is_only_a_name_stays_inside() {
    let names = [
        "%2e%2e", "a..b", "a~", "．．", "／etc", "∕etc", "ｃon", "com", "com10", "console", "null", "é", "e\u{301}",
        "主.md", "a b", "a,b;c", "$HOME", "`id`", "$(id)", "{a}", "a'b", "&", "#", "=", "@", "_shared", "_default",
    ];
    let mut cases: Vec<Case> = names
        .iter()
        .flat_map(|name| {
            [case("", format!("read skills {name}"), "not-found"), case("", format!("write skills {name}"), "done")]
        })
        .collect();
    // As long, as deep and as wide as can be.
    for path in ["l".repeat(128), ["d"; 8].join("/"), vec!["w".repeat(127); 8].join("/") + "w"] {
        cases.push(case("", format!("write skills {path}"), "done"));
    }
    run_all(&cases);
}

#[test]
fn each_answer_is_as_documented() {
    let lines = [
        // The root, and one that does not exist.
        ("", "list skills", ""),
        ("", "stat skills", "folder"),
        ("", "read skills", "not-a-file"),
        ("", "write skills", "not-a-file"),
        ("", "remove skills", "read-only"),
        ("gone skills", "list skills", ""),
        ("gone skills", "stat skills", "folder"),
        ("gone skills", "list skills a", "not-found"),
        ("gone skills", "read skills a", "not-found"),
        ("gone skills", "remove skills a", "not-found"),
        ("gone skills", "preopen skills", "not-found"),
        ("gone skills/me", "list skills", ""),
        ("gone skills/me", "write skills a/b", "done"),
        ("gone lora", "list lora", ""),
        ("gone lora/me", "preopen lora", "not-found"),
        // A root that is no folder is nobody's.
        ("gone skills/me; symlink skills/me other", "list skills", "link"),
        ("gone skills/me; symlink skills/me other", "read skills secret", "link"),
        ("gone skills/me; symlink skills/me other", "write skills secret", "link"),
        ("gone skills/me; symlink skills/me other", "remove skills secret", "link"),
        ("gone skills/me; symlink skills/me @outside", "preopen skills", "link"),
        ("gone lora/me; symlink lora/me other", "read lora secret", "link"),
        ("gone skills/_shared; symlink skills/_shared other", "read shared secret", "link"),
        ("gone skills/me; file skills/me", "list skills", "not-a-folder"),
        ("gone skills/me; file skills/me", "write skills a", "not-a-folder"),
        ("gone skills/me; fifo skills/me", "list skills", "not-a-folder"),
        ("gone skills/me; fifo skills/me", "write skills a", "not-a-folder"),
        // Files and folders.
        ("file skills/me/a/b", "list skills", "a/"),
        ("file skills/me/a/b", "list skills a", "b"),
        ("file skills/me/b; file skills/me/a; folder skills/me/C", "list skills", "C/, a, b"),
        ("file skills/me/a/b", "stat skills a", "folder"),
        ("file skills/me/a/b", "stat skills a/b", "file 6"),
        ("file skills/me/a/b", "read skills a/b", "= inside"),
        ("file skills/me/a/b", "read skills a", "not-a-file"),
        ("file skills/me/a/b", "list skills a/b", "not-a-folder"),
        ("file skills/me/a/b", "read skills a/b/c", "not-a-folder"),
        ("file skills/me/a/b", "write skills a/b/c", "not-a-folder"),
        ("file skills/me/a/b", "write skills a", "not-a-file"),
        ("file skills/me/a/b", "write skills a/b", "done"),
        ("file skills/me/a/b", "write skills a/c/d/e", "done"),
        ("file skills/me/a/b", "remove skills a", "not-empty"),
        ("file skills/me/a/b", "remove skills a/b", "done"),
        ("folder skills/me/a", "remove skills a", "done"),
        ("", "remove skills a", "not-found"),
        ("sparse lora/me/a", "stat lora a", "file 1099511627776"),
        ("sparse lora/me/a", "start lora a", "= [0, 0, 0, 0]"),
        ("file skills/me/a", "start skills a", "= []"),
        // What is hidden or has a name that cannot be asked for is not listed, and keeps its folder.
        ("file skills/me/a/.hidden; file skills/me/a/b:c; file skills/me/a/x~", "list skills a", "x~"),
        ("file skills/me/a/.hidden", "remove skills a", "not-empty"),
        ("symlink skills/me/a/x @outside", "remove skills a", "not-empty"),
        ("file skills/me/d/d/d/d/d/d/d/d/d", "list skills d/d/d/d/d/d/d/d", ""),
        // Roots that are read only, and whose they are.
        ("file lora/me/v1/adapter", "read lora v1/adapter", "= inside"),
        ("file lora/me/v1/adapter", "write lora v1/adapter", "read-only"),
        ("file lora/me/v1/adapter", "remove lora v1/adapter", "read-only"),
        ("", "read shared plan/SKILL.md", "= shared"),
        ("", "write shared plan/SKILL.md", "read-only"),
        ("", "remove shared plan", "read-only"),
        ("", "list shared", "plan/"),
        ("file lora/me/v1/adapter", "preopen lora", "done"),
        ("", "preopen shared", "done"),
        ("file skills/me/.hidden", "preopen skills", "done"),
        ("symlink skills/me/.hidden @outside", "preopen skills", "link"),
        ("file skills/me/d/d/d/d/d/d/d/d/d", "preopen skills", "too-large"),
        // A folder with a SKILL.md belongs to `_default`, whatever its name, so a policy must not make its own one such.
        ("file skills/me/SKILL.md; file skills/me/a", "list skills", ""),
        ("file skills/me/SKILL.md; file skills/me/a", "read skills a", "not-found"),
        ("file skills/me/SKILL.md; file skills/me/a", "remove skills a", "not-found"),
        ("file skills/me/SKILL.md; file skills/me/a", "preopen skills", "not-found"),
        ("file skills/me/SKILL.md; file skills/me/a", "write skills b", "read-only"),
        ("symlink skills/me/SKILL.md nothing; file skills/me/a", "read skills a", "not-found"),
        ("folder skills/me/SKILL.md; file skills/me/a", "write skills a", "read-only"),
        ("", "write skills SKILL.md", "bad-path"),
        ("", "write skills SKILL.md/x", "bad-path"),
        ("", "write skills skill.md", "bad-path"),
        ("", "write skills \u{17f}\u{212a}iLL.mD", "bad-path"),
        ("", "write skills a/SKILL.md", "done"),
    ];
    let cases: Vec<Case> = lines.into_iter().map(|(lies, ask, comes)| case(lies, ask, comes)).collect();
    run_all(&cases);
}
