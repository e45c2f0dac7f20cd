//! A policy that does what its settings say, all of it bad. See `../README.md`.

mod deeds;

wit_bindgen::generate!({ path: "../../../wit/0.1.0", world: "policy" });

use std::sync::atomic::{AtomicU32, Ordering};

use exports::metaclaw::policy::{lifecycle, routing, sample_filter, skill_selection};
use metaclaw::policy::catalog::Catalog;
use metaclaw::policy::sample::Sample;
use metaclaw::policy::turn::Turn;
use metaclaw::policy::types::{Decision, Description, Problem, Refusal, Route, Target, Verdict};

/// Calls of this instance so far: a new instance begins anew.
static CALLS: AtomicU32 = AtomicU32::new(0);

struct Misbehaving;

/// A text in the settings.
fn setting(key: &str) -> Option<String> {
    let settings = metaclaw::policy::settings::get();
    let (_, rest) = settings.split_once(&format!("\"{key}\""))?;
    rest.split('"').nth(1).map(str::to_owned)
}

/// The deed that this hook is to do, from settings like `{"do":"loop","in":"select"}`.
fn deed(hook: &str) -> String {
    match setting("in") {
        Some(other) if other != hook => String::new(),
        _ => setting("do").unwrap_or_default(),
    }
}

/// How much of it, from settings like `{"do":"refuse","count":"4096"}`.
fn count() -> usize {
    setting("count").and_then(|count| count.parse().ok()).unwrap_or_default()
}

fn problem(code: &str, message: &str) -> Problem {
    Problem { code: code.into(), message: message.into() }
}

impl lifecycle::Guest for Misbehaving {
    fn describe() -> Description {
        Description {
            name: "misbehaving".into(),
            version: "0.1.0".into(),
            // An operator's terminal must not be cleared by this.
            summary: "Does what its settings say.\u{1b}[2J".into(),
            attrs: Vec::new(),
        }
    }

    fn validate_config(_json: String) -> Vec<Problem> {
        match deed("validate").as_str() {
            // Only the settings that say so spoil the loading; the others are for the hooks.
            "bad-config" => vec![problem("bad-config", "these settings are\nbad")],
            other if misbehaves_when_loaded() => {
                deeds::anywhere(other, None);
                Vec::new()
            }
            _ => Vec::new(),
        }
    }
}

fn misbehaves_when_loaded() -> bool {
    metaclaw::policy::settings::get().contains("\"validate\"")
}

impl routing::Guest for Misbehaving {
    fn route(turn: &Turn) -> Result<Decision, Problem> {
        let calls = CALLS.fetch_add(1, Ordering::Relaxed);
        let to = |upstream: &str, model: &str| {
            let target = Target { upstream: upstream.into(), model: model.into() };
            Ok(Decision::To(Route { target, attrs: Vec::new() }))
        };
        let refuse = |message: String| Ok(Decision::Refuse(Refusal { message }));
        match deed("route").as_str() {
            // A target that the turn does not offer.
            "foreign-target" => to("somebody-elses", "gpt-9"),
            // The right model at the wrong upstream.
            "mixed-target" => to("somebody-elses", &turn.targets()[0].model),
            "empty-refusal" => refuse(String::new()),
            "long-refusal" => refuse("x".repeat(4097)),
            // A refusal of so many bytes.
            "refuse" => refuse("x".repeat(count())),
            "huge-string" => refuse("x".repeat(40 << 20)),
            // The right target, with a hundred thousand words beside it.
            "huge-record" => {
                let target = turn.targets().swap_remove(0);
                Ok(Decision::To(Route { target, attrs: vec![("key".into(), "value".into()); 100_000] }))
            }
            // Says how often this instance has been called before.
            "count" => refuse(format!("{calls}")),
            // The same, and never gives back what it took.
            "leak" => {
                std::mem::forget(std::hint::black_box(vec![1_u8; 1 << 20]));
                refuse(format!("{calls}"))
            }
            // Behaves three times, and then never ends.
            "loop-late" => {
                deeds::anywhere(if calls < 3 { "" } else { "loop" }, None);
                refuse(format!("{calls}"))
            }
            // Says what it is told of the turn.
            "tell" => refuse(format!("turn {} of {}: {}", turn.index(), turn.session(), turn.user_text())),
            "problem" => Err(problem("no\x1b[2J-idea", "cannot\ndecide")),
            // Looks for what an earlier guest left in this memory, and leaves something there itself.
            "canary" => refuse(format!("{}", deeds::canary())),
            other => {
                deeds::anywhere(other, None);
                let last = turn.targets().pop().expect("the host offers a target");
                to(&last.upstream, &last.model)
            }
        }
    }
}

