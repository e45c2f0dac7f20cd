use std::iter;

use crate::FileError;
use crate::scan::SKILL_FILE;

/// The longest path and the longest part of one, in bytes.
const MAX_PATH: usize = 1024;
const MAX_PART: usize = 128;
/// What Windows takes for devices, with any ending and with or without `$`.
const DEVICES: &[&str] = &["con", "prn", "aux", "nul", "conin", "conout", "clock"];
/// Followed by a digit, devices as well.
const PORTS: &[&str] = &["com", "lpt"];

/// A checked path below a root: parts with one `/` between them, or empty for the root. Nothing was corrected.
#[derive(Clone, Copy, Debug)]
pub(super) struct FilePath<'a>(&'a str);

impl<'a> FilePath<'a> {
    pub(super) fn parse(text: &'a str, max_depth: usize) -> Result<Self, FileError> {
        if text.len() > MAX_PATH {
            return Err(FileError::BadPath("it is longer than 1024 bytes"));
        }
        let path = FilePath(text);
        if path.parts().count() > max_depth {
            return Err(FileError::BadPath("it has too many parts"));
        }
        path.parts().try_for_each(check_part).map_err(FileError::BadPath)?;
        Ok(path)
    }

    pub(super) fn is_root(self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn parts(self) -> impl Iterator<Item = &'a str> {
        let split = (!self.is_root()).then(|| self.0.split('/'));
        split.into_iter().flatten()
    }

    /// The parts above the last, and the last. `None` for the root.
    pub(super) fn split(self) -> Option<(impl Iterator<Item = &'a str>, &'a str)> {
        if self.is_root() {
            return None;
        }
        let (parents, name) = self.0.rsplit_once('/').unwrap_or(("", self.0));
        Some((FilePath(parents).parts(), name))
    }

    /// Whether `name` in this folder makes a path that can be asked for.
    pub(super) fn has_room_for(self, name: &str, max_depth: usize) -> bool {
        let length = self.0.len() + usize::from(!self.is_root()) + name.len();
        length <= MAX_PATH && self.parts().count() < max_depth && check_part(name).is_ok()
    }

    /// That this would not make the agent's folder a skill: one that holds a `SKILL.md` is a skill of `_default`, so an
    /// agent's policy could give its skills to another agent. Not every disk tells `ſkill.MD` from it.
    pub(super) fn check_not_a_skill(self) -> Result<(), FileError> {
        let folded =
            |name: &str| -> String { name.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect() };
        match self.parts().next() {
            Some(first) if folded(first) == folded(SKILL_FILE) => {
                Err(FileError::BadPath("a skill is a folder of its own: write `<skill>/SKILL.md`"))
            }
            _ => Ok(()),
        }
    }
}

/// A part is a name that means the same on every system, to every program and to every reader.
fn check_part(part: &str) -> Result<(), &'static str> {
    let first = part.chars().next().ok_or("a part is empty: no `/` at the ends, no `//`")?;
    if part.len() > MAX_PART {
        return Err("a part is longer than 128 bytes");
    }
    match first {
        '.' => return Err("a part begins with a dot: neither `..` nor hidden names exist here"),
        '~' | '-' | ' ' => return Err("a part begins with `~`, `-` or a space"),
        _ => {}
    }
    if part.ends_with(['.', ' ']) {
        return Err("a part ends with a dot or a space");
    }
    if part.chars().any(|c| matches!(c, '\\' | ':' | '*' | '?' | '"' | '<' | '>' | '|')) {
        return Err("a part holds one of \\ : * ? \" < > |");
    }
    if part.chars().any(|c| c.is_control() || is_unseen(c) || (c.is_whitespace() && c != ' ')) {
        return Err("a part holds a character that cannot be seen");
    }
    if is_device(part) {
        return Err("a part is a device's name");
    }
    Ok(())
}

/// What Unicode calls ignorable or turns the direction of text: invisible, and no part of a name to some disks.
fn is_unseen(c: char) -> bool {
    matches!(
        u32::from(c),
        0xAD | 0x34F | 0x61C
            | 0x115F..=0x1160
            | 0x17B4..=0x17B5
            | 0x180B..=0x180F
            | 0x200B..=0x200F
            | 0x2028..=0x202E
            | 0x2060..=0x206F
            | 0x3164
            | 0xFE00..=0xFE0F
            | 0xFEFF
            | 0xFFA0
            | 0xFFF0..=0xFFFB
            | 0x1BCA0..=0x1BCA3
            | 0x1D173..=0x1D17A
            | 0xE0000..=0xE0FFF
    )
}

fn is_device(part: &str) -> bool {
    let stem = part.split('.').next().unwrap_or(part).trim_end_matches([' ', '$']).to_ascii_lowercase();
    let is_port = |prefix: &&str| {
        let mut rest = stem.strip_prefix(*prefix).into_iter().flat_map(str::chars);
        matches!(rest.next(), Some('0'..='9' | '¹' | '²' | '³')) && rest.next().is_none()
    };
    DEVICES.contains(&stem.as_str()) || PORTS.iter().any(is_port)
}

/// The path of `name` below `above`.
pub(super) fn join(above: &str, name: &str) -> String {
    let parts = iter::once(above).filter(|above| !above.is_empty()).chain([name]);
    parts.collect::<Vec<_>>().join("/")
}
