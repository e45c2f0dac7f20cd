//! Which skills fit these words, and whether any does.
//!
//! Ranking is BM25 over four fields. The `bm25` crate makes the document vectors: term saturation and length
//! normalisation, per field. Its own scorer is not used: it looks for every query term in every document's vector from
//! the start, computing the term's frequency anew each time (170 µs for 800 bytes over 40 skills), and it always finds
//! something. Here the vectors become one table from term to (skill, gain), which one pass over the query adds up (2 µs;
//! `cargo bench -p skills` measures both).
//!
//! A wrongly chosen skill is worse than none, so a skill must also show *evidence*: telling terms it shares with the
//! query, in its name or description above all, more of them the longer the query is.

use std::borrow::Borrow;
use std::collections::{BTreeMap, HashMap};

use bm25::{EmbedderBuilder, TokenEmbedder};
use hashbrown::HashTable;

use crate::Skill;
use crate::common_words::{hash, is_common};
use crate::words::{TermKind, Words, each_term, kind_of};

/// How much of a body is indexed: its start says what it is about, the rest is detail that only dilutes.
const BODY_BYTES: usize = 600;
/// How much of a query is read: the first and the last so many bytes. Between them lies what was pasted.
const QUERY_END_BYTES: usize = 4096;
/// A query word counts for its relatives in the index by this factor.
const RELATED: f32 = 0.7;
/// A word's relatives share at least this many first characters.
const STEM_CHARS: usize = 4;
/// A term in more than this share of the skills tells nothing, once there are enough skills to say so.
const COMMON_SHARE: f32 = 0.5;
const COMMON_FROM: usize = 4;
/// Evidence that a query of one telling term demands: a hit in a description is enough, one in a body is not.
const EVIDENCE: f32 = 0.4;
/// How much more evidence a longer query demands, per natural logarithm of its telling terms. With four of them one hit
/// in a description is still enough, with five one in a name; a hundred demand two of either.
const EVIDENCE_GROWTH: f32 = 0.65;
/// What is found must have at least this share of the best hit's score.
pub(crate) const SHARE_OF_BEST: f32 = 0.3;

/// A field of a skill.
struct Field {
    /// Multiplies its BM25 score.
    gain: f32,
    /// What a telling term in it is worth as evidence.
    evidence: f32,
    text: fn(&Skill) -> &str,
}

const FIELDS: [Field; 4] = [
    Field { gain: 3.0, evidence: 0.9, text: |skill| skill.name.as_str() },
    Field { gain: 2.0, evidence: 0.77, text: |skill| &skill.description },
    Field { gain: 1.0, evidence: 0.5, text: |skill| &skill.category },
    Field { gain: 0.7, evidence: 0.25, text: |skill| start_of(&skill.body, BODY_BYTES) },
];

/// The searchable form of a list of skills.
#[derive(Debug, Default)]
pub(crate) struct Index {
    skills: usize,
    terms: HashTable<Term>,
    /// First characters to the terms that have them.
    stems: HashTable<Stem>,
    words: Vec<Box<str>>,
    postings: Vec<Vec<Posting>>,
    /// Whether the term says something of a subject.
    telling: Vec<bool>,
}

/// Where a spelling's data is.
#[derive(Debug)]
struct Term {
    hash: u64,
    id: u32,
}

#[derive(Debug)]
struct Stem {
    hash: u64,
    text: Box<str>,
    ids: Vec<u32>,
}

/// What one skill gets when the query has the term.
#[derive(Clone, Copy, Debug)]
struct Posting {
    skill: u32,
    gain: f32,
    evidence: f32,
}

/// A skill's gain and evidence, by position in the list that was indexed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    /// Its BM25 score.
    pub(crate) gain: f32,
    /// How telling the terms are that it shares with the query.
    pub(crate) evidence: f32,
}

/// What the words of a query say of each skill.
#[derive(Debug, Default)]
pub(crate) struct Weighed {
    pub(crate) tallies: Vec<Tally>,
    /// The evidence that the query demands, in multiples of what one telling term demands: at least 1.
    pub(crate) length: f32,
    /// Whether any of its terms says something of a subject, known or not.
    pub(crate) telling: bool,
}

/// Document vectors by spelling: no two terms are ever confused.
struct Spelling;

impl TokenEmbedder for Spelling {
    type EmbeddingSpace = String;

    fn embed(token: &str) -> String {
        token.to_owned()
    }
}

