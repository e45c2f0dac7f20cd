//! One look at the whole tree. Files that did not change since the last look are not read again.

use std::collections::{BTreeMap, HashMap};
use std::io::ErrorKind;
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cap_std::fs::Dir;
use domain::{AgentName, Digest, SkillScope};

use crate::error::shown;
use crate::plain_files::{self, Entry, EntryKind, Identity, Print};
use crate::{Skill, SkillName, SkillProblem, SkillsError};

/// The largest `SKILL.md`, in bytes.
pub const MAX_FILE_BYTES: u64 = 256 << 10;
/// The most skills in one folder: shared, or one agent's.
pub const MAX_FOLDER_SKILLS: usize = 512;
/// The most bytes of `SKILL.md` files in one folder, together.
pub const MAX_FOLDER_BYTES: u64 = 16 << 20;
/// The most entries of a folder that are looked at.
pub(crate) const MAX_FOLDERS: usize = 4096;

pub(crate) const SKILL_FILE: &str = "SKILL.md";
pub(crate) const SHARED_FOLDER: &str = "_shared";
pub(crate) const DEFAULT_FOLDER: &str = "_default";

/// What is on disk.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scan {
    pub(crate) shared: Folder,
    /// The flat skills with `_default/` laid over them; `None` when there are neither.
    pub(crate) default: Option<Folder>,
    pub(crate) agents: BTreeMap<AgentName, Folder>,
    /// Problems of the root itself.
    pub(crate) problems: Vec<SkillProblem>,
    /// The folders to watch.
    pub(crate) visited: Vec<(PathBuf, Identity)>,
    /// Whether a file was so new that the next look must read it again.
    pub(crate) unsettled: bool,
}

/// The skills of one owner.
#[derive(Clone, Debug, Default)]
pub(crate) struct Folder {
    pub(crate) skills: BTreeMap<SkillName, Arc<Skill>>,
    pub(crate) problems: Vec<SkillProblem>,
}

/// Looks at the tree again and again, remembering what it read.
pub(crate) struct Scanner {
    root: PathBuf,
    remembered: HashMap<String, Remembered>,
    last: Scan,
}

struct Remembered {
    print: Print,
    digest: Digest,
    outcome: Result<Arc<Skill>, SkillsError>,
    settled: bool,
}

/// One look under way.
struct Pass<'a> {
    root: &'a Path,
    before: HashMap<String, Remembered>,
    now: HashMap<String, Remembered>,
    last: &'a Scan,
    scan: Scan,
}

/// What one owner may still have.
struct Budget {
    skills: usize,
    bytes: u64,
}

impl Scanner {
    pub(crate) fn new(root: &Path) -> Self {
        Scanner { root: root.to_owned(), remembered: HashMap::new(), last: Scan::default() }
    }

    pub(crate) fn scan(&mut self) -> Scan {
        let before = mem::take(&mut self.remembered);
        let scan = Scan::default();
        let mut pass = Pass { root: &self.root, before, now: HashMap::new(), last: &self.last, scan };
        let outcome = pass.root();
        let Pass { before, now, mut scan, .. } = pass;
        self.remembered = now;
        if let Err(reason) = outcome {
            if is_passing(&reason) {
                scan = self.last.clone();
                scan.problems.clear();
                self.remembered = before;
            }
            scan.problems.push(SkillProblem { path: String::new(), reason });
        }
        self.last = scan.clone();
        scan
    }
}

