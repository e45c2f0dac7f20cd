//! OpenClaw's agents, in both of its rosters: the map `agents.entries` and the older list `agents.list`.

use jsonc_parser::cst::CstObject;
use serde_json::Value;

use crate::edit::{KeyPath, Step};

/// One of OpenClaw's agents.
#[derive(Clone, Debug)]
pub(crate) struct Agent {
    /// Its id, as written.
    pub(crate) id: String,
    /// The model it names itself: a text, or an object with `primary`.
    pub(crate) model: Option<Value>,
}

impl Agent {
    /// Where its entry is.
    pub(crate) fn path(&self) -> KeyPath {
        KeyPath::of(&["agents"]).then(Step::Agent { agent: self.id.clone() })
    }
}

/// Every agent.
pub(crate) fn agents(root: &Value) -> Vec<Agent> {
    let Some(agents) = root.get("agents") else { return Vec::new() };
    let of = |id: &str, entry: &Value| Agent { id: id.to_owned(), model: entry.get("model").cloned() };
    let entries = agents.get("entries").and_then(Value::as_object).into_iter().flatten();
    let entries = entries.filter(|(id, entry)| !id.starts_with('$') && entry.is_object()).map(|(id, e)| of(id, e));
    let list = agents.get("list").and_then(Value::as_array).into_iter().flatten();
    let list = list.filter_map(|entry| Some(of(entry.get("id")?.as_str()?, entry)));
    entries.chain(list).collect()
}

/// Whether two texts name one agent: OpenClaw lower-cases them.
pub(crate) fn same(one: &str, other: &str) -> bool {
    one.trim().eq_ignore_ascii_case(other.trim())
}

/// An agent's entry in `agents`.
pub(crate) fn get<'a>(agents: &'a Value, id: &str) -> Option<&'a Value> {
    let entry = agents.get("entries").and_then(Value::as_object);
    let entry = entry.and_then(|entries| entries.iter().find(|(key, _)| same(key, id)).map(|(_, entry)| entry));
    entry.or_else(|| agents.get("list")?.as_array()?.iter().find(|item| is(item, id)))
}

pub(crate) fn get_mut<'a>(agents: &'a mut Value, id: &str) -> Option<&'a mut Value> {
    let members = agents.as_object_mut()?;
    let keyed = members.get("entries").and_then(Value::as_object);
    match keyed.and_then(|entries| entries.keys().find(|key| same(key, id)).cloned()) {
        Some(key) => members.get_mut("entries")?.get_mut(&key),
        None => members.get_mut("list")?.as_array_mut()?.iter_mut().find(|item| is(item, id)),
    }
}

/// The same in the text.
pub(crate) fn object(agents: &CstObject, id: &str) -> Option<CstObject> {
    let entries = agents.object_value("entries");
    let keyed = entries.into_iter().flat_map(|entries| entries.properties());
    let entry = keyed.into_iter().find(|property| property.decoded_name().is_some_and(|name| same(&name, id)));
    if let Some(entry) = entry {
        return entry.object_value();
    }
    let items = agents.array_value("list")?.elements();
    items.into_iter().filter_map(|item| item.as_object()).find(|item| {
        let name = item.get("id").and_then(|id| id.value()).and_then(|id| id.as_string_lit());
        name.and_then(|name| name.decoded_value().ok()).is_some_and(|name| same(&name, id))
    })
}

fn is(item: &Value, id: &str) -> bool {
    item.get("id").and_then(Value::as_str).is_some_and(|found| same(found, id))
}

/// The model reference in a `model`, which is a text or `{primary, fallbacks}`.
pub(crate) fn primary(model: &Value) -> Option<&str> {
    model.as_str().or_else(|| model.get("primary")?.as_str())
}