impl Index {
    /// Indexes `skills`; hits are positions in it.
    pub(crate) fn build<S: Borrow<Skill>>(skills: &[S]) -> Self {
        let mut vectors: BTreeMap<String, HashMap<u32, Tally>> = BTreeMap::new();
        for field in &FIELDS {
            let corpus: Vec<&str> = skills.iter().map(|skill| (field.text)(skill.borrow())).collect();
            let builder = EmbedderBuilder::<Spelling, Words>::with_tokenizer_and_fit_to_corpus(Words, &corpus);
            let embedder = builder.build();
            for (skill, text) in (0u32..).zip(&corpus) {
                let vector = embedder.embed(text).0;
                // The vector names a term as often as it occurs, each time with its whole value.
                let distinct: BTreeMap<String, f32> = vector.into_iter().map(|term| (term.index, term.value)).collect();
                for (term, value) in distinct {
                    let tally = vectors.entry(term).or_default().entry(skill).or_default();
                    tally.gain += field.gain * value;
                    tally.evidence = tally.evidence.max(field.evidence);
                }
            }
        }
        vectors.retain(|term, _| !is_common(term, hash(term), kind_of_term(term)));
        Self::from_vectors(&vectors, skills.len())
    }

    fn from_vectors(vectors: &BTreeMap<String, HashMap<u32, Tally>>, skills: usize) -> Self {
        let mut index = Index { skills, ..Index::default() };
        for (id, word) in (0u32..).zip(vectors.keys()) {
            let hash = hash(word);
            index.terms.insert_unique(hash, Term { hash, id }, |term| term.hash);
            index.words.push(word.as_str().into());
            if let Some(stem) = stem_of(word) {
                index.add_stem(stem, id);
            }
        }
        let exact: Vec<&HashMap<u32, Tally>> = vectors.values().collect();
        for id in 0..index.words.len() {
            let word = &index.words[id];
            let mut merged = exact[id].clone();
            for relative in index.relatives(word) {
                for (skill, tally) in exact[relative as usize] {
                    let own = merged.entry(*skill).or_default();
                    own.gain = own.gain.max(RELATED * tally.gain);
                    own.evidence = own.evidence.max(RELATED * tally.evidence);
                }
            }
            let found_in = merged.len();
            let rarity = rarity(found_in, skills);
            let telling = skills < COMMON_FROM || found_in as f32 <= COMMON_SHARE * skills as f32;
            // Half of the agent's skills may be about its trade: what they share counts less, but it counts.
            let worth = 1.0 - found_in.saturating_sub(1) as f32 / skills as f32;
            let worth = if telling { worth * share_of_evidence(kind_of_term(word)) } else { 0.0 };
            let mut postings: Vec<Posting> = merged
                .into_iter()
                .map(|(skill, tally)| Posting { skill, gain: tally.gain * rarity, evidence: tally.evidence * worth })
                .collect();
            postings.sort_by_key(|posting| posting.skill);
            index.postings.push(postings);
            index.telling.push(telling);
        }
        index
    }

    fn add_stem(&mut self, text: &str, id: u32) {
        let hash = hash(text);
        match self.stems.find_mut(hash, |stem| *stem.text == *text) {
            Some(stem) => stem.ids.push(id),
            None => {
                let stem = Stem { hash, text: text.into(), ids: vec![id] };
                self.stems.insert_unique(hash, stem, |stem| stem.hash);
            }
        }
    }

    /// Terms that are other forms of `word`, by their beginnings.
    fn relatives<'a>(&'a self, word: &'a str) -> impl Iterator<Item = u32> + 'a {
        let stem = stem_of(word).and_then(|text| self.stems.find(hash(text), |stem| *stem.text == *text));
        let ids = stem.map(|stem| stem.ids.as_slice()).unwrap_or_default();
        ids.iter().copied().filter(move |id| related(word, &self.words[*id as usize]))
    }

    fn id_of(&self, word: &str, hash: u64) -> Option<u32> {
        self.terms.find(hash, |term| *self.words[term.id as usize] == *word).map(|term| term.id)
    }

    /// The best `k` positions with their scores, best first, equal scores in list order, without those to `skip`. May be empty.
    pub(crate) fn search(&self, query: &str, k: usize, skip: impl Fn(usize) -> bool) -> Vec<(usize, f32)> {
        if self.words.is_empty() {
            return Vec::new();
        }
        let weighed = self.weigh(query);
        let needed = weighed.evidence_needed();
        let enough = weighed.tallies.iter().enumerate().filter(|(at, tally)| tally.evidence >= needed && !skip(*at));
        let mut hits: Vec<(usize, f32)> = enough.map(|(skill, tally)| (skill, tally.gain)).collect();
        hits.sort_by(|a, b| b.1.total_cmp(&a.1));
        let least = hits.first().map_or(0.0, |best| best.1 * SHARE_OF_BEST);
        hits.retain(|hit| hit.1 >= least);
        hits.truncate(k);
        hits
    }

