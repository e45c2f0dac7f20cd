//! Which skills fit a question, by its words and by what it means.
//!
//! `score = cosine + 0.25 * words - harm`, with `words = gain / (gain + 8 * length)`: the words' BM25 gain, which must be the larger
//! the longer the question. Both parts have absolute scales, so one threshold serves agents with five skills and with five hundred.
//! It asks evidence of the turn: when not even the best skill reaches it, none is chosen; otherwise those that come near the best.
//! The numbers were found on a fifth of MetaTool's ToolE and on the shipped skills; `make eval-skills` measures on the rest.

use std::sync::Arc;

use domain::RetrievalMode;

use crate::experience::{Learned, Row};
use crate::library::Scored;
use crate::template::{self, TemplateSizes};
use crate::vectors::Table;
use crate::{Library, Skill};

/// What words add to a cosine at most.
const WORDS_SHARE: f32 = 0.25;
/// The gain, for a question of one telling word, at which words add half of that.
const HALF_GAIN: f32 = 8.0;
/// What is chosen must have at least this share of the best score.
const SHARE_OF_BEST: f32 = 0.4;
/// A skill that has moved is nearer to every question: so much more its score must be for a turn to get any skill.
const MOVED_MARGIN: f32 = 0.05;

/// What skills are wanted for.
#[derive(Clone, Copy)]
pub struct Question<'a> {
    /// The words.
    pub text: &'a str,
    /// What they mean; none when that is not known: then words alone decide.
    pub vector: Option<&'a [f32]>,
    /// How to choose.
    pub mode: RetrievalMode,
    /// For [`RetrievalMode::Template`].
    pub sizes: TemplateSizes,
    /// What the agent has learned of its skills from their use; made for this very library.
    pub learned: Option<&'a Learned>,
}

/// A skill, and why it was chosen or not.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The skill.
    pub skill: Arc<Skill>,
    /// The BM25 gain of the words that it shares with the question.
    pub gain: f32,
    /// How telling these words are; what they must come to if words alone decide is [`Ranking::evidence_needed`].
    pub evidence: f32,
    /// How near their meanings are, from -1 to 1; none when either is not known.
    pub cosine: Option<f32>,
    /// The same with what was learned from use; none when nothing was.
    pub learned: Option<f32>,
    /// Which share of the turns that would have been good it spoils, from 0 to 1.
    pub harm: f32,
    /// Larger is better.
    pub score: f32,
    /// What became of it.
    pub verdict: Verdict,
}

/// Why a skill was chosen or not.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict {
    /// It is among the best.
    Chosen,
    /// So are others, and there is no more room.
    Crowded,
    /// Its score is less than this, a share of the best one's.
    FarFromBest(f32),
    /// No skill's score reaches this threshold.
    NothingFits(f32),
    /// Its words say less than this, and words alone decide.
    LittleEvidence(f32),
    /// The question says nothing of any subject.
    NothingAsked,
    /// It is of another category than the question, or one too many of its own.
    OtherCategory,
    /// It spoils so many turns that it is not chosen, whatever it is near to.
    Harms,
}

impl Library {
    /// The best `k` skills for a question, best first; none when none fits.
    pub fn rank(&self, question: &Question<'_>, k: usize) -> Vec<Scored> {
        if question.mode == RetrievalMode::Template {
            let chosen = template::choose(self, question.text, question.sizes).into_iter().take(k);
            let scored =
                |(rank, at): (usize, usize)| Scored { skill: self.list()[at].clone(), score: descending(rank) };
            return chosen.enumerate().map(scored).collect();
        }
        let Some((table, vector)) = self.meaning_of(question) else {
            return self.search_but(question.text, k, |at| question.learned.is_some_and(|learned| learned.sinks(at)));
        };
        let mut scores = Scores::of(self, question, &table, vector);
        scores.choose(table.threshold());
        scores.chosen.truncate(k);
        let scored = |(at, score): (usize, f32)| Scored { skill: self.list()[at].clone(), score };
        scores.chosen.into_iter().map(scored).collect()
    }

