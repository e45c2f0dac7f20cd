use std::time::{Duration, Instant};

use ::config::Paths;
use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::cli::HostArgs;
use crate::output;
use crate::running::Running;

/// Longer than the host's own grace for turns under way.
const STOP_TIMEOUT: Duration = Duration::from_secs(90);
const POLL: Duration = Duration::from_millis(50);

/// `metaclaw status`
pub(crate) fn status(args: &HostArgs, paths: &Paths, json: bool) -> anyhow::Result<()> {
    let running = Running::find(&paths.home, args.port)?;
    let ready = super::runtime()?.block_on(running.ready())?;
    if json {
        output::json(&json!({"running": running, "state": ready}));
        return Ok(());
    }
    output::line(format_args!(
        "running: http://{} (process {}, version {})",
        running.address, running.pid, running.version
    ));
    let problems = ready["problems"].as_array().cloned().unwrap_or_default();
    match problems.is_empty() {
        true => output::line("ready: yes"),
        false => {
            problems.iter().for_each(|p| output::line(format_args!("problem: {}", p.as_str().unwrap_or_default())))
        }
    }
    Ok(())
}

/// `metaclaw stop`
pub(crate) fn stop(args: &HostArgs, paths: &Paths, json: bool) -> anyhow::Result<()> {
    let running = Running::find(&paths.home, args.port)?;
    let pid = i32::try_from(running.pid).ok().and_then(Pid::from_raw).context("the host's process id is not one")?;
    kill_process(pid, Signal::TERM).with_context(|| format!("process {} could not be told to stop", running.pid))?;
    let began = Instant::now();
    while running.lives() {
        if began.elapsed() > STOP_TIMEOUT {
            bail!(
                "process {} is still finishing turns after {} s: wait, or end it with `kill {}`",
                running.pid,
                STOP_TIMEOUT.as_secs(),
                running.pid
            );
        }
        #[expect(clippy::disallowed_methods, reason = "another process is waited for, from a plain thread")]
        std::thread::sleep(POLL);
    }
    match json {
        true => output::json(&json!({"stopped": running.pid})),
        false => output::line(format_args!("stopped (process {})", running.pid)),
    }
    Ok(())
}
