use serde::Serialize;

use crate::case::Case;
use crate::expect::{Expected, ExpectedGate, ExpectedRoute, ExpectedVerdict, Words};
use crate::outcome::{Answer, Gate, Outcome, Route, Verdict};
use crate::show::{Show, list};

/// Weights and rewards that differ by less are the same.
const TOLERANCE: f32 = 1e-5;

/// Something that is not as a case expects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Which expectation: `route`, `gate[1]`, `kv.spent`, `within.fuel`, …
    pub what: String,
    /// In words, or as the case writes it.
    pub expected: String,
    /// Likewise.
    pub got: String,
}

/// What of an outcome is not as the case expects, in the order of a turn. A budget that the run has not measured is not compared.
pub fn compare(case: &Case, outcome: &Outcome) -> Vec<Difference> {
    let (expect, mut differences) = (&case.expect, Differences::default());
    let codes: Vec<&str> = outcome.problems.iter().map(|problem| problem.code.as_str()).collect();
    let objections = expect.problems.as_deref().unwrap_or_default();
    if codes != objections {
        let messages: Vec<String> = outcome.problems.iter().map(|p| format!("{}: {}", p.code, p.message)).collect();
        differences.add("problems", list(objections), list(&messages));
        // Nothing else was asked.
        return differences.0;
    }
    differences.answer("route", expect.route.as_ref(), outcome.route.as_ref(), route_fits);
    differences.answer("select", expect.select.as_ref(), outcome.select.as_ref(), |want, got| want == got);
    differences.answer("render", expect.render.as_ref(), outcome.render.as_ref(), |want, got| want.fit(got));
    for (at, want) in expect.gate.iter().enumerate() {
        differences.answer(&format!("gate[{at}]"), Some(want), outcome.gate.get(at), gate_fits);
    }
    differences.answer("filter", expect.filter.as_ref(), outcome.filter.as_ref(), verdict_fits);
    differences.answer("reward", expect.reward.as_ref(), outcome.reward.as_ref(), |want, got| match (want, got) {
        (Some(want), Some(got)) => (want - got).abs() < TOLERANCE,
        (want, got) => want.is_none() && got.is_none(),
    });
    for (key, want) in &expect.kv {
        differences.kept(format!("kv.{key}"), want.as_deref(), outcome.kv.get(key));
    }
    for (path, want) in &expect.files {
        differences.kept(format!("files.{path}"), want.as_deref(), outcome.files.get(path));
    }
    for words in &expect.log {
        if !outcome.log.iter().any(|line| line.contains(words)) {
            differences.add("log", format!("{words:?} in it"), list(&outcome.log));
        }
    }
    differences.budget("within.fuel", case.within.fuel, outcome.fuel);
    differences.budget("within.memory", case.within.memory, outcome.memory);
    differences.0
}

#[derive(Default)]
struct Differences(Vec<Difference>);

impl Differences {
    fn add(&mut self, what: impl Into<String>, expected: impl Into<String>, got: impl Into<String>) {
        self.0.push(Difference { what: what.into(), expected: expected.into(), got: got.into() });
    }

    fn answer<E: Show, A: Show>(
        &mut self,
        what: &str,
        want: Option<&Expected<E>>,
        got: Option<&Answer<A>>,
        fits: impl Fn(&E, &A) -> bool,
    ) {
        let Some(want) = want else { return };
        let Some(got) = got else { return self.add(what, want.show(), "no answer: it was not asked") };
        let as_expected = match (want, got) {
            (Expected::Is(want), Answer::Is(got)) => fits(want, got),
            (Expected::Fails(code), Answer::Fails(complaint)) => *code == complaint.code,
            _ => false,
        };
        if !as_expected {
            self.add(what, want.show(), got.show());
        }
    }

    fn kept(&mut self, what: String, want: Option<&str>, got: Option<&Vec<u8>>) {
        if want.map(str::as_bytes) != got.map(Vec::as_slice) {
            let shown = |text: Option<&str>| text.map_or_else(|| "nothing".to_owned(), |text| format!("{text:?}"));
            let got = got.map(|bytes| String::from_utf8_lossy(bytes));
            self.add(what, shown(want), shown(got.as_deref()));
        }
    }

    fn budget(&mut self, what: &str, most: Option<u64>, used: Option<u64>) {
        if let (Some(most), Some(used)) = (most, used)
            && used > most
        {
            self.add(what, format!("at most {most}"), used.to_string());
        }
    }
}

fn route_fits(want: &ExpectedRoute, got: &Route) -> bool {
    match (want, got) {
        (ExpectedRoute::To(want), Route::To(got)) => want == got,
        (ExpectedRoute::Refuse(want), Route::Refuse(got)) => want.fit(got),
        _ => false,
    }
}

fn gate_fits(want: &ExpectedGate, got: &Gate) -> bool {
    match (want, got) {
        (ExpectedGate::Allow, Gate::Allow) => true,
        (ExpectedGate::Deny(want), Gate::Deny(got)) | (ExpectedGate::Hold(want), Gate::Hold(got)) => want.fit(got),
        _ => false,
    }
}

fn verdict_fits(want: &ExpectedVerdict, got: &Verdict) -> bool {
    match (want, got) {
        (ExpectedVerdict::Keep(want), Verdict::Keep(got)) => want.is_none_or(|want| (want - got).abs() < TOLERANCE),
        (ExpectedVerdict::Drop(want), Verdict::Drop(got)) => want.fit(got),
        _ => false,
    }
}

impl Words {
    /// Whether these words are as expected.
    pub fn fit(&self, words: &str) -> bool {
        match self {
            Words::Any => true,
            Words::Are(all) => all == words,
            Words::Contain(part) => words.contains(part),
        }
    }
}
