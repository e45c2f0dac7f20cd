//! The specification by example: `tests/golden/NAME.yaml` is a configuration, `NAME.txt` what becomes of it.
//!
//! `UPDATE_GOLDEN=1 cargo test -p config` rewrites the texts; read the difference before you commit it.

mod editing;
mod every_key;
mod secrets;

use std::fs;
use std::path::{Path, PathBuf};

use domain::{AgentId, Mode};

use crate::load::{build_text, load_in};
use crate::paths::{Paths, process_environment};
use crate::problem::Problems;
use crate::{LoadOptions, Loaded, UnknownRule};

/// A random key, for what needs a good one.
const STRONG: &str = "k9Qw3nZ7tB1xV5mR8yL2pD6s";

fn environment(name: &str) -> Option<String> {
    let value = match name {
        "HOME" => "/home/ada",
        "STRONG_KEY" => STRONG,
        "SHORT_KEY" => "short",
        "OPENAI_API_KEY" | "OPENROUTER_API_KEY" => "canary-environment-0123456789",
        _ => return None,
    };
    Some(value.to_owned())
}

fn paths() -> Paths {
    Paths::resolve_in(None, None, &environment).unwrap()
}

fn load_str(text: &str) -> Result<Loaded, Problems> {
    build_text(text, &paths(), options(text), &environment)
}

/// What the first line asks for: `# options: dev, strict, mode=rl`.
fn options(text: &str) -> LoadOptions {
    let asked = text.lines().next().and_then(|line| line.strip_prefix("# options: ")).unwrap_or_default();
    LoadOptions {
        dev: asked.contains("dev"),
        strict: asked.contains("strict"),
        mode: asked.contains("mode=rl").then_some(Mode::Rl),
        port: None,
    }
}

/// The problems and, when the configuration is good, what it comes to.
fn outcome(text: &str) -> String {
    match load_str(text) {
        Err(problems) => format!("{problems}\n"),
        Ok(loaded) => {
            let problems = Problems { file: paths().config_file, problems: loaded.warnings };
            let policies: String = loaded
                .config
                .agents()
                .filter(|(_, agent)| agent.policy.config_json != "{}" || agent.policy.builtin_json != "{}")
                .map(|(id, a)| format!("{id}: config {}, builtin {}\n", a.policy.config_json, a.policy.builtin_json))
                .collect();
            format!("{problems}\n\n{}\n{policies}", loaded.config.overview())
        }
    }
}

fn golden() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|e| e == "yaml"));
    files.sort();
    files
}

#[test]
fn every_example_comes_out_as_written() {
    let update = process_environment("UPDATE_GOLDEN").is_some();
    let mut different = Vec::new();
    for file in golden() {
        let got = outcome(&fs::read_to_string(&file).unwrap());
        let expected = file.with_extension("txt");
        if update {
            fs::write(&expected, &got).unwrap();
        } else if fs::read_to_string(&expected).unwrap_or_default() != got {
            different.push(format!("--- {}\n{got}", expected.display()));
        }
    }
    assert!(golden().len() > 30, "the examples are there");
    assert!(different.is_empty(), "run with UPDATE_GOLDEN=1 to accept:\n{}", different.join("\n"));
}

#[test]
fn without_a_file_the_embedded_model_answers_on_loopback() {
    let folder = tempfile::tempdir().unwrap();
    let home = |config| Paths::resolve_in(Some(folder.path().join("none")), config, &environment).unwrap();
    let loaded = load_in(&home(None), LoadOptions::default(), &environment).unwrap();
    assert_eq!(loaded.warnings, []);
    assert_eq!(outcome(""), fs::read_to_string(golden()[0].with_file_name("empty.txt")).unwrap());
    assert!(!folder.path().join("none").exists(), "loading creates nothing");

    let named = home(Some(folder.path().join("typo.yaml")));
    let problems = load_in(&named, LoadOptions::default(), &environment).unwrap_err();
    assert!(problems.to_string().contains("the file cannot be read"), "a file that was named must exist: {problems}");
}

