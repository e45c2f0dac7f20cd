//! Builds the built-in policy, which the crate embeds.

use std::error::Error;
use std::path::Path;

#[expect(clippy::disallowed_methods, reason = "a build script is told by cargo where to write")]
fn main() -> Result<(), Box<dyn Error>> {
    let out = std::env::var("OUT_DIR")?;
    let out = Path::new(&out);
    let guest = Path::new("../../policies/default");
    for watched in ["src", "Cargo.toml", "Cargo.lock"] {
        announce(&guest.join(watched));
    }
    announce(Path::new("../../wit"));
    // A target directory of its own: the outer one is locked by the cargo that runs us.
    let component = policy_build::build(guest, &out.join("guest"))?;
    std::fs::write(out.join("default.wasm"), component)?;
    Ok(())
}

/// Has cargo run this script again when `path` changes.
fn announce(path: &Path) {
    println!("cargo:rerun-if-changed={}", path.display());
}
