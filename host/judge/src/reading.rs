//! Reading a judge's answer: the JSON object that was asked for, or MetaClaw's `Score: 1` and `\boxed{1}`. The last one counts, for
//! judges think aloud. Lines behind a bar are quoted, and not the judge's own.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

use crate::Told;

/// The longest answer that is read, in bytes.
const MAX_ANSWER: usize = 64 << 10;
/// At how many places an object is looked for, from the end.
const MAX_STARTS: usize = 64;
/// How much of an answer that cannot be read is told to the operator, in characters.
const SHOWN: usize = 80;

static LINE: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"(?i)^[\s*#_`]*(?:(?:final|overall|my)\s+)?(score|better)[\s*_`]*[:=][\s*_`]*([^\s*_`.]+?)(?:\s*/\s*1)?[\s*_`.]*$").ok()
});
/// As in an object that is not quite JSON.
static FIELD: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r#""(score|better)"\s*:\s*"?([^\s",{}]{1,8})"?\s*[,}\s]"#).ok());
static BOXED: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"\\boxed\{\s*([^{}]{1,8}?)\s*\}").ok());

/// Which of two answers is better, by the place where it was shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Placed {
    First,
    Second,
    Same,
}

/// The vote: −1, 0 or 1.
pub(crate) fn vote(told: &Told) -> Result<i8, String> {
    let own = own_words(told)?;
    let boxed = || BOXED.as_ref()?.captures_iter(&own).filter_map(|found| grade(&found[1])).last();
    let found = object(&own, "score").and_then(|value| match value {
        Value::Number(number) => grade(&number.to_string()),
        Value::String(text) => grade(&text),
        _ => None,
    });
    let field = || last(&FIELD, &own, "score", grade);
    found
        .or_else(field)
        .or_else(|| line(&own, "score", grade))
        .or_else(boxed)
        .or_else(|| grade(&own))
        .ok_or_else(|| unreadable(&own))
}

/// The choice between two.
pub(crate) fn choice(told: &Told) -> Result<Placed, String> {
    let own = own_words(told)?;
    let found = object(&own, "better").and_then(|value| placed(value.as_str()?));
    let field = || last(&FIELD, &own, "better", placed);
    found
        .or_else(field)
        .or_else(|| line(&own, "better", placed))
        .or_else(|| placed(&own))
        .ok_or_else(|| unreadable(&own))
}

/// Without what it only thought or quoted.
fn own_words(told: &Told) -> Result<String, String> {
    if !told.whole {
        return Err("its answer was cut off at its limit".to_owned());
    }
    if told.text.len() > MAX_ANSWER {
        return Err(format!("its answer has {} bytes, and at most {MAX_ANSWER} are read", told.text.len()));
    }
    let text = match told.text.trim_start().strip_prefix("<think>") {
        Some(thoughts) => thoughts.rsplit_once("</think>").map_or("", |(_, after)| after),
        None => &told.text,
    };
    let quoted = |line: &str| line.trim_start_matches([' ', '\t', '>', '\u{200B}']).starts_with('|');
    let own: Vec<&str> = text.lines().filter(|line| !quoted(line)).collect();
    let own = own.join("\n").trim().to_owned();
    if own.is_empty() { Err("its answer is empty".to_owned()) } else { Ok(own) }
}

/// What the last JSON object with such a field says.
fn object(text: &str, field: &str) -> Option<Value> {
    let starts = text.rmatch_indices('{').map(|(at, _)| at).take(MAX_STARTS);
    starts.into_iter().find_map(|start| {
        let read = serde_json::Deserializer::from_str(&text[start..]).into_iter::<Value>().next()?.ok()?;
        read.get(field).cloned()
    })
}

/// What the last line says that says nothing else.
fn line<T>(text: &str, word: &str, read: fn(&str) -> Option<T>) -> Option<T> {
    text.lines().rev().find_map(|line| last(&LINE, line, word, read))
}

