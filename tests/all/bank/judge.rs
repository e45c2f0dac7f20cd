//! The scripted judge: checks that are data, held against an answer. `examples/skills/README.md` describes them.

use regex::{Regex, RegexBuilder};
use serde::Deserialize;

/// What must hold of an answer: a sentence, and exactly one kind of check.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Check {
    /// What the check looks for, for whoever reads a failure.
    pub(super) says: String,
    has: Option<String>,
    lacks: Option<String>,
    order: Option<Vec<String>>,
    labels: Option<Vec<String>>,
    count: Option<Count>,
    max_words: Option<usize>,
}

/// How often a pattern occurs.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Count {
    of: String,
    #[serde(default)]
    min: usize,
    max: Option<usize>,
}

impl Check {
    /// Whether it holds; an error where it is no check.
    pub(super) fn holds(&self, answer: &str) -> Result<bool, String> {
        let answer = answer.trim();
        let Check { says, has, lacks, order, labels, count, max_words } = self;
        match (has, lacks, order, labels, count, max_words) {
            (Some(pattern), None, None, None, None, None) => Ok(compiled(pattern)?.is_match(answer)),
            (None, Some(pattern), None, None, None, None) => Ok(!compiled(pattern)?.is_match(answer)),
            (None, None, Some(patterns), None, None, None) => follow(patterns, answer),
            (None, None, None, Some(labels), None, None) => {
                let patterns: Vec<String> = labels.iter().map(|label| line_of(label)).collect();
                follow(&patterns, answer)
            }
            (None, None, None, None, Some(Count { of, min, max }), None) => {
                let found = compiled(of)?.find_iter(answer).count();
                Ok(found >= *min && max.is_none_or(|max| found <= max))
            }
            (None, None, None, None, None, Some(most)) => Ok(answer.split_whitespace().count() <= *most),
            _ => Err(format!("{says:?} has not exactly one of has, lacks, order, labels, count and max_words")),
        }
    }

    /// What the answer can only know from the skill's text: labels, and the most words.
    pub(super) fn asks_for(&self) -> Vec<String> {
        let labels = self.labels.iter().flatten().map(|label| format!("`{label}:`"));
        labels.chain(self.max_words.iter().map(|most| format!("{most} words"))).collect()
    }
}

/// The share of checks that hold, and what those say that do not.
pub(super) fn judge(checks: &[Check], answer: &str) -> Result<(f64, Vec<String>), String> {
    let mut missed = Vec::new();
    for check in checks {
        if !check.holds(answer)? {
            missed.push(check.says.clone());
        }
    }
    let held = checks.len() - missed.len();
    Ok((held as f64 / checks.len().max(1) as f64, missed))
}

/// Case is ignored; `^` and `$` stand for the ends of a line.
fn compiled(pattern: &str) -> Result<Regex, String> {
    let built = RegexBuilder::new(pattern).case_insensitive(true).multi_line(true).build();
    built.map_err(|e| format!("{pattern:?} is no pattern: {e}"))
}

/// A line that begins with the label and a colon, whatever list or emphasis it stands in.
fn line_of(label: &str) -> String {
    format!(r"^[\s>*_`#|\-0-9.)]*{}[*_`]*\s*:", regex::escape(label))
}

/// Whether each is found behind the one before it.
fn follow(patterns: &[String], answer: &str) -> Result<bool, String> {
    let mut at = 0;
    for pattern in patterns {
        match compiled(pattern)?.find_at(answer, at) {
            Some(found) => at = found.end(),
            None => return Ok(false),
        }
    }
    Ok(true)
}

#[test]
fn each_kind_of_check_can_hold_and_fail() {
    let text = |text: &str| Some(text.to_owned());
    let texts = |texts: &[&str]| Some(texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
    let count = |of: &str, min, max| Some(Count { of: of.to_owned(), min, max });
    let check = Check::default;
    for (check, good, bad) in [
        (Check { has: text("^no\\b"), ..check() }, "Yes?\nNo.", "Not a no"),
        (Check { has: text("\\Ano\\b"), ..check() }, "\n No.", "Yes?\nNo."),
        (Check { lacks: text("sorry"), ..check() }, "No.", "So SORRY"),
        (Check { order: texts(&["a", "b"]), ..check() }, "a b", "b a"),
        (Check { order: texts(&["a", "a"]), ..check() }, "a a", "a"),
        (Check { labels: texts(&["Next"]), ..check() }, "1. **Next:** go", "What is Next: go"),
        (Check { labels: texts(&["Next"]), ..check() }, "- `Next` : go", "Next go"),
        (Check { labels: texts(&["Done", "Next"]), ..check() }, "Done: a\nNext: b", "Next: b\nDone: a"),
        (Check { count: count("\\?", 1, Some(1)), ..check() }, "Why?", "Why? How?"),
        (Check { count: count("\\?", 1, None), ..check() }, "Why? How?", "Because."),
        (Check { max_words: Some(2), ..check() }, "at most", "not at most"),
    ] {
        assert_eq!((check.holds(good), check.holds(bad)), (Ok(true), Ok(false)), "{check:?}");
    }
    for none in [
        check(),
        Check { has: text("a"), lacks: text("b"), ..check() },
        Check { has: text("("), ..check() },
        Check { order: texts(&["a", "("]), ..check() },
    ] {
        assert!(none.holds("a").is_err(), "{none:?}");
    }
}
