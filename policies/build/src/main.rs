//! `policy-build GUEST_DIR OUT.wasm`: builds a Rust policy and writes the component.
//! `policy-build --wrap CORE.wasm WIT_DIR OUT.wasm`: makes a component of a core module that another compiler has made.
//! `policy-build --given CONTRACT.wit OUT.wit`, `policy-build --lend GIVEN.wasm OUT.wasm`: what is done before and after a compiler that
//! drops lent handles too late (see `lend`).

use std::ffi::OsString;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

const USAGE: &str = "usage: policy-build GUEST_DIR OUT.wasm
       policy-build --wrap CORE.wasm WIT_DIR OUT.wasm
       policy-build --given CONTRACT.wit OUT.wit
       policy-build --lend GIVEN.wasm OUT.wasm";

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let Some((out, inputs)) = arguments.split_last() else {
        return say(USAGE, ExitCode::from(64));
    };
    let built = match inputs {
        [way, core, wit] if way == "--wrap" => {
            read(core).and_then(|core| policy_build::wrap(&core, Path::new(wit)).map_err(|e| e.to_string()))
        }
        [way, contract] if way == "--given" => {
            read(contract).map(|text| policy_build::given(&String::from_utf8_lossy(&text)).into_bytes())
        }
        [way, given] if way == "--lend" => {
            read(given).and_then(|given| policy_build::lend(&given).map_err(|e| e.to_string()))
        }
        [guest] => policy_build::build(Path::new(guest), &Path::new(guest).join("target")).map_err(|e| e.to_string()),
        _ => return say(USAGE, ExitCode::from(64)),
    };
    let written =
        built.and_then(|bytes| std::fs::write(out, bytes).map_err(|e| format!("cannot write {}: {e}", out.display())));
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => say(&format!("policy-build: {error}"), ExitCode::FAILURE),
    }
}

fn read(path: &OsString) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|e| format!("cannot read {}: {e}", path.display()))
}

/// Says one line on stderr. If even that is closed there is nobody to tell.
fn say(line: &str, code: ExitCode) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "{line}");
    code
}
