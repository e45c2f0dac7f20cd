//! `metaclaw config KEY VALUE`.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use crate::edit::{set_in, unset_in};
use crate::schema::KEYS;
use crate::setting::Kind;
use crate::{ConfigError, LoadOptions, Paths, Problem, Settings};

use super::environment;

struct Folder {
    folder: tempfile::TempDir,
    paths: Paths,
}

impl Folder {
    fn new(text: &str) -> Folder {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths::resolve_in(Some(folder.path().join("home")), None, &environment).unwrap();
        if !text.is_empty() {
            fs::create_dir(&paths.home).unwrap();
            fs::write(&paths.config_file, text).unwrap();
        }
        Folder { folder, paths }
    }

    fn set(&self, changes: &[(&str, &str)]) -> Result<Vec<Problem>, ConfigError> {
        set_in(&self.paths, changes, LoadOptions::default(), &environment)
    }

    fn unset(&self, key: &str) -> Result<(), ConfigError> {
        unset_in(&self.paths, key, LoadOptions::default(), &environment)
    }

    fn text(&self) -> String {
        fs::read_to_string(&self.paths.config_file).unwrap_or_default()
    }
}

/// Sets one key and compares the whole file.
fn check(before: &str, key: &str, value: &str, after: &str) {
    let folder = Folder::new(before);
    folder.set(&[(key, value)]).unwrap_or_else(|error| panic!("{key} = {value}: {error}"));
    assert_eq!(folder.text(), after, "{key} = {value}");
}

const COMMENTED: &str = "\
# My configuration.

mode: skills_only   # for now
llm:
  provider: ollama  # local
  # The small one.
  model_id: llama3.2

proxy:
  port: 30000
";

#[test]
fn a_change_keeps_comments_order_and_blank_lines() {
    check(COMMENTED, "mode", "rl", &COMMENTED.replace("mode: skills_only   # for now", "mode: rl   # for now"));
    check(COMMENTED, "llm.model_id", "qwen3", &COMMENTED.replace("llama3.2", "qwen3"));
    check(COMMENTED, "proxy.port", "31000", &COMMENTED.replace("30000", "31000"));
    check(COMMENTED, "skills.enabled", "False", &format!("{COMMENTED}skills:\n  enabled: false\n"));
    check(COMMENTED, "proxy.max_body", "8MiB", &format!("{COMMENTED}  max_body: 8MiB\n"));
    check(COMMENTED, "agents.coder.mode", "rl", &format!("{COMMENTED}agents:\n  coder:\n    mode: rl\n"));
}

#[test]
fn a_value_is_written_as_what_it_is() {
    check("mode: rl\n", "skills.min_score", "0.5", "mode: rl\nskills:\n  min_score: 0.5\n");
    check("mode: rl\n", "rl.model", "123", "mode: rl\nrl:\n  model: '123'\n");
    check("mode: rl\n", "rl.model", "true", "mode: rl\nrl:\n  model: 'true'\n");
    check("mode: rl\n", "rl.model", "embed: #1", "mode: rl\nrl:\n  model: 'embed: #1'\n");
    check("mode: rl\n", "rl.model", "", "mode: rl\nrl:\n  model: ''\n");
}

#[test]
fn lists_and_module_settings_can_be_set() {
    let folder = Folder::new("upstreams:\n  a:\n    provider: ollama\nagents:\n  _default:\n    upstream: a\n");
    folder.set(&[("upstreams.a.models", "x, y"), ("agents.coder.policy.config.max_skills", "4")]).unwrap();
    let settings = Settings::read(&folder.paths).unwrap();
    assert_eq!(settings.get("upstreams.a.models").unwrap(), serde_json::json!(["x", "y"]));
    assert_eq!(settings.get("agents.coder.policy.config.max_skills").unwrap(), serde_json::json!(4));
}