impl Pass<'_> {
    fn root(&mut self) -> Result<(), SkillsError> {
        let Some(root) = plain_files::open_root(self.root)? else { return Ok(()) };
        let identity = plain_files::identity(&root)?;
        self.scan.visited.push((self.root.to_owned(), identity));
        let (entries, more) = plain_files::entries(&root)?;
        if more {
            self.scan.problems.push(SkillProblem { path: String::new(), reason: SkillsError::TooManyEntries });
        }
        let mut flat = Vec::new();
        let mut default = None;
        for entry in &entries {
            let path = shown(&entry.name.to_string_lossy());
            match self.owner(&root, entry, &path) {
                Ok(Owner::Nobody) => {}
                Ok(Owner::Shared) => {
                    let last = self.last.shared.clone();
                    self.scan.shared = self.folder(&root, &path, SkillScope::Shared, &mut Budget::new(), last);
                }
                Ok(Owner::Default) => {
                    let mut budget = Budget::new();
                    let last = self.last.default.clone().unwrap_or_default();
                    default = Some((self.folder(&root, &path, SkillScope::Own, &mut budget, last), budget));
                }
                Ok(Owner::Flat) => flat.push(path),
                Ok(Owner::Agent(name)) => {
                    let last = self.last.agents.get(&name).cloned().unwrap_or_default();
                    let folder = self.folder(&root, &path, SkillScope::Own, &mut Budget::new(), last);
                    self.scan.agents.insert(name, folder);
                }
                Err(reason) => self.scan.problems.push(SkillProblem { path, reason }),
            }
        }
        self.scan.default = self.default_folder(&root, flat, default);
        Ok(())
    }

    /// Flat skills under what `_default/` holds.
    fn default_folder(&mut self, root: &Dir, flat: Vec<String>, own: Option<(Folder, Budget)>) -> Option<Folder> {
        if flat.is_empty() && own.is_none() {
            return None;
        }
        let (own, mut budget) = own.unwrap_or_else(|| (Folder::default(), Budget::new()));
        let mut folder = Folder::default();
        for name in flat {
            self.skill(root, &name, name.clone(), SkillScope::Own, &mut budget, &mut folder);
        }
        folder.skills.extend(own.skills);
        folder.problems.extend(own.problems);
        Some(folder)
    }

    fn owner(&self, root: &Dir, entry: &Entry, path: &str) -> Result<Owner, SkillsError> {
        match entry.kind {
            EntryKind::Folder => {}
            EntryKind::File => return Ok(Owner::Nobody),
            EntryKind::Link => return Err(SkillsError::Link),
            EntryKind::Other => return Err(SkillsError::NotRegular),
        }
        match path {
            SHARED_FOLDER => return Ok(Owner::Shared),
            DEFAULT_FOLDER => return Ok(Owner::Default),
            _ if path.starts_with('_') => return Err(SkillsError::ReservedFolder),
            _ => {}
        }
        let folder = plain_files::open_folder(root, Path::new(&entry.name))?;
        // Anything of that name makes it a skill, even a link, which is then refused as one.
        if folder.symlink_metadata(SKILL_FILE).is_ok() {
            return Ok(Owner::Flat);
        }
        // A request's agent id is lower-cased, so a folder in capitals could never be found.
        let name = path.parse::<AgentName>().ok().filter(|name| name.as_str() == path);
        name.map(Owner::Agent).ok_or_else(|| SkillsError::FolderName(path.to_owned()))
    }

    /// All skills of one owner. When the disk fails for now, what was there last time stays.
    fn folder(&mut self, root: &Dir, path: &str, scope: SkillScope, budget: &mut Budget, last: Folder) -> Folder {
        let mut folder = Folder::default();
        match self.try_folder(root, path, scope, budget, &mut folder) {
            Ok(()) => folder,
            Err(reason) => {
                if is_passing(&reason) {
                    folder = last;
                }
                folder.problems = vec![SkillProblem { path: path.to_owned(), reason }];
                folder
            }
        }
    }

    fn try_folder(
        &mut self,
        root: &Dir,
        path: &str,
        scope: SkillScope,
        budget: &mut Budget,
        folder: &mut Folder,
    ) -> Result<(), SkillsError> {
        let dir = plain_files::open_folder(root, Path::new(path))?;
        self.scan.visited.push((self.root.join(path), plain_files::identity(&dir)?));
        let (entries, more) = plain_files::entries(&dir)?;
        if more {
            folder.problems.push(SkillProblem { path: path.to_owned(), reason: SkillsError::TooManyEntries });
        }
        for entry in entries {
            let name = shown(&entry.name.to_string_lossy());
            let inner = format!("{path}/{name}");
            let reason = match entry.kind {
                EntryKind::Folder if entry.name.to_str() != Some(&name) => SkillsError::FolderName(name),
                EntryKind::Folder => {
                    self.skill(&dir, &name, inner, scope, budget, folder);
                    continue;
                }
                EntryKind::File if name.eq_ignore_ascii_case(SKILL_FILE) => SkillsError::StrayFile,
                EntryKind::File => continue,
                EntryKind::Link => SkillsError::Link,
                EntryKind::Other => SkillsError::NotRegular,
            };
            folder.problems.push(SkillProblem { path: inner, reason });
        }
        Ok(())
    }

    /// Reads `name/SKILL.md` in `dir` into `folder`.
    fn skill(
        &mut self,
        dir: &Dir,
        name: &str,
        path: String,
        scope: SkillScope,
        budget: &mut Budget,
        folder: &mut Folder,
    ) {
        match self.try_skill(dir, name, &path, scope, budget) {
            Ok((skill, problem)) => {
                if let Some(first) = folder.skills.get(&skill.name) {
                    let reason = SkillsError::Duplicate { name: skill.name.clone(), by: first.path.clone() };
                    folder.problems.push(SkillProblem { path, reason });
                    return;
                }
                folder.problems.extend(problem.map(|reason| SkillProblem { path, reason }));
                folder.skills.insert(skill.name.clone(), skill);
            }
            Err(reason) => folder.problems.push(SkillProblem { path, reason }),
        }
    }

    /// A skill to serve, perhaps with something to say about it.
    fn try_skill(
        &mut self,
        dir: &Dir,
        name: &str,
        path: &str,
        scope: SkillScope,
        budget: &mut Budget,
    ) -> Result<(Arc<Skill>, Option<SkillsError>), SkillsError> {
        if budget.skills == 0 {
            return Err(SkillsError::TooManySkills);
        }
        let before = self.before.remove(path);
        match self.remember(dir, name, path, scope, before.as_ref()) {
            Ok(remembered) => {
                budget.bytes = budget.bytes.checked_sub(remembered.print.bytes).ok_or(SkillsError::TooManyBytes)?;
                self.scan.unsettled |= !remembered.settled;
                let outcome = remembered.outcome.clone();
                self.now.insert(path.to_owned(), remembered);
                budget.skills -= 1;
                let nested = if dir_is_root(path) { nested_skill(dir, name) } else { None };
                Ok((outcome?, nested.map(SkillsError::NestedSkill)))
            }
            // The disk fails for now: what was read last time stays.
            Err(reason) if is_passing(&reason) => match before {
                Some(Remembered { outcome: Ok(skill), print, digest, settled }) => {
                    let kept = Remembered { outcome: Ok(Arc::clone(&skill)), print, digest, settled };
                    self.now.insert(path.to_owned(), kept);
                    Ok((skill, Some(reason)))
                }
                _ => Err(reason),
            },
            Err(reason) => Err(reason),
        }
    }

    fn remember(
        &mut self,
        dir: &Dir,
        name: &str,
        path: &str,
        scope: SkillScope,
        before: Option<&Remembered>,
    ) -> Result<Remembered, SkillsError> {
        let folder = plain_files::open_folder(dir, Path::new(name))?;
        self.scan.visited.push((self.root.join(path), plain_files::identity(&folder)?));
        let print = plain_files::look(&folder, SKILL_FILE)?.ok_or(SkillsError::NoFile)?;
        let known = |b: &&Remembered| b.outcome.as_ref().map_or(true, |skill| skill.scope == scope);
        let before = before.filter(known);
        if let Some(same) = before.filter(|b| b.settled && b.print == print) {
            return Ok(Remembered { outcome: same.outcome.clone(), ..*same });
        }
        let settled = print.is_settled();
        let (bytes, print) = plain_files::read(&folder, SKILL_FILE)?;
        let digest = Digest::of(&bytes);
        let outcome = match before.filter(|b| b.digest == digest) {
            Some(same) => same.outcome.clone(),
            None => Skill::parse(&bytes, path, scope).map(Arc::new),
        };
        Ok(Remembered { print, digest, outcome, settled: settled && print.is_settled() })
    }
}

