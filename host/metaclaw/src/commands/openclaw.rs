//! `metaclaw openclaw`: lets OpenClaw's agents use this host, and takes it back.

mod mention;
mod wanted;

use std::io::{self, BufRead, IsTerminal};
use std::path::{Path, PathBuf};

use ::config::Paths;
use ::openclaw::{Connection, Hints, Job, OpenclawError, PluginFile, Status};
use anyhow::bail;
use clap::{Args, Subcommand};
use serde_json::json;

use crate::output;
use crate::running::Running;

pub(crate) use mention::mention;
pub(crate) use wanted::address;

/// The plugin that tells the host which agent speaks, as OpenClaw loads it.
const PLUGIN: &[PluginFile] = &[
    PluginFile { name: "index.ts", text: include_str!("../../../../examples/openclaw/plugin/index.ts") },
    PluginFile {
        name: "openclaw.plugin.json",
        text: include_str!("../../../../examples/openclaw/plugin/openclaw.plugin.json"),
    },
    PluginFile { name: "package.json", text: include_str!("../../../../examples/openclaw/plugin/package.json") },
];

/// `metaclaw openclaw`
#[derive(Debug, Args)]
#[command(
    arg_required_else_help = true,
    after_help = "Examples:
  metaclaw openclaw connect --dry-run    see what would change in OpenClaw's configuration
  metaclaw openclaw connect              all of OpenClaw's agents use this host
  metaclaw openclaw status
  metaclaw openclaw disconnect           OpenClaw's configuration is as before, byte for byte"
)]
pub(crate) struct OpenclawArgs {
    /// OpenClaw's configuration [default: $OPENCLAW_CONFIG_PATH, $OPENCLAW_STATE_DIR/openclaw.json, or
    /// ~/.openclaw/openclaw.json]
    #[arg(long, global = true, value_name = "FILE")]
    openclaw_config: Option<PathBuf>,
    #[command(subcommand)]
    command: OpenclawCommand,
}

#[derive(Debug, Subcommand)]
enum OpenclawCommand {
    /// Let OpenClaw's agents use this host; shows every change and asks first
    #[command(after_help = "Adds the provider `metaclaw` and a plugin that names the agent, and points the agents'
models to it. Comments, order and everything else in the file stay; sandboxes, tools,
channels and skills are not touched. A copy is kept beside the file. Run it again when
the host's address, key or models have changed.

Examples:
  metaclaw openclaw connect
  metaclaw openclaw connect --agents research,coder     only these; the others keep their models
  metaclaw openclaw connect --yes --context-window 200000")]
    Connect(ConnectArgs),
    /// Give OpenClaw's configuration back as it was; what was changed in it since stays
    #[command(after_help = "Examples:
  metaclaw openclaw disconnect --dry-run
  metaclaw openclaw disconnect --yes")]
    Disconnect(Consent),
    /// Say what is connected, and whether it still holds
    #[command(after_help = "Examples:
  metaclaw openclaw status
  metaclaw openclaw status --json")]
    Status,
}

#[derive(Debug, Args)]
struct ConnectArgs {
    /// Only these agents of OpenClaw [default: its defaults, and every agent with a model of its own]
    #[arg(long, value_name = "ID,…", value_delimiter = ',')]
    agents: Vec<String>,
    /// How many tokens OpenClaw may send [default: 128000; 32768 for the embedded model]
    #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u32).range(4000..))]
    context_window: Option<u32>,
    /// How many tokens an answer may have [default: 8192; 2048 for the embedded model]
    #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u32).range(1..))]
    max_tokens: Option<u32>,
    /// The models take no images [default: the embedded model takes none, others do]
    #[arg(long)]
    text_only: bool,
    #[command(flatten)]
    consent: Consent,
}

#[derive(Clone, Copy, Debug, Args)]
struct Consent {
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    /// Show what would change, and change nothing
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
}

