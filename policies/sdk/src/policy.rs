use serde::de::DeserializeOwned;

use crate::{Catalog, Decision, Permission, Result, Sample, Selection, ToolCall, Turn, Verdict};

/// A policy: its fields are its settings, the `config:` of the agent's `policy:` section. [`export!`](crate::export!) says which hooks the module has; the
/// others are the host's to decide, so their defaults here are never asked.
pub trait Policy: DeserializeOwned + 'static {
    /// What the module needs beside what every module has: `skills:read`, `skills:write`, `lora:read`. Using `kv` or `log` asks for them.
    const GRANTS: &'static [&'static str] = &[];

    /// What is wrong with settings that are of the right types, one sentence each; nothing: they are good. Asked when the module is loaded.
    fn check(&self) -> Vec<String> {
        Vec::new()
    }

    /// Which upstream and model answer, or that nobody does. Asked for every turn, before anything else.
    fn route(&self, turn: &Turn) -> Result<Decision> {
        turn.to_first()
    }

    /// Which skills the prompt gets. Asked for `main` turns of an agent that has skills.
    fn select(&self, _turn: &Turn, _catalog: &Catalog) -> Result<Selection> {
        Ok(Selection::none())
    }

    /// How the chosen skills are laid out: the text that is put behind the client's system prompt.
    fn render(&self, _turn: &Turn, _catalog: &Catalog, _skills: Vec<String>) -> Result<String> {
        Ok(String::new())
    }

    /// Whether the client gets a tool call that the model has made.
    fn gate(&self, _turn: &Turn, _call: ToolCall) -> Result<Permission> {
        Ok(Permission::Allow)
    }

    /// Whether a finished turn becomes a training sample. Asked for `main` turns of an agent in `rl` or `auto` mode.
    fn filter(&self, _sample: &Sample) -> Result<Verdict> {
        Ok(Verdict::Keep(1.0))
    }

    /// How good a finished turn was, from -1 to 1; none when this turn says nothing.
    fn reward(&self, _sample: &Sample) -> Result<Option<f32>> {
        Ok(None)
    }
}

/// What [`export!`](crate::export!) says of a policy.
pub trait Exported: Policy {
    /// From `Cargo.toml`.
    const NAME: &'static str;
    /// From `Cargo.toml`.
    const VERSION: &'static str;
    /// The `description` of `Cargo.toml`.
    const SUMMARY: &'static str;
    /// The hooks that the module has.
    const HOOKS: &'static [&'static str];
}
