//! The host that runs, or could not: its health and version, its port, and the lock on its state.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::MetadataExt;

use super::Patient;
use super::finding::{Finding, Level};
use super::processes;
use crate::running::Running;

const HOST: &str = "host";
const PORT: &str = "port";
const LOCK: &str = "lock";

pub(super) async fn check(patient: &Patient<'_>) -> Vec<Finding> {
    let mut findings = match &patient.running {
        Some(running) => health(running).await,
        None => vec![absent(patient)],
    };
    findings.extend(port(patient));
    findings.extend(lock(patient));
    findings
}

fn absent(patient: &Patient<'_>) -> Finding {
    let note = patient.paths.home.join("state").join("running.json");
    match note.exists() {
        true => Finding::warning(
            HOST,
            "the last host ended without a word: it was killed, or broke down",
            "see its log (host.log in the home folder, if it ran in the background), then `metaclaw start`",
        ),
        false => Finding::fine(HOST, "not running (`metaclaw start`)"),
    }
}

async fn health(running: &Running) -> Vec<Finding> {
    let address = running.url("");
    let restart = "`metaclaw stop`, then `metaclaw start`";
    let mut findings = Vec::new();
    let own = env!("CARGO_PKG_VERSION");
    if running.version != own {
        let what = format!("the host at {address} is version {}, this program {own}", running.version);
        findings.push(Finding::warning(HOST, what, restart));
    } else if processes::is_replaced(running.pid) {
        let what = format!("the host at {address} (process {}) runs a program that was replaced since", running.pid);
        findings.push(Finding::warning(HOST, what, restart));
    }
    let state = match running.ready().await {
        Ok(state) => state,
        Err(error) => {
            let what = format!("the host (process {}) does not answer at {address}: {error:#}", running.pid);
            findings.push(Finding::failure(HOST, what, format!("see its log, then {restart}")));
            return findings;
        }
    };
    let texts = |key: &str| {
        let list = state[key].as_array().into_iter().flatten();
        list.filter_map(|text| text.as_str().map(str::to_owned)).collect::<Vec<_>>()
    };
    findings.extend(
        texts("problems").into_iter().map(|what| Finding::failure(HOST, what, "`metaclaw status`, and its log")),
    );
    let mend = "mend the configuration (`metaclaw config check`); the host takes it over by itself";
    findings.extend(
        texts("reload_problems")
            .into_iter()
            .map(|what| Finding::warning(HOST, format!("not taken over: {what}"), mend)),
    );
    if findings.iter().all(|finding| finding.level == Level::Fine) {
        findings.push(Finding::fine(HOST, format!("running at {address} (process {}), and well", running.pid)));
    }
    findings
}

/// Binding is what `start` does; the port is free again at once.
fn port(patient: &Patient<'_>) -> Option<Finding> {
    let config = patient.config?;
    let address = SocketAddr::new(config.server.host, config.server.port);
    if let Some(running) = &patient.running {
        let moved = running.address.port() != address.port() && address.port() != 0;
        return moved.then(|| {
            Finding::warning(
                PORT,
                format!("the host listens on {}, the configuration says {}", running.address.port(), address.port()),
                "a port is taken over by a restart: `metaclaw stop`, then `metaclaw start` (unless --port is meant so)",
            )
        });
    }
    Some(match TcpListener::bind(address) {
        Ok(_) => Finding::fine(PORT, format!("{address} is free")),
        Err(error) if error.kind() == ErrorKind::AddrInUse => taken(address),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Finding::failure(
            PORT,
            format!("{address} cannot be listened on: {error}"),
            "ports below 1024 are the system's: `metaclaw config set proxy.port 30000`",
        ),
        Err(error) => Finding::failure(
            PORT,
            format!("{address} cannot be listened on: {error}"),
            "proxy.host must be an address of this machine: `metaclaw config set proxy.host 127.0.0.1`",
        ),
    })
}

fn taken(address: SocketAddr) -> Finding {
    let other = "or take another: `metaclaw config set proxy.port 30001`";
    match processes::listening_on(address.port()) {
        Some(process) if process.is_python_metaclaw() => Finding::failure(
            PORT,
            format!("MetaClaw's Python host (process {}) has {address}", process.pid),
            format!("end it with `kill {}`, {other}", process.pid),
        ),
        Some(process) => Finding::failure(
            PORT,
            format!("{} (process {}) has {address}", process.name(), process.pid),
            format!("end it (`kill {}`), {other}", process.pid),
        ),
        None => Finding::failure(
            PORT,
            format!("another program has {address}"),
            format!("find it with `ss -ltnp`, {other}"),
        ),
    }
}

fn lock(patient: &Patient<'_>) -> Option<Finding> {
    let file = patient.paths.home.join("state").join("lock");
    let holder = processes::lock_holder(file.metadata().ok()?.ino())?;
    let ours = patient.running.as_ref().is_some_and(|running| running.pid == holder);
    (!ours).then(|| {
        Finding::failure(
            LOCK,
            format!("process {holder} holds {}, and is not the host that this home knows of", file.display()),
            format!("see what it is (`ps {holder}`), and end it before `metaclaw start`"),
        )
    })
}