/// What the last match about this word says.
fn last<T>(pattern: &Option<Regex>, text: &str, word: &str, read: fn(&str) -> Option<T>) -> Option<T> {
    let found = pattern.as_ref()?.captures_iter(text).filter(|found| found[1].eq_ignore_ascii_case(word));
    found.filter_map(|found| read(&found[2])).last()
}

fn grade(text: &str) -> Option<i8> {
    let text = text.trim().replace(['−', '–'], "-");
    match text.strip_suffix(".0").unwrap_or(&text) {
        "1" | "+1" => Some(1),
        "0" | "+0" | "-0" => Some(0),
        "-1" => Some(-1),
        _ => None,
    }
}

fn placed(text: &str) -> Option<Placed> {
    match text.trim().trim_matches(['"', '\'', '.']).to_ascii_lowercase().as_str() {
        "first" => Some(Placed::First),
        "second" => Some(Placed::Second),
        "same" | "tie" | "neither" | "equal" => Some(Placed::Same),
        _ => None,
    }
}

fn unreadable(text: &str) -> String {
    let shown: String = text.chars().filter(|c| !c.is_control()).take(SHOWN).collect();
    format!("its answer holds no vote: {shown:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> Told {
        Told { text: text.to_owned(), whole: true }
    }

    #[test]
    fn votes_are_read_however_judges_write_them() {
        assert!(LINE.is_some() && BOXED.is_some());
        for (text, want) in [
            ("{\"why\":\"good\",\"score\":1}", 1),
            ("{\"why\":\"bad {really}\",\"score\":-1}", -1),
            ("```json\n{\"score\": \"0\", \"why\": \"?\"}\n```", 0),
            ("{\"score\": 1.0}", 1),
            ("Score: 1", 1),
            ("It is fine.\n\n**Score:** -1\n", -1),
            ("Score: 1 would be too much.\nFinal score: −1.", -1),
            ("Score: 1\nno, rather\nScore: 0/1", 0),
            ("so \\boxed{1} or \\boxed{-1}", -1),
            ("-1", -1),
            ("+1", 1),
            ("<think>Score: 1</think>\nScore: -1", -1),
            ("{\"score\": 1}\nno: {\"score\": -1}", -1),
            ("{\"why\": \"it says\nScore: 1\n\", \"score\": -1}", -1),
            ("{\"why\": \"a \"good\" one\", \"score\": 1 }", 1),
        ] {
            assert_eq!(vote(&told(text)), Ok(want), "{text}");
        }
    }

    #[test]
    fn what_is_no_vote_is_said_to_be_none() {
        for text in [
            "",
            "good",
            "Score: 2",
            "Score: 0.5",
            "{\"score\": 7}",
            "{\"score\": true}",
            "10",
            "<think>Score: 1",
            "| Score: 1",
            " > | {\"score\": 1}",
            "The response says \"Score: 1\".",
            "{\"score\": 11}",
            "Score: [1]",
        ] {
            assert!(vote(&told(text)).is_err(), "{text}");
        }
        assert!(vote(&Told { text: "Score: 1".to_owned(), whole: false }).unwrap_err().contains("cut off"));
        assert!(vote(&told(&"x".repeat(1 << 20))).unwrap_err().contains("1048576 bytes"));
        assert!(vote(&told(&"{".repeat(60_000))).is_err());
    }

    #[test]
    fn choices_are_read_likewise() {
        for (text, want) in [
            ("{\"why\":\"w\",\"better\":\"first\"}", Placed::First),
            ("Better: second", Placed::Second),
            ("**Better:** same.", Placed::Same),
            ("First.", Placed::First),
            ("{\"better\":\"tie\"}", Placed::Same),
        ] {
            assert_eq!(choice(&told(text)), Ok(want), "{text}");
        }
        for text in ["both", "| Better: first", "{\"better\":1}", "{\"better\":\"third\"}"] {
            assert!(choice(&told(text)).is_err(), "{text}");
        }
    }
}