    /// The scores of some skills, by name, for a question, where it ranks at all: those that they would be ranked by, chosen or not.
    /// Comparable with each other only. None for a skill that is not there or that harms.
    pub fn scores(&self, question: &Question<'_>, names: &[&str]) -> Vec<Option<f32>> {
        let all: Vec<f32> = match self.meaning_of(question) {
            Some((table, vector)) => Scores::of(self, question, &table, vector).all,
            None => self.weigh(question.text).tallies.iter().map(|tally| tally.gain).collect(),
        };
        let sinks = |at: usize| question.learned.is_some_and(|learned| learned.sinks(at));
        names.iter().map(|name| self.position(name).filter(|at| !sinks(*at)).map(|at| all[at])).collect()
    }

    /// Every skill with its numbers, best first, the chosen ones before the others; `k` are chosen at most.
    pub fn explain(&self, question: &Question<'_>, k: usize) -> Vec<Candidate> {
        let weighed = self.weigh(question.text);
        let meaning = self.meaning_of(question).filter(|_| question.mode != RetrievalMode::Template);
        let scores = meaning.as_ref().map(|(table, vector)| {
            let mut scores = Scores::of(self, question, table, vector);
            scores.choose(table.threshold());
            scores
        });
        let chosen = self.rank(question, k);
        let learned = question.learned.filter(|_| question.mode != RetrievalMode::Template);
        let row = |at: usize| learned.and_then(|learned| learned.row(at)).map_or(Row::default(), |(_, row)| row);
        let otherwise = |at: usize| match (&scores, question.mode) {
            (_, RetrievalMode::Template) => Verdict::OtherCategory,
            _ if row(at).sinks() => Verdict::Harms,
            (Some(scores), _) => scores.verdict(at),
            (None, _) if !weighed.telling => Verdict::NothingAsked,
            (None, _) if weighed.tallies[at].evidence < weighed.evidence_needed() => {
                Verdict::LittleEvidence(weighed.evidence_needed())
            }
            (None, _) if chosen.len() < k => {
                Verdict::FarFromBest(chosen.first().map_or(0.0, |best| best.score * crate::index::SHARE_OF_BEST))
            }
            (None, _) => Verdict::Crowded,
        };
        let candidate = |(at, skill): (usize, &Arc<Skill>)| {
            let tally = weighed.tallies.get(at).copied().unwrap_or_default();
            let hit = chosen.iter().find(|hit| Arc::ptr_eq(&hit.skill, skill));
            let score = scores.as_ref().map_or(tally.gain, |scores| scores.all[at]);
            Candidate {
                skill: skill.clone(),
                gain: tally.gain,
                evidence: tally.evidence,
                cosine: scores.as_ref().and_then(|scores| scores.cosines[at]),
                learned: scores.as_ref().and_then(|scores| scores.moved_of(at, learned)),
                harm: row(at).harm,
                score: hit.map_or(score, |hit| hit.score),
                verdict: if hit.is_some() { Verdict::Chosen } else { otherwise(at) },
            }
        };
        let mut candidates: Vec<Candidate> = self.list().iter().enumerate().map(candidate).collect();
        candidates.sort_by(|a, b| {
            let first = |candidate: &Candidate| candidate.verdict != Verdict::Chosen;
            first(a).cmp(&first(b)).then(b.score.total_cmp(&a.score))
        });
        candidates
    }

    /// What question and skills mean, where the mode asks for it and both are known.
    fn meaning_of<'a>(&self, question: &Question<'a>) -> Option<(Arc<Table>, &'a [f32])> {
        let vector = question.vector.filter(|_| question.mode.embeds())?;
        Some((self.table()?, vector))
    }
}

