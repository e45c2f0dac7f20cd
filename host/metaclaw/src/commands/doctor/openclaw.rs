//! OpenClaw: whether it is connected, to this host's address, with this build's plugin.

use std::net::SocketAddr;

use super::Patient;
use super::finding::{Finding, Level};
use crate::commands::openclaw::{address, connected, found};

const CHECK: &str = "openclaw";
const AGAIN: &str = "`metaclaw openclaw connect` again";

pub(super) fn check(patient: &Patient<'_>) -> Vec<Finding> {
    let (status, running) = match connected(patient.paths) {
        Err(error) => {
            return vec![Finding::failure(
                CHECK,
                error.to_string(),
                "mend the file; `metaclaw openclaw status` tries again",
            )];
        }
        Ok(None) => {
            let there = found(&patient.paths.home).map(|(file, _)| {
                Finding::fine(CHECK, format!("{}: not connected (`metaclaw openclaw connect`)", file.display()))
            });
            return there.into_iter().collect();
        }
        Ok(Some(connected)) => connected,
    };
    if status.gone {
        let what = format!("nothing of ours is in {} any more", status.config.display());
        return vec![Finding::warning(CHECK, what, format!("{AGAIN}, or `metaclaw openclaw disconnect` to tidy up"))];
    }
    let mut findings = Vec::new();
    if !status.plugin {
        let what = "the plugin's files are missing, or another build's";
        findings.push(Finding::failure(CHECK, what, format!("{AGAIN}, with this program")));
    }
    let configured = patient.config.map(|config| address(SocketAddr::new(config.server.host, config.server.port)));
    if let (Some(theirs), Some(ours)) = (&status.base_url, running.or(configured))
        && *theirs != ours
    {
        findings.push(Finding::failure(
            CHECK,
            format!("OpenClaw looks for the host at {theirs}, but it is at {ours}"),
            AGAIN,
        ));
    }
    for key in &status.changed {
        let what = format!("`{key}` in {} was changed since", status.config.display());
        findings.push(Finding::warning(CHECK, what, format!("{AGAIN}, unless it is meant so")));
    }
    if findings.iter().all(|finding| finding.level == Level::Fine) {
        findings.push(Finding::fine(CHECK, format!("connected: {}", status.config.display())));
    }
    findings
}