#[test]
fn a_first_change_creates_the_file_for_its_owner_alone() {
    let folder = Folder::new("");
    folder.set(&[("mode", "rl")]).unwrap();
    assert_eq!(folder.text(), "mode: rl\n");
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder.paths.config_file), 0o600);
    assert_eq!(mode(&folder.paths.home), 0o700);

    let commented = Folder::new("# Nothing yet.");
    fs::set_permissions(&commented.paths.config_file, fs::Permissions::from_mode(0o644)).unwrap();
    commented.set(&[("mode", "rl")]).unwrap();
    assert_eq!(commented.text(), "# Nothing yet.\nmode: rl\n");
    assert_eq!(mode(&commented.paths.config_file), 0o600);
}

#[test]
fn a_link_stays_a_link() {
    let folder = Folder::new("mode: rl\n");
    let real = folder.folder.path().join("dotfiles.yaml");
    fs::rename(&folder.paths.config_file, &real).unwrap();
    symlink(&real, &folder.paths.config_file).unwrap();
    folder.set(&[("mode", "skills_only")]).unwrap();
    assert!(fs::symlink_metadata(&folder.paths.config_file).unwrap().is_symlink());
    assert_eq!(fs::read_to_string(&real).unwrap(), "mode: skills_only\n");
}

#[test]
fn a_change_that_would_break_the_file_is_refused() {
    let refused = |before: &str, changes: &[(&str, &str)], expected: &str| {
        let folder = Folder::new(before);
        let error = folder.set(changes).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert_eq!(folder.text(), before, "nothing was written");
    };
    refused("mode: rl\n", &[("proxy.host", "0.0.0.0")], "opens the proxy to the network");
    refused("mode: rl\n", &[("llm.provider", "olama")], "did you mean ollama?");
    refused("mode: rl\n", &[("mode", "turbo")], "write skills_only, rl, auto or madmax");
    refused("mode: rl\n", &[("skils.top_k", "3")], "did you mean skills.top_k?");
    refused("mode: rl\n", &[("llm", "kimi")], "is not a configuration key");
    refused("mode: rl\n", &[("agents.Coder!.mode", "rl")], "an agent id holds only");
    refused("mode: rl\n", &[("agents.a.policy.config", "{}")], "set the keys below it one by one");
    refused("mode: [\n", &[("mode", "rl")], "this is not YAML");
    refused("mode: rl\n", &[("mode", "auto"), ("proxy.port", "x")], "is not a whole number");
}

#[test]
fn changes_that_need_each_other_are_made_together() {
    let folder = Folder::new("mode: rl\n");
    let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    folder.set(&[("agents.a.policy.module", "a.wasm"), ("agents.a.policy.sha256", digest)]).unwrap();
    assert_eq!(Settings::read(&folder.paths).unwrap().get("agents.a.policy.sha256").unwrap(), digest);
}

#[test]
fn an_error_that_is_there_already_does_not_prevent_mending_another() {
    let folder = Folder::new("llm:\n  provider: olama\nskills:\n  topk: 3\n");
    folder.set(&[("llm.provider", "ollama")]).unwrap();
    assert!(folder.text().contains("provider: ollama"));
}

#[test]
fn a_reference_to_a_variable_that_is_not_set_here_can_be_written() {
    let folder = Folder::new("mode: rl\n");
    let lenient = |name: &str| environment(name).or_else(|| Some("not-set-here-0123456789".to_owned()));
    set_in(&folder.paths, &[("proxy.api_key", "env:ELSEWHERE")], LoadOptions::default(), &lenient).unwrap();
    assert!(folder.text().contains("api_key: env:ELSEWHERE"));
}

