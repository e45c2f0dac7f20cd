//! What the machine gives: room, open files, the time; and what it says that is not listened to.

use std::path::Path;
use std::time::{Duration, SystemTime};

use rustix::process::{Resource, getrlimit};

use super::Patient;
use super::finding::Finding;

const MIB: u64 = 1 << 20;
/// With less, turns cannot be recorded for long.
const TOO_LITTLE: u64 = 100 * MIB;
/// With less, a model does not fit, nor many days of turns.
const LITTLE: u64 = 1024 * MIB;
/// Each turn holds two connections, each policy a file.
const FEW_FILES: u64 = 1024;
/// Seconds since 1970: certificates and signatures of this program's time are not valid before 2026, and a clock beyond
/// 2100 is wrong.
const EARLIEST: u64 = 1_767_225_600;
const LATEST: u64 = 4_102_444_800;
/// What other programs take for the way out.
const PROXIES: &[&str] = &["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"];

pub(super) fn check(patient: &Patient<'_>) -> Vec<Finding> {
    let mut findings = vec![disk(&patient.paths.home), files(), clock(SystemTime::now())];
    findings.extend(proxies());
    findings
}

fn disk(home: &Path) -> Finding {
    let there = home.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/"));
    match rustix::fs::statvfs(there) {
        Ok(about) => room(about.f_bavail.saturating_mul(about.f_frsize), there),
        Err(error) => {
            Finding::warning("disk", format!("{} cannot be measured: {error}", there.display()), "look with `df -h`")
        }
    }
}

fn room(free: u64, at: &Path) -> Finding {
    let what = format!("{} MiB free at {}", free / MIB, at.display());
    match free {
        0..TOO_LITTLE => Finding::failure("disk", what, "make room: turns are recorded before they are acknowledged"),
        TOO_LITTLE..LITTLE => Finding::warning("disk", what, "make room: turns, samples and models take some"),
        _ => Finding::fine("disk", what),
    }
}

fn files() -> Finding {
    open_files(getrlimit(Resource::Nofile).maximum)
}

/// The host asks for as many as it may have, so the hard limit counts.
fn open_files(most: Option<u64>) -> Finding {
    match most {
        Some(most) if most < FEW_FILES => Finding::warning(
            "files",
            format!("at most {most} files can be open, connections among them"),
            "`ulimit -Hn 65536` where the host is started, or LimitNOFILE=65536 in its systemd unit",
        ),
        Some(most) => Finding::fine("files", format!("up to {most} can be open")),
        None => Finding::fine("files", "any number can be open"),
    }
}

fn clock(now: SystemTime) -> Finding {
    let seconds = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
    match seconds {
        EARLIEST..=LATEST => Finding::fine("clock", "plausible"),
        _ => Finding::failure(
            "clock",
            "this machine's clock is years off: certificates will not be accepted, and turns get wrong times",
            "set it, best by NTP (`timedatectl set-ntp true`)",
        ),
    }
}

#[expect(clippy::disallowed_methods, reason = "these variables are looked at in order to say that they are not used")]
fn proxies() -> Option<Finding> {
    let set: Vec<&str> =
        PROXIES.iter().copied().filter(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty())).collect();
    (!set.is_empty()).then(|| {
        Finding::warning(
            "proxy",
            format!("{} in the environment: this host does not go through it", set.join(", ")),
            "where the only way out is a proxy, run one that needs no setting, or name its address as llm.api_base",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    #[test]
    fn the_machine_is_judged_by_what_a_host_needs() {
        for (free, level) in [(0, Level::Failure), (99, Level::Failure), (100, Level::Warning), (1024, Level::Fine)] {
            assert_eq!(room(free * MIB, Path::new("/")).level, level, "{free}");
        }
        for (most, level) in [(Some(256), Level::Warning), (Some(1024), Level::Fine), (None, Level::Fine)] {
            assert_eq!(open_files(most).level, level, "{most:?}");
        }
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        for (now, level) in [(0, Level::Failure), (EARLIEST, Level::Fine), (LATEST + 1, Level::Failure)] {
            assert_eq!(clock(at(now)).level, level, "{now}");
        }
    }
}
