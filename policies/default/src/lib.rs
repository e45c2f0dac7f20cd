//! The built-in policy: it decides for every agent that has no module of its own, for every hook that an agent's module
//! leaves out, and whenever a module fails.
//!
//! * `route` gives the client the model it asked for, if this agent may use it, else the configured one.
//! * `select` takes what the host's index finds, best first, within a number of skills and of tokens.
//! * `filter` keeps finished, non-empty answers.
//!
//! It stands on the bindings themselves and not on the SDK: every turn of every agent pays for it, and it tells all that is wrong with its settings at once.

mod bump;
mod settings;

wit_bindgen::generate!({
    path: "../../wit/1.0.0",
    inline: "
        package metaclaw:builtin;
        world builtin {
            include metaclaw:policy/base@1.0.0;
            export metaclaw:policy/routing@1.0.0;
            export metaclaw:policy/skill-selection@1.0.0;
            export metaclaw:policy/sample-filter@1.0.0;
        }
    ",
    world: "metaclaw:builtin/builtin",
    generate_all,
});

use exports::metaclaw::policy::{lifecycle, routing, sample_filter, skill_selection};
use metaclaw::policy::catalog::Catalog;
use metaclaw::policy::sample::Sample;
use metaclaw::policy::turn::Turn;
use metaclaw::policy::types::{Decision, Description, Problem, Route, Selection, Verdict};
use settings::Settings;

/// How much of the user's text is looked at: what is asked comes first, and pasted files would only drown it.
const QUERY_BYTES: usize = 4096;
/// How many more skills are searched than are wanted, since some may not fit into the tokens.
const SPARE_HITS: u32 = 2;
/// The most that one search may return.
const MAX_HITS: u32 = 64;
/// How an answer ends that said all it had to say.
const FINISHED: [&str; 2] = ["stop", "tool_calls"];

struct DefaultPolicy;

impl lifecycle::Guest for DefaultPolicy {
    fn describe() -> Description {
        Description {
            name: "default".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            summary: "Gives the client the model it asks for and the skills that fit its words.".into(),
            attrs: Vec::new(),
        }
    }

    fn validate_config(json: String) -> Vec<Problem> {
        match Settings::parse(&json) {
            Ok(_) => Vec::new(),
            Err(problems) => problems.into_iter().map(bad_config).collect(),
        }
    }
}

impl routing::Guest for DefaultPolicy {
    fn route(turn: &Turn) -> Result<Decision, Problem> {
        let wanted = turn.requested_model();
        let mut targets = turn.targets();
        let chosen = targets.iter().position(|target| target.model == wanted).unwrap_or(0);
        if targets.is_empty() {
            return Err(Problem { code: "no-target".into(), message: "the turn offers no target".into() });
        }
        Ok(Decision::To(Route { target: targets.swap_remove(chosen), attrs: Vec::new() }))
    }
}

impl skill_selection::Guest for DefaultPolicy {
    fn select(turn: &Turn, catalog: &Catalog) -> Result<Selection, Problem> {
        let settings =
            Settings::parse(&metaclaw::policy::settings::get()).map_err(|mut all| bad_config(all.remove(0)))?;
        if settings.max_skills == 0 {
            return Ok(Selection { skills: Vec::new(), attrs: Vec::new() });
        }
        let text = turn.user_text();
        let hits = catalog.search(first_bytes(&text, QUERY_BYTES), (settings.max_skills + SPARE_HITS).min(MAX_HITS));
        let mut tokens_left = settings.max_tokens;
        let mut chosen = Vec::with_capacity(hits.len());
        for hit in hits {
            if hit.score < settings.min_score || chosen.len() == settings.max_skills as usize {
                break;
            }
            // A skill too long for what is left does not keep a shorter one out.
            if let Some(left) = tokens_left.checked_sub(hit.tokens) {
                tokens_left = left;
                chosen.push(hit.name);
            }
        }
        Ok(Selection { skills: chosen, attrs: Vec::new() })
    }
}

impl sample_filter::Guest for DefaultPolicy {
    fn filter(sample: &Sample) -> Result<Verdict, Problem> {
        let reason = sample.finish_reason();
        if !FINISHED.contains(&reason.as_str()) {
            return Ok(Verdict::Drop(format!("the answer ended with {reason:?}")));
        }
        if sample.answer_text().trim().is_empty() && reason == "stop" {
            return Ok(Verdict::Drop("the answer is blank".into()));
        }
        Ok(Verdict::Keep(1.0))
    }
}

/// The first `limit` bytes of `text`, or a few less so that no character is cut in two.
fn first_bytes(text: &str, limit: usize) -> &str {
    &text[..text.floor_char_boundary(limit)]
}

fn bad_config(message: String) -> Problem {
    Problem { code: "bad-config".into(), message }
}

export!(DefaultPolicy);
