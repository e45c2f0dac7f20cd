//! What a connection is, and how connecting and disconnecting are worked out. Nothing here writes: see `job`.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::base::{Base, apply, check, in_force, without_ours};
use crate::document::Document;
use crate::edit::{Action, Edit, hex};
use crate::files::Snapshot;
use crate::job::{Job, Step};
use crate::plan::{self, ApiKey, Plan, Wanted};
use crate::record::Record;
use crate::shown::differences;
use crate::{ID, OpenclawError, include, roster};

/// The connection of one MetaClaw home, if there is one.
#[derive(Clone, Debug)]
pub struct Connection {
    pub(crate) folder: PathBuf,
}

/// A file of the plugin.
#[derive(Clone, Copy, Debug)]
pub struct PluginFile {
    /// Its name, without folders.
    pub name: &'static str,
    /// What it holds.
    pub text: &'static str,
}

/// What is connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// OpenClaw's file.
    pub config: PathBuf,
    /// The copy of it from before; none: there was no file.
    pub backup: Option<PathBuf>,
    /// The host's address in OpenClaw's file.
    pub base_url: Option<String>,
    /// The model of the agents that name none, where it is one of ours.
    pub default_model: Option<String>,
    /// The agents whose own model is one of ours, and that model.
    pub agents: Vec<(String, String)>,
    /// Keys that somebody has changed since; a connection may not work because of them.
    pub changed: Vec<String>,
    /// Whether no edit is in OpenClaw's file (any more).
    pub gone: bool,
    /// Whether the plugin's files are there, as this build has them.
    pub plugin: bool,
}

impl Connection {
    /// The connection of this MetaClaw home.
    pub fn of(home: &Path) -> Connection {
        Connection { folder: home.join("openclaw") }
    }

    /// The folder that OpenClaw loads the plugin from.
    pub fn plugin_folder(&self) -> PathBuf {
        self.folder.join("plugin")
    }

    /// Where the connection is recorded.
    pub fn record_file(&self) -> PathBuf {
        self.folder.join("connection.json")
    }

    /// Works out how to connect, or how to bring a connection up to date. Reads only.
    ///
    /// # Errors
    /// When the file cannot be found, read or edited safely, or says that we are not welcome.
    pub fn connect(&self, config: &Path, wanted: &Wanted<'_>, plugin: &[PluginFile]) -> Result<Job, OpenclawError> {
        let snapshot = Snapshot::take(config)?;
        refuse_to_publish(wanted, &snapshot)?;
        let read = Record::read(&self.record_file())?;
        let (record, record_bytes) = read.map(|(r, b)| (Some(r), Some(b))).unwrap_or_default();
        if let Some(record) = record.as_ref().filter(|r| r.config != snapshot.file && r.config.exists()) {
            return Err(OpenclawError::Elsewhere(record.config.clone()));
        }
        let here = record.filter(|record| record.config == snapshot.file);
        let base = Base::of(&snapshot, here.as_ref())?;
        let (document, mut value) = Document::read(&base.text, &snapshot.file)?;
        let found = snapshot.text.as_deref().unwrap_or_default();
        let (_, before) = Document::read(found, &snapshot.file)?;
        let plan = self.plan(&value, wanted, &snapshot.file)?;
        let undo = apply(&plan.edits, &document, &mut value, &base.kept, &snapshot.file)?;
        let text = if plan.edits.is_empty() { base.text.clone() } else { document.text() };
        check(&text, &value, &snapshot.file)?;

        let mut job = Job {
            config: snapshot.file.clone(),
            backup: None,
            changes: differences(&before, &value),
            notes: plan.notes,
            kept: Vec::new(),
            connection: self.clone(),
            snapshot,
            record: record_bytes,
            plugin: (!self.has_plugin(plugin)).then(|| plugin.to_vec()),
            steps: Vec::new(),
        };
        job.connect_steps(text, undo, here, base);
        Ok(job)
    }

