//! What has to change so that OpenClaw's agents use this host. Nothing else ever does: not sandboxes, tools, channels or
//! OpenClaw's own skills.

use std::path::Path;

use domain::Secret;
use serde_json::{Map, Value, json};

use crate::edit::{Edit, KeyPath, get};
use crate::roster::{self, Agent};
use crate::{ID, OpenclawError};

/// What a host that wants no key is sent: OpenClaw demands one.
pub(crate) const PLACEHOLDER: &str = "metaclaw-local";

/// What the connection should be.
pub struct Wanted<'a> {
    /// The host's address, with `/v1`.
    pub base_url: String,
    /// What OpenClaw shows the host.
    pub api_key: ApiKey,
    /// Which agents.
    pub agents: Choice,
    /// Which model an agent of OpenClaw shall ask for; none stands for the agents that name no model of their own. The
    /// second argument is the model that it asks for now, without the provider's name.
    pub offer: &'a dyn Fn(Option<&str>, Option<&str>) -> Offer,
}

/// What OpenClaw shows the host.
#[derive(Clone, Debug)]
pub enum ApiKey {
    /// The host wants no key.
    None,
    /// The environment variable of this name, which OpenClaw's gateway must have.
    Variable(String),
    /// The first line of this file, read by OpenClaw itself.
    File(String),
    /// This one, written into OpenClaw's file.
    Literal(Secret),
}

/// Whose model is changed.
#[derive(Clone, Debug)]
pub enum Choice {
    /// The defaults', and that of every agent that names one of its own.
    All,
    /// These agents' only.
    Only(Vec<String>),
}

/// An answer to [`Wanted::offer`].
#[derive(Clone, Debug)]
pub enum Offer {
    /// This model.
    Model(Model),
    /// The host cannot serve this agent, and why.
    Unfit(String),
}

/// A model as OpenClaw has to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    /// What is asked for.
    pub id: String,
    /// Tokens that fit its context.
    pub context_window: u32,
    /// Tokens that an answer may have.
    pub max_tokens: u32,
    /// Whether OpenClaw may send it images.
    pub images: bool,
}

/// The edits, and what a person should know about them.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) edits: Vec<Edit>,
    pub(crate) notes: Vec<String>,
}

/// Works the edits out for a configuration as OpenClaw sees it.
pub(crate) fn plan(root: &Value, wanted: &Wanted<'_>, plugin: &str, file: &Path) -> Result<Plan, OpenclawError> {
    refuse_if_unwelcome(root, file)?;
    let mut plan = Plan::default();
    let mut models: Vec<Model> = Vec::new();
    let mut assignments = Vec::new();
    match &wanted.agents {
        Choice::All => assign_all(root, wanted, &mut models, &mut assignments, &mut plan.notes),
        Choice::Only(ids) => assign_some(root, ids, wanted, file, &mut models, &mut assignments)?,
    }
    if models.is_empty() {
        return Err(OpenclawError::Refused {
            file: file.to_owned(),
            problem: format!("none of its agents can use this host ({})", plan.notes.join("; ")),
            remedy: "see `metaclaw config check`".to_owned(),
        });
    }
    provider(root, wanted, &models, &mut plan.edits);
    extension(root, plugin, &mut plan.edits);
    allow_models(root, &models, &mut plan.edits);
    plan.edits.append(&mut assignments);
    plan.edits.retain(|edit| !edit.is_done(root));
    let kept = plan.edits.iter().filter(|edit| edit.path.0.last().is_some_and(|s| *s == "primary".into()));
    let fallbacks = |edit: &Edit| get(root, edit.containers()).is_some_and(|model| has_items(model.get("fallbacks")));
    if kept.clone().any(fallbacks) {
        plan.notes.push("fallback models stay as they are: what goes to them does not pass this host".to_owned());
    }
    check_shapes(root, &plan.edits, file)?;
    Ok(plan)
}

fn has_items(value: Option<&Value>) -> bool {
    value.and_then(Value::as_array).is_some_and(|items| !items.is_empty())
}

impl From<&str> for crate::edit::Step {
    fn from(key: &str) -> Self {
        crate::edit::Step::Key(key.to_owned())
    }
}

/// A person who keeps us out, or all plugins, is not overruled.
fn refuse_if_unwelcome(root: &Value, file: &Path) -> Result<(), OpenclawError> {
    let refused = |problem: &str, remedy: &str| OpenclawError::Refused {
        file: file.to_owned(),
        problem: problem.to_owned(),
        remedy: remedy.to_owned(),
    };
    let plugins = root.get("plugins");
    let denied = plugins.and_then(|p| p.get("deny")).and_then(Value::as_array);
    if denied.is_some_and(|ids| ids.iter().any(|id| id.as_str().is_some_and(|id| roster::same(id, ID)))) {
        return Err(refused("`plugins.deny` keeps the plugin `metaclaw` out", "take it off that list first"));
    }
    if plugins.and_then(|p| p.get("enabled")) == Some(&Value::Bool(false)) {
        return Err(refused("`plugins.enabled` is false, and the connection needs a plugin", "remove that key first"));
    }
    Ok(())
}

