//! The one line with which `metaclaw start` says that OpenClaw could be connected.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};

use ::config::Paths;
use ::openclaw::Connection;

use crate::output;

/// Says it once for a home: a file is the sign that it has been said.
pub(crate) fn mention(paths: &Paths) {
    let Some(file) = ::openclaw::find(&super::hints(None)).ok().filter(|file| file.is_file()) else { return };
    if Connection::of(&paths.home).record_file().exists() {
        return;
    }
    let folder = paths.home.join("openclaw");
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder);
    let sign = OpenOptions::new().write(true).create_new(true).mode(0o600).open(folder.join("mentioned"));
    // Where it has been said, or where nothing can be written down, it is not said (again).
    if made.and(sign).is_ok() {
        output::note(format_args!(
            "OpenClaw found ({}): let its agents use this host with `metaclaw openclaw connect`",
            file.display()
        ));
    }
}