#[test]
fn a_secret_is_written_and_never_shown() {
    let folder = Folder::new("mode: rl\n");
    let warnings = folder.set(&[("proxy.api_key", "canary-k9Qw3nZ7tB1xV5mR8yL2pD6s")]).unwrap();
    assert_eq!(
        warnings.iter().map(|w| w.message.as_str()).collect::<Vec<_>>(),
        ["the secret stands here in plain text"]
    );
    assert!(folder.text().contains("canary-"));
    let settings = Settings::read(&folder.paths).unwrap();
    assert_eq!(settings.get("proxy.api_key").unwrap(), "•••");
    let error = folder.set(&[("proxy.api_key", "canary with blanks")]).unwrap_err();
    assert!(!format!("{error} {error:?}").contains("canary"), "{error:?}");
}

#[test]
fn every_scalar_key_can_be_set_in_a_file_with_comments() {
    for key in KEYS.iter().filter(|key| !key.default.is_empty()) {
        let path = key.path.replace('*', "x1");
        let folder = Folder::new(COMMENTED);
        match folder.set(&[(&path, key.default)]) {
            Ok(_) => assert!(folder.text().contains("# The small one."), "{path}: {}", folder.text()),
            Err(error) => panic!("{path} = {}: {error}", key.default),
        }
        if !matches!(key.kind, Kind::Number(..)) {
            assert_eq!(
                Settings::read(&folder.paths).unwrap().get(&path).unwrap().to_string().trim_matches('"'),
                key.default
            );
        }
    }
}

#[test]
fn get_gives_the_value_in_force() {
    let folder = Folder::new(
        "skills:\n  top_k: 3\nagents:\n  _default:\n    mode: rl\n  coder:\n    skills:\n      token_budget: 500\n",
    );
    let settings = Settings::read(&folder.paths).unwrap();
    for (key, value) in [
        ("skills.top_k", serde_json::json!(3)),
        ("skills.token_budget", serde_json::json!(2000)),
        ("mode", serde_json::json!("skills_only")),
        ("agents.coder.mode", serde_json::json!("rl")),
        ("agents.coder.skills.top_k", serde_json::json!(3)),
        ("agents.coder.skills.token_budget", serde_json::json!(500)),
        ("agents.coder.skills.min_score", serde_json::json!(0.0)),
        ("agents.stranger.mode", serde_json::json!("rl")),
        ("agents.coder.policy.limits.cpu", serde_json::json!("50ms")),
        ("llm.api_base", serde_json::Value::Null),
        ("skills.dir", folder.paths.home.join("skills").display().to_string().into()),
        ("agents.coder.rl.lora_output", folder.paths.home.join("lora/coder").display().to_string().into()),
        ("agents.coder", serde_json::json!({ "skills": { "token_budget": 500 } })),
        ("upstreams", serde_json::Value::Null),
    ] {
        assert_eq!(settings.get(key).unwrap(), value, "{key}");
    }
    let error = settings.get("skill.top_k").unwrap_err().to_string();
    assert_eq!(error, "`skill.top_k` is not a configuration key: did you mean skills.top_k?");
}

#[test]
fn a_listing_is_a_file_that_means_the_same() {
    let text = "mode: rl\nproxy: { api_key: 'env:STRONG_KEY' }\nrl: { model: '0123', resume_from_ckpt: 'yes' }\n\
                upstreams: { a: { provider: ollama, models: [x, 'y: z'] } }\n\
                agents: { b: { upstream: a, policy: { config: { words: ['#'] } } }, _default: { upstream: a } }\n";
    let folder = Folder::new(text);
    let listing = Settings::read(&folder.paths).unwrap().listing();
    let again = Folder::new(&listing.to_string());
    let said = |listing: &crate::Listing| -> Vec<_> {
        listing.0.iter().filter(|s| !s.path.ends_with("dir")).map(|s| (s.path.clone(), s.value.clone())).collect()
    };
    assert_eq!(said(&Settings::read(&again.paths).unwrap().listing()), said(&listing));
    assert!(listing.to_string().contains("  port: 30000  # default\n"), "{listing}");
}