fn reference(model: &Model) -> String {
    format!("{ID}/{}", model.id)
}

/// The model's own name in a reference such as `openai/gpt-5.2`; one of ours says nothing about what was asked before.
fn bare(model: &Value) -> Option<&str> {
    let (provider, name) = roster::primary(model)?.split_once('/')?;
    (provider != ID).then_some(name)
}

fn assign_all(
    root: &Value,
    wanted: &Wanted<'_>,
    models: &mut Vec<Model>,
    edits: &mut Vec<Edit>,
    notes: &mut Vec<String>,
) {
    let defaults = KeyPath::of(&["agents", "defaults"]);
    let usual = get(root, &defaults.clone().key("model").0);
    let taken = match (wanted.offer)(None, usual.and_then(bare)) {
        Offer::Model(model) => {
            let id = model.id.clone();
            assign(defaults, usual, model, models, edits);
            Some(id)
        }
        Offer::Unfit(why) => {
            notes.push(format!("the defaults are left out: {why}"));
            None
        }
    };
    for agent in roster::agents(root) {
        match (wanted.offer)(Some(&agent.id), agent.model.as_ref().or(usual).and_then(bare)) {
            // An agent without a model of its own inherits the defaults', if that is the one it is to have.
            Offer::Model(model) if agent.model.is_some() || taken.as_deref() != Some(&*model.id) => {
                assign(agent.path(), agent.model.as_ref(), model, models, edits);
            }
            Offer::Model(_) => {}
            Offer::Unfit(why) => leave_out(&agent, &why, usual.filter(|_| taken.is_some()), edits, notes),
        }
    }
}

/// An agent that the host cannot serve goes on with what it has: what it inherits is written down for it.
fn leave_out(agent: &Agent, why: &str, usual: Option<&Value>, edits: &mut Vec<Edit>, notes: &mut Vec<String>) {
    match (&agent.model, usual) {
        (None, Some(usual)) => {
            edits.push(Edit::put(agent.path().key("model"), usual.clone()));
            notes.push(format!("agent `{}` is left out and keeps its model: {why}", agent.id));
        }
        (None, None) => notes.push(format!("agent `{}` needs a model of its own: {why}", agent.id)),
        _ => notes.push(format!("agent `{}` is left out: {why}", agent.id)),
    }
}

fn assign_some(
    root: &Value,
    ids: &[String],
    wanted: &Wanted<'_>,
    file: &Path,
    models: &mut Vec<Model>,
    edits: &mut Vec<Edit>,
) -> Result<(), OpenclawError> {
    let agents = roster::agents(root);
    let usual = get(root, &KeyPath::of(&["agents", "defaults", "model"]).0);
    for id in ids {
        let agent = agents.iter().find(|agent| roster::same(&agent.id, id)).ok_or_else(|| {
            OpenclawError::NoSuchAgent { agent: id.clone(), known: agents.iter().map(|a| a.id.clone()).collect() }
        })?;
        match (wanted.offer)(Some(&agent.id), agent.model.as_ref().or(usual).and_then(bare)) {
            Offer::Model(model) => assign(agent.path(), agent.model.as_ref(), model, models, edits),
            Offer::Unfit(why) => {
                return Err(OpenclawError::Refused {
                    file: file.to_owned(),
                    problem: format!("agent `{}` cannot use this host: {why}", agent.id),
                    remedy: "leave it out of --agents".to_owned(),
                });
            }
        }
    }
    Ok(())
}

/// `holder.model` becomes the model; an object keeps its other members, such as fallbacks.
fn assign(holder: KeyPath, current: Option<&Value>, model: Model, models: &mut Vec<Model>, edits: &mut Vec<Edit>) {
    let path = holder.key("model");
    let path = if current.is_some_and(Value::is_object) { path.key("primary") } else { path };
    edits.push(Edit::put(path, reference(&model).into()));
    if !models.iter().any(|known| known.id == model.id) {
        models.push(model);
    }
}

