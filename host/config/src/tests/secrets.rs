//! Promise S1: no secret, nor the beginning of one, in any message, `Debug` or listing. Promise S2: how they are kept.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use crate::load::{build_text, load_in};
use crate::schema::KEYS;
use crate::setting::Kind;
use crate::{AdminListen, LoadOptions, Paths, Problems, Settings};

use super::{STRONG, environment, golden, load_str, paths};

/// Its first four characters occur nowhere else.
const CANARY: &str = "zqxj-5c0ffee5-0123456789-abcdef";

fn assert_clean(shown: &str, what: &str) {
    for part in [&CANARY[..4], "canary-"] {
        assert!(!shown.contains(part), "{what} shows {part}:\n{shown}");
    }
}

/// All that can be shown of a configuration.
fn everything_shown(text: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.yaml");
    fs::write(&file, text).unwrap();
    let paths = Paths::resolve_in(None, Some(file), &environment).unwrap();
    let mut shown = format!("{:?}", Settings::read(&paths));
    if let Ok(settings) = Settings::read(&paths) {
        shown += &format!("{settings:?}{:?}{}{:?}", settings.listing(), settings.listing(), settings.get("llm"));
    }
    match load_in(&paths, LoadOptions::default(), &environment) {
        Ok(loaded) => {
            let overview = loaded.config.overview();
            shown += &format!("{loaded:?}{overview}{}", serde_json::to_string(&overview).unwrap());
        }
        Err(problems) => shown += &shown_of(&problems),
    }
    shown
}

fn shown_of(problems: &Problems) -> String {
    let lines: String = problems.problems.iter().map(ToString::to_string).collect();
    format!("{problems}{problems:?}{lines}{}", serde_json::to_string(problems).unwrap())
}

#[test]
fn no_secret_is_shown_however_it_is_written() {
    let ways = [
        CANARY.to_owned(),
        format!("\"{CANARY}\""),
        format!("[{CANARY}]"),
        format!("{{ {CANARY}: 1 }}"),
        format!("\"{CANARY} with a blank\""),
        format!("env:{CANARY}"),
        format!("\"{CANARY}"),
        format!("!!binary {CANARY}"),
        format!("!!int {CANARY}"),
        format!("{CANARY}: 1"),
    ];
    for key in KEYS.iter().filter(|key| matches!(key.kind, Kind::Secret)) {
        let path = key.path.replace('*', "x1");
        let parts: Vec<&str> = path.split('.').collect();
        for way in &ways {
            let text = format!(
                "{}{way}\n",
                parts.iter().enumerate().fold(String::new(), |text, (depth, part)| {
                    format!("{text}{}{part}: {}", "  ".repeat(depth), if depth + 1 < parts.len() { "\n" } else { "" })
                })
            );
            assert_clean(&everything_shown(&text), &text);
        }
    }
}

#[test]
fn no_example_shows_a_secret() {
    for file in golden() {
        let text = fs::read_to_string(&file).unwrap();
        assert_clean(&everything_shown(&text), &file.display().to_string());
        let shown = fs::read_to_string(file.with_extension("txt")).unwrap();
        assert_clean(&shown, &file.display().to_string());
    }
}

#[test]
fn secrets_are_read_from_where_they_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key");
    fs::write(&file, format!("{CANARY}\n")).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o400)).unwrap();
    let key = |reference: &str| {
        let text = format!("proxy: {{ api_key: '{reference}' }}");
        load_str(&text).unwrap().config.server.api_key.unwrap().expose().to_owned()
    };
    assert_eq!(key("env:STRONG_KEY"), STRONG);
    assert_eq!(key(CANARY), CANARY);
    assert_eq!(key(&format!("file:{}", file.display())), CANARY, "the line's end is not part of it");
}

#[test]
fn a_secret_file_is_a_regular_file_that_nobody_else_can_touch() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key");
    fs::write(&file, CANARY).unwrap();
    let refusal = |path: &Path| {
        let text = format!("proxy: {{ api_key: 'file:{}' }}", path.display());
        let problems = load_str(&text).unwrap_err();
        assert_clean(&shown_of(&problems), "a refused file");
        problems.to_string()
    };
    for mode in 0..0o1000 {
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        if mode & 0o077 != 0 {
            let refused = refusal(&file);
            // Whoever is not root cannot even open what has no read bit.
            assert!(refused.contains(&format!("(mode {mode:04o})")) || refused.contains("cannot open"), "{refused}");
        }
    }
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let link = folder.path().join("link");
    symlink(&file, &link).unwrap();
    assert!(refusal(&link).contains("is a symbolic link"));
    assert!(refusal(folder.path()).contains("is not a regular file"));
    let pipe = folder.path().join("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    assert!(refusal(&pipe).contains("is not a regular file"), "and nothing waits for the pipe's other end");
    fs::write(&file, "\n").unwrap();
    assert!(refusal(&file).contains("is empty"));
    fs::write(&file, format!("{CANARY}\n{CANARY}\n")).unwrap();
    assert!(refusal(&file).contains("a line break"));
}

