use std::collections::HashSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use domain::AgentId;
use hashbrown::HashMap;
use rustc_hash::FxBuildHasher;

use crate::scan::{Scan, Scanner};
use crate::watch::Watch;
use crate::{Library, Meanings, SkillProblem, SkillsError};

/// After a change, wait until nothing more happens for this long, so that an editor's steps are seen as one …
const QUIET: Duration = Duration::from_millis(40);
/// … but not longer than this in all.
const PATIENCE: Duration = Duration::from_millis(250);
/// How soon to look again at files that were too new to trust, or where nothing tells us of changes.
const SOON: Duration = Duration::from_millis(300);
/// A scan may take at most this fraction of the time until the next one.
const SCAN_SHARE: u32 = 20;

/// All skills below one folder, as the disk has them now.
///
/// Readers get immutable snapshots and never wait. One thread follows the disk; [`close`](Self::close) or dropping the
/// tree ends it.
#[derive(Debug)]
pub struct SkillTree {
    shared: Arc<Shared>,
    follower: Mutex<Option<Follower>>,
}

/// How a tree is kept fresh.
#[derive(Clone, Copy, Debug)]
pub struct TreeOptions {
    /// Follow changes. Without it the tree is what the disk had when it was opened, and there is no thread.
    pub follow: bool,
    /// Look at everything this often although nothing was reported: the net under the file notifications.
    pub rescan: Duration,
}

/// What the thread writes and everybody reads.
#[derive(Debug)]
struct Shared {
    snapshot: ArcSwap<Snapshot>,
    stop: AtomicBool,
    /// Whoever finds out what the skills mean.
    meanings: Option<Arc<Meanings>>,
}

#[derive(Debug)]
struct Snapshot {
    /// Only agents with a folder: requests for others grow nothing.
    agents: HashMap<AgentId, Arc<Library>, FxBuildHasher>,
    /// For all the others.
    shared: Arc<Library>,
    problems: Vec<SkillProblem>,
}

#[derive(Debug)]
struct Follower {
    thread: JoinHandle<()>,
    wake: SyncSender<()>,
}

impl Default for TreeOptions {
    fn default() -> Self {
        TreeOptions { follow: true, rescan: Duration::from_secs(2) }
    }
}

impl SkillTree {
    /// Reads the tree, which blocks on the disk, and, if asked to, follows it. The root need not exist yet: then there
    /// are no skills until it does.
    pub fn open(root: &Path, options: TreeOptions) -> Result<Arc<Self>, SkillsError> {
        Self::open_understood(root, options, None)
    }

    /// The same, and has `meanings` find out what the skills mean, now and whenever they change.
    pub fn open_understood(
        root: &Path,
        options: TreeOptions,
        meanings: Option<Arc<Meanings>>,
    ) -> Result<Arc<Self>, SkillsError> {
        let mut scanner = Scanner::new(root);
        let scan = scanner.scan();
        let snapshot = Snapshot::of(&scan, None);
        snapshot.report_since(None);
        let snapshot = ArcSwap::from_pointee(snapshot);
        let shared = Arc::new(Shared { snapshot, stop: AtomicBool::new(false), meanings });
        shared.have_understood();
        let follower =
            options.follow.then(|| Follower::start(scanner, scan, Arc::clone(&shared), options)).transpose()?;
        Ok(Arc::new(SkillTree { shared, follower: Mutex::new(follower) }))
    }

    /// What `agent` sees now. Costs a map look-up.
    pub fn library(&self, agent: &AgentId) -> Arc<Library> {
        let snapshot = self.shared.snapshot.load();
        Arc::clone(snapshot.agents.get(agent).unwrap_or(&snapshot.shared))
    }

    /// The shared skills alone: what every agent without a folder sees.
    pub fn shared(&self) -> Arc<Library> {
        Arc::clone(&self.shared.snapshot.load().shared)
    }

    /// Whoever finds out what the skills mean.
    pub fn meanings(&self) -> Option<&Arc<Meanings>> {
        self.shared.meanings.as_ref()
    }

    /// The agents that have skills or a folder of their own, sorted.
    pub fn agents(&self) -> Vec<AgentId> {
        let mut agents: Vec<AgentId> = self.shared.snapshot.load().agents.keys().cloned().collect();
        agents.sort();
        agents
    }

