//! `tests/guests/hostile.md`, read.

use std::fs;

/// How many columns its first tables have, and its last one.
const COLUMNS: usize = 8;
const PROOF_COLUMNS: usize = 3;

/// The table.
pub(crate) struct Table {
    pub(crate) rows: Vec<Row>,
    pub(crate) proofs: Vec<Proof>,
}

/// One hostile guest.
pub(crate) struct Row {
    pub(crate) agent: String,
    pub(crate) threats: Vec<u32>,
    pub(crate) guest: String,
    pub(crate) does: String,
    pub(crate) asked: Asked,
    /// More of its `policy` section.
    pub(crate) with: String,
    pub(crate) outcome: Outcome,
}

/// When it does what it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Load,
    Route,
    Select,
    Filter,
}

/// What must come of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// With this class, and a message with these words in it.
    Fails(String, String),
    /// A decision whose words begin so.
    Says(String),
    /// It decides, and nobody else notices.
    KeepsToItself,
    /// The sample, for a reason that begins so.
    Drops(String),
    /// It is not loaded; the reason has these words in it.
    Refused(String),
}

/// What proves an answer to a threat that has no row, or not only rows.
pub(crate) struct Proof {
    pub(crate) threats: Vec<u32>,
    /// `FILE::FUNCTION`.
    pub(crate) tests: Vec<String>,
}

impl Table {
    pub(crate) fn read() -> Self {
        let text = fs::read_to_string(tests::root().join("tests/guests/hostile.md")).unwrap();
        let cells = |line: &str| {
            let inner = line.trim_start_matches('|').trim_end_matches('|');
            inner.split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>()
        };
        let lines = text.lines().filter(|line| line.starts_with('|')).map(cells);
        let lines: Vec<_> = lines.filter(|cells| !cells[0].starts_with("---")).collect();
        let of = |columns: usize, head: &str| {
            let rows = lines.iter().filter(move |cells| cells.len() == columns && cells[0] != head);
            rows.cloned().collect::<Vec<_>>()
        };
        Table {
            rows: of(COLUMNS, "agent").iter().map(|cells| Row::read(cells)).collect(),
            proofs: of(PROOF_COLUMNS, "threat").iter().map(|cells| Proof::read(cells)).collect(),
        }
    }
}

fn numbers(cell: &str) -> Vec<u32> {
    cell.split(", ").map(|number| number.parse().unwrap_or_else(|_| panic!("no number of a threat: {cell}"))).collect()
}

impl Row {
    fn read(cells: &[String]) -> Self {
        let [agent, threats, guest, does, asked, with, story, outcome] = cells else { panic!("{cells:?}") };
        assert!(story.ends_with('.'), "{agent} has no story");
        let asked = match asked.as_str() {
            "load" => Asked::Load,
            "route" => Asked::Route,
            "select" => Asked::Select,
            "filter" => Asked::Filter,
            other => panic!("{agent}: there is no hook {other:?}"),
        };
        let outcome = match outcome.split_once(": ").unwrap_or((outcome, "")) {
            ("fails", how) => {
                let (class, words) = how.split_once(": ").unwrap_or((how, ""));
                Outcome::Fails(class.into(), words.into())
            }
            ("says", words) => Outcome::Says(words.into()),
            ("keeps to itself", "") => Outcome::KeepsToItself,
            ("drops", reason) => Outcome::Drops(reason.into()),
            ("refused", reason) => Outcome::Refused(reason.into()),
            _ => panic!("{agent}: no such outcome: {outcome}"),
        };
        assert_eq!(asked == Asked::Load, matches!(outcome, Outcome::Refused(_)), "{agent}: {outcome:?} when {asked:?}");
        Row {
            agent: agent.clone(),
            threats: numbers(threats),
            guest: guest.clone(),
            does: does.clone(),
            asked,
            with: with.trim_matches('`').to_owned(),
            outcome,
        }
    }

    /// What it does, without the marks of code.
    pub(crate) fn deed(&self) -> &str {
        self.does.trim_matches('`')
    }

    /// For a text: what is replaced by what.
    pub(crate) fn changes(&self) -> Vec<(&str, &str)> {
        let pair = self.does.split_once(" → ");
        pair.into_iter().map(|(from, to)| (from.trim_matches('`'), to.trim_matches('`'))).collect()
    }
}

impl Proof {
    fn read(cells: &[String]) -> Self {
        let [threats, story, names] = cells else { panic!("{cells:?}") };
        assert!(story.ends_with('.'), "{threats} has no story");
        Proof {
            threats: numbers(threats),
            tests: names.split(", ").map(|name| name.trim_matches('`').into()).collect(),
        }
    }
}

impl Proof {
    /// Fails unless each of its tests is there.
    pub(crate) fn check(&self) {
        for test in &self.tests {
            let (file, function) = test.split_once("::").unwrap_or_else(|| panic!("no FILE::FUNCTION: {test}"));
            let text = fs::read_to_string(tests::root().join(file)).unwrap_or_else(|e| panic!("{file}: {e}"));
            let lines: Vec<&str> = text.lines().map(str::trim).collect();
            let at = lines.iter().position(|line| {
                let named = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ");
                named.and_then(|rest| rest.strip_prefix(function)).is_some_and(|rest| rest.starts_with('('))
            });
            let is_test = at.is_some_and(|at| {
                let above = lines[..at].iter().rev().take_while(|line| line.starts_with("#["));
                above.into_iter().any(|line| line.starts_with("#[test]") || line.starts_with("#[tokio::test"))
            });
            assert!(is_test, "there is no test {function} in {file}");
        }
    }
}
