//! One file for each command.

pub(crate) mod adapters;
mod agents;
mod background;
pub(crate) mod calls;
mod chat;
pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod doctor;
pub(crate) mod keys;
pub(crate) mod models;
pub(crate) mod openclaw;
pub(crate) mod policy;
pub(crate) mod service;
pub(crate) mod sessions;
pub(crate) mod setup;
pub(crate) mod skills;
mod start;
mod status;
pub(crate) mod train;
mod trial;

use ::config::{LoadOptions, Loaded, Paths};

use crate::cli::{Cli, Command};
use crate::exit::Exit;
use crate::output;

/// Does what the command line says.
pub(crate) fn run(cli: Cli) -> anyhow::Result<()> {
    match &cli.command {
        // A package is built where there may be no home.
        Command::Completions(args) => return completions::completions(args),
        Command::Man(args) => return completions::man(args, cli.json),
        _ => {}
    }
    upstream::install_crypto();
    let paths = crate::keyring::noted(Paths::resolve(cli.home, cli.config)?);
    match cli.command {
        Command::Start(args) if args.daemon => background::start(&args, &paths, cli.json),
        Command::Start(args) => start::in_foreground(&args, &paths, cli.json),
        Command::Stop(args) => status::stop(&args, &paths, cli.json),
        Command::Reload(args) => status::reload(&args, &paths, cli.json),
        Command::Status(args) => status::status(&args, &paths, cli.json),
        Command::Agents(args) => agents::run(args, &paths, cli.json),
        Command::Sessions(args) => sessions::run(&args, &paths, cli.json),
        Command::Calls(args) => calls::run(&args, &paths, cli.json),
        Command::Keys(args) => keys::run(&args, &paths, cli.json),
        Command::Skills(args) => skills::run(args, &paths, cli.json),
        Command::Train(args) => train::run(&args, &paths, cli.json),
        Command::Adapters(args) => adapters::run(&args, &paths, cli.json),
        Command::Policy(args) => policy::run(args, &paths, cli.json),
        Command::Models(args) => runtime()?.block_on(models::run(args, &paths.home, cli.json)),
        Command::Config(args) => config::run(args, &paths, cli.json),
        Command::Openclaw(args) => openclaw::run(args, &paths, cli.json),
        Command::Setup(args) => setup::run(&args, &paths, cli.json),
        Command::Doctor(args) => doctor::run(&args, &paths, cli.json),
        Command::Completions(_) | Command::Man(_) => Ok(()),
        Command::Service(args) => service::run(&args, &paths, cli.json),
        Command::Chat(args) => runtime()?.block_on(chat::run(args, &paths)),
        // The one that a host starts never gets here.
        Command::CompilePolicy => anyhow::bail!("only a running host starts this, as the first word of the command"),
    }
}

/// For commands that run no module: a home whose host is started with `--dev` must work for them too.
pub(crate) fn lenient() -> LoadOptions {
    LoadOptions { dev: true, ..LoadOptions::default() }
}

/// Reads the configuration; a bad one is reported whole and ends the command with 64.
pub(crate) fn load(paths: &Paths, options: LoadOptions) -> anyhow::Result<Loaded> {
    ::config::load(paths, options).map_err(|problems| {
        output::note(problems);
        Exit::Config.into()
    })
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}
