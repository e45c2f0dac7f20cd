use std::time::{Duration, Instant};

use ::config::Paths;
use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::admin::Admin;
use crate::cli::HostArgs;
use crate::output;
use crate::running::Running;

/// Longer than the host's own grace for turns under way.
const STOP_TIMEOUT: Duration = Duration::from_secs(90);
/// A module of many megabytes takes a while to compile.
const RELOAD_TIMEOUT: Duration = Duration::from_secs(180);
const POLL: Duration = Duration::from_millis(50);

/// `metaclaw status`
pub(crate) fn status(args: &HostArgs, paths: &Paths, json: bool) -> anyhow::Result<()> {
    let running = Running::find(&paths.home, args.port)?;
    let ready = super::runtime()?.block_on(Admin::state_of(&running, args.admin_key.as_deref()))?;
    if json {
        output::json(&json!({"running": running, "state": ready}));
        return Ok(());
    }
    output::line(format_args!(
        "running: http://{} (process {}, version {})",
        running.address, running.pid, running.version
    ));
    let problems = texts(&ready["problems"]);
    match ready["ready"].as_bool() {
        Some(true) => output::line("ready: yes"),
        _ if running.admin.is_none() || problems.is_empty() => output::line("ready: no (the log says why)"),
        _ => {}
    }
    problems.iter().for_each(|problem| output::line(format_args!("problem: {problem}")));
    for problem in texts(&ready["reload_problems"]) {
        output::line(format_args!("not taken over: {problem}"));
    }
    super::skills::show_learning(&ready["learning"]);
    super::train::show_training(&ready["training"], &ready["adapters"]);
    Ok(())
}

/// `metaclaw reload`
pub(crate) fn reload(args: &HostArgs, paths: &Paths, json: bool) -> anyhow::Result<()> {
    let running = Running::find(&paths.home, args.port)?;
    let Some(admin) = Admin::of(&running, args.admin_key.as_deref())? else {
        send(&running, Signal::HUP)?;
        output::line("told the host to read its configuration anew; its log says what comes of it");
        return Ok(());
    };
    let state = super::runtime()?.block_on(admin.reload(RELOAD_TIMEOUT))?;
    let problems = texts(&state["problems"]);
    if json {
        output::json(&json!({"reloaded": running.pid, "problems": problems}));
    } else {
        problems.iter().for_each(|problem| output::line(format_args!("problem: {problem}")));
    }
    match (problems.is_empty(), json) {
        (false, _) => bail!("not all of the new configuration serves; what served before does"),
        (true, false) => output::line("reloaded"),
        (true, true) => {}
    }
    Ok(())
}

fn texts(list: &serde_json::Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(|p| p.as_str().map(str::to_owned)).collect()
}

fn send(running: &Running, signal: Signal) -> anyhow::Result<()> {
    let pid = i32::try_from(running.pid).ok().and_then(Pid::from_raw).context("the host's process id is not one")?;
    kill_process(pid, signal).with_context(|| format!("process {} could not be told", running.pid))
}

#[expect(clippy::disallowed_methods, reason = "another process is waited for, from a plain thread")]
fn pause() {
    std::thread::sleep(POLL);
}

/// `metaclaw stop`
pub(crate) fn stop(args: &HostArgs, paths: &Paths, json: bool) -> anyhow::Result<()> {
    let running = Running::find(&paths.home, args.port)?;
    let asked = match Admin::of(&running, args.admin_key.as_deref())? {
        Some(admin) => super::runtime()?.block_on(admin.stop()).is_ok(),
        None => false,
    };
    if !asked {
        send(&running, Signal::TERM)?;
    }
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
        pause();
    }
    match json {
        true => output::json(&json!({"stopped": running.pid})),
        false => output::line(format_args!("stopped (process {})", running.pid)),
    }
    Ok(())
}
