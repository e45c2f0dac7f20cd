//! The configuration: every problem that loading it finds, secrets among them; and the keys of clients.

use ::config::{Loaded, NOT_ACTED_ON, Paths, Problem, Problems, Severity};
use ::keys::KeyFile;

use super::finding::Finding;

const CONFIG: &str = "config";
const SECRETS: &str = "secrets";
const KEYS: &str = "keys";
/// How many of those are named.
const NAMED: usize = 3;

pub(super) fn check(loaded: &Result<Loaded, Problems>, paths: &Paths) -> Vec<Finding> {
    let file = paths.config_file.display();
    let problems = match loaded {
        Ok(loaded) => &loaded.warnings,
        Err(problems) => &problems.problems,
    };
    let (idle, told): (Vec<_>, Vec<_>) = problems.iter().partition(|problem| problem.message == NOT_ACTED_ON);
    let mut findings: Vec<Finding> = told.into_iter().map(finding).collect();
    if !idle.is_empty() {
        let names: Vec<&str> = idle.iter().take(NAMED).map(|problem| problem.path.as_str()).collect();
        let more = if idle.len() > NAMED { ", …" } else { "" };
        let what = format!("{} keys are accepted and not acted on yet: {}{more}", idle.len(), names.join(", "));
        findings.push(Finding::warning(
            CONFIG,
            what,
            "`metaclaw config check` lists them; let them be, or remove them",
        ));
    }
    if loaded.is_ok() && !findings.iter().any(|finding| finding.check == CONFIG) {
        let what = if paths.config_file.exists() {
            file.to_string()
        } else {
            format!("there is no {file}: the defaults hold")
        };
        findings.insert(0, Finding::fine(CONFIG, what));
    }
    findings
}

/// The keys that clients show. A file that cannot be trusted lets nobody in, so that the host does not start.
pub(super) fn keys(paths: &Paths) -> Option<Finding> {
    match KeyFile::of(&paths.home).read() {
        Ok(None) => None,
        Ok(Some(_)) => Some(Finding::fine(KEYS, "clients must show one (`metaclaw keys list`)")),
        Err(error) => Some(Finding::failure(
            KEYS,
            error.to_string(),
            "`metaclaw doctor --fix` closes what is open; a damaged file is put back from a copy, or made anew",
        )),
    }
}

fn finding(problem: &Problem) -> Finding {
    let last = problem.path.rsplit('.').next().unwrap_or_default();
    let check = if last.ends_with("_key") || last.ends_with("_token") { SECRETS } else { CONFIG };
    let place = problem.place.map(|place| format!(" (line {})", place.line)).unwrap_or_default();
    let colon = if problem.path.is_empty() && problem.place.is_none() { "" } else { ": " };
    let what = format!("{}{place}{colon}{}", problem.path, problem.message).trim_start().to_owned();
    match problem.severity {
        Severity::Error => Finding::failure(check, what, &*problem.remedy),
        Severity::Warning => Finding::warning(check, what, &*problem.remedy),
    }
}
