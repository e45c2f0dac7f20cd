//! What one agent has seen come of its skills, in memory: as the store has it, and made ready for the ranking.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwapOption;
use domain::{AgentId, Digest};
use skills::{Ends, Experience, Learned, Library, Use};
use store::{SkillUse, Store, StoreError};
use tokio::sync::OnceCell;

/// More skills than this, and experience is made ready on a thread where computing may take its time.
const INLINE: usize = 512;
/// Experience fades so slowly that it need not be made ready more often than this for that.
const FRESH: Duration = Duration::from_secs(6 * 60 * 60);

/// One agent's experience. It is read from the store when its skills are first ranked, and follows what is noted after that.
#[derive(Debug, Default)]
pub(crate) struct AgentExperience {
    loaded: OnceCell<Arc<Mutex<Seen>>>,
    ready: ArcSwapOption<Ready>,
    /// Counts changes, so that what was made ready before one does not pass for what is.
    changes: AtomicU64,
    /// Held from noting an outcome to taking it over, so that what is taken over last is what was noted last.
    pub(crate) order: tokio::sync::Mutex<()>,
}

/// The sums of an agent's skills of which anything was ever said, by name; the empty name is that of all its turns.
#[derive(Debug, Default)]
pub(crate) struct Seen(BTreeMap<String, SkillUse>);

#[derive(Debug)]
struct Ready {
    learned: Arc<Learned>,
    changes: u64,
    since: Instant,
}

/// Experience as it is at one moment, to an embedder.
struct Now<'a> {
    seen: &'a Seen,
    model: Option<Digest>,
    now: SystemTime,
}

impl AgentExperience {
    /// Reads it, unless that has been done.
    pub(crate) async fn load(&self, store: &Store, agent: &AgentId) -> Result<(), StoreError> {
        let load = async || {
            let seen = Seen::default();
            let seen = seen.with(store.skill_uses(agent).await?);
            Ok(Arc::new(Mutex::new(seen)))
        };
        self.loaded.get_or_try_init(load).await.map(drop)
    }

    /// What it says of the skills of this library; none when it is not loaded, and when there is none. `model` names who makes
    /// vectors now.
    pub(crate) async fn learned(&self, library: &Arc<Library>, model: Option<Digest>) -> Option<Arc<Learned>> {
        let seen = self.loaded.get()?;
        if let Some(ready) = &*self.ready.load()
            && ready.changes == self.changes.load(Ordering::Acquire)
            && ready.learned.fits(library)
            && ready.since.elapsed() < FRESH
        {
            return Some(ready.learned.clone());
        }
        // Read before the sums are: at worst they are made ready once more.
        let changes = self.changes.load(Ordering::Acquire);
        let count = lock(seen).0.len();
        if count == 0 {
            return None;
        }
        let (seen, library) = (seen.clone(), library.clone());
        let make = move || Arc::new(lock(&seen).learned(&library, model));
        let learned = if count > INLINE { tokio::task::spawn_blocking(make).await.ok()? } else { make() };
        self.ready.store(Some(Arc::new(Ready { learned: learned.clone(), changes, since: Instant::now() })));
        Some(learned)
    }

    /// Takes over what has changed in the store.
    pub(crate) fn take(&self, uses: Vec<SkillUse>) {
        let Some(seen) = self.loaded.get() else { return };
        let mut seen = lock(seen);
        *seen = std::mem::take(&mut *seen).with(uses);
        self.changes.fetch_add(1, Ordering::Release);
    }
}

impl Seen {
    /// With these sums in the place of what it had of those skills.
    pub(crate) fn with(mut self, uses: Vec<SkillUse>) -> Self {
        // That a skill was found, or in a prompt, says nothing of its worth.
        let says = |sums: &SkillUse| sums.digest.is_some() || !sums.helped.is_empty();
        for sums in uses {
            match says(&sums) {
                true => drop(self.0.insert(sums.skill.clone(), sums)),
                false => drop(self.0.remove(&sums.skill)),
            }
        }
        self
    }

    pub(crate) fn learned(&self, library: &Library, model: Option<Digest>) -> Learned {
        Learned::of(library, &Now { seen: self, model, now: SystemTime::now() })
    }
}

