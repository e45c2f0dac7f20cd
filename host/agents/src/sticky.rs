//! What stays in a session's prompt from turn to turn.
//!
//! The provider keeps what a prompt begins with, and charges a tenth for it, as long as it stays the same to the byte. So a session
//! keeps its skills until others are clearly better, and then gets them beside those it has, after them, while there is room.
//! This is about what a session has, which neither the catalog nor the policy knows: the catalog's scores stay what they are, for
//! whoever searches and for `skills explain`, and a policy that selects for itself decides what it decides.

use std::sync::Arc;

use config::SkillsConfig;
use skills::{Library, Question, Skill};

/// A skill that is not there must score so many times what the best of those there does.
const CLEARLY: f32 = 1.25;

/// What becomes of a session's skills.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Settled {
    /// They stay as they are.
    Stay,
    /// These from now on.
    Become(Vec<Arc<Skill>>),
}

/// Settles a choice, best first, with what the session has. `scores` gives those of skills by their names: of what is not there any
/// more, or harms, none. At most `most` skills of `budget` tokens together.
pub(crate) fn settle(
    before: &[Arc<Skill>],
    choice: &[Arc<Skill>],
    scores: impl FnOnce(&[&str]) -> Vec<Option<f32>>,
    budget: u32,
    most: usize,
) -> Settled {
    let is_in = |skills: &[Arc<Skill>], skill: &Skill| skills.iter().any(|other| other.digest == skill.digest);
    let newcomers: Vec<&Arc<Skill>> = choice.iter().filter(|skill| !is_in(before, skill)).collect();
    let names: Vec<&str> = before.iter().chain(newcomers.iter().copied()).map(|skill| skill.name.as_str()).collect();
    let scores = scores(&names);
    let (there, new) = scores.split_at(before.len().min(scores.len()));
    if before.is_empty() || there.iter().any(Option::is_none) {
        return Settled::Become(choice.to_vec());
    }
    // Where nothing that is there was chosen again, the talk is of something else.
    let fits = before.iter().any(|skill| is_in(choice, skill));
    let best = there.iter().flatten().copied().fold(f32::NEG_INFINITY, f32::max);
    let clearly = |score: &Option<f32>| !fits || score.is_some_and(|score| score >= best * CLEARLY);
    let come: Vec<Arc<Skill>> =
        newcomers.iter().zip(new).filter(|(_, score)| clearly(score)).map(|(skill, _)| Arc::clone(skill)).collect();
    if come.is_empty() {
        return Settled::Stay;
    }
    let together: Vec<Arc<Skill>> = before.iter().cloned().chain(come).collect();
    let tokens: u64 = together.iter().map(|skill| u64::from(skill.tokens)).sum();
    let room = together.len() <= most && tokens <= u64::from(budget);
    // Where they do not fit beside each other, the prompt changes anyhow, and then to what is best now.
    Settled::Become(if room { together } else { choice.to_vec() })
}

/// The skills that a session with those of `before` has after a turn for which the built-in chooses `choice`: for looking at it.
pub fn settled(
    library: &Library,
    question: &Question<'_>,
    before: &[String],
    choice: &[String],
    config: &SkillsConfig,
) -> Vec<String> {
    let named = |names: &[String]| names.iter().filter_map(|name| library.get(name).cloned()).collect::<Vec<_>>();
    let scores = |names: &[&str]| library.scores(question, names);
    let (there, choice) = (named(before), named(choice));
    let skills = match settle(&there, &choice, scores, config.token_budget, config.top_k as usize) {
        Settled::Stay => there,
        Settled::Become(skills) => skills,
    };
    skills.iter().map(|skill| skill.name.to_string()).collect()
}

#[cfg(test)]
mod tests {
    use std::slice::from_ref;

    use domain::SkillScope;

    use super::*;

    fn skill(name: &str) -> Arc<Skill> {
        let text = format!("---\nname: {name}\ndescription: Does {name}\n---\nDo it.\n");
        Arc::new(Skill::parse(text.as_bytes(), name, SkillScope::Own).unwrap())
    }

    /// What comes of it, by names; `=` when all stays. Scores are in tenths, those of skills that harm missing.
    fn of(before: &str, choice: &str, scores: &[(&str, i8)], most: usize) -> String {
        let skills = |names: &str| names.split_whitespace().map(skill).collect::<Vec<_>>();
        let score = |name: &&str| scores.iter().find(|(n, _)| n == name).map(|(_, score)| f32::from(*score) / 10.0);
        let scored = |names: &[&str]| names.iter().map(score).collect();
        match settle(&skills(before), &skills(choice), scored, 1000, most) {
            Settled::Stay => "=".to_owned(),
            Settled::Become(skills) => skills.iter().map(|s| s.name.as_str()).collect::<Vec<_>>().join(" "),
        }
    }

    #[test]
    fn a_session_keeps_what_it_has_until_something_is_clearly_better() {
        let scores = [("a", 4), ("b", 5), ("c", 6), ("d", -3)];
        for (before, choice, most, want) in [
            ("", "a", 6, "a"),
            ("a", "a", 6, "="),
            ("a", "", 6, "="),
            ("a b", "b", 6, "="),
            ("a b", "b a", 6, "="),
            // Better by a quarter, and not.
            ("a", "b a", 6, "a b"),
            ("b", "c b a", 6, "="),
            ("a", "c b a", 6, "a c b"),
            // Nothing that is there fits.
            ("b", "a", 6, "b a"),
            ("d", "a", 6, "d a"),
            // No room beside what is there.
            ("b", "a", 1, "a"),
            ("a b", "c a", 2, "="),
            ("a d", "b", 2, "b"),
            // What is gone, or harms, does not stay.
            ("gone", "a", 6, "a"),
            ("gone a", "", 6, ""),
        ] {
            assert_eq!(of(before, choice, &scores, most), want, "{before:?}, then {choice:?}");
        }
    }

    #[test]
    fn the_budget_holds_for_what_stays_and_what_comes() {
        let (a, b) = (skill("a"), skill("b"));
        let both = |budget| settle(from_ref(&a), from_ref(&b), |names| vec![Some(1.0); names.len()], budget, 6);
        let needed = a.tokens + b.tokens;
        assert_eq!(both(needed), Settled::Become(vec![a.clone(), b.clone()]));
        assert_eq!(both(needed - 1), Settled::Become(vec![b.clone()]));
    }
}