/// What chosen skills get that are not ranked.
fn descending(rank: usize) -> f32 {
    1.0 / (1 + rank) as f32
}

/// All skills' scores for one question.
struct Scores {
    all: Vec<f32>,
    cosines: Vec<Option<f32>>,
    /// The cosines with what skills have moved to, in the order of what was learned; none where one has not moved.
    moved: Vec<Option<f32>>,
    /// For skills that have moved, what more they must come to for anything to be chosen.
    margins: Vec<(usize, f32)>,
    telling: bool,
    /// Positions and scores, best first.
    chosen: Vec<(usize, f32)>,
    threshold: f32,
}

impl Scores {
    fn of(library: &Library, question: &Question<'_>, table: &Table, vector: &[f32]) -> Self {
        let weighed = library.weigh(question.text);
        let cosines = table.cosines(vector);
        let words = |gain: f32| match question.mode {
            RetrievalMode::Hybrid => WORDS_SHARE * gain / (gain + HALF_GAIN * weighed.length),
            _ => 0.0,
        };
        let needed = weighed.evidence_needed();
        let score = |(cosine, tally): (&Option<f32>, &crate::index::Tally)| match cosine {
            Some(cosine) => cosine + words(tally.gain),
            // What it means is not known yet: it stands where its words alone would have it chosen, or not at all.
            None if tally.evidence >= needed => table.threshold() + words(tally.gain),
            None => f32::NEG_INFINITY,
        };
        let mut all: Vec<f32> = cosines.iter().zip(&weighed.tallies).map(score).collect();
        let (mut moved, mut margins) = (Vec::new(), Vec::new());
        for (row, cosine) in question.learned.iter().flat_map(|learned| learned.cosines(vector)) {
            if let (Some(now), Some(before)) = (cosine, cosines[row.at]) {
                all[row.at] += now - before;
                margins.push((row.at, MOVED_MARGIN * row.moved));
            }
            // What harms is beyond every threshold, and every share of the best.
            all[row.at] = if row.sinks() { f32::NEG_INFINITY } else { all[row.at] - row.harm };
            moved.push(cosine);
        }
        Scores { all, cosines, moved, margins, telling: weighed.telling, chosen: Vec::new(), threshold: 0.0 }
    }

    fn choose(&mut self, threshold: f32) {
        self.threshold = threshold;
        if !self.telling || !self.fits() {
            return;
        }
        let least = self.best() * SHARE_OF_BEST;
        let near = self.all.iter().copied().enumerate().filter(|(_, score)| *score >= least);
        self.chosen = near.collect();
        self.chosen.sort_by(|a, b| b.1.total_cmp(&a.1));
    }

    /// Whether the best skill's score reaches the threshold.
    fn fits(&self) -> bool {
        let place = |at: usize| self.margins.binary_search_by_key(&at, |(at, _)| *at).ok();
        let margin = |at: usize| place(at).map_or(0.0, |place| self.margins[place].1);
        let mut reaching = self.all.iter().enumerate().filter(|(_, score)| **score >= self.threshold);
        reaching.any(|(at, score)| score - margin(at) >= self.threshold)
    }

    fn best(&self) -> f32 {
        self.all.iter().copied().fold(f32::NEG_INFINITY, f32::max)
    }

    /// Why a skill that is not among the best `k` is not.
    fn verdict(&self, at: usize) -> Verdict {
        let best = self.best();
        match self.all[at] {
            _ if !self.telling => Verdict::NothingAsked,
            _ if !self.fits() => Verdict::NothingFits(self.threshold),
            score if score < best * SHARE_OF_BEST => Verdict::FarFromBest(best * SHARE_OF_BEST),
            _ => Verdict::Crowded,
        }
    }

    fn moved_of(&self, at: usize, learned: Option<&Learned>) -> Option<f32> {
        self.moved[learned?.row(at)?.0]
    }
}

#[cfg(test)]
mod tests;
