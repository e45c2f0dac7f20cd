//! `policy-build GUEST_DIR OUT.wasm`: builds a Rust policy and writes the component.
//! `policy-build --wrap CORE.wasm WIT_DIR OUT.wasm`: makes a component of a core module that another compiler has made.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let (out, built) = match arguments.as_slice() {
        [wrap, core, wit, out] if wrap == "--wrap" => match std::fs::read(core) {
            Ok(bytes) => (out, policy_build::wrap(&bytes, Path::new(wit))),
            Err(error) => {
                return say(&format!("policy-build: cannot read {}: {error}", core.display()), ExitCode::FAILURE);
            }
        },
        [guest, out] => (out, policy_build::build(Path::new(guest), &Path::new(guest).join("target"))),
        _ => {
            let usage = "usage: policy-build GUEST_DIR OUT.wasm\n       policy-build --wrap CORE.wasm WIT_DIR OUT.wasm";
            return say(usage, ExitCode::from(64));
        }
    };
    let component = match built {
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
