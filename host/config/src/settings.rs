use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::PathBuf;

use crate::load::Source;
use crate::paths::Paths;
use crate::problem::{Place, Problems, Report};
use crate::schema::{self, Gate, Key, Usage};
use crate::secret::SecretRef;
use crate::setting::{Setting, suggestion};
use crate::yaml::{self, Node, Value, join};
use domain::{AgentId, AgentName};

/// What is said of a key that is MetaClaw's and does nothing in this build.
pub const NOT_ACTED_ON: &str = "this key is accepted but not acted on yet";
/// The `_default` agent's section, from which the others inherit.
const DEFAULT_AGENT: &str = "_default";
/// The section of public keys.
const TRUST: &str = "trust";
/// Longer names are no names.
const MAX_NAME: usize = 64;

/// The values that a file holds, each checked on its own: known keys, right kinds, right ranges.
///
/// Whether they make sense together is for [`load`](crate::load) to say.
#[derive(Debug)]
pub struct Settings {
    pub(crate) file: PathBuf,
    pub(crate) home: PathBuf,
    found: BTreeMap<String, Found>,
    /// Keys that the file has, with a value that does not fit.
    broken: BTreeSet<String>,
    pub(crate) agents: BTreeMap<AgentId, Place>,
    pub(crate) upstreams: BTreeMap<String, Place>,
    /// Those whose signatures may count.
    pub(crate) trusted: BTreeMap<String, Place>,
}

/// A value and where it stands.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) setting: Setting,
    pub(crate) place: Place,
    key: &'static Key,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.path)
    }
}

// === Reading ===

impl Settings {
    /// Reads the file's values; a missing file has none. Values may still contradict one another.
    pub fn read(paths: &Paths) -> Result<Settings, Problems> {
        let mut report = Report::default();
        let source = Source::read(paths, &mut report);
        let settings = Settings::parse(source.text.as_deref().unwrap_or_default(), paths, &mut report);
        if report.has_errors() { Err(report.finish(&paths.config_file)) } else { Ok(settings) }
    }

    pub(crate) fn parse(text: &str, paths: &Paths, report: &mut Report) -> Settings {
        let mut settings = Settings {
            file: paths.config_file.clone(),
            home: paths.home.clone(),
            found: BTreeMap::new(),
            broken: BTreeSet::new(),
            agents: BTreeMap::new(),
            upstreams: BTreeMap::new(),
            trusted: BTreeMap::new(),
        };
        match yaml::parse(text, report).map(|node| (node.value, node.place)) {
            None | Some((Value::Null, _)) => {}
            Some((Value::Map(entries), _)) => settings.read_section(&entries, "", "", report),
            Some((_, place)) => report.error(
                "",
                Some(place),
                "the file is not a section of keys",
                "begin with a key, such as `mode: skills_only`",
            ),
        }
        settings
    }

    /// `pattern` is `path` with `*` for the names that users give.
    fn read_section(&mut self, entries: &[(yaml::Key, Node)], pattern: &str, path: &str, report: &mut Report) {
        let mut seen = HashSet::new();
        for (key, node) in entries {
            if !seen.insert(&key.name) {
                // Reported when the text was read.
                continue;
            }
            if schema::is_named_by_user(pattern) {
                if let Some(name) = self.name(key, path, report) {
                    self.entry(node, &join(pattern, "*"), &join(path, &name), report);
                }
            } else if schema::children(pattern).contains(&key.name.as_str()) {
                self.entry(node, &join(pattern, &key.name), &join(path, &key.name), report);
            } else {
                report_unknown(key, pattern, path, report);
            }
        }
    }

    /// Checks the name of an agent, an upstream or a key, and notes that there is one.
    fn name(&mut self, key: &yaml::Key, path: &str, report: &mut Report) -> Option<String> {
        let place = Some(key.place);
        if path == "agents" {
            let id = match key.name.as_str() {
                DEFAULT_AGENT => AgentId::Default,
                name => match name.parse::<AgentName>() {
                    Ok(name) => AgentId::Named(name),
                    Err(error) => {
                        let remedy = "use a-z, 0-9, `_` and `-`, beginning with a letter or digit; or _default";
                        report.error(path, place, format!("{}: {error}", yaml::quote(name)), remedy);
                        return None;
                    }
                },
            };
            let name = id.as_str().to_owned();
            if let Some(first) = self.agents.insert(id, key.place) {
                let message = format!("the agent `{name}` is here already, in line {}", first.line);
                report.error(join(path, &name), place, message, "agents' names are lower-cased; keep one of the two");
                return None;
            }
            return Some(name);
        }
        let first = |c: char| c.is_ascii_alphanumeric();
        let good = key.name.len() <= MAX_NAME
            && key.name.starts_with(first)
            && key.name.chars().all(|c| first(c) || c == '_' || c == '-');
        if !good {
            let what = if path == TRUST { "a key" } else { "an upstream" };
            let message = format!("{} cannot name {what}", yaml::quote(&key.name));
            report.error(path, place, message, "use letters, digits, `_` and `-`, at most 64");
            return None;
        }
        let names = if path == TRUST { &mut self.trusted } else { &mut self.upstreams };
        names.insert(key.name.clone(), key.place);
        Some(key.name.clone())
    }