    fn plan(&self, value: &Value, wanted: &Wanted<'_>, file: &Path) -> Result<Plan, OpenclawError> {
        let folder = self.plugin_folder();
        let plugin = folder.to_str().ok_or_else(|| OpenclawError::Refused {
            file: file.to_owned(),
            problem: format!("the folder {} is not UTF-8, and a configuration is", folder.display()),
            remedy: "use another --home".to_owned(),
        })?;
        let seen = include::resolve(value, file)?;
        let plan = plan::plan(&seen, wanted, plugin, file)?;
        let blocked: Vec<_> = plan.edits.iter().filter_map(|e| Some((e, include::blocking(value, e)?))).collect();
        match blocked.first() {
            None => Ok(plan),
            Some((_, (section, included))) => Err(OpenclawError::Included {
                file: file.to_owned(),
                section: section.clone(),
                included: format!("`{included}`"),
                lines: blocked.iter().map(|(edit, _)| by_hand(edit)).collect(),
            }),
        }
    }

    /// Works out how to disconnect. Reads only.
    ///
    /// # Errors
    /// When nothing is connected, or OpenClaw's file cannot be read or edited safely.
    pub fn disconnect(&self) -> Result<Job, OpenclawError> {
        let Some((record, record_bytes)) = Record::read(&self.record_file())? else {
            return Err(OpenclawError::NotConnected(self.record_file()));
        };
        let snapshot = match Snapshot::take(&record.config) {
            // OpenClaw is gone with its folder; what is ours goes too.
            Err(OpenclawError::NotFound(_)) => None,
            snapshot => Some(snapshot?),
        };
        let mut steps = Vec::new();
        let mut restored = false;
        let (mut changes, mut kept, mut notes) = (Vec::new(), Vec::new(), Vec::new());
        if let Some((found, text)) = snapshot.as_ref().and_then(|s| Some((s, s.text.as_deref()?))) {
            let (back, stayed) = without_ours(text, &record)?;
            let (_, before) = Document::read(text, &found.file)?;
            let (_, after) = Document::read(back.as_deref().unwrap_or_default(), &found.file)?;
            changes = differences(&before, &after);
            kept = stayed.iter().map(|undo| undo.path.to_string()).collect();
            mentions(&after, &mut Vec::new(), &mut notes);
            restored = back.as_ref().is_some_and(|back| hex(back.as_bytes()) == record.before);
            match back {
                None => steps.push(Step::RemoveConfig),
                Some(back) if back != text => steps.push(Step::WriteConfig(back)),
                Some(_) => {}
            }
        }
        steps.push(Step::RemovePlugin);
        if let Some(copy) = record.backup.clone().filter(|copy| copy.exists()) {
            // A copy that says more than the file, such as comments that OpenClaw has dropped since, is its owner's.
            let same = fs::read(&copy).is_ok_and(|bytes| hex(&bytes) == record.before);
            match restored && same {
                true => steps.push(Step::Remove(copy)),
                false => notes.push(format!("the file as it was before the connection stays at {}", copy.display())),
            }
        }
        steps.push(Step::Remove(self.record_file()));
        let snapshot = match snapshot {
            Some(snapshot) => snapshot,
            // Nothing is written there: any folder will do.
            None => Snapshot::take(&self.record_file())?,
        };
        Ok(Job {
            config: record.config,
            backup: record.backup,
            changes,
            notes,
            kept,
            connection: self.clone(),
            snapshot,
            record: Some(record_bytes),
            plugin: None,
            steps,
        })
    }

