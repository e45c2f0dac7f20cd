//! A folder of skills, below which no link is followed.

use std::path::Path;

use cap_std::fs::Dir;

use super::{Bundle, BundleError, Collector, Kind, MAX_DEPTH};
use crate::SkillsError;
use crate::error::shown;
use crate::plain_files::{EntryKind, entries, open_file, open_folder, open_root};
use crate::scan::SKILL_FILE;

pub(super) fn read(path: &Path, mut collector: Collector) -> Result<Bundle, BundleError> {
    let failed = |source| BundleError::Skill { path: path.display().to_string(), source };
    let gone = || SkillsError::io("read the folder", &std::io::ErrorKind::NotFound.into());
    let root = open_root(path).and_then(|root| root.ok_or_else(gone)).map_err(failed)?;
    visit(&root, "", 0, &mut collector)?;
    Ok(collector.finish())
}

fn visit(dir: &Dir, above: &str, depth: usize, collector: &mut Collector) -> Result<(), BundleError> {
    let failed = |path: &str, source| BundleError::Skill { path: shown(path), source };
    let (found, more) = entries(dir).map_err(|e| failed(above, e))?;
    if more {
        return Err(BundleError::TooMany);
    }
    for entry in found {
        let Some(name) = entry.name.to_str() else {
            let path = format!("{above}{}", shown(&entry.name.to_string_lossy()));
            return Err(BundleError::Entry { path, why: "has a name that is not UTF-8" });
        };
        let path = format!("{above}{name}");
        match entry.kind {
            EntryKind::Folder => {
                collector.meets(&path, Kind::Folder, 0)?;
                // One more is refused there.
                if depth < MAX_DEPTH {
                    let inner = open_folder(dir, name.as_ref()).map_err(|e| failed(&path, e))?;
                    visit(&inner, &format!("{path}/"), depth + 1, collector)?;
                }
            }
            // What lies beside a skill is only counted, so it is not opened.
            EntryKind::File if name != SKILL_FILE => drop(collector.meets(&path, Kind::File, 0)?),
            EntryKind::File => {
                let (file, metadata) = open_file(dir, name).map_err(|e| failed(&path, e))?;
                if collector.meets(&path, Kind::File, metadata.len())? {
                    collector.takes(&path, file)?;
                }
            }
            EntryKind::Link => drop(collector.meets(&path, Kind::Link, 0)?),
            EntryKind::Other => drop(collector.meets(&path, Kind::Other, 0)?),
        }
    }
    Ok(())
}
