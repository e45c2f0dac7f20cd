//! The homes, by what is wrong in them.

mod beyond;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use tests::Home;

/// Breaks a home; what it gives is kept until the doctor has been.
type Break = fn(&Home) -> Box<dyn std::any::Any>;

/// A home in which something is wrong: how it comes about, and the check, level, words and remedy that must be found.
pub(super) type Case = (&'static str, Break, &'static [&'static str], [&'static str; 4]);

fn nothing() -> Box<dyn std::any::Any> {
    Box::new(())
}

pub(super) fn chmod(home: &Home, path: &str, mode: u32) {
    fs::set_permissions(home.path().join(path), fs::Permissions::from_mode(mode)).unwrap();
}

pub(super) fn write(home: &Home, path: &str, text: &str) {
    let file = home.path().join(path);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, text).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
}

fn config(home: &Home, text: &str) -> Box<dyn std::any::Any> {
    home.config(text);
    nothing()
}

const EMBEDDED: &str = "llm: { provider: embedded }\nproxy: { port: 0 }\n";
const NOBODY: &str =
    "llm: { provider: custom, model_id: m, api_base: \"http://127.0.0.1:9/v1\" }\nproxy: { port: 0 }\n";

/// Every one of them.
pub(super) const CASES: &[&[Case]] = &[WITHIN, beyond::BEYOND];

/// In the home's own files.
const WITHIN: &[Case] = &[
    (
        "no home",
        |home| {
            fs::remove_dir_all(home.path()).unwrap();
            nothing()
        },
        &[],
        ["home", "warning", "there is no", "metaclaw setup"],
    ),
    (
        "a file in the home's place",
        |home| {
            fs::remove_dir_all(home.path()).unwrap();
            fs::write(home.path(), "").unwrap();
            nothing()
        },
        &[],
        ["home", "failure", "is not a folder", "--home DIR"],
    ),
    (
        "the home is open",
        |home| {
            chmod(home, "", 0o755);
            nothing()
        },
        &[],
        ["home", "warning", "open to other users (mode 0755)", "chmod 700"],
    ),
    (
        "the configuration is open",
        |home| {
            chmod(home, "config.yaml", 0o644);
            nothing()
        },
        &[],
        ["home", "warning", "config.yaml is open to other users (mode 0644)", "chmod 600"],
    ),
    (
        "a copy of it is open",
        |home| {
            write(home, "config.yaml.bak-20260101-000000", "llm: {}\n");
            chmod(home, "config.yaml.bak-20260101-000000", 0o640);
            nothing()
        },
        &[],
        ["home", "warning", "bak-20260101-000000 is open", "chmod 600"],
    ),
    (
        "what MetaClaw logged in with is open",
        |home| {
            write(home, "auth-profiles.json", "{}");
            chmod(home, "auth-profiles.json", 0o644);
            nothing()
        },
        &[],
        ["home", "warning", "auth-profiles.json is open", "chmod 600"],
    ),
    ("no YAML", |home| config(home, "llm: {\n"), &[], ["config", "failure", "", ""]),
    (
        "an unknown key",
        |home| config(home, "modee: rl\nllm: { provider: embedded }\n"),
        &[],
        ["config", "failure", "modee", "did you mean `mode`?"],
    ),
    (
        "open to the network without a key",
        |home| config(home, "proxy: { host: 0.0.0.0 }\nllm: { provider: embedded }\n"),
        &[],
        ["config", "failure", "proxy.host", "set proxy.host to 127.0.0.1"],
    ),
    (
        "an unknown provider",
        |home| config(home, "llm: { provider: opnai, model_id: m }\n"),
        &[],
        ["config", "failure", "opnai", ""],
    ),
    (
        "MetaClaw's keys that do nothing",
        |home| config(home, &format!("memory: {{ enabled: true, top_k: 3 }}\n{EMBEDDED}")),
        &[],
        ["config", "warning", "not acted on yet: memory.enabled", "config check"],
    ),
    (
        "a variable is not set",
        |home| config(home, "llm: { provider: openai, model_id: m, api_key: \"env:NOT_SET_HERE\" }\n"),
        &[],
        ["secrets", "failure", "`NOT_SET_HERE` is not set", "set it where metaclaw is started"],
    ),
    (
        "a key's file is missing",
        |home| config(home, "llm: { provider: openai, model_id: m, api_key: \"file:no.key\" }\n"),
        &[],
        ["secrets", "failure", "cannot open", "chmod 600"],
    ),
    (
        "a key's file is open",
        |home| {
            write(home, "open.key", "sk-canary-file");
            chmod(home, "open.key", 0o644);
            config(home, "llm: { provider: openai, model_id: m, api_key: \"file:open.key\" }\n")
        },
        &[],
        ["secrets", "failure", "open to other users (mode 0644)", "chmod 600"],
    ),
    (
        "a key's file is a link",
        |home| {
            write(home, "real.key", "sk-canary-file");
            symlink("real.key", home.path().join("link.key")).unwrap();
            config(home, "llm: { provider: openai, model_id: m, api_key: \"file:link.key\" }\n")
        },
        &[],
        ["secrets", "failure", "symbolic link", "name the file"],
    ),
    (
        "a key's file is empty",
        |home| {
            write(home, "empty.key", "");
            config(home, "llm: { provider: openai, model_id: m, api_key: \"file:empty.key\" }\n")
        },
        &[],
        ["secrets", "failure", "is empty", "put the key into it"],
    ),
    (
        "the file of clients' keys is open",
        |home| {
            let (code, _, err) = home.run(&["keys", "add", "--agent", "a"]);
            assert_eq!(code, 0, "{err}");
            chmod(home, "keys/keys.json", 0o644);
            nothing()
        },
        &["--offline"],
        ["keys", "failure", "open to other users (mode 0644)", "--fix"],
    ),
    (
        "a key in plain text",
        |home| {
            config(
                home,
                "llm: { provider: custom, model_id: m, api_base: \"http://127.0.0.1:9/v1\", api_key: sk-canary-literal }\n",
            )
        },
        &["--offline"],
        ["secrets", "warning", "plain text", "env:NAME or file:PATH"],
    ),
];
