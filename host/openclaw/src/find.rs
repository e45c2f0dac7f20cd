use std::path::{Path, PathBuf};

use crate::OpenclawError;

/// What says where OpenClaw's configuration is; the one named first here wins.
#[derive(Clone, Debug, Default)]
pub struct Hints {
    /// `--openclaw-config`.
    pub named: Option<PathBuf>,
    /// `OPENCLAW_CONFIG_PATH`.
    pub config_path: Option<PathBuf>,
    /// `OPENCLAW_STATE_DIR`: the file is `openclaw.json` in it.
    pub state_dir: Option<PathBuf>,
    /// `HOME`: the file is `.openclaw/openclaw.json` in it.
    pub home: Option<PathBuf>,
}

/// Where OpenClaw's configuration is, or would be; absolute.
///
/// # Errors
/// When nothing says where to look.
pub fn find(hints: &Hints) -> Result<PathBuf, OpenclawError> {
    let said = |path: &Option<PathBuf>| path.as_deref().filter(|p| !p.as_os_str().is_empty()).map(|p| expand(p, hints));
    let file = said(&hints.named)
        .or_else(|| said(&hints.config_path))
        .or_else(|| said(&hints.state_dir).map(|dir| dir.join("openclaw.json")))
        .or_else(|| hints.home.as_ref().map(|home| home.join(".openclaw").join("openclaw.json")))
        .ok_or(OpenclawError::NoHome)?;
    std::path::absolute(&file).map_err(OpenclawError::io("find", file))
}

/// OpenClaw reads a `~` in these variables as the user's home.
fn expand(path: &Path, hints: &Hints) -> PathBuf {
    match (path.strip_prefix("~"), &hints.home) {
        (Ok(rest), Some(home)) => home.join(rest),
        _ => path.to_owned(),
    }
}
