//! Promise S2: what the host and the command write is their owner's alone, whatever the umask says.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tests::{Home, Upstream, guest};

/// Every path below a folder, links not followed, with its mode.
fn modes(folder: &Path) -> Vec<(PathBuf, bool, u32)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let about = fs::symlink_metadata(&path).unwrap();
            found.push((path.clone(), about.is_dir(), about.permissions().mode() & 0o777));
            if about.is_dir() {
                folders.push(path);
            }
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_is_written_is_private_under_umask_000() {
    let upstream = Upstream::echo().await;
    let (home, elsewhere) = (Home::with(&upstream, ""), Home::new());
    let run = |words: &[&str]| {
        let (code, out, err) = home.run_carelessly(words);
        assert_eq!(code, 0, "{words:?}: {out}{err}");
        out
    };
    let skill = elsewhere.skill("", "tides", "Use for tides", "T");
    let policy = format!("module: {}", guest("tests/guests/storing").display());
    let policy = format!("{{ {policy}, grants: {{ skills: write, lora: read, kv: 1KiB }} }}");
    home.config(&format!("{}agents: {{ a: {{ mode: rl, policy: {policy} }} }}\n", upstream.llm()));
    run(&["agents", "add", "b", "--mode", "rl"]);
    run(&["skills", "add", skill.to_str().unwrap(), "--agent", "a"]);
    let key = run(&["keys", "add", "--agent", "a"]);
    run(&["start", "--daemon", "--dev", "--port", "0", "--log", "info"]);
    assert_eq!(run(&["chat", "--agent", "a", "--key", key.trim(), "write skills notes.txt words"]).trim(), "done");
    run(&["keys", "rotate", key.trim(), "--grace", "0s"]);
    run(&["reload"]);
    let while_it_runs = modes(home.path());
    run(&["stop"]);
    let mut names = Vec::new();
    for (path, is_folder, mode) in [while_it_runs, modes(home.path())].concat() {
        assert_eq!(mode, if is_folder { 0o700 } else { 0o600 }, "{}", path.display());
        names.extend(path.file_name().map(|name| name.to_string_lossy().into_owned()));
    }
    for name in [
        "config.yaml",
        "state",
        "metaclaw.db",
        "running.json",
        "run",
        "admin.sock",
        "keys",
        "keys.json",
        "lock",
        "host.log",
        "SKILL.md",
        "notes.txt",
    ] {
        assert!(names.iter().any(|n| n == name), "{name} is not among {names:?}");
    }
}

/// A configuration that others can read or write stops the host, and the words say what mends it.
#[test]
fn a_configuration_that_is_open_to_others_is_refused() {
    let home = Home::new();
    home.config("mode: rl\n");
    let file = home.path().join("config.yaml");
    for mode in [0o644, 0o640, 0o660, 0o604, 0o602, 0o610] {
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        for words in [&["start"][..], &["config", "check"]] {
            let (code, out, err) = home.run(words);
            assert_eq!(code, 64, "{mode:o} {words:?}");
            let said = format!("{out}{err}");
            assert!(said.contains(&format!("chmod 600 {}", file.display())), "{mode:o}: {said}");
        }
    }
    assert!(!home.path().join("state").exists());
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(home.run(&["config", "check"]).0, 0);
}
