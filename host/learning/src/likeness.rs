//! How much two texts say the same, by the words they share in a row. Where an embedder is at hand it may judge beside this.

use std::collections::HashSet;

/// Above this, two skills are about the same.
pub(crate) const ALIKE: f32 = 0.5;
/// Above this, they say the same.
pub(crate) const SAME: f32 = 0.9;
/// How many words in a row are compared.
const ROW: usize = 2;

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
