//! `current`: which version is live, for programs that do not ask the host.

use std::io;

use crate::names::{DRAFT, is_version};
use crate::steps::{Step, reached};
use crate::{Shelf, ShelfError, plain};

/// The file's name.
const CURRENT: &str = "current";
/// The most that is read of it, in bytes.
const MOST: u64 = 128;

impl Shelf {
    /// Says which version is live; none when the model answers alone, and then there is no file. Whoever reads it meanwhile sees
    /// the one or the other.
    pub fn set_current(&self, name: Option<&str>) -> Result<(), ShelfError> {
        let path = self.path(CURRENT);
        let dir = match (name, self.find()?) {
            (None, None) => return Ok(()),
            (_, Some(dir)) => dir,
            (Some(_), None) => self.make()?,
        };
        match name {
            Some(name) if !is_version(name) => return Err(ShelfError::Name { name: name.to_owned() }),
            Some(name) => {
                let draft = format!("{DRAFT}{CURRENT}");
                match dir.remove_file(&draft) {
                    Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(ShelfError::io("remove", &path)(e)),
                    _ => reached(Step::Cleared),
                }
                plain::write_new(&dir, &draft, format!("{name}\n").as_bytes(), &path)?;
                dir.rename(&draft, &dir, CURRENT).map_err(ShelfError::io("name", &path))?;
            }
            None => match dir.remove_file(CURRENT) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(ShelfError::io("remove", &path)(e)),
                _ => {}
            },
        }
        reached(Step::Renamed);
        plain::sync(&dir, &self.folder)?;
        reached(Step::Published);
        Ok(())
    }

    /// What `current` says; none when there is none, and when it says nothing that could be a version.
    pub fn current(&self) -> Result<Option<String>, ShelfError> {
        let Some(dir) = self.find()? else { return Ok(None) };
        let bytes = plain::read_small(&dir, CURRENT, MOST, &self.path(CURRENT))?;
        let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
        Ok(text.map(|text| text.trim_end().to_owned()).filter(|name| is_version(name)))
    }
}
