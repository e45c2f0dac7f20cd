//! The steps of connecting and disconnecting, in an order in which a crash between any two of them leaves something that
//! the next run of either command finishes or takes back.
//!
//! | connect | disconnect |
//! | --- | --- |
//! | 1 the record: how to take back what is about to be written | 1 OpenClaw's file |
//! | 2 the plugin: harmless while nobody names it | 2 the plugin |
//! | 3 the copy of OpenClaw's file | 3 the copy |
//! | 4 OpenClaw's file | 4 the record |
//! | 5 the record again, without what was before an update | |
//!
//! A record whose edits are not in the file (a crash before 4) undoes nothing. An update writes no copy: the first
//! one stays.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use crate::OpenclawError;
use crate::base::{Base, in_force_of};
use crate::connection::{Connection, PluginFile};
use crate::edit::{Undo, hex};
use crate::files::{self, PRIVATE, Snapshot};
use crate::record::{Record, Written};
use crate::shown::Line;

/// Something to be done, worked out and not begun.
#[derive(Debug)]
pub struct Job {
    /// OpenClaw's file.
    pub config: PathBuf,
    /// The copy that there will be, or that is brought back.
    pub backup: Option<PathBuf>,
    /// What changes in OpenClaw's file.
    pub changes: Vec<Line>,
    /// What a person should know.
    pub notes: Vec<String>,
    /// Edits of ours that stay because somebody changed them since.
    pub kept: Vec<String>,
    pub(crate) connection: Connection,
    pub(crate) snapshot: Snapshot,
    /// The record as it was when the job was worked out.
    pub(crate) record: Option<Vec<u8>>,
    /// The plugin's files, if they have to be written.
    pub(crate) plugin: Option<Vec<PluginFile>>,
    pub(crate) steps: Vec<Step>,
}

#[derive(Debug)]
pub(crate) enum Step {
    WritePlugin(Vec<PluginFile>),
    WriteRecord(Box<Record>),
    /// The text as it was found.
    Backup(PathBuf),
    WriteConfig(String),
    RemoveConfig,
    RemovePlugin,
    Remove(PathBuf),
}

impl Job {
    /// Whether OpenClaw's file stays as it is.
    pub fn changes_nothing(&self) -> bool {
        !self.steps.iter().any(|step| matches!(step, Step::WriteConfig(_) | Step::RemoveConfig))
    }

    /// Whether there is nothing to do at all.
    pub fn is_done(&self) -> bool {
        self.steps.is_empty()
    }

    /// Does it.
    ///
    /// # Errors
    /// When a file cannot be written, or has changed since the job was worked out. Whatever has been done until then, the
    /// next run of either command finishes it or takes it back.
    pub fn run(self) -> Result<(), OpenclawError> {
        let steps = self.steps.len();
        self.run_some(steps)
    }

    /// Does the first `count` steps only, as a crash would.
    pub(crate) fn run_some(mut self, count: usize) -> Result<(), OpenclawError> {
        let connection = self.connection.clone();
        files::private_folder(&connection.folder)?;
        let lock = File::open(&connection.folder).map_err(OpenclawError::io("open", &connection.folder))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(OpenclawError::Busy(connection.folder)),
            Err(TryLockError::Error(error)) => return Err(OpenclawError::io("lock", &connection.folder)(error)),
        }
        // What was worked out must still hold, now that nobody else is at work.
        let record = Record::read(&connection.record_file())?.map(|(_, bytes)| bytes);
        if record != self.record {
            return Err(OpenclawError::Changed(connection.record_file()));
        }
        for step in std::mem::take(&mut self.steps).into_iter().take(count) {
            self.run_step(step)?;
        }
        Ok(())
    }

    fn run_step(&self, step: Step) -> Result<(), OpenclawError> {
        let connection = &self.connection;
        match step {
            Step::WritePlugin(plugin) => {
                let folder = connection.plugin_folder();
                files::private_folder(&folder)?;
                plugin.iter().try_for_each(|f| files::write(&folder.join(f.name), f.text.as_bytes(), PRIVATE, None))
            }
            Step::WriteRecord(record) => record.write(&connection.record_file()),
            Step::Backup(file) => self.snapshot.write_as(&file, self.snapshot.text.as_deref().unwrap_or_default()),
            Step::WriteConfig(text) => {
                self.check_unchanged()?;
                self.snapshot.replace(&text)
            }
            Step::RemoveConfig => {
                self.check_unchanged()?;
                files::remove_file(&self.config)
            }
            Step::RemovePlugin => files::remove_folder(&connection.plugin_folder()),
            Step::Remove(file) => files::remove_file(&file),
        }
    }

    fn check_unchanged(&self) -> Result<(), OpenclawError> {
        match self.snapshot.is_current() {
            true => Ok(()),
            false => Err(OpenclawError::Changed(self.config.clone())),
        }
    }

    /// The steps that put `text` in place.
    pub(crate) fn connect_steps(&mut self, text: String, undo: Vec<Undo>, known: Option<Record>, base: Base) {
        let plugin = self.plugin.take().map(Step::WritePlugin);
        let found = self.snapshot.text.as_deref();
        if found == Some(text.as_str()) {
            self.steps.extend(plugin);
            self.backup = base.update.and_then(|record| record.backup);
            return;
        }
        let now = Written { after: hex(text.as_bytes()), undo };
        let record = match base.update {
            Some(record) => {
                let earlier = in_force_of(&record, found).cloned();
                let sum = hex(found.unwrap_or_default().as_bytes());
                let exact = record.exact && earlier.as_ref().is_some_and(|earlier| earlier.after == sum);
                Record { now, earlier, exact, ..record }
            }
            None => Record {
                config: self.config.clone(),
                // A copy of an earlier record that is not in force may be overwritten; anybody else's is left alone.
                backup: found.map(|_| known.and_then(|k| k.backup).unwrap_or_else(|| free_name(&self.config))),
                before: found.map(|text| hex(text.as_bytes())).unwrap_or_default(),
                exact: true,
                now,
                earlier: None,
            },
        };
        self.backup.clone_from(&record.backup);
        let settled = Record { earlier: None, ..record.clone() };
        let updates = record.earlier.is_some();
        self.steps.push(Step::WriteRecord(Box::new(record)));
        self.steps.extend(plugin);
        if let (false, Some(backup)) = (updates, &self.backup) {
            self.steps.push(Step::Backup(backup.clone()));
        }
        self.steps.push(Step::WriteConfig(text));
        if updates {
            self.steps.push(Step::WriteRecord(Box::new(settled)));
        }
    }
}

/// `openclaw.json.before-metaclaw`, or the first name after it that nobody has.
fn free_name(config: &Path) -> PathBuf {
    let name = |more: &str| {
        let name = config.file_name().unwrap_or_default().to_string_lossy();
        config.with_file_name(format!("{name}.before-metaclaw{more}"))
    };
    let mut names = std::iter::once(name("")).chain((2..).map(|n| name(&format!("-{n}"))));
    names.find(|name| fs::symlink_metadata(name).is_err()).unwrap_or_else(|| name(""))
}