    /// What the words of a query say of each skill, whether it is enough or not.
    pub(crate) fn weigh(&self, query: &str) -> Weighed {
        let mut tallies = vec![Tally::default(); self.skills];
        let mut seen = vec![false; self.words.len()];
        let mut length = 0.0;
        let mut telling = false;
        let mut visit = |term: &str, kind: TermKind| {
            let hash = hash(term);
            let (id, share) = match self.id_of(term, hash) {
                Some(id) => (id, 1.0),
                None if is_common(term, hash, kind) => return,
                None => {
                    telling = true;
                    length += share_of_length(kind);
                    match self.relatives(term).max_by_key(|id| common_prefix(term, &self.words[*id as usize])) {
                        Some(id) => (id, RELATED),
                        None => return,
                    }
                }
            };
            telling = true;
            let id = id as usize;
            if std::mem::replace(&mut seen[id], true) {
                return;
            }
            // A relative was counted above, as the unknown word that it is.
            if share == 1.0 && self.telling[id] {
                length += share_of_length(kind);
            }
            for posting in &self.postings[id] {
                let tally = &mut tallies[posting.skill as usize];
                tally.gain += share * posting.gain;
                tally.evidence += share * posting.evidence;
            }
        };
        let (head, tail) = ends_of(query);
        each_term(head, &mut visit);
        each_term(tail, &mut visit);

        Weighed { tallies, length: 1.0 + EVIDENCE_GROWTH * length.max(1.0).ln(), telling }
    }
}

impl Weighed {
    /// What a skill's evidence must come to if words alone decide.
    pub(crate) fn evidence_needed(&self) -> f32 {
        EVIDENCE * self.length
    }
}

/// BM25's inverse document frequency.
fn rarity(found_in: usize, skills: usize) -> f32 {
    let (n, all) = (found_in as f32, skills as f32);
    (1.0 + (all - n + 0.5) / (n + 0.5)).ln()
}

fn kind_of_term(term: &str) -> TermKind {
    term.chars().next().map_or(TermKind::Word, kind_of)
}

/// A word of the triple scripts gives about three terms, which together are worth one.
fn share_of_evidence(kind: TermKind) -> f32 {
    match kind {
        TermKind::Word | TermKind::Pair => 1.0,
        TermKind::Triple => 1.0 / 3.0,
    }
}

/// How many words a term of the query stands for.
fn share_of_length(kind: TermKind) -> f32 {
    match kind {
        TermKind::Word => 1.0,
        TermKind::Pair => 0.5,
        TermKind::Triple => 1.0 / 3.0,
    }
}

/// The first characters of a word that is long enough to have relatives.
fn stem_of(word: &str) -> Option<&str> {
    let (end, last) = word.char_indices().nth(STEM_CHARS - 1)?;
    (kind_of_term(word) == TermKind::Word).then(|| &word[..end + last.len_utf8()])
}

fn common_prefix(a: &str, b: &str) -> usize {
    a.chars().zip(b.chars()).take_while(|(a, b)| a == b).count()
}

/// Whether two different words are likely forms of one: `debug` and `debugging`, `письмо` and `письма`, but neither
/// `context` and `content`, nor `form` and `formation`, nor `step1` and `step2`. One of them may go on for a few letters,
/// the other for one.
fn related(a: &str, b: &str) -> bool {
    let common = common_prefix(a, b);
    let ending = |word: &str| {
        let rest = word.chars().skip(common);
        rest.clone().all(char::is_alphabetic).then(|| rest.count())
    };
    let (Some(a), Some(b)) = (ending(a), ending(b)) else { return false };
    let (short, long) = (a.min(b), a.max(b));
    common >= STEM_CHARS && short <= 1 && long > 0 && long <= common.saturating_sub(1).min(4)
}

fn start_of(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

/// What is read of a query: all of it, or both ends.
fn ends_of(query: &str) -> (&str, &str) {
    if query.len() <= 2 * QUERY_END_BYTES {
        return (query, "");
    }
    let tail = query.ceil_char_boundary(query.len() - QUERY_END_BYTES);
    (start_of(query, QUERY_END_BYTES), &query[tail..])
}

#[cfg(test)]
mod tests;
