//! A policy around one function: it does what the user says, and refuses the turn in words that say what came of it. `storing` and `wasi`
//! are made of it; each says what it is called, what it asks for and how it obeys.

use exports::metaclaw::policy::{lifecycle, routing, sample_filter, skill_selection};
use metaclaw::policy::catalog::Catalog;
use metaclaw::policy::sample::Sample;
use metaclaw::policy::turn::Turn;
use metaclaw::policy::types::{Decision, Description, Problem, Refusal, Verdict};

wit_bindgen::generate!({ path: "../../../wit/0.1.1", world: "policy", generate_all });

struct Answering;

impl lifecycle::Guest for Answering {
    fn describe() -> Description {
        let attrs = vec![("grants".to_owned(), crate::GRANTS.to_owned())];
        Description { name: crate::NAME.into(), version: "0.1.0".into(), summary: "Does what the user says.".into(), attrs }
    }

    fn validate_config(_json: String) -> Vec<Problem> {
        Vec::new()
    }
}

impl routing::Guest for Answering {
    fn route(turn: &Turn) -> Result<Decision, Problem> {
        let message = crate::obey(&turn.user_text());
        Ok(Decision::Refuse(Refusal { message: if message.is_empty() { "(nothing)".into() } else { message } }))
    }
}

impl skill_selection::Guest for Answering {
    fn select(_turn: &Turn, _catalog: &Catalog) -> Result<Vec<String>, Problem> {
        Ok(Vec::new())
    }
}

impl sample_filter::Guest for Answering {
    fn filter(_sample: &Sample) -> Result<Verdict, Problem> {
        Ok(Verdict::Keep(1.0))
    }
}

export!(Answering);
