//! `policy-build GUEST_DIR OUT.wasm`: builds a Rust policy and writes the component. For guests and demos, before there is a `metaclaw policy build`.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

const USAGE: &str = "usage: policy-build GUEST_DIR OUT.wasm";

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let [guest, out] = arguments.as_slice() else { return say(USAGE, ExitCode::from(64)) };
    let (guest, out) = (Path::new(guest), Path::new(out));
    let built = policy_build::build(guest, &guest.join("target")).map_err(|e| e.to_string());
    let written =
        built.and_then(|bytes| std::fs::write(out, bytes).map_err(|e| format!("cannot write {}: {e}", out.display())));
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => say(&format!("policy-build: {error}"), ExitCode::FAILURE),
    }
}

/// Says one line on stderr. If even that is closed there is nobody to tell.
fn say(line: &str, code: ExitCode) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "{line}");
    code
}