#[test]
fn keys_and_sections_can_be_taken_out() {
    let text =
        "# Kept.\nmode: rl # gone\nagents:\n  # Of the writer.\n  writer: { mode: rl }\n  Coder:\n    mode: rl\n";
    let folder = Folder::new(text);
    folder.unset("mode").unwrap();
    folder.unset("agents.coder").unwrap();
    let settings = Settings::read(&folder.paths).unwrap();
    assert_eq!(settings.agents.len(), 1, "{}", folder.text());
    assert!(folder.text().starts_with("# Kept.\n") && !folder.text().contains("Coder"), "{}", folder.text());
    folder.unset("agents.writer").unwrap();
    assert_eq!(Settings::read(&folder.paths).unwrap().listing().0.iter().filter(|s| s.in_file).count(), 0);
    let error = folder.unset("agents.writer").unwrap_err().to_string();
    assert_eq!(error, "`agents.writer`: the file does not have this key");
}

#[test]
fn what_others_need_cannot_be_taken_out() {
    let text = "proxy:\n  host: 0.0.0.0\n  api_key: env:STRONG_KEY\n";
    let folder = Folder::new(text);
    assert!(matches!(folder.unset("proxy.api_key"), Err(ConfigError::WouldBreak { .. })));
    assert_eq!(folder.text(), text);
}

#[test]
fn an_agent_is_found_however_its_name_is_written() {
    check("agents:\n  Coder:\n    mode: rl\n", "agents.coder.mode", "auto", "agents:\n  Coder:\n    mode: auto\n");
}

#[test]
fn several_changes_are_worked_out_together_and_nothing_is_written() {
    let folder = Folder::new(COMMENTED);
    let change = |key: &str, value: Option<&str>| (key.to_owned(), value.map(str::to_owned));
    let changes = [
        change("llm.provider", Some("custom")),
        change("llm.api_base", Some("http://127.0.0.1:9/v1")),
        change("llm.model_id", None),
        change("llm.api_key", None),
        change("agents.coder.skills.top_k", Some("3")),
    ];
    let edited = crate::edited(&folder.paths, &changes, LoadOptions::default()).unwrap();
    assert_eq!(folder.text(), COMMENTED);
    for part in ["# local", "provider: custom", "api_base: http://127.0.0.1:9/v1", "    skills:\n      top_k: 3\n"] {
        assert!(edited.text.contains(part), "{part} is missing in:\n{}", edited.text);
    }
    assert!(!edited.text.contains("model_id"), "{}", edited.text);
    let wrong = [change("proxy.port", Some("many"))];
    assert!(crate::edited(&folder.paths, &wrong, LoadOptions::default()).is_err());
}

#[test]
fn a_whole_file_is_replaced_only_by_a_good_one_and_kept() {
    let folder = Folder::new(COMMENTED);
    let replace = |text: &str| crate::replace(&folder.paths, text, "20260102-030405", LoadOptions::default());
    assert!(replace("modee: rl\n").is_err());
    assert_eq!(folder.text(), COMMENTED, "a bad one replaces nothing");
    let first = replace("mode: rl\n").unwrap().unwrap();
    assert_eq!(first.file_name().unwrap(), "config.yaml.bak-20260102-030405");
    assert_eq!(fs::read_to_string(&first).unwrap(), COMMENTED);
    assert_eq!(fs::metadata(&first).unwrap().permissions().mode() & 0o777, 0o600);
    let second = replace("mode: auto\n").unwrap().unwrap();
    assert_eq!(second.file_name().unwrap(), "config.yaml.bak-20260102-030405-2");
    assert_eq!(fs::read_to_string(&second).unwrap(), "mode: rl\n");
    assert_eq!(fs::metadata(&folder.paths.config_file).unwrap().permissions().mode() & 0o777, 0o600);
    let none = Folder::new("");
    assert_eq!(crate::replace(&none.paths, "mode: rl\n", "x", LoadOptions::default()).unwrap(), None);
    assert_eq!(none.text(), "mode: rl\n");
}
