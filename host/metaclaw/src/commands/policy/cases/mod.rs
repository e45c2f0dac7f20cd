//! Asking a module what its cases ask, in the host's own engine.

mod files;
mod run;
mod words;
mod world;

pub(super) use run::{GRANTS, Runner, agent_policy, generous_limits};
pub(super) use world::{Kept, World, tool_call};

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use policy_cases::Suite;

/// What a built module is called in its policy's folder.
pub(super) const MODULE: &str = "policy.wasm";
/// What its cases are called, beside it.
const CASES: &str = "cases.yaml";

/// The module of a policy's folder, or the file itself.
pub(super) fn module_of(path: &Path) -> anyhow::Result<PathBuf> {
    if !path.is_dir() {
        return Ok(path.to_owned());
    }
    let module = path.join(MODULE);
    if !module.exists() {
        let path = path.display();
        bail!("there is no {} yet: `metaclaw policy build {path}` builds it", module.display());
    }
    Ok(module)
}

/// The file of cases that is named, or the one beside the module.
pub(super) fn cases_of(module: &Path, named: Option<&Path>) -> PathBuf {
    named.map_or_else(|| module.with_file_name(CASES), Path::to_owned)
}

/// Reads the cases; whatever is wrong with them is said together.
pub(super) fn read(file: &Path) -> anyhow::Result<Suite> {
    if !file.exists() {
        bail!(
            "there is no {}: write one (policies/cases/README.md has the format), or name it with --cases",
            file.display()
        );
    }
    Suite::read(file).map_err(|problems| anyhow::anyhow!("{problems}")).with_context(|| "the cases cannot be used")
}
