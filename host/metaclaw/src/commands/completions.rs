//! `metaclaw completions` and `metaclaw man`: the command line, for shells and for `man`.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, Command, CommandFactory};
use clap_complete::Shell;
use serde_json::json;

use crate::cli::Cli;
use crate::output;

/// The program's name on the command line.
const NAME: &str = "metaclaw";

/// `metaclaw completions`
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  metaclaw completions bash > ~/.local/share/bash-completion/completions/metaclaw
  metaclaw completions zsh > \"${fpath[1]}/_metaclaw\"
  metaclaw completions fish > ~/.config/fish/completions/metaclaw.fish")]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// `metaclaw man`
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  metaclaw man | man -l -
  metaclaw man ~/.local/share/man/man1    a page for each command, so that `man metaclaw-setup` finds it")]
pub(crate) struct ManArgs {
    /// Write a page for each command into this folder [default: print the first page]
    #[arg(value_name = "DIR")]
    folder: Option<PathBuf>,
}

/// Prints what a shell reads.
pub(crate) fn completions(args: &CompletionsArgs) -> anyhow::Result<()> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut shown(), NAME, &mut text);
    print(&text)
}

/// The command line without what is hidden, which the generators would offer.
fn shown() -> Command {
    let all = Cli::command();
    let commands = all.get_subcommands().filter(|command| !command.is_hide_set()).cloned();
    Command::new(NAME).version(env!("CARGO_PKG_VERSION")).args(all.get_arguments().cloned()).subcommands(commands)
}

/// Prints the first page, or writes them all.
pub(crate) fn man(args: &ManArgs, json: bool) -> anyhow::Result<()> {
    let Some(folder) = &args.folder else {
        let mut page = Vec::new();
        clap_mangen::Man::new(Cli::command()).render(&mut page)?;
        return print(&page);
    };
    let pages =
        write_pages(folder).with_context(|| format!("the pages cannot be written into {}", folder.display()))?;
    match json {
        true => output::json(&json!({"folder": folder, "pages": pages})),
        false => output::line(format_args!("{pages} pages in {}: `man {NAME}`", folder.display())),
    }
    Ok(())
}

fn write_pages(folder: &Path) -> io::Result<usize> {
    std::fs::create_dir_all(folder)?;
    clap_mangen::generate_to(Cli::command(), folder)?;
    let ours = |name: &std::ffi::OsStr| name.to_string_lossy().starts_with(NAME);
    Ok(std::fs::read_dir(folder)?.flatten().filter(|entry| ours(&entry.file_name())).count())
}

/// A reader that has gone away is no error.
fn print(text: &[u8]) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}
