//! How much two texts say the same: by the words that they share in a row, and, where an embedder is at hand, by what they mean.
//!
//! Words find copies: of nine skills of the shipped bank told in other words, the best share 0.3 with their original, and two
//! different ones share 0.14. Meaning finds the others. Where an embedder draws the line (`Embedder::twins`) is in the binary.

use std::collections::HashSet;
use std::sync::Arc;

use skills::{Embedder, Library, Skill, SkillDocument, said};

/// Above this, two skills are about the same.
pub(crate) const ALIKE: f32 = 0.5;
/// Above this, they say the same.
pub(crate) const SAME: f32 = 0.9;
/// How many words in a row are compared.
const ROW: usize = 2;

/// How many skills are compared by what they mean: those that share most words. Each takes some ten milliseconds with MiniLM.
const COMPARED: usize = 24;

/// Looks for who says the same as one skill.
pub(crate) struct Twins<'a> {
    said: String,
    by_meaning: Option<(&'a dyn Embedder, Vec<f32>)>,
}

impl<'a> Twins<'a> {
    /// Of this skill.
    pub(crate) fn new(of: &SkillDocument, embedder: Option<&'a dyn Embedder>) -> Self {
        let all = said(of.name.as_str(), &of.description, &of.body);
        let by_meaning = embedder.and_then(|embedder| Some((embedder, embedder.embed(&all).ok()?)));
        Twins { said: format!("{}\n{}", of.description, of.body), by_meaning }
    }

    /// As [`likeness`]; above [`ALIKE`] also where only the meaning is alike.
    pub(crate) fn likeness(&self, name: &str, description: &str, body: &str) -> f32 {
        let words = likeness(&self.said, &format!("{description}\n{body}"));
        let Some((embedder, own)) = &self.by_meaning else { return words };
        if words > ALIKE {
            return words;
        }
        let Ok(other) = embedder.embed(&said(name, description, body)) else { return words };
        let cosine: f32 = own.iter().zip(&other).map(|(a, b)| a * b).sum();
        // On the scale of words: what is above the line is alike, the nearer the more so, and never the same.
        let over = (cosine - embedder.twins()) / (1.0 - embedder.twins());
        if over > 0.0 { ALIKE + (SAME - ALIKE) * over.clamp(f32::EPSILON, 1.0) } else { words }
    }

    /// The skill that says most nearly the same, if one is alike; those in `but` are not asked.
    pub(crate) fn nearest<'l>(&self, library: &'l Library, but: &[String]) -> Option<(f32, &'l Arc<Skill>)> {
        let asked = |skill: &&Arc<Skill>| !but.iter().any(|name| name == skill.name.as_str());
        let by_words =
            |skill: &'l Arc<Skill>| (likeness(&self.said, &format!("{}\n{}", skill.description, skill.body)), skill);
        let mut ranked: Vec<_> = library.list().iter().filter(asked).map(by_words).collect();
        ranked.sort_by(|a, b| b.0.total_cmp(&a.0));
        let of = |(_, skill): (f32, &'l Arc<Skill>)| {
            (self.likeness(skill.name.as_str(), &skill.description, &skill.body), skill)
        };
        let all = ranked.into_iter().take(COMPARED).map(of);
        all.max_by(|a, b| a.0.total_cmp(&b.0)).filter(|(alike, _)| *alike > ALIKE)
    }
}

/// From 0, nothing shared, to 1.
pub(crate) fn likeness(a: &str, b: &str) -> f32 {
    let (a, b) = (rows(a), rows(b));
    let shared = a.intersection(&b).count();
    let all = a.len() + b.len() - shared;
    if all == 0 { 0.0 } else { shared as f32 / all as f32 }
}

/// Single words as well, so that another order of the same words is still alike.
fn rows(text: &str) -> HashSet<String> {
    let lower = text.to_lowercase();
    let words: Vec<&str> = lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let rows = words.windows(ROW).map(|row| row.join(" "));
    words.iter().map(|word| (*word).to_owned()).chain(rows).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_matter_is_told_from_another() {
        let cite =
            "Use when citing sources. Name the author and the year behind each claim, and list all sources at the end.";
        let again = "Use when citing sources: name the author and year behind each claim; list the sources at the end.";
        let other = "Use when a build fails. Read the first error, not the last one, and change one thing at a time.";
        assert!(likeness(cite, cite) > 0.99);
        assert!(likeness(cite, again) > ALIKE, "{}", likeness(cite, again));
        assert!(likeness(cite, other) < 0.2, "{}", likeness(cite, other));
        assert!(likeness("", "").abs() < f32::EPSILON);
    }
}