#[test]
fn paths_come_from_arguments_then_from_the_environment() {
    let folder = |home: Option<&str>, config: Option<&str>, variables: &'static [(&str, &str)]| {
        let environment =
            move |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        Paths::resolve_in(home.map(PathBuf::from), config.map(PathBuf::from), &environment)
            .map(|paths| (paths.home.display().to_string(), paths.config_file.display().to_string()))
    };
    let both: &[(&str, &str)] = &[("HOME", "/home/ada"), ("METACLAW_HOME", "/srv/claw")];
    let pair = |home: &str, config: &str| (home.to_owned(), config.to_owned());
    assert_eq!(folder(Some("/x"), None, both).unwrap(), pair("/x", "/x/config.yaml"));
    assert_eq!(folder(None, None, both).unwrap(), pair("/srv/claw", "/srv/claw/config.yaml"));
    assert_eq!(folder(None, None, &both[..1]).unwrap(), pair("/home/ada/.metaclaw", "/home/ada/.metaclaw/config.yaml"));
    assert_eq!(folder(None, Some("/etc/c.yaml"), both).unwrap(), pair("/srv/claw", "/etc/c.yaml"));
    assert!(folder(None, None, &[("METACLAW_HOME", "")]).is_err(), "an empty variable says nothing");
}

#[test]
fn unlisted_agents_have_the_default_settings_and_their_own_adapters() {
    let agents = "agents: { _default: { mode: rl, rl: { lora_output: /srv/d } }, coder: { mode: skills_only } }\n";
    let stranger = AgentId::Named("stranger".parse().unwrap());
    let coder = AgentId::Named("coder".parse().unwrap());
    for (rule, lora) in [("own", "/home/ada/.metaclaw/lora/stranger"), ("default", "/srv/d"), ("reject", "/srv/d")] {
        let config = load_str(&format!("{agents}agents_unknown: {rule}\n")).unwrap().config;
        assert_eq!(config.agent(&stranger).mode, Mode::Rl, "{rule}");
        assert_eq!(config.agent(&stranger).rl.lora_output, Path::new(lora), "{rule}");
        assert_eq!(config.agent(&coder).mode, Mode::SkillsOnly, "{rule}");
        assert!(config.is_listed(&coder) && config.is_listed(&AgentId::Default) && !config.is_listed(&stranger));
    }
    let unknown = load_str("").unwrap().config.unknown;
    assert_eq!((unknown.rule, unknown.cap), (UnknownRule::Own, 64));
}

#[test]
fn the_port_of_the_command_line_wins() {
    let options = LoadOptions { port: Some(0), ..LoadOptions::default() };
    let loaded = build_text("proxy: { port: 31000 }", &paths(), options, &environment).unwrap();
    assert_eq!(loaded.config.server.port, 0);
}

#[test]
fn an_unreadable_file_is_an_error_and_never_the_defaults() {
    let folder = tempfile::tempdir().unwrap();
    let cases: [(&str, &[u8], &str); 2] =
        [("latin.yaml", b"mode: \xff\n", "UTF-8"), ("large.yaml", &vec![b'#'; (1 << 20) + 1], "larger than 1 MiB")];
    for (name, bytes, expected) in cases {
        let file = folder.path().join(name);
        fs::write(&file, bytes).unwrap();
        let paths = Paths::resolve_in(None, Some(file), &environment).unwrap();
        let problems = load_in(&paths, LoadOptions::default(), &environment).unwrap_err().to_string();
        assert!(problems.contains(expected), "{problems}");
    }
    let paths = Paths::resolve_in(None, Some(folder.path().to_owned()), &environment).unwrap();
    assert!(load_in(&paths, LoadOptions::default(), &environment).is_err(), "a folder is no file");
}

#[test]
fn a_file_that_was_cut_off_anywhere_is_good_or_an_error() {
    for file in golden() {
        let text = fs::read_to_string(&file).unwrap();
        for (cut, _) in text.char_indices().step_by(11) {
            // Whatever comes out, nothing panics, and an error says something.
            if let Err(problems) = load_str(&text[..cut]) {
                assert!(problems.errors().all(|p| !p.message.is_empty() && !p.remedy.is_empty()), "{problems}");
            }
        }
    }
}
