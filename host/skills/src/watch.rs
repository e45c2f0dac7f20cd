//! Notices that something below the skills root changed. What changed is for the next scan to find out.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::SyncSender;

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};

use crate::plain_files::Identity;

/// The system's file notifications for exactly the folders that were scanned: a skill's supporting files cost nothing.
/// Where the system has none to give, rescans alone keep the tree fresh.
pub(crate) struct Watch {
    watcher: Option<RecommendedWatcher>,
    watched: HashMap<PathBuf, Identity>,
    complete: bool,
}

impl Watch {
    /// `wake` gets a unit when something changed; a full channel means that one is waiting already.
    pub(crate) fn new(wake: SyncSender<()>) -> Self {
        let on_event = move |event: notify::Result<Event>| {
            // Our own scans open files and must not wake us.
            let ours = |event: &Event| matches!(event.kind, EventKind::Access(kind) if kind != AccessKind::Close(AccessMode::Write));
            if !event.as_ref().is_ok_and(ours) {
                let _ = wake.try_send(());
            }
        };
        let config = notify::Config::default().with_follow_symlinks(false);
        let watcher = RecommendedWatcher::new(on_event, config)
            .inspect_err(|error| tracing::warn!(%error, "no file notifications, skills are polled instead"))
            .ok();
        Watch { complete: watcher.is_some(), watcher, watched: HashMap::new() }
    }

    /// Watches these folders and no others. True when one of them is new: what happened in it before is unknown.
    pub(crate) fn follow(&mut self, folders: &[(PathBuf, Identity)]) -> bool {
        let Some(watcher) = &mut self.watcher else { return false };
        let wanted: HashMap<&Path, Identity> =
            folders.iter().map(|(path, identity)| (path.as_path(), *identity)).collect();
        let gone = |path: &PathBuf, identity: &Identity| wanted.get(path.as_path()) != Some(identity);
        for (path, _) in self.watched.extract_if(|path, identity| gone(path, identity)) {
            // The system forgets a removed folder by itself, then this fails.
            let _ = watcher.unwatch(&path);
        }
        let mut complete = true;
        let mut news = false;
        for (path, identity) in wanted {
            if self.watched.contains_key(path) {
                continue;
            }
            match watcher.watch(path, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    news = true;
                    self.watched.insert(path.to_owned(), identity);
                }
                Err(error) => {
                    complete = false;
                    if self.complete {
                        tracing::warn!(%error, folder = %path.display(), "cannot watch a folder, skills are polled too");
                    }
                }
            }
        }
        self.complete = complete;
        news
    }

    /// Whether every folder is watched.
    pub(crate) fn is_complete(&self) -> bool {
        self.complete && !self.watched.is_empty()
    }
}
