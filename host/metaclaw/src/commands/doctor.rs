//! `metaclaw doctor`: looks at everything that can be wrong, and says the remedy. Each check stands alone; nothing is changed
//! unless `--fix` says so, and then only permissions.

mod finding;
mod home;
mod host;
mod leftovers;
mod library;
mod machine;
mod openclaw;
mod processes;
mod settings;
mod upstreams;

use std::time::Duration;

use ::config::{Config, LoadOptions, Paths};
use anyhow::bail;
use clap::Args;
use serde_json::json;

use self::finding::{Finding, Level};
use crate::output;
use crate::running::Running;

/// `metaclaw doctor`
#[derive(Debug, Args)]
#[command(after_help = "Ends with 1 when something does not work (✗); what is only worth a look (!) is no failure.

Examples:
  metaclaw doctor
  metaclaw doctor --fix        closes files and folders that are open to other users, and nothing else
  metaclaw doctor --offline    asks no upstream
  metaclaw doctor --json")]
pub(crate) struct DoctorArgs {
    /// Close files and folders that are open to other users
    #[arg(long)]
    fix: bool,
    /// Send no request to the upstreams
    #[arg(long)]
    offline: bool,
    /// For writing policies: modules need no `sha256`
    #[arg(long)]
    dev: bool,
    /// How long an upstream may take to answer
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: u64,
}

/// What the checks look at.
pub(super) struct Patient<'a> {
    paths: &'a Paths,
    /// None when it has errors.
    config: Option<&'a Config>,
    /// The host that runs on this home.
    running: Option<Running>,
}

/// Looks, says, and fails when something does not work.
pub(crate) fn run(args: &DoctorArgs, paths: &Paths, json: bool) -> anyhow::Result<()> {
    let mut findings = examine(args, paths)?;
    let mut fixed = Vec::new();
    if args.fix {
        fixed = findings
            .iter()
            .filter_map(|finding| finding.fix.as_ref())
            .map(|fix| fix.apply())
            .collect::<Result<_, _>>()?;
        if !fixed.is_empty() {
            findings = examine(args, paths)?;
        }
    }
    let count = |level| findings.iter().filter(|finding| finding.level == level).count();
    let (failures, warnings) = (count(Level::Failure), count(Level::Warning));
    if json {
        output::json(&json!({
            "ok": failures == 0, "failures": failures, "warnings": warnings, "fixed": fixed, "findings": findings,
        }));
    } else {
        fixed.iter().for_each(|done| output::line(format_args!("fixed: {done}")));
        findings.iter().for_each(output::line);
        output::line("");
        match (failures, warnings) {
            (0, 0) => output::line("nothing is wrong"),
            (0, some) => output::line(format_args!("everything works; {some} to look at (!)")),
            (wrong, some) => output::line(format_args!("{wrong} wrong (✗), {some} to look at (!)")),
        }
    }
    match failures {
        0 => Ok(()),
        1 => bail!("one thing does not work"),
        several => bail!("{several} things do not work"),
    }
}

fn examine(args: &DoctorArgs, paths: &Paths) -> anyhow::Result<Vec<Finding>> {
    let loaded = ::config::load(paths, LoadOptions { dev: args.dev, ..LoadOptions::default() });
    let config = loaded.as_ref().ok().map(|loaded| &loaded.config);
    let patient = Patient { paths, config, running: Running::find(&paths.home, None).ok() };
    let runtime = super::runtime()?;
    let mut findings = Vec::new();
    findings.extend(home::check(&patient));
    findings.extend(settings::check(&loaded, paths));
    findings.extend(settings::keys(paths));
    findings.extend(runtime.block_on(upstreams::check(&patient, args.offline, Duration::from_secs(args.timeout))));
    findings.extend(runtime.block_on(host::check(&patient)));
    findings.extend(library::skills(&patient));
    findings.extend(library::policies(&patient));
    findings.extend(machine::check(&patient));
    findings.extend(openclaw::check(&patient));
    findings.extend(leftovers::check(&patient));
    Ok(findings)
}
