//! OpenClaw's file without our edits: what disconnecting brings back, and what connecting starts from.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::OpenclawError;
use crate::document::Document;
use crate::edit::{Back, Before, Edit, Outcome, Undo, hex};
use crate::files::Snapshot;
use crate::record::{Record, Written};
use crate::shown::differences;

/// What connecting starts from: OpenClaw's file without our edits.
pub(crate) struct Base {
    pub(crate) text: String,
    /// The connection that is brought up to date, if one is in force.
    pub(crate) update: Option<Record>,
    /// Our entries that somebody has changed since, as they would be taken back.
    pub(crate) kept: Vec<Undo>,
}

/// What was written last, as far as the file says: an update may have been cut off before or after it wrote the file.
pub(crate) fn in_force<'a>(record: &'a Record, text: &str, value: &Value) -> Option<&'a Written> {
    let sum = hex(text.as_bytes());
    let written = [Some(&record.now), record.earlier.as_ref()];
    let holding = |written: &Written| written.undo.iter().filter(|undo| undo.holds(value)).count();
    let exactly = written.into_iter().flatten().find(|written| written.after == sum);
    exactly.or_else(|| written.into_iter().flatten().rev().max_by_key(|written| holding(written)))
}

pub(crate) fn in_force_of<'a>(record: &'a Record, text: Option<&str>) -> Option<&'a Written> {
    let text = text.unwrap_or_default();
    let (_, value) = Document::read(text, &record.config).ok()?;
    in_force(record, text, &value)
}

/// The copy, if it is there and is what the record says.
fn backup(record: &Record) -> Option<String> {
    let text = fs::read_to_string(record.backup.as_ref()?).ok()?;
    (hex(text.as_bytes()) == record.before).then_some(text)
}

/// The text without our edits, none if there was no file before and nothing is in it now, and the edits that stay
/// because somebody changed them since.
pub(crate) fn without_ours(text: &str, record: &Record) -> Result<(Option<String>, Vec<Undo>), OpenclawError> {
    let sum = hex(text.as_bytes());
    if record.exact && sum == record.before {
        return Ok((Some(text.to_owned()), Vec::new()));
    }
    let ours = record.now.after == sum || record.earlier.as_ref().is_some_and(|earlier| earlier.after == sum);
    if record.exact && ours {
        if record.backup.is_none() {
            return Ok((None, Vec::new()));
        }
        if let Some(original) = backup(record) {
            return Ok((Some(original), Vec::new()));
        }
    }
    let (document, mut value) = Document::read(text, &record.config)?;
    let mut kept = Vec::new();
    let mut undone = 0;
    for undo in in_force(record, text, &value).map(|w| w.undo.as_slice()).unwrap_or_default().iter().rev() {
        match undo.apply(&document, &mut value) {
            Outcome::Kept => kept.push(undo.clone()),
            Outcome::Undone => undone += 1,
            Outcome::Already => {}
        }
    }
    if undone == 0 {
        return Ok((Some(text.to_owned()), kept));
    }
    let back = document.text();
    check(&back, &value, &record.config)?;
    let empty = record.backup.is_none() && value.as_object().is_some_and(serde_json::Map::is_empty);
    Ok(((!empty).then_some(back), kept))
}

impl Base {
    /// Takes our edits out of a text that has some.
    pub(crate) fn of(snapshot: &Snapshot, record: Option<&Record>) -> Result<Base, OpenclawError> {
        let found = snapshot.text.clone().unwrap_or_default();
        let fresh = |text: String| Base { text, update: None, kept: Vec::new() };
        let Some(record) = record.filter(|_| snapshot.text.is_some()) else { return Ok(fresh(found)) };
        let (text, kept) = without_ours(&found, record)?;
        let text = text.unwrap_or_default();
        // Nothing of ours is in the file: a connection that was cut off, or taken back by hand.
        if text == found {
            return Ok(fresh(found));
        }
        Ok(Base { text, update: Some(record.clone()), kept })
    }
}

/// Makes the edits, and says how to take them back.
pub(crate) fn apply(
    edits: &[Edit],
    document: &Document,
    value: &mut Value,
    kept: &[Undo],
    file: &Path,
) -> Result<Vec<Undo>, OpenclawError> {
    let make = |edit: &Edit| {
        let undo = edit.apply(document, value).ok_or_else(|| OpenclawError::Mangled {
            file: file.to_owned(),
            problem: format!("`{}` could not be edited", edit.path),
        })?;
        // What somebody added to an entry of ours is no reason to leave that entry behind one day.
        let entry = matches!(&undo.back, Back::Restore { before: Before::Value(Value::Object(_)), .. });
        let earlier = kept.iter().find(|kept| entry && kept.path == undo.path);
        Ok(earlier.map_or(undo.clone(), |earlier| earlier.with_value_of(undo)))
    };
    edits.iter().map(make).collect()
}

/// Reads the text anew: it must say exactly this.
pub(crate) fn check(text: &str, wanted: &Value, file: &Path) -> Result<(), OpenclawError> {
    let mangled = |problem: String| OpenclawError::Mangled { file: file.to_owned(), problem };
    let (_, said) = Document::read(text, file).map_err(|error| mangled(error.to_string()))?;
    match differences(&said, wanted).first() {
        _ if said == *wanted => Ok(()),
        line => Err(mangled(line.map(|line| format!("`{}`", line.key)).unwrap_or_default())),
    }
}