/// Whose a folder of the root is.
enum Owner {
    Nobody,
    Shared,
    Default,
    /// It is a skill itself.
    Flat,
    Agent(AgentName),
}

impl Budget {
    fn new() -> Self {
        Budget { skills: MAX_FOLDER_SKILLS, bytes: MAX_FOLDER_BYTES }
    }
}

/// A flat skill's path has one part.
fn dir_is_root(path: &str) -> bool {
    !path.contains('/')
}

/// The first folder in a flat skill that looks like a skill of an agent.
fn nested_skill(root: &Dir, name: &str) -> Option<String> {
    let dir = plain_files::open_folder(root, Path::new(name)).ok()?;
    let (entries, _) = plain_files::entries(&dir).ok()?;
    let mut folders = entries.into_iter().filter(|entry| entry.kind == EntryKind::Folder);
    let nested = folders.find(|entry| dir.symlink_metadata(Path::new(&entry.name).join(SKILL_FILE)).is_ok())?;
    Some(shown(&nested.name.to_string_lossy()))
}

/// Whether the same look may succeed in a moment, as when the process has too many files open. A file that is gone or
/// closed to us is not such a case.
fn is_passing(reason: &SkillsError) -> bool {
    let lasting = [ErrorKind::NotFound, ErrorKind::PermissionDenied, ErrorKind::NotADirectory];
    matches!(reason, SkillsError::Io { kind, .. } if !lasting.contains(kind))
}
