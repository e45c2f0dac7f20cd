//! A policy that calls every function of the contract, and answers with what it was told. See `../../kept/README.md`.

mod storage;

wit_bindgen::generate!({ path: "../../../wit/1.0.0", world: "policy", generate_all });

use exports::metaclaw::policy::{
    lifecycle, reward, routing, sample_filter, skill_rendering, skill_selection, tool_gate,
};
use metaclaw::policy::catalog::Catalog;
use metaclaw::policy::sample::Sample;
use metaclaw::policy::turn::Turn;
use metaclaw::policy::types::{
    Decision, Description, Permission, Problem, Refusal, Selection, ToolCall, Verdict,
};
use metaclaw::policy::{log, settings};

struct Thorough;

impl lifecycle::Guest for Thorough {
    fn describe() -> Description {
        let attrs = vec![("grants".to_owned(), storage::GRANTS.to_owned()), ("later".to_owned(), "ignored".to_owned())];
        Description { name: "thorough".into(), version: "1.2.3".into(), summary: "Uses everything.".into(), attrs }
    }

    fn validate_config(json: String) -> Vec<Problem> {
        let refused = json.contains("refused");
        refused.then(|| Problem { code: "bad".into(), message: format!("settings {json}") }).into_iter().collect()
    }
}

impl routing::Guest for Thorough {
    fn route(turn: &Turn) -> Result<Decision, Problem> {
        log::write("info", "a word");
        let message = |index| turn.message(index).map(|m| format!("{}: {}", m.role, m.text));
        let targets: Vec<_> = turn.targets().iter().map(|t| format!("{}/{}", t.upstream, t.model)).collect();
        let told = [
            settings::get(),
            turn.agent(),
            turn.session(),
            turn.index().to_string(),
            turn.kind(),
            turn.mode(),
            turn.received_at().to_string(),
            turn.requested_model(),
            turn.user_text(),
            turn.body_size().to_string(),
            turn.message_count().to_string(),
            format!("{:?}", message(0)),
            format!("{:?}", message(7)),
            turn.tool_names().join("+"),
            targets.join("+"),
            format!("{:?}", turn.attr("nothing")),
        ];
        Ok(Decision::Refuse(Refusal { message: format!("{}\n{}", told.join("\n"), storage::told()) }))
    }
}

impl skill_selection::Guest for Thorough {
    fn select(_turn: &Turn, catalog: &Catalog) -> Result<Selection, Problem> {
        let all = catalog.list(0, 100);
        let hits = catalog.search("words", 1);
        let is_whole = all.len() == catalog.len() as usize
            && all.iter().all(|s| s.scope == "shared" && s.tokens > 0 && s.category.is_empty() && !s.description.is_empty())
            && hits.iter().all(|hit| hit.score > 0.0 && hit.tokens > 0 && catalog.read(&hit.name).is_some())
            && catalog.read("no-such-skill").is_none();
        match is_whole {
            true => {
                let skills = hits.into_iter().map(|hit| hit.name).chain(all.into_iter().map(|s| s.name).take(1)).collect();
                Ok(Selection { skills, attrs: vec![("reason".to_owned(), "why not".to_owned())] })
            }
            false => Err(Problem { code: "odd".into(), message: format!("{} skills", all.len()) }),
        }
    }
}

impl skill_rendering::Guest for Thorough {
    fn render(turn: &Turn, catalog: &Catalog, skills: Vec<String>) -> Result<String, Problem> {
        Ok(format!("{}: {} of {}", turn.agent(), skills.join("+"), catalog.len()))
    }
}

impl tool_gate::Guest for Thorough {
    fn gate(turn: &Turn, call: ToolCall) -> Result<Permission, Problem> {
        match call.name.as_str() {
            "allowed" => Ok(Permission::Allow),
            "held" => Ok(Permission::Hold("ask somebody".into())),
            _ => Ok(Permission::Deny(format!("{}: {} {} {}", turn.agent(), call.id, call.name, call.arguments))),
        }
    }
}

impl reward::Guest for Thorough {
    fn reward(sample: &Sample) -> Result<Option<f32>, Problem> {
        Ok((sample.answer_text() == "keep").then_some(0.25))
    }
}

impl sample_filter::Guest for Thorough {
    fn filter(sample: &Sample) -> Result<Verdict, Problem> {
        if sample.answer_text() == "keep" {
            return Ok(Verdict::Keep(0.5));
        }
        let told = [
            sample.agent(),
            sample.session(),
            sample.received_at().to_string(),
            sample.model(),
            sample.message_count().to_string(),
            format!("{:?}", sample.message(0).map(|m| format!("{}: {}", m.role, m.text))),
            format!("{:?}", sample.message(7).map(|m| m.role)),
            sample.tool_calls().iter().map(|c| format!("{} {} {}", c.id, c.name, c.arguments)).collect::<Vec<_>>().join("+"),
            sample.user_text(),
            sample.answer_text(),
            sample.finish_reason(),
            sample.prompt_tokens().to_string(),
            sample.completion_tokens().to_string(),
            sample.skills().join("+"),
            sample.has_tokens().to_string(),
            format!("{:?}", sample.attr("nothing")),
        ];
        Ok(Verdict::Drop(told.join(", ")))
    }
}

export!(Thorough);