/// Does what the command line says with OpenClaw's configuration.
pub(crate) fn run(args: OpenclawArgs, paths: &Paths, json: bool) -> anyhow::Result<()> {
    let connection = Connection::of(&paths.home);
    match args.command {
        OpenclawCommand::Connect(connect) => {
            let file = ::openclaw::find(&hints(args.openclaw_config))?;
            let config = super::load(paths, super::lenient())?.config;
            let wanted = wanted::Wanted::new(paths, &config, &connect)?;
            let mut job = wanted.ask(|wanted| connection.connect(&file, wanted, PLUGIN))?;
            job.notes.extend(wanted.notes());
            carry_out(&connection, job, connect.consent, Direction::Connect, json)
        }
        OpenclawCommand::Disconnect(consent) => match connection.disconnect() {
            Err(OpenclawError::NotConnected(_)) => {
                match json {
                    true => output::json(&json!({"connected": false, "changes": []})),
                    false => output::line("nothing is connected: OpenClaw's configuration is as it is"),
                }
                Ok(())
            }
            job => carry_out(&connection, job?, consent, Direction::Disconnect, json),
        },
        OpenclawCommand::Status => status(&connection, args.openclaw_config, paths, json),
    }
}

/// Where OpenClaw is looked for.
fn hints(named: Option<PathBuf>) -> Hints {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    // OpenClaw takes the first of these for the user's home.
    let home = set("OPENCLAW_HOME").or_else(|| set("HOME"));
    Hints { named, config_path: set("OPENCLAW_CONFIG_PATH"), state_dir: set("OPENCLAW_STATE_DIR"), home }
}

/// OpenClaw's configuration, and whether it is connected to this home; none: there is no OpenClaw.
pub(crate) fn found(home: &Path) -> Option<(PathBuf, bool)> {
    let file = ::openclaw::find(&hints(None)).ok().filter(|file| file.is_file())?;
    let connected = Connection::of(home).status(PLUGIN).ok().flatten().is_some_and(|status| !status.gone);
    Some((file, connected))
}

/// What is connected to this home, and where its host is reached if it runs.
pub(crate) fn connected(paths: &Paths) -> Result<Option<(Status, Option<String>)>, OpenclawError> {
    let running = Running::find(&paths.home, None).ok().map(|running| wanted::address(running.address));
    Ok(Connection::of(&paths.home).status(PLUGIN)?.map(|status| (status, running)))
}

/// A connection that was made.
#[derive(Debug)]
pub(crate) struct Connected {
    /// OpenClaw's file.
    pub(crate) config: PathBuf,
    /// The copy of it from before.
    pub(crate) backup: Option<PathBuf>,
    /// What is good to know.
    pub(crate) notes: Vec<String>,
}

/// Connects all of OpenClaw's agents, for somebody who has agreed to it already.
pub(crate) fn connect_unasked(paths: &Paths) -> anyhow::Result<Connected> {
    let file = ::openclaw::find(&hints(None))?;
    let config = super::load(paths, super::lenient())?.config;
    let consent = Consent { yes: true, dry_run: false };
    let args = ConnectArgs { agents: Vec::new(), context_window: None, max_tokens: None, text_only: false, consent };
    let wanted = wanted::Wanted::new(paths, &config, &args)?;
    let job = wanted.ask(|wanted| Connection::of(&paths.home).connect(&file, wanted, PLUGIN))?;
    let notes = job.notes.iter().cloned().chain(wanted.notes()).collect();
    let connected = Connected { config: job.config.clone(), backup: job.backup.clone(), notes };
    job.run()?;
    Ok(connected)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Connect,
    Disconnect,
}