    /// Everything in the tree that is not served, and why.
    pub fn problems(&self) -> Vec<SkillProblem> {
        self.shared.snapshot.load().problems.clone()
    }

    /// Stops following the disk and waits for the thread: some milliseconds, or the rest of a scan under way. The last
    /// libraries stay. (The `notify` crate's own helper thread is told to end and does so without being waited for.)
    pub fn close(&self) {
        let follower = self.follower.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Follower { thread, wake }) = follower {
            self.shared.stop.store(true, Ordering::Release);
            let _ = wake.try_send(());
            if thread.join().is_err() {
                tracing::error!("the thread that follows the skills had failed");
            }
        }
        if let Some(meanings) = &self.shared.meanings {
            meanings.close();
        }
    }
}

impl Drop for SkillTree {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    fn have_understood(&self) {
        if let Some(meanings) = &self.meanings {
            let snapshot = self.snapshot.load();
            meanings.follow(snapshot.agents.values().chain([&snapshot.shared]).cloned().collect());
        }
    }
}

impl Snapshot {
    /// Libraries whose content did not change are taken over.
    fn of(scan: &Scan, before: Option<&Snapshot>) -> Self {
        let shared = Library::overlay(&scan.shared, None).indexed(before.map(|b| &b.shared));
        let named = scan.agents.iter().map(|(name, folder)| (AgentId::Named(name.clone()), folder));
        let default = scan.default.iter().map(|folder| (AgentId::Default, folder));
        let agents = named
            .chain(default)
            .map(|(agent, folder)| {
                let old = before.and_then(|b| b.agents.get(&agent));
                let library = Library::overlay(&scan.shared, Some(folder)).indexed(old);
                (agent, library)
            })
            .collect();
        let folders = [&scan.shared].into_iter().chain(&scan.default).chain(scan.agents.values());
        let problems = scan.problems.iter().chain(folders.flat_map(|folder| &folder.problems)).cloned().collect();
        Snapshot { agents, shared, problems }
    }

    /// Tells the operator of each problem once.
    fn report_since(&self, before: Option<&Snapshot>) {
        let known: HashSet<String> = before.iter().flat_map(|b| &b.problems).map(|p| format!("{p:?}")).collect();
        for problem in self.problems.iter().filter(|p| !known.contains(&format!("{p:?}"))) {
            tracing::warn!(path = problem.path, reason = %problem.reason, "a skill is not served");
        }
    }
}

impl Follower {
    fn start(scanner: Scanner, scan: Scan, shared: Arc<Shared>, options: TreeOptions) -> Result<Self, SkillsError> {
        let (wake, woken) = sync_channel(1);
        let watch = Watch::new(wake.clone());
        let body = move || follow(scanner, scan, &shared, watch, &woken, options.rescan);
        let thread =
            thread::Builder::new().name("skills".into()).spawn(body).map_err(|e| SkillsError::Thread(e.to_string()))?;
        Ok(Follower { thread, wake })
    }
}

/// The thread: wait for a change or for the time of a rescan, look, publish.
fn follow(
    mut scanner: Scanner,
    mut scan: Scan,
    shared: &Shared,
    mut watch: Watch,
    woken: &Receiver<()>,
    rescan: Duration,
) {
    let mut cost = Duration::ZERO;
    loop {
        // What happened in a folder before it was watched would go unnoticed.
        let news = watch.follow(&scan.visited);
        let pause = match (news, scan.unsettled || !watch.is_complete()) {
            (true, _) => Duration::ZERO,
            (false, true) => SOON.min(rescan),
            (false, false) => rescan,
        };
        match woken.recv_timeout(pause.max(cost * SCAN_SHARE)) {
            Ok(()) => settle(woken, shared),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        if shared.stop.load(Ordering::Acquire) {
            return;
        }
        let started = Instant::now();
        scan = scanner.scan();
        let before = shared.snapshot.load_full();
        let snapshot = Snapshot::of(&scan, Some(&before));
        snapshot.report_since(Some(&before));
        shared.snapshot.store(Arc::new(snapshot));
        shared.have_understood();
        cost = started.elapsed();
    }
}

/// Returns when nothing has happened for a while.
fn settle(woken: &Receiver<()>, shared: &Shared) {
    let until = Instant::now() + PATIENCE;
    loop {
        let over = shared.stop.load(Ordering::Acquire) || Instant::now() >= until;
        if over || woken.recv_timeout(QUIET).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
