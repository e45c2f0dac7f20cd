//! A policy of contract 1.0 that has every hook, and answers as its settings say. See `../README.md`.

wit_bindgen::generate!({
    path: "../../../wit/1.0.0",
    inline: "
        package tests:hooks;
        world hooks {
            include metaclaw:policy/base@1.0.0;
            export metaclaw:policy/routing@1.0.0;
            export metaclaw:policy/skill-selection@1.0.0;
            export metaclaw:policy/skill-rendering@1.0.0;
            export metaclaw:policy/tool-gate@1.0.0;
            export metaclaw:policy/sample-filter@1.0.0;
            export metaclaw:policy/reward@1.0.0;
        }
    ",
    world: "tests:hooks/hooks",
    generate_all,
});

use exports::metaclaw::policy::{
    lifecycle, reward, routing, sample_filter, skill_rendering, skill_selection, tool_gate,
};
use metaclaw::policy::catalog::Catalog;
use metaclaw::policy::sample::Sample;
use metaclaw::policy::turn::Turn;
use metaclaw::policy::types::{
    Decision, Description, Permission, Problem, Refusal, Route, Selection, ToolCall, Verdict,
};

struct Hooks;

/// A text in the settings.
fn setting(key: &str) -> Option<String> {
    let settings = metaclaw::policy::settings::get();
    let (_, rest) = settings.split_once(&format!("\"{key}\""))?;
    rest.split('"').nth(1).map(str::to_owned)
}

fn problem() -> Problem {
    Problem { code: "as-asked".into(), message: "the settings want it".into() }
}

fn why(words: &str) -> Vec<(String, String)> {
    vec![("reason".into(), words.into()), ("unknown".into(), "ignored".into())]
}

impl lifecycle::Guest for Hooks {
    fn describe() -> Description {
        Description {
            name: "hooks".into(),
            version: "0.1.0".into(),
            summary: "Answers as its settings say.".into(),
            attrs: why("nobody asked"),
        }
    }

    fn validate_config(_json: String) -> Vec<Problem> {
        Vec::new()
    }
}

impl routing::Guest for Hooks {
    fn route(turn: &Turn) -> Result<Decision, Problem> {
        if setting("route").is_some_and(|deed| deed == "tell") {
            let message = format!("{} at {}", turn.user_text(), turn.received_at());
            return Ok(Decision::Refuse(Refusal { message }));
        }
        Ok(Decision::To(Route { target: turn.targets().swap_remove(0), attrs: why("the first is the best") }))
    }
}

impl skill_selection::Guest for Hooks {
    fn select(_turn: &Turn, catalog: &Catalog) -> Result<Selection, Problem> {
        let skills = catalog.list(0, 8).into_iter().map(|skill| skill.name).collect();
        Ok(Selection { skills, attrs: why("there are few") })
    }
}

impl skill_rendering::Guest for Hooks {
    fn render(turn: &Turn, catalog: &Catalog, skills: Vec<String>) -> Result<String, Problem> {
        match setting("render").as_deref() {
            Some("problem") => Err(problem()),
            Some("nothing") => Ok(String::new()),
            Some("largest") => Ok("x".repeat(256 << 10)),
            Some("too-large") => Ok("x".repeat((256 << 10) + 1)),
            _ => {
                let bodies: Vec<_> = skills.iter().filter_map(|name| catalog.read(name)).collect();
                Ok(format!("For {}: {}\n{}", turn.agent(), skills.join(", "), bodies.join("\n")))
            }
        }
    }
}

impl tool_gate::Guest for Hooks {
    fn gate(turn: &Turn, call: ToolCall) -> Result<Permission, Problem> {
        match call.name.as_str() {
            "remove" => Ok(Permission::Deny(format!("{} may not remove {}.", turn.agent(), call.arguments))),
            "send" => Ok(Permission::Hold("Sending is for people.".into())),
            "mute" => Ok(Permission::Deny(String::new())),
            "chatter" => Ok(Permission::Hold("x".repeat(4097))),
            "problem" => Err(problem()),
            "loop" => loop {
                std::hint::black_box(0);
            },
            _ => Ok(Permission::Allow),
        }
    }
}

impl sample_filter::Guest for Hooks {
    fn filter(sample: &Sample) -> Result<Verdict, Problem> {
        match setting("filter").as_deref() {
            Some("drop") => Ok(Verdict::Drop("the settings want it".into())),
            // Says what it is told of the sample.
            Some("tell") => {
                let calls: Vec<_> = sample.tool_calls().into_iter().map(|call| call.name).collect();
                let first = sample.message(0).map(|message| message.role).unwrap_or_default();
                let words = format!("{first} of {}, {}, {:?}", sample.message_count(), sample.received_at(), calls);
                Ok(Verdict::Drop(words))
            }
            _ => Ok(Verdict::Keep(1.0)),
        }
    }
}

impl reward::Guest for Hooks {
    fn reward(sample: &Sample) -> Result<Option<f32>, Problem> {
        match setting("reward").as_deref() {
            Some("problem") => Err(problem()),
            Some("none") => Ok(None),
            Some(number) => Ok(number.parse().ok()),
            None => Ok(Some(if sample.answer_text().contains("thank") { 1.0 } else { -0.5 })),
        }
    }
}

export!(Hooks);
