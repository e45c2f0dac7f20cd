//! `~/.metaclaw/config.yaml` becomes one checked [`Config`], or a list of everything that is wrong with it.
//!
//! The way from text to `Config`, each step in its own file:
//!
//! 1. [`Paths`]: where the file is (`--home`, `METACLAW_HOME`, `-c`);
//! 2. `yaml`: text → tree, each node with its line; bounded, duplicate keys found;
//! 3. `schema`: the table of every key there is, MetaClaw's included, with its kind, default and meaning;
//! 4. [`Settings`]: the tree held against the table: typed values; unknown keys, wrong types and ranges reported;
//! 5. `server`, `upstreams`, `agents`: typed values → the parts of `Config`, each agent's inheritance worked out.
//!
//! Nothing stops at the first mistake: every step adds to one report. And nothing is guessed: a bad file never means
//! defaults. Secrets stay references (`env:`, `file:`) until the last step and never reach a message.
//!
//! This is the only crate that reads the environment and the config file.

mod admin;
mod agents;
mod credential;
mod described;
mod edit;
mod error;
mod judging;
mod learning;
mod listing;
mod load;
mod overview;
mod paths;
mod problem;
mod providers;
mod reach;
mod schema;
mod secret;
mod server;
mod setting;
mod settings;
mod training;
mod upstreams;
mod yaml;

#[cfg(test)]
mod tests;

pub use admin::AdminListen;
pub use agents::{AgentConfig, ModuleRef, ModuleSource, PolicyConfig, PolicyHooks, SkillsConfig, Target};
pub use edit::{Edited, edited, replace, set, unset};
pub use error::ConfigError;
pub use judging::JudgeConfig;
pub use learning::{LearningConfig, Verify};
pub use listing::{Listing, Shown};
pub use load::{
    Config, EmbedderChoice, LoadOptions, Loaded, LogConfig, SessionsConfig, UnknownAgents, UnknownRule, load, load_text,
};
pub use overview::{AgentOverview, Overview, UpstreamOverview};
pub use paths::Paths;
pub use problem::{Place, Problem, Problems, Severity};
pub use providers::{Auth, Preset, Window, model_window, presets};
pub use schema::{KeyInfo, keys};
pub use secret::referenced_secret;
pub use server::ServerConfig;
pub use settings::{NOT_ACTED_ON, Settings};
pub use training::{GateConfig, LossConfig, LossKind, RlConfig, StalenessConfig, Untrained};
pub use upstreams::{BaseUrl, UpstreamConfig, UpstreamKind};
