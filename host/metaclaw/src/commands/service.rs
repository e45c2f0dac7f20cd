//! `metaclaw service`: the host as a service of systemd.

use std::fs;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use ::config::Paths;
use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use serde_json::json;

use crate::exit;
use crate::output;

/// What systemd calls it.
const UNIT: &str = "metaclaw.service";

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  metaclaw service show                      what `install` would write
  metaclaw service install                   run the host as a service of this user
  systemctl --user enable --now metaclaw     and start it, now and at each login
  metaclaw service remove")]
pub(crate) struct ServiceArgs {
    #[command(subcommand)]
    command: ServiceCommand,
}

#[derive(Debug, Subcommand)]
enum ServiceCommand {
    /// Print the unit file for this home
    Show,
    /// Write the unit file among this user's services
    Install {
        /// Write over a unit file that is different
        #[arg(long)]
        force: bool,
    },
    /// Take it away again
    Remove,
}

pub(crate) fn run(args: &ServiceArgs, paths: &Paths, json: bool) -> anyhow::Result<()> {
    let unit = unit(&std::env::current_exe().context("this program does not find itself")?, paths)?;
    match args.command {
        ServiceCommand::Show if json => output::json(&json!({"unit": unit, "file": file()?})),
        ServiceCommand::Show => output::piece(&unit),
        ServiceCommand::Install { force } => {
            let file = file()?;
            install(&file, &unit, force)?;
            match json {
                true => output::json(&json!({"file": file})),
                false => {
                    output::line(format_args!("written: {}", file.display()));
                    output::line(
                        "start it with: systemctl --user daemon-reload && systemctl --user enable --now metaclaw",
                    );
                }
            }
        }
        ServiceCommand::Remove => {
            let file = file()?;
            match fs::remove_file(&file) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    bail!("there is no {}: nothing was installed", file.display())
                }
                removed => removed.with_context(|| format!("{} cannot be removed", file.display()))?,
            }
            match json {
                true => output::json(&json!({"removed": file})),
                false => output::line(format_args!(
                    "removed: {} (stop what runs: systemctl --user stop metaclaw)",
                    file.display()
                )),
            }
        }
    }
    Ok(())
}

/// Where systemd looks for a user's own services.
fn file() -> anyhow::Result<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = || variable("HOME").map(|home| home.join(".config"));
    let config = variable("XDG_CONFIG_HOME").or_else(home).context("neither XDG_CONFIG_HOME nor HOME is set")?;
    Ok(config.join("systemd/user").join(UNIT))
}

fn install(file: &Path, unit: &str, force: bool) -> anyhow::Result<()> {
    match fs::read_to_string(file) {
        Ok(present) if present != unit && !force => {
            bail!("{} is there already, and different: use --force to write over it", file.display())
        }
        _ => {}
    }
    let cannot = || format!("{} cannot be written", file.display());
    fs::create_dir_all(file.parent().unwrap_or(file)).with_context(cannot)?;
    // Readable by all, as unit files are: no secret is in it.
    let mut options = fs::OpenOptions::new();
    let mut out = options.write(true).create(true).truncate(true).mode(0o644).open(file).with_context(cannot)?;
    std::io::Write::write_all(&mut out, unit.as_bytes()).with_context(cannot)
}

/// The unit of a host on this home. It gains no rights by any program that it starts.
fn unit(program: &Path, paths: &Paths) -> anyhow::Result<String> {
    let home = quoted(&paths.home)?;
    let mut start = format!("{} --home {home}", quoted(program)?);
    if paths.config_file != paths.home.join("config.yaml") {
        start += &format!(" --config {}", quoted(&paths.config_file)?);
    }
    let (config, unavailable) = (exit::CONFIG, exit::LOCKED);
    Ok(format!(
        "\
[Unit]
Description=MetaClaw, a policy host for agents
Documentation=man:metaclaw(1)
After=network-online.target
Wants=network-online.target

[Service]
Type=notify
NotifyAccess=main
ExecStart={start} start
ExecReload=/bin/kill -HUP $MAINPID
# Answers under way finish first: proxy.shutdown_grace, and a little more.
TimeoutStopSec=60
WatchdogSec=30
Restart=on-failure
RestartSec=2
# A bad configuration, and a home that another host uses, get no better by trying again.
RestartPreventExitStatus={config} {unavailable}
UMask=0077
LimitNOFILE=65536
LimitCORE=0
NoNewPrivileges=yes
LockPersonality=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX

[Install]
WantedBy=default.target
"
    ))
}

/// A path as one word of a unit file, in which `%`, `$` and `\\` mean something.
fn quoted(path: &Path) -> anyhow::Result<String> {
    let text = path.to_str().with_context(|| format!("{} is no text, which a unit file needs", path.display()))?;
    if text.chars().any(char::is_control) {
        bail!("{text:?} holds control characters, which a unit file cannot");
    }
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%").replace('$', "$$");
    Ok(if escaped.contains(char::is_whitespace) || escaped != text { format!("\"{escaped}\"") } else { escaped })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_one_word_each() {
        for (path, wanted) in [
            ("/home/ada/.metaclaw", "/home/ada/.metaclaw"),
            ("/home/ada lovelace/x", "\"/home/ada lovelace/x\""),
            ("/a%b/$c/\"d\"", "\"/a%%b/$$c/\\\"d\\\"\""),
        ] {
            assert_eq!(quoted(Path::new(path)).unwrap(), wanted);
        }
        assert!(quoted(Path::new("/a\nExecStart=/bin/sh")).is_err());
    }
}