/// `models.providers.metaclaw`; what somebody added to it stays.
fn provider(root: &Value, wanted: &Wanted<'_>, models: &[Model], edits: &mut Vec<Edit>) {
    let api_key = match &wanted.api_key {
        ApiKey::None => PLACEHOLDER.into(),
        ApiKey::Variable(name) => format!("${{{name}}}").into(),
        ApiKey::Literal(key) => escape(key.expose()).into(),
        ApiKey::File(path) => {
            let file = json!({"source": "file", "path": path, "mode": "singleValue"});
            edits.push(Edit::put(KeyPath::of(&["secrets", "providers", ID]), file));
            json!({"source": "file", "provider": ID, "id": "value"})
        }
    };
    let path = KeyPath::of(&["models", "providers", ID]);
    let mut entry = members(get(root, &path.0));
    entry.insert("baseUrl".into(), wanted.base_url.as_str().into());
    entry.insert("apiKey".into(), api_key);
    entry.insert("api".into(), "openai-completions".into());
    let ours = |known: &Value| models.iter().any(|model| known.get("id").is_some_and(|id| *id == model.id.as_str()));
    let theirs = entry.get("models").and_then(Value::as_array).into_iter().flatten().filter(|known| !ours(known));
    let all: Value = theirs.cloned().chain(models.iter().map(describe)).collect();
    entry.insert("models".into(), all);
    edits.push(Edit::put(path, entry.into()));
}

fn describe(model: &Model) -> Value {
    let input = if model.images { json!(["text", "image"]) } else { json!(["text"]) };
    json!({
        "id": model.id,
        "name": model.id,
        "input": input,
        "contextWindow": model.context_window,
        "maxTokens": model.max_tokens,
    })
}

/// OpenClaw reads `${NAME}` in any text as a variable, and `$${NAME}` as `${NAME}`.
fn escape(key: &str) -> String {
    let mut parts = key.split("${");
    let mut escaped = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let is_variable = part.split_once('}').is_some_and(|(name, _)| is_variable_name(name));
        escaped.push_str(if is_variable { "$${" } else { "${" });
        escaped.push_str(part);
    }
    escaped
}

/// Whether OpenClaw reads `${NAME}` as a variable: other names stay text.
pub fn is_variable_name(name: &str) -> bool {
    let first = |c: char| c.is_ascii_uppercase() || c == '_';
    name.starts_with(first) && name.chars().all(|c| first(c) || c.is_ascii_digit())
}

fn members(value: Option<&Value>) -> Map<String, Value> {
    value.and_then(Value::as_object).cloned().unwrap_or_default()
}

/// The plugin: where it is, that it may run, and that it may see which turn a request belongs to.
fn extension(root: &Value, plugin: &str, edits: &mut Vec<Edit>) {
    edits.push(Edit {
        path: KeyPath::of(&["plugins", "load", "paths"]),
        action: crate::edit::Action::Add(plugin.into()),
    });
    let path = KeyPath::of(&["plugins", "entries", ID]);
    let mut entry = members(get(root, &path.0));
    let mut hooks = members(entry.get("hooks"));
    hooks.insert("allowConversationAccess".into(), true.into());
    entry.insert("enabled".into(), true.into());
    entry.insert("hooks".into(), hooks.into());
    edits.push(Edit::put(path, entry.into()));
    // An absent or empty list lets every plugin in; one element would shut all others out.
    let allow = KeyPath::of(&["plugins", "allow"]);
    if has_items(get(root, &allow.0)) {
        edits.push(Edit { path: allow, action: crate::edit::Action::Add(ID.to_owned()) });
    }
}

/// Before 2026.8.1 a map of models is the list of those allowed; later ones do not mind another entry.
fn allow_models(root: &Value, models: &[Model], edits: &mut Vec<Edit>) {
    let path = KeyPath::of(&["agents", "defaults", "models"]);
    let Some(Value::Object(known)) = get(root, &path.0) else { return };
    if known.is_empty() {
        return;
    }
    for model in models.iter().filter(|model| !known.contains_key(&reference(model))) {
        edits.push(Edit::put(path.clone().key(&reference(model)), json!({})));
    }
}

/// Every container that an edit goes through is an object or missing, every list a list.
fn check_shapes(root: &Value, edits: &[Edit], file: &Path) -> Result<(), OpenclawError> {
    for edit in edits {
        let containers = edit.containers();
        for length in 0..=containers.len() {
            let steps = containers.get(..length).unwrap_or_default();
            let is_list = length == edit.path.0.len();
            match get(root, steps) {
                Some(Value::Object(_)) if !is_list => {}
                Some(Value::Array(_)) if is_list => {}
                None => {}
                Some(_) => {
                    return Err(OpenclawError::Unreadable {
                        file: file.to_owned(),
                        problem: format!(
                            "`{}` is not {}",
                            KeyPath::words(steps),
                            if is_list { "a list" } else { "an object" }
                        ),
                        remedy: "correct it (`openclaw config validate` says more)".to_owned(),
                    });
                }
            }
        }
    }
    Ok(())
}