/// What an agent with these sums has learned of the skills of a library, for looking at it without a running host. `model` names
/// who makes vectors.
pub fn learned_from(uses: Vec<SkillUse>, library: &Library, model: Option<Digest>) -> Learned {
    Seen::default().with(uses).learned(library, model)
}

impl Experience for Now<'_> {
    fn all(&self) -> Ends {
        self.seen.0.get("").map_or(Ends::default(), |sums| self.ends(sums))
    }

    fn each(&self, visit: &mut dyn FnMut(&str, Use<'_>)) {
        for (skill, sums) in self.seen.0.iter().filter(|(skill, _)| !skill.is_empty()) {
            // Vectors of another model say nothing of this one's.
            let helped = if sums.model == self.model { sums.helped.as_slice() } else { &[] };
            visit(skill, Use { helped, left: self.left(sums), ends: self.ends(sums), digest: sums.digest });
        }
    }
}

impl Now<'_> {
    #[expect(clippy::cast_possible_truncation, reason = "a share of one")]
    fn left(&self, sums: &SkillUse) -> f32 {
        sums.left(self.now) as f32
    }

    #[expect(clippy::cast_possible_truncation, reason = "a sum of shares of one")]
    fn ends(&self, sums: &SkillUse) -> Ends {
        let left = sums.left(self.now);
        Ends { good: (sums.succeeded * left) as f32, bad: (sums.failed * left) as f32 }
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use domain::SkillScope;
    use skills::{Question, Skill, TemplateSizes};

    use super::*;

    fn library() -> Arc<Library> {
        let text = "---\nname: find-bugs\ndescription: Finds the bug behind a crash\n---\nLook.\n";
        Library::of(vec![Skill::parse(text.as_bytes(), "find-bugs", SkillScope::Own).unwrap()])
    }

    fn sums(skill: &str, failed: f64, changed: SystemTime) -> SkillUse {
        SkillUse {
            skill: skill.to_owned(),
            offered: 1,
            injected: 1,
            succeeded: 0.0,
            failed,
            digest: Some(library().list()[0].digest),
            model: None,
            helped: Vec::new(),
            changed,
        }
    }

    fn found(learned: &Learned) -> usize {
        let sizes = TemplateSizes { general: 6, specific: 6 };
        let mode = domain::RetrievalMode::Bm25;
        let question = Question { text: "find bugs", vector: None, mode, sizes, learned: Some(learned) };
        library().rank(&question, 6).len()
    }

    #[tokio::test]
    async fn what_is_noted_counts_for_the_next_choice() {
        let (experience, library) = (AgentExperience::default(), library());
        assert!(experience.learned(&library, None).await.is_none(), "it is not loaded");
        experience.take(vec![sums("find-bugs", 9.0, SystemTime::now())]);
        assert!(experience.learned(&library, None).await.is_none(), "the store knows it");
        experience.loaded.set(Arc::default()).unwrap();
        assert!(experience.learned(&library, None).await.is_none(), "there is none");
        experience.take(vec![sums("find-bugs", 1.0, SystemTime::now())]);
        assert_eq!(found(&experience.learned(&library, None).await.unwrap()), 1);
        let before = experience.learned(&library, None).await.unwrap();
        assert!(Arc::ptr_eq(&before, &experience.learned(&library, None).await.unwrap()), "it is made ready once");
        experience.take(vec![sums("find-bugs", 9.0, SystemTime::now())]);
        assert_eq!(found(&experience.learned(&library, None).await.unwrap()), 0);
        let forgiven = SkillUse { digest: None, ..sums("find-bugs", 0.0, SystemTime::now()) };
        experience.take(vec![forgiven]);
        assert!(experience.learned(&library, None).await.is_none());
    }

    #[test]
    fn a_bad_name_fades() {
        let day = Duration::from_secs(24 * 60 * 60);
        let of = |ago| learned_from(vec![sums("find-bugs", 5.0, SystemTime::now() - ago)], &library(), None);
        assert_eq!((found(&of(Duration::ZERO)), found(&of(100 * day))), (0, 1));
    }
}