/// Shows a job, asks, and does it.
fn carry_out(
    connection: &Connection,
    job: Job,
    consent: Consent,
    direction: Direction,
    json: bool,
) -> anyhow::Result<()> {
    let connects = direction == Direction::Connect;
    let (changes, notes, kept) = (job.changes.clone(), job.notes.clone(), job.kept.clone());
    let (config, backup) = (job.config.clone(), job.backup.clone());
    let asks = !job.changes_nothing() && !consent.yes && !consent.dry_run;
    let idle = job.is_done();
    if !json {
        match changes.is_empty() {
            true if connects => output::line(format_args!("{} says all that is needed already", config.display())),
            true => output::line(format_args!("nothing of ours is in {}", config.display())),
            false => output::line(format_args!("{}\n", config.display())),
        }
        changes.iter().for_each(|line| output::line(format_args!("  {line}")));
        kept.iter().for_each(|key| output::note(format_args!("note: `{key}` was changed since, and stays as it is")));
        notes.iter().for_each(|note| output::note(format_args!("note: {note}")));
    }
    if asks && !agreed(json)? {
        output::note("nothing was changed");
        return Ok(());
    }
    if !consent.dry_run {
        job.run()?;
    }
    if json {
        output::json(&json!({
            "config": config,
            "backup": backup,
            "changes": changes,
            "kept": kept,
            "notes": notes,
            "dry_run": consent.dry_run,
            "connected": connection.status(PLUGIN)?.is_some_and(|status| !status.gone),
        }));
    } else if consent.dry_run {
        output::line("\nnothing was changed (--dry-run)");
    } else if !connects {
        output::line("\ndisconnected");
    } else if !idle {
        let copy = backup.map(|file| format!(" (copy: {})", file.display())).unwrap_or_default();
        output::line(format_args!(
            "\nconnected{copy}: a running gateway takes it up by itself; back with `metaclaw openclaw disconnect`"
        ));
    }
    Ok(())
}

/// Asks on the terminal; without one nobody has agreed.
fn agreed(json: bool) -> anyhow::Result<bool> {
    if json || !io::stdin().is_terminal() {
        bail!(
            "nothing was changed: there is no terminal to ask on; look at the changes with --dry-run, then say --yes"
        );
    }
    output::piece("\nContinue? [y/N] ");
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

fn status(connection: &Connection, named: Option<PathBuf>, paths: &Paths, json: bool) -> anyhow::Result<()> {
    let found = ::openclaw::find(&hints(named)).ok().filter(|file| file.exists());
    let status = connection.status(PLUGIN)?;
    let running = Running::find(&paths.home, None).ok().map(|running| wanted::address(running.address));
    if json {
        output::json(&match &status {
            Some(status) => json!({
                "connected": !status.gone,
                "config": status.config,
                "backup": status.backup,
                "base_url": status.base_url,
                "default_model": status.default_model,
                "agents": status.agents.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(),
                "changed": status.changed,
                "plugin": status.plugin,
                "running": running,
            }),
            None => json!({"connected": false, "config": found, "running": running}),
        });
        return Ok(());
    }
    let Some(status) = status else {
        match found {
            Some(file) => output::line(format_args!(
                "not connected; OpenClaw is there ({}): `metaclaw openclaw connect`",
                file.display()
            )),
            None => output::line("not connected, and OpenClaw was not found"),
        }
        return Ok(());
    };
    describe(&status, running.as_deref());
    Ok(())
}

fn describe(status: &Status, running: Option<&str>) {
    if status.gone {
        output::line(format_args!("not connected: nothing of ours is in {}", status.config.display()));
        output::note("note: `metaclaw openclaw connect` connects again, `metaclaw openclaw disconnect` tidies up");
        return;
    }
    output::line(format_args!("connected: {}", status.config.display()));
    if let Some(url) = &status.base_url {
        output::line(format_args!("host: {url}"));
    }
    if let Some(model) = &status.default_model {
        output::line(format_args!("agents without a model of their own: {model}"));
    }
    status.agents.iter().for_each(|(agent, model)| output::line(format_args!("agent {agent}: {model}")));
    for key in &status.changed {
        output::note(format_args!("note: `{key}` was changed since"));
    }
    if !status.plugin {
        output::note("note: the plugin's files are missing or another build's: run `metaclaw openclaw connect` again");
    }
    match running {
        None => output::note("note: the host is not running: start it with `metaclaw start`"),
        Some(url) if status.base_url.as_deref() != Some(url) => {
            output::note(format_args!("note: the host is at {url} now: run `metaclaw openclaw connect` again"));
        }
        Some(_) => {}
    }
}