    /// What is connected; none: nothing is.
    ///
    /// # Errors
    /// When the record or OpenClaw's file cannot be read.
    pub fn status(&self, plugin: &[PluginFile]) -> Result<Option<Status>, OpenclawError> {
        let Some((record, _)) = Record::read(&self.record_file())? else { return Ok(None) };
        let text = match Snapshot::take(&record.config) {
            Err(OpenclawError::NotFound(_)) => None,
            snapshot => snapshot?.text,
        };
        let (_, value) = Document::read(text.as_deref().unwrap_or_default(), &record.config)?;
        let written = in_force(&record, text.as_deref().unwrap_or_default(), &value);
        let edits = written.map(|w| w.undo.as_slice()).unwrap_or_default();
        let changed: Vec<String> =
            edits.iter().filter(|undo| !undo.holds(&value)).map(|undo| undo.path.to_string()).collect();
        let ours = |model: &Value| {
            roster::primary(model).and_then(|m| m.strip_prefix(ID)?.strip_prefix('/')).map(str::to_owned)
        };
        let at = |path: &[&str]| path.iter().try_fold(&value, |value, key| value.get(key));
        let agents =
            roster::agents(&value).into_iter().filter_map(|a| Some((a.id, ours(a.model.as_ref()?)?))).collect();
        Ok(Some(Status {
            gone: changed.len() == edits.len(),
            plugin: self.has_plugin(plugin),
            base_url: at(&["models", "providers", ID, "baseUrl"]).and_then(Value::as_str).map(str::to_owned),
            default_model: at(&["agents", "defaults", "model"]).and_then(ours),
            config: record.config,
            backup: record.backup,
            agents,
            changed,
        }))
    }

    fn has_plugin(&self, plugin: &[PluginFile]) -> bool {
        let folder = self.plugin_folder();
        plugin.iter().all(|file| fs::read(folder.join(file.name)).is_ok_and(|bytes| bytes == file.text.as_bytes()))
    }
}

/// A key is not written where others can read it.
fn refuse_to_publish(wanted: &Wanted<'_>, snapshot: &Snapshot) -> Result<(), OpenclawError> {
    let Snapshot { file, mode, .. } = snapshot;
    if !matches!(wanted.api_key, ApiKey::Literal(_)) || mode & 0o077 == 0 {
        return Ok(());
    }
    Err(OpenclawError::Refused {
        file: file.clone(),
        problem: format!("other users can read it (mode {mode:04o}), and the host's key would stand in it"),
        remedy: format!("`chmod 600 {}`, or write proxy.api_key as env:NAME or file:PATH", file.display()),
    })
}

/// What of an entry may be shown: what we put there, and nothing that its owner added.
const OURS: &[&str] =
    &["baseUrl", "api", "models", "enabled", "hooks", "source", "path", "mode", "primary", "fallbacks"];
/// The same within a model.
const OURS_IN_MODELS: &[&str] = &["id", "name", "input", "contextWindow", "maxTokens"];

/// An edit as a person would make it; a key that must not be shown is described.
fn by_hand(edit: &Edit) -> String {
    let path = &edit.path;
    match &edit.action {
        Action::Add(item) => format!("  {path}: add {item:?} to the list"),
        Action::Put(Value::Object(members)) => {
            let mut shown = members.clone();
            shown.retain(|key, _| OURS.contains(&key.as_str()));
            for model in shown.get_mut("models").and_then(Value::as_array_mut).into_iter().flatten() {
                if let Some(model) = model.as_object_mut() {
                    model.retain(|key, _| OURS_IN_MODELS.contains(&key.as_str()));
                }
            }
            if members.contains_key("apiKey") {
                shown.insert("apiKey".into(), "the key of proxy.api_key, or metaclaw-local if there is none".into());
            }
            format!("  {path}: {}", Value::Object(shown))
        }
        Action::Put(value) => format!("  {path}: {value}"),
    }
}

/// Names what still speaks of our models once we are gone.
fn mentions(value: &Value, path: &mut Vec<String>, notes: &mut Vec<String>) {
    let ours = |text: &str| text.strip_prefix(ID).is_some_and(|rest| rest.starts_with('/'));
    match value {
        Value::String(text) if ours(text) => notes.push(format!("`{}` still names {text}", path.join("."))),
        Value::Array(items) => items.iter().for_each(|item| mentions(item, path, notes)),
        Value::Object(members) => {
            for (key, member) in members {
                path.push(key.clone());
                mentions(member, path, notes);
                path.pop();
            }
        }
        _ => {}
    }
}
