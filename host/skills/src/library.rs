use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use domain::Digest;

use crate::index::{Index, Weighed};
use crate::scan::Folder;
use crate::vectors::Table;
use crate::{Skill, SkillProblem};

/// What one agent sees at one moment: the shared skills and its own, its own winning by name. It never changes; a newer
/// one takes its place. Only what its skills mean may become known later than the skills themselves.
#[derive(Debug)]
pub struct Library {
    /// Sorted by name.
    skills: Vec<Arc<Skill>>,
    problems: Vec<SkillProblem>,
    index: Index,
    digest: Digest,
    /// What the skills mean; none as long as nobody has said.
    table: ArcSwapOption<Table>,
}

/// A skill that fits a query.
#[derive(Clone, Debug, PartialEq)]
pub struct Scored {
    /// The skill.
    pub skill: Arc<Skill>,
    /// Larger is better; above 0; comparable within one search only.
    pub score: f32,
}

impl Library {
    /// These skills, wherever they come from; of those with the same name the last one. For trying a policy out.
    pub fn of(skills: Vec<Skill>) -> Arc<Self> {
        let by_name: BTreeMap<_, _> = skills.into_iter().map(|skill| (skill.name.clone(), Arc::new(skill))).collect();
        let folder = Folder { skills: by_name, ..Folder::default() };
        Library::overlay(&folder, None).indexed(None)
    }

    /// Lays an agent's own folder over the shared one.
    pub(crate) fn overlay(shared: &Folder, own: Option<&Folder>) -> Self {
        let mut by_name: BTreeMap<_, &Arc<Skill>> = shared.skills.iter().collect();
        by_name.extend(own.iter().flat_map(|own| &own.skills));
        let skills: Vec<Arc<Skill>> = by_name.into_values().cloned().collect();
        let problems = shared.problems.iter().chain(own.iter().flat_map(|own| &own.problems)).cloned().collect();
        let names_and_digests: Vec<u8> = skills
            .iter()
            .flat_map(|skill| [skill.name.as_str().as_bytes(), b"\n", skill.digest.as_bytes()].concat())
            .collect();
        let digest = Digest::of(&names_and_digests);
        Library { index: Index::default(), skills, problems, digest, table: ArcSwapOption::empty() }
    }

    /// Makes the index, or takes it over from the library that this one replaces when nothing it depends on changed.
    pub(crate) fn indexed(mut self, before: Option<&Arc<Library>>) -> Arc<Self> {
        // A file that did not change gives the same allocation, so most comparisons end at the pointer.
        let equal = |(a, b): (&Arc<Skill>, &Arc<Skill>)| Arc::ptr_eq(a, b) || a == b;
        let same = |other: &Library| other.len() == self.len() && other.skills.iter().zip(&self.skills).all(equal);
        match before.filter(|before| same(before)) {
            Some(before) if before.problems == self.problems => Arc::clone(before),
            _ => {
                self.index = Index::build(&self.skills);
                Arc::new(self)
            }
        }
    }

    /// Names the content that this agent sees: two libraries have the same generation exactly when they hold the same
    /// skills with the same text, also after a restart. Generations have no order. Below 2⁶³, so that databases take it.
    pub fn generation(&self) -> u64 {
        let bytes = self.digest.as_bytes();
        u64::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3], bytes[4], bytes[5], bytes[6], bytes[7]]) >> 1
    }

    /// The digest of all names and files, which the generation is the beginning of.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// How many skills there are.
    pub fn len(&self) -> usize {
        self.skills.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.skills.is_empty()
    }

    /// All skills, sorted by name.
    pub fn list(&self) -> &[Arc<Skill>] {
        &self.skills
    }

    /// The skill of that name.
    pub fn get(&self, name: &str) -> Option<&Arc<Skill>> {
        self.skills.get(self.position(name)?)
    }

    pub(crate) fn position(&self, name: &str) -> Option<usize> {
        self.skills.binary_search_by(|skill| skill.name.as_str().cmp(name)).ok()
    }

    /// The best `k` skills for the words of `query`, best first; none when none fits. Of a query over 8 KiB the first
    /// and last 4 KiB are read.
    pub fn search(&self, query: &str, k: usize) -> Vec<Scored> {
        self.search_but(query, k, |_| false)
    }

    /// The same without those at places that `skip` names.
    pub(crate) fn search_but(&self, query: &str, k: usize, skip: impl Fn(usize) -> bool) -> Vec<Scored> {
        let hits = self.index.search(query, k, skip).into_iter();
        hits.map(|(at, score)| Scored { skill: Arc::clone(&self.skills[at]), score }).collect()
    }

    /// What the words of `query` say of each skill.
    pub(crate) fn weigh(&self, query: &str) -> Weighed {
        self.index.weigh(query)
    }

    /// What the skills mean, as far as it is known.
    pub(crate) fn table(&self) -> Option<Arc<Table>> {
        self.table.load_full()
    }

    pub(crate) fn set_table(&self, table: Table) {
        self.table.store(Some(Arc::new(table)));
    }

    /// Whether it is known of every skill what it means.
    pub fn is_understood(&self) -> bool {
        self.table.load().as_ref().is_some_and(|table| table.is_complete())
    }

    /// What is in this agent's folders and not served.
    pub fn problems(&self) -> &[SkillProblem] {
        &self.problems
    }
}
