//! `metaclaw start --daemon`

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ::config::Paths;
use anyhow::{Context, bail};

use crate::cli::StartArgs;
use crate::output;
use crate::running::Running;

/// How long a background host may take to serve: loading a large model takes a while.
const DAEMON_TIMEOUT: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(50);

/// Starts this program again without a terminal and waits until it serves.
pub(crate) fn start(args: &StartArgs, paths: &Paths, json: bool) -> anyhow::Result<()> {
    if let Ok(running) = Running::find(&paths.home, None) {
        bail!("a host is running on this home already, at {} (process {})", running.address, running.pid);
    }
    // A bad configuration, or key file, is reported here, not in a log.
    let config = super::load(paths, super::start::options(args))?.config;
    super::start::check_exposure(&config, &crate::keyring::read(paths)?)?;
    super::start::private_folder(&paths.home)?;
    if !json {
        // Here, and not in a log.
        super::openclaw::mention(paths);
    }
    let log = args.log_file.clone().unwrap_or_else(|| paths.home.join("host.log"));
    // The host itself writes its log there. This is for what it says before it can, and for its last words.
    let out = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(&log)
        .with_context(|| format!("the log {} cannot be opened", log.display()))?;
    let mut words: Vec<OsString> = std::env::args_os().skip(1).filter(|word| word != "--daemon").collect();
    if args.log_file.is_none() {
        words.extend(["--log-file".into(), log.clone().into()]);
    }
    let mut child = Command::new(std::env::current_exe()?)
        .args(words)
        .stdin(Stdio::null())
        .stdout(out.try_clone()?)
        .stderr(out)
        .process_group(0)
        .spawn()
        .context("the background host could not be started")?;
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            bail!("the background host ended at once ({status}); its last words are in {}", log.display());
        }
        if let Some(running) = Running::find(&paths.home, None).ok().filter(|r| r.pid == child.id()) {
            match json {
                true => output::json(&running),
                false => output::line(format_args!(
                    "running in the background: http://{} (process {}, log {})",
                    running.address,
                    running.pid,
                    log.display()
                )),
            }
            return Ok(());
        }
        if began.elapsed() > DAEMON_TIMEOUT {
            bail!(
                "the background host (process {}) does not serve after {} s: see {}",
                child.id(),
                DAEMON_TIMEOUT.as_secs(),
                log.display()
            );
        }
        #[expect(clippy::disallowed_methods, reason = "another process is waited for, from a plain thread")]
        std::thread::sleep(POLL);
    }
}
