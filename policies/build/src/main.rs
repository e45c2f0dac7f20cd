//! `policy-build GUEST_DIR OUT.wasm`: builds a Rust policy and writes the component.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let [guest, out] = arguments.as_slice() else {
        return say("usage: policy-build GUEST_DIR OUT.wasm", ExitCode::from(64));
    };
    let target = Path::new(guest).join("target");
    let component = match policy_build::build(Path::new(guest), &target) {
        Ok(component) => component,
        Err(error) => return say(&format!("policy-build: {error}"), ExitCode::FAILURE),
    };
    match std::fs::write(out, &component) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => say(&format!("policy-build: cannot write {}: {error}", out.display()), ExitCode::FAILURE),
    }
}

/// Says one line on stderr. If even that is closed there is nobody to tell.
fn say(line: &str, code: ExitCode) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "{line}");
    code
}