impl skill_selection::Guest for Misbehaving {
    fn select(_turn: &Turn, catalog: &Catalog) -> Result<Vec<String>, Problem> {
        let calls = CALLS.fetch_add(1, Ordering::Relaxed);
        let names = |offset, limit| catalog.list(offset, limit).into_iter().map(|s| s.name).collect::<Vec<_>>();
        match deed("select").as_str() {
            "unknown-skill" => Ok(vec!["no-such-skill".into()]),
            "duplicate" => Ok([names(0, 1), names(0, 1)].concat()),
            "too-many" => Ok(vec!["x".into(); 65]),
            // So many skills, each once.
            "names" => Ok(names(0, count() as u32)),
            // So many empty names.
            "blanks" => Ok(vec![String::new(); count()]),
            "huge-string" => Ok(vec!["x".repeat(40 << 20)]),
            // 1.2 million empty strings: 10 MB here, three times that in the host.
            "long-list" => Ok(vec![String::new(); 1_200_000]),
            "count" => Ok(names(calls, 1)),
            // Hands the host so many bytes, piece by piece.
            "pass" => {
                for at in (0..count()).step_by(1 << 19) {
                    metaclaw::policy::log::write("", &"x".repeat((count() - at).min(1 << 19)));
                }
                Ok(names(0, 1))
            }
            // Writes so many bytes for the operator.
            "log" => {
                metaclaw::policy::log::write("warn", &"x".repeat(count()));
                Ok(names(0, 1))
            }
            // Searches for so many texts, no two of which are alike.
            "search" => {
                for i in 0..count() {
                    catalog.search(&format!("question {i} about tides, invoices and {}", "words ".repeat(i)), 8);
                }
                Ok(names(0, 1))
            }
            "problem" => Err(problem("no-idea", "cannot select")),
            other => {
                deeds::anywhere(other, Some(catalog));
                Ok(names(0, 1))
            }
        }
    }
}

impl sample_filter::Guest for Misbehaving {
    fn filter(_sample: &Sample) -> Result<Verdict, Problem> {
        match deed("filter").as_str() {
            "nan-weight" => Ok(Verdict::Keep(f32::NAN)),
            "zero-weight" => Ok(Verdict::Keep(0.0)),
            "negative-weight" => Ok(Verdict::Keep(-1.0)),
            "heavy-weight" => Ok(Verdict::Keep(10.5)),
            "infinite-weight" => Ok(Verdict::Keep(f32::INFINITY)),
            "heaviest-weight" => Ok(Verdict::Keep(10.0)),
            // Drops the sample for a reason of so many bytes.
            "drop" => Ok(Verdict::Drop("x".repeat(count()))),
            "forged-reason" => Ok(Verdict::Drop("\x1b[2J\nlevel=error msg=forged".into())),
            "huge-string" => Ok(Verdict::Drop("x".repeat(40 << 20))),
            "problem" => Err(problem("no-idea", "cannot judge")),
            other => {
                deeds::anywhere(other, None);
                Ok(Verdict::Keep(2.0))
            }
        }
    }
}

export!(Misbehaving);
