//! `metaclaw setup`: from nothing to a host that answers. It looks what is there, asks little (or nothing), says what it will
//! do, tries the upstream with a real request, and only then writes.

mod ask;
mod carry_out;
mod choice;
mod find;
mod known;
mod plan;
mod template;

use std::io::{self, IsTerminal};
use std::time::Duration;

use ::config::Paths;
use anyhow::bail;
use clap::Args;
use jiff::Timestamp;
use serde_json::json;
use tokio::runtime::Runtime;

use self::ask::Next;
use self::choice::Choice;
use self::plan::Plan;

pub(crate) use self::find::models_of;
use super::trial::{self, Answered};
use crate::cli::ModeArg;
use crate::output;

/// `metaclaw setup`
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  metaclaw setup                                     asks; Esc leaves everything as it is
  metaclaw setup --yes                               takes what is found: your configuration, a server on this
                                                     machine, a key in the environment, else the embedded model
  metaclaw setup --provider openai --api-key env:OPENAI_API_KEY --agent researcher --agent ada=assistant
  metaclaw setup --api-base http://10.0.0.5:8000/v1 --model qwen3 --yes
  metaclaw setup --yes --dry-run                     says what it would do")]
pub(crate) struct SetupArgs {
    /// Who answers: openai, openrouter, kimi, qwen, ollama, lmstudio, vllm, …, custom, or embedded
    #[arg(long, value_name = "NAME")]
    provider: Option<String>,
    /// The model to ask
    #[arg(long)]
    model: Option<String>,
    /// The API's address, up to and including /v1 [default: the provider's own]
    #[arg(long, value_name = "URL")]
    api_base: Option<String>,
    /// Where the provider's key is: env:NAME, file:PATH, or `-` to read it from standard input into a file of its own
    #[arg(long, value_name = "env:NAME|file:PATH|-")]
    api_key: Option<String>,
    /// An agent and its role: researcher, assistant or reviewer; may be given several times
    #[arg(long = "agent", value_name = "NAME=ROLE")]
    agents: Vec<String>,
    /// What turns are used for [default: skills_only]
    #[arg(long)]
    mode: Option<ModeArg>,
    /// The port to listen on [default: 30000]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// Let OpenClaw's agents use this host
    #[arg(long, conflicts_with = "no_connect_openclaw")]
    connect_openclaw: bool,
    /// Leave OpenClaw alone, and do not ask
    #[arg(long)]
    no_connect_openclaw: bool,
    /// Write a new configuration file although there is one; that one is kept beside it
    #[arg(long)]
    force: bool,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Send no test request to the upstream
    #[arg(long)]
    skip_test: bool,
    /// How long the test request may take
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: u64,
    /// Where servers are looked for, instead of their customary ports: provider=address,…; for tests
    #[arg(long, hide = true, env = "METACLAW_SETUP_PROBES", hide_env = true)]
    probes: Option<String>,
}

/// Does it.
pub(crate) fn run(args: &SetupArgs, paths: &Paths, json: bool) -> anyhow::Result<()> {
    let runtime = super::runtime()?;
    let asks = !args.yes && !args.dry_run && !json && io::stdin().is_terminal() && io::stderr().is_terminal();
    let found = runtime.block_on(find::everything(paths, args.probes.as_deref()))?;
    let (choice, plan, tried) = loop {
        let choice = match asks {
            true => match ask::choose(args, &found, paths, &runtime)? {
                Some(choice) => choice,
                None => return cancelled(),
            },
            false => runtime.block_on(Choice::unasked(args, &found, paths))?,
        };
        let plan = Plan::new(&choice, &found, paths, args.force, &today())?;
        if args.dry_run {
            return say(&plan, json);
        }
        if !asks && !args.yes && args.provider().is_none() {
            say(&plan, false)?;
            bail!("nothing was changed: there is no terminal to ask on; say --yes, or --provider NAME, to go ahead");
        }
        if asks && !ask::agreed(&plan.steps)? {
            return cancelled();
        }
        if !asks && !json {
            plan.steps.iter().for_each(output::line);
        }
        match attempt(args, &choice, &plan, paths, asks, &runtime)? {
            Outcome::GoOn(tried) => break (choice, plan, tried),
            Outcome::AskAgain => {}
            Outcome::Stop => return cancelled(),
        }
    };
    let done = carry_out::everything(&choice, &plan, paths, &stamp())?;
    carry_out::report(&done, &choice, &plan, tried.as_ref(), &found, paths, json);
    Ok(())
}

/// What comes of a trial.
enum Outcome {
    GoOn(Option<Answered>),
    AskAgain,
    Stop,
}

/// Fetches the model if need be, and tries the upstream. Beyond that model nothing is written.
fn attempt(
    args: &SetupArgs,
    choice: &Choice,
    plan: &Plan,
    paths: &Paths,
    asks: bool,
    runtime: &Runtime,
) -> anyhow::Result<Outcome> {
    if plan.fetches {
        carry_out::private_folder(&paths.home)?;
        runtime.block_on(super::models::fetch_usual(&paths.home))?;
    }
    if args.skip_test {
        return Ok(Outcome::GoOn(None));
    }
    let config = plan::checked(&plan.trial_text(choice, paths)?, paths)?;
    loop {
        if asks {
            output::note("asking for a word…");
        }
        match runtime.block_on(trial::default_agent(&config, Duration::from_secs(args.timeout))) {
            Ok(answered) => return Ok(Outcome::GoOn(Some(answered))),
            Err(trouble) if !asks => bail!(
                "{}: {}. Nothing was changed; --skip-test sets it up without trying",
                trouble.what,
                trouble.remedy
            ),
            Err(trouble) => match ask::after(&trouble)? {
                Next::Again => {}
                Next::Change => return Ok(Outcome::AskAgain),
                Next::Keep => return Ok(Outcome::GoOn(None)),
                Next::Stop => return Ok(Outcome::Stop),
            },
        }
    }
}

/// What would be done.
fn say(plan: &Plan, json: bool) -> anyhow::Result<()> {
    if json {
        output::json(&json!({"dry_run": true, "steps": plan.steps, "notes": plan.notes}));
        return Ok(());
    }
    match plan.steps.is_empty() {
        true => output::line("everything is set up already"),
        false => plan.steps.iter().for_each(output::line),
    }
    plan.notes.iter().for_each(|note| output::note(format_args!("note: {note}")));
    Ok(())
}

/// A script that goes on with `metaclaw start` must not.
fn cancelled() -> anyhow::Result<()> {
    bail!("stopped: nothing was changed")
}

fn today() -> String {
    Timestamp::now().strftime("%Y-%m-%d").to_string()
}

/// The time in the names of copies.
fn stamp() -> String {
    Timestamp::now().strftime("%Y%m%d-%H%M%S").to_string()
}
