//! Chooses skills by likeness of vectors, as MetaClaw's `retrieval_mode: embedding` does: the turn's words against the name, the description and the first 200
//! characters of each skill, best first.
//!
//! MetaClaw asks a sentence transformer for its vectors. A policy has no model until the host offers embedders, so here they are counts of words and of
//! three-letter pieces, folded into a fixed number of places: forms of a word are alike, synonyms are not.

use metaclaw_policy::prelude::*;

mod vector;

use vector::{Rarity, Vector};

/// The category of skills that every turn may have.
const GENERAL: &str = "general";
/// That of skills that say what to avoid.
const MISTAKES: &str = "common_mistakes";

/// The agent's `config:`; the first two names are MetaClaw's.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Embedding {
    /// At most so many general skills.
    top_k: usize,
    /// At most so many of all the others.
    task_specific_top_k: usize,
    /// At most so many common mistakes, the first by name, which are not ranked.
    mistakes: usize,
    /// Skills that are less alike are left out: 0 is nothing in common, 1 the same words. MetaClaw leaves out nothing.
    min_similarity: f32,
    /// Characters of a body that count.
    body_chars: usize,
}

impl Default for Embedding {
    fn default() -> Self {
        Embedding { top_k: 6, task_specific_top_k: 10, mistakes: 5, min_similarity: 0.05, body_chars: 200 }
    }
}

impl Policy for Embedding {
    fn check(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.top_k + self.task_specific_top_k + self.mistakes > 64 {
            problems
                .push("a prompt gets at most 64 skills: lower `top_k`, `task_specific_top_k` or `mistakes`".to_owned());
        }
        if !(0.0..=1.0).contains(&self.min_similarity) {
            problems.push("`min_similarity` must be a number from 0 to 1".to_owned());
        }
        problems
    }

    fn select(&self, turn: &Turn, catalog: &Catalog) -> Result<Selection> {
        let skills = catalog.all();
        let counts: Vec<Vector> = skills.iter().map(|skill| self.count(skill, catalog)).collect();
        let rarity = Rarity::of(&counts);
        let query = rarity.weigh(Vector::count(&turn.user_text()));
        let mut ranked: Vec<(f32, &SkillSummary)> = Vec::new();
        for (skill, counts) in skills.iter().zip(counts) {
            ranked.push((query.likeness(&rarity.weigh(counts)), skill));
        }
        let mistakes = skills.iter().filter(|skill| is_of(skill, MISTAKES)).take(self.mistakes);
        let mistakes: Vec<String> = mistakes.map(|skill| skill.name.clone()).collect();
        ranked.retain(|(likeness, skill)| *likeness > self.min_similarity && !is_of(skill, MISTAKES));
        // Equally alike ones stay in the order of their names.
        ranked.sort_by(|a, b| b.0.total_cmp(&a.0));
        let best = |general: bool, most: usize| {
            let those = ranked.iter().filter(move |(_, skill)| is_of(skill, GENERAL) == general);
            those.take(most).map(|(_, skill)| skill.name.clone())
        };
        Ok(Selection::of(best(true, self.top_k).chain(best(false, self.task_specific_top_k)).chain(mistakes)))
    }
}

impl Embedding {
    fn count(&self, skill: &SkillSummary, catalog: &Catalog) -> Vector {
        let mut text = format!("{} {} ", skill.name, skill.description);
        if self.body_chars > 0 {
            text.extend(catalog.read(&skill.name).unwrap_or_default().chars().take(self.body_chars));
        }
        Vector::count(&text)
    }
}

fn is_of(skill: &SkillSummary, category: &str) -> bool {
    skill.category.replace(['-', ' '], "_") == category
}

metaclaw_policy::export!(Embedding: select);

#[cfg(test)]
#[test]
fn it_decides_as_its_cases_say() {
    metaclaw_policy::testing::check::<Embedding>("cases.yaml");
}
