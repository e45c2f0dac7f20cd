//! `metaclaw policy …`: what somebody needs who writes a policy, or is given one.

mod bench;
mod build;
mod cases;
mod check;
mod inspect;
mod keys;
mod languages;
mod login;
mod new;
mod pin;
mod pull;
mod push;
mod replay;
mod subject;
mod test;
mod tools;

use ::config::Paths;
use clap::{Args, Subcommand};

/// `metaclaw policy`
#[derive(Debug, Args)]
#[command(
    after_help = "A policy is a WebAssembly component that decides for one agent: where its turns go, which skills its prompts get, which
tool calls pass, which turns are learned from.

Examples:
  metaclaw policy new --lang rust my-policy     a project that builds, with a case
  metaclaw policy build my-policy               my-policy/policy.wasm
  metaclaw policy test my-policy                its cases.yaml, in the host's own engine
  metaclaw policy check my-policy/policy.wasm   whether a host loads it, and which grants it needs
  metaclaw policy pin my-policy/policy.wasm --agent researcher"
)]
pub(crate) struct PolicyArgs {
    #[command(subcommand)]
    command: PolicyCommand,
}

#[derive(Debug, Subcommand)]
enum PolicyCommand {
    /// Make a project: a policy that builds, with a case and a README
    New(new::NewArgs),
    /// Build a policy's folder into a component
    Build(build::BuildArgs),
    /// Run a module's cases in the host's own engine, each twice; fails when one does not come out as it should
    Test(test::TestArgs),
    /// Say whether a host loads a module, what it does and needs, and the lines for the configuration; fails if it does not load
    Check(check::CheckArgs),
    /// Measure a module's hooks beside the built-in policy's: time, instructions, memory
    Bench(bench::BenchArgs),
    /// Ask a module about turns that the host has recorded, and show what it would decide differently
    Replay(replay::ReplayArgs),
    /// Show what a module imports, exports and consists of, without running it
    Inspect(inspect::InspectArgs),
    /// Write a module and its digest into an agent's `policy`
    Pin(pin::PinArgs),
    /// Put a module into an OCI registry, and print the reference that names exactly it
    Push(push::PushArgs),
    /// Fetch a module from an OCI registry into the home's cache
    Pull(pull::PullArgs),
    /// Make a pair of keys to sign modules with
    Keygen(keys::KeygenArgs),
    /// Sign a module
    Sign(keys::SignArgs),
}

/// `metaclaw policy …`
pub(crate) fn run(args: PolicyArgs, paths: &Paths, json: bool) -> anyhow::Result<()> {
    match args.command {
        PolicyCommand::New(args) => new::run(&args, json),
        PolicyCommand::Build(args) => build::run(&args, paths, json),
        PolicyCommand::Test(args) => test::run(&args, paths, json),
        PolicyCommand::Check(args) => check::run(&args, paths, json),
        PolicyCommand::Bench(args) => bench::run(&args, json),
        PolicyCommand::Replay(args) => replay::run(&args, paths, json),
        PolicyCommand::Inspect(args) => inspect::run(&args, json),
        PolicyCommand::Pin(args) => pin::run(&args, paths, json),
        PolicyCommand::Push(args) => push::run(&args, paths, json),
        PolicyCommand::Pull(args) => pull::run(&args, paths, json),
        PolicyCommand::Keygen(args) => keys::keygen(&args, json),
        PolicyCommand::Sign(args) => keys::sign(&args, json),
    }
}
