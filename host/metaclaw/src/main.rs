//! The `metaclaw` command: reads the command line, puts the host together, and says what went wrong in words.

mod admin;
mod bank;
mod cli;
mod commands;
mod embedder;
mod evolver;
mod exit;
mod keyring;
mod logging;
mod modules;
mod output;
mod reloading;
mod running;
mod service_manager;
mod trainer;
mod wiring;

use std::process::ExitCode;

use clap::Parser;

// Prompts of tens of kilobytes come and go all the time; this allocator gives their pages back and takes less time over them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    if let Some(ended) = modules::as_compiler() {
        return ended;
    }
    let cli = cli::Cli::parse();
    match commands::run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => exit::report(&error),
    }
}