#[test]
fn a_file_that_is_open_to_others_is_refused_with_the_command_that_mends_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.yaml");
    let paths = Paths::resolve_in(None, Some(file.clone()), &environment).unwrap();
    for text in [format!("proxy: {{ api_key: {CANARY} }}"), "mode: rl".to_owned()] {
        fs::write(&file, text).unwrap();
        for mode in 0..0o1000 {
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            let loaded = load_in(&paths, LoadOptions::default(), &environment);
            if mode & 0o077 != 0 {
                let refused = loaded.unwrap_err().to_string();
                let said = refused.contains(&format!("(mode {mode:04o})")) && refused.contains("`chmod 600 ");
                // Whoever is not root cannot even open what has no read bit.
                assert!(said || refused.contains("cannot be read"), "{mode:o}: {refused}");
            } else {
                assert!(loaded.is_ok() || mode & 0o400 == 0, "{mode:o}");
            }
        }
    }
}

#[test]
fn keys_of_the_key_file_count_as_keys() {
    let exposed = "proxy: { host: 0.0.0.0 }";
    assert!(build_text(exposed, &paths(), LoadOptions::default(), &environment).is_err());
    let loaded = build_text(exposed, &paths().with_keys(true), LoadOptions::default(), &environment).unwrap();
    assert!(loaded.config.server.wants_key());
}

#[test]
fn administration_is_never_open_to_the_network() {
    let listens = |text: &str| load_str(&format!("admin: {{ listen: {text:?} }}")).map(|loaded| loaded.config.admin);
    let unix = |path: &str| AdminListen::Unix(path.into());
    for (text, at) in [
        ("", unix("/home/ada/.metaclaw/run/admin.sock")),
        ("unix:/run/metaclaw/a.sock", unix("/run/metaclaw/a.sock")),
        ("unix:~/a.sock", unix("/home/ada/a.sock")),
        ("unix:a.sock", unix("/home/ada/.metaclaw/a.sock")),
        ("127.0.0.1:0", AdminListen::Tcp("127.0.0.1:0".parse().unwrap())),
        ("[::1]:30001", AdminListen::Tcp("[::1]:30001".parse().unwrap())),
        ("none", AdminListen::None),
    ] {
        assert_eq!(listens(text).unwrap(), at, "{text}");
    }
    let long = format!("unix:/{}", "x".repeat(107));
    for text in [
        "0.0.0.0:30001",
        "10.0.0.1:1",
        "[::]:1",
        "[::ffff:10.0.0.1]:1",
        "127.0.0.1",
        "localhost:1",
        "unix:",
        "on",
        &long,
    ] {
        let problems = listens(text).unwrap_err();
        assert!(problems.errors().any(|p| p.path == "admin.listen"), "{text}: {problems}");
    }
}

#[test]
fn weak_keys_are_refused_off_loopback() {
    let weak = [
        "metaclaw",
        "short",
        "aaaaaaaaaaaaaaaaaaaaaaaa",
        "changeme-changeme-changeme",
        "sk-xxxxxxxxxxxxxxxxxxxxx",
        "passwordpasswordpassword",
        "1234567890123456",
        "ABABABABABABABABABAB",
        "your-api-key-goes-here",
    ];
    for key in weak {
        let text = format!("proxy: {{ host: 0.0.0.0, api_key: '{key}' }}");
        let problems = load_str(&text).map(|_| ()).unwrap_err();
        assert!(problems.errors().any(|p| p.path == "proxy.api_key"), "{problems}");
    }
    for host in ["0.0.0.0", "::", "10.0.0.1", "169.254.1.1", "::ffff:10.0.0.1", "fe80::1", "203.0.113.9"] {
        assert!(load_str(&format!("proxy: {{ host: '{host}' }}")).is_err(), "{host} without a key");
        assert!(load_str(&format!("proxy: {{ host: '{host}', api_key: '{STRONG}' }}")).is_ok(), "{host} with one");
    }
    for host in ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1", "localhost"] {
        assert!(load_str(&format!("proxy: {{ host: '{host}' }}")).is_ok(), "{host}");
    }
    assert_eq!(paths().home, Path::new("/home/ada/.metaclaw"));
}