    fn entry(&mut self, node: &Node, pattern: &str, path: &str, report: &mut Report) {
        if let Some(key) = schema::find(pattern) {
            return self.value(node, key, path, report);
        }
        let module = join(pattern, "module");
        match (&node.value, schema::find(&module)) {
            (Value::Null, _) => {}
            (Value::Map(entries), _) => self.read_section(entries, pattern, path, report),
            // `route: policies/r.wasm` is short for `route: { module: policies/r.wasm }`.
            (Value::Text(_), Some(key)) => self.value(node, key, &join(path, "module"), report),
            _ => {
                let example = schema::children(pattern).first().copied().unwrap_or_default();
                let message = "this is a section, not a value";
                report.error(path, Some(node.place), message, format!("write `{example}: …` in a line below it"));
            }
        }
    }

    fn value(&mut self, node: &Node, key: &'static Key, path: &str, report: &mut Report) {
        match key.kind.read(node) {
            Ok(None) => {}
            Ok(Some(setting)) => {
                self.found.insert(path.to_owned(), Found { setting, place: node.place, key });
            }
            Err(misfit) => {
                self.broken.insert(path.to_owned());
                report.error(path, Some(node.place), misfit.message, misfit.remedy);
            }
        }
    }

    /// Warns of keys that the host does not act on yet, and of secrets in plain text (an error when `strict`).
    pub(crate) fn review(&self, trains: bool, strict: bool, report: &mut Report) {
        for (path, found) in &self.found {
            let place = Some(found.place);
            let idle = self.is_idle(found, trains);
            let literal = matches!(found.setting, Setting::Secret(SecretRef::Literal(_)));
            match (literal, idle) {
                (false, true) => {}
                (false, false) => {
                    report.warning(path, place, NOT_ACTED_ON, "remove it, or let it be");
                }
                (true, _) if strict => {
                    report.error(path, place, "the secret stands here in plain text", "write env:NAME or file:PATH");
                }
                (true, true) => {
                    let remedy = "write env:NAME or file:PATH instead";
                    report.warning(path, place, "the secret stands here in plain text", remedy);
                }
                (true, false) => {
                    let message = "this key is accepted but not acted on yet, and a secret stands here in plain text";
                    report.warning(path, place, message, "remove it, or write env:NAME or file:PATH instead");
                }
            }
        }
    }

    /// Whether the host does what the key asks for, be it because it asks for nothing.
    fn is_idle(&self, found: &Found, trains: bool) -> bool {
        let Usage::Later { idle, gate } = found.key.usage else { return true };
        let value = found.setting.to_string();
        let shut = match gate {
            Gate::Always => false,
            Gate::Rl => !trains,
            Gate::Switch(path) => !matches!(self.found.get(path).map(|f| &f.setting), Some(Setting::Bool(true))),
        };
        shut || value.is_empty() || idle.contains(&value.as_str())
    }
}

fn report_unknown(key: &yaml::Key, pattern: &str, path: &str, report: &mut Report) {
    /// Listing more than this helps nobody.
    const FEW: usize = 12;
    let known = schema::children(pattern);
    let remedy = if key.name.contains('.') && schema::find_path(&join(path, &key.name)).is_some() {
        "write each part of the key in a line of its own, below the one before".to_owned()
    } else if let Some(word) = suggestion(&key.name, known.iter().copied()) {
        format!("did you mean `{}`?", join(path, word))
    } else if let Some(elsewhere) = schema::elsewhere(&key.name) {
        format!("did you mean `{elsewhere}`?")
    } else if known.len() <= FEW {
        format!("the keys here are {}", known.join(", "))
    } else {
        "`metaclaw config keys` lists all keys".to_owned()
    };
    // The key's value is not shown: it may be a secret under a misspelt name.
    report.error(join(path, &cut(&key.name)), Some(key.place), "there is no such key", remedy);
}

/// A name that is fit to be shown.
fn cut(name: &str) -> String {
    name.chars().take(60).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

// === Looking up ===

impl Settings {
    /// What the file says at this path.
    pub(crate) fn find(&self, path: &str) -> Option<&Found> {
        self.found.get(path)
    }

    /// Whether the file has this key, or any key below this section.
    pub fn has(&self, key: &str) -> bool {
        let below = format!("{key}.");
        let within = |path: &String| path == key || path.starts_with(&below);
        let agents = self.agents.keys().map(|name| format!("agents.{name}"));
        let upstreams = self.upstreams.keys().map(|name| format!("upstreams.{name}"));
        self.found.keys().chain(&self.broken).any(within) || agents.chain(upstreams).any(|path| within(&path))
    }

    /// Whether the file says something at this path, fitting or not.
    pub(crate) fn mentions(&self, path: &str) -> bool {
        self.found.contains_key(path) || self.broken.contains(path)
    }

    /// What holds for an agent: its own word, else `_default`'s, else the top level's.
    pub(crate) fn inherited(&self, agent: &AgentId, rest: &str) -> Option<(String, &Found)> {
        let own = format!("agents.{agent}.{rest}");
        let default = format!("agents.{DEFAULT_AGENT}.{rest}");
        [own, default, rest.to_owned()].into_iter().find_map(|path| self.found.get(&path).map(|found| (path, found)))
    }

    /// The modes that the file names anywhere.
    pub(crate) fn modes(&self) -> impl Iterator<Item = (&str, &Found)> {
        self.found.iter().filter(|(path, _)| *path == "mode" || path.ends_with(".mode")).map(|(p, f)| (p.as_str(), f))
    }
}

/// The value that the schema gives a key that is missing.
pub(crate) fn default_setting(key: &Key) -> Option<Setting> {
    let node = Node { place: Place { line: 0, column: 0 }, value: Value::Text(key.default.to_owned()) };
    key.kind.read(&node).ok().flatten().filter(|_| !key.default.is_empty())
}
