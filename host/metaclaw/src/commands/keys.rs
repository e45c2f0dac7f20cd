use ::config::Paths;
use ::keys::{KeyFile, KeyRecord, KeyState, NewKey, Scope, Wish, named_id};
use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use domain::AgentId;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::output;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  metaclaw keys add --agent researcher --label laptop --expires 90d
  metaclaw keys list
  metaclaw keys rotate 4k9dhs0qzj2m7xw1 --grace 1h
  metaclaw keys revoke 4k9dhs0qzj2m7xw1

A key is printed once, by add and rotate, on standard output; only its hash is kept. Every change counts in a running
host within a second. As soon as there is one key for agents, every client needs one.")]
pub(crate) struct KeysArgs {
    #[command(subcommand)]
    command: KeysCommand,
}

#[derive(Debug, Subcommand)]
enum KeysCommand {
    /// Make a key
    Add {
        /// An agent that the key speaks for; several times for several. `_default` is the one of requests that name none
        #[arg(long = "agent", value_name = "AGENT", required_unless_present_any = ["all_agents", "admin"])]
        agents: Vec<String>,
        /// Let the key speak as any agent
        #[arg(long, conflicts_with = "agents")]
        all_agents: bool,
        /// A key for administration, which speaks for no agent: for an `admin.listen` that is an address
        #[arg(long, conflicts_with_all = ["agents", "all_agents"])]
        admin: bool,
        /// What to call it in the list
        #[arg(long, default_value = "")]
        label: String,
        /// When it ends by itself, such as 90d or 12h
        #[arg(long, value_name = "TIME")]
        expires: Option<humantime::Duration>,
    },
    /// Every key: its id, agents and state, never the key
    List,
    /// End a key at once
    Revoke {
        /// The key's id, from the list
        id: String,
    },
    /// Make a key in another's place, which goes on for a while
    Rotate {
        /// The old key's id, from the list
        id: String,
        /// How long the old key is good beside the new one; 0s ends it at once
        #[arg(long, value_name = "TIME", default_value = "1h")]
        grace: humantime::Duration,
    },
}

/// `metaclaw keys …`
pub(crate) fn run(args: &KeysArgs, paths: &Paths, json: bool) -> anyhow::Result<()> {
    let file = KeyFile::of(&paths.home);
    match &args.command {
        KeysCommand::Add { agents, all_agents, admin, label, expires } => {
            let scope = scope(agents, *all_agents, *admin)?;
            warn_of_strangers(&scope, paths);
            let wish = Wish { scope, label: label.clone(), lifetime: expires.map(|time| *time) };
            let (key, record) = file.add(&wish)?;
            show_new(&key, &record, None, json);
        }
        KeysCommand::List => list(&file, json)?,
        KeysCommand::Revoke { id } => {
            let record = file.revoke(named_id(id)?)?;
            match json {
                true => output::json(&json!({"revoked": record.id.as_str()})),
                false => output::line(format_args!("revoked {} ({})", record.id, whom(&record.scope))),
            }
        }
        KeysCommand::Rotate { id, grace } => {
            let (key, record, old) = file.rotate(named_id(id)?, **grace)?;
            show_new(&key, &record, Some(&old), json);
        }
    }
    Ok(())
}

fn scope(agents: &[String], all: bool, admin: bool) -> anyhow::Result<Scope> {
    match (all, admin) {
        (true, _) => return Ok(Scope::AllAgents),
        (_, true) => return Ok(Scope::Admin),
        (false, false) => {}
    }
    let mut ids = Vec::new();
    for name in agents {
        if name == "*" {
            bail!("for a key that speaks as any agent write --all-agents");
        }
        ids.push(AgentId::from_trusted(name.trim()).with_context(|| format!("{name:?} names no agent"))?);
    }
    Scope::agents(ids).context("name an agent with --agent")
}

/// An agent that is not listed may be a slip of the pen; it may also come into being with its first turn.
fn warn_of_strangers(scope: &Scope, paths: &Paths) {
    let (Scope::Agents(agents), Ok(loaded)) = (scope, ::config::load(paths, super::lenient())) else { return };
    for agent in agents.iter().filter(|agent| !loaded.config.is_listed(agent)) {
        output::note(format_args!("note: no agent `{agent}` is configured (`metaclaw agents add {agent}`)"));
    }
}

fn show_new(key: &NewKey, record: &KeyRecord, old: Option<&KeyRecord>, json: bool) {
    if json {
        let mut shown = shown(record);
        shown["key"] = key.text.expose().into();
        if let Some(old) = old {
            shown["replaces"] = self::shown(old);
        }
        output::json(&shown);
        return;
    }
    // Alone on standard output, so that a script can take it.
    output::line(key.text.expose());
    output::note("this is the only time that the key is shown: only its hash is kept");
    match record.scope {
        Scope::Admin => output::note("use it as METACLAW_ADMIN_KEY, or send it as `x-metaclaw-key: KEY`"),
        _ => output::note("clients send it as their API key: `Authorization: Bearer KEY`, or `x-metaclaw-key: KEY`"),
    }
    if let Some((old, end)) = old.and_then(|old| Some((old, old.expires?))) {
        output::note(format_args!("the key {} goes on until {}", old.id, date(end)));
    }
}

fn list(file: &KeyFile, json: bool) -> anyhow::Result<()> {
    let ring = file.read()?.unwrap_or_default();
    let records = ring.records();
    if json {
        output::json(&records.into_iter().map(shown).collect::<Vec<_>>());
        return Ok(());
    }
    if records.is_empty() {
        output::line("there are no keys: make one with `metaclaw keys add --agent NAME`");
        return Ok(());
    }
    output::line(format_args!("{:<18} {:<9} {:<18} {:<18} {:<24} label", "id", "state", "made", "ends", "speaks for"));
    for key in records {
        let ends = key.revoked.or(key.expires).map_or_else(|| "-".to_owned(), date);
        let (id, state, made, whom) = (key.id.as_str(), state(key), date(key.created), whom(&key.scope));
        output::line(
            format_args!("{id:<18} {state:<9} {made:<18} {ends:<18} {whom:<24} {}", key.label).to_string().trim_end(),
        );
    }
    Ok(())
}

fn shown(key: &KeyRecord) -> Value {
    let agents: Vec<&str> = match &key.scope {
        Scope::Admin => Vec::new(),
        Scope::AllAgents => vec!["*"],
        Scope::Agents(agents) => agents.iter().map(AgentId::as_str).collect(),
    };
    json!({
        "id": key.id.as_str(),
        "state": state(key),
        "agents": agents,
        "admin": key.scope == Scope::Admin,
        "label": key.label,
        "created": key.created,
        "expires": key.expires,
        "revoked": key.revoked,
        "replaced_by": key.replaced_by.map(|id| id.to_string()),
    })
}

fn state(key: &KeyRecord) -> &'static str {
    match key.state(Timestamp::now()) {
        KeyState::Live => "live",
        KeyState::Expired => "expired",
        KeyState::Revoked => "revoked",
    }
}

fn whom(scope: &Scope) -> String {
    match scope {
        Scope::Admin => "administration".to_owned(),
        Scope::AllAgents => "any agent".to_owned(),
        Scope::Agents(agents) => agents.iter().map(AgentId::as_str).collect::<Vec<_>>().join(", "),
    }
}

/// `2026-11-20 13:05Z`
fn date(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%MZ").to_string()
}
