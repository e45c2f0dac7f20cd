//! The assistant's policy: it refuses some topics, and leads with a skill that is always wanted.

use std::collections::HashMap;

use tinyjson::JsonValue;

// The world of this policy: the hooks that it has. The host's built-in policy covers the others.
wit_bindgen::generate!({
    path: "../../../wit/0.1.0",
    inline: "
        package example:assistant;

        world assistant {
            import metaclaw:policy/settings@0.1.0;
            export metaclaw:policy/lifecycle@0.1.0;
            export metaclaw:policy/routing@0.1.0;
            export metaclaw:policy/skill-selection@0.1.0;
        }
    ",
    generate_all,
});

use exports::metaclaw::policy::{lifecycle, routing, skill_selection};
use metaclaw::policy::catalog::Catalog;
use metaclaw::policy::turn::Turn;
use metaclaw::policy::types::{Decision, Description, Problem, Refusal, Route};

/// How many skills are looked for, besides the first.
const HITS: u32 = 5;

/// What the operator wants of this agent.
#[derive(Default)]
struct Settings {
    /// Topics, in lower case, that are not spoken of.
    refuse: Vec<String>,
    /// The skill that every prompt begins with; empty for none.
    first_skill: String,
}

struct Assistant;

impl lifecycle::Guest for Assistant {
    fn describe() -> Description {
        Description {
            name: "assistant".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            summary: "Refuses the topics it is told to, and leads with one skill.".into(),
            attrs: Vec::new(),
        }
    }

    fn validate_config(json: String) -> Vec<Problem> {
        Settings::parse(&json).err().into_iter().collect()
    }
}

impl routing::Guest for Assistant {
    fn route(turn: &Turn) -> Result<Decision, Problem> {
        let words = turn.user_text().to_lowercase();
        if let Some(topic) = Settings::read()?.refuse.iter().find(|topic| words.contains(*topic)) {
            let message = format!("I would rather not talk about {topic}. Is there something else I can help with?");
            return Ok(Decision::Refuse(Refusal { message }));
        }
        let (wanted, mut targets) = (turn.requested_model(), turn.targets());
        let chosen = targets.iter().position(|target| target.model == wanted).unwrap_or(0);
        Ok(Decision::To(Route { target: targets.swap_remove(chosen), attrs: Vec::new() }))
    }
}

impl skill_selection::Guest for Assistant {
    fn select(turn: &Turn, catalog: &Catalog) -> Result<Vec<String>, Problem> {
        let first = Settings::read()?.first_skill;
        let mut names = Vec::new();
        if catalog.read(&first).is_some() {
            names.push(first);
        }
        for hit in catalog.search(&turn.user_text(), HITS) {
            if !names.contains(&hit.name) {
                names.push(hit.name);
            }
        }
        Ok(names)
    }
}

impl Settings {
    /// The settings of the agent that this instance decides for.
    fn read() -> Result<Self, Problem> {
        Settings::parse(&metaclaw::policy::settings::get())
    }

    fn parse(json: &str) -> Result<Self, Problem> {
        let bad = |message: &str| Problem { code: "bad-config".into(), message: message.into() };
        let entries: HashMap<String, JsonValue> = json
            .parse::<JsonValue>()
            .ok()
            .and_then(|value| value.try_into().ok())
            .ok_or_else(|| bad("the settings must be a mapping of names to values"))?;
        let mut settings = Settings::default();
        for (name, value) in entries {
            match (name.as_str(), value) {
                ("refuse", JsonValue::Array(topics)) => {
                    settings.refuse = topics
                        .into_iter()
                        .map(|topic| topic.try_into().map(|t: String| t.to_lowercase()))
                        .collect::<Result<_, _>>()
                        .map_err(|_| bad("`refuse` must be a list of words"))?;
                }
                ("first_skill", JsonValue::String(skill)) => settings.first_skill = skill,
                ("refuse", _) => return Err(bad("`refuse` must be a list of words")),
                ("first_skill", _) => return Err(bad("`first_skill` must be the name of a skill")),
                (other, _) => {
                    return Err(bad(&format!("there is no setting {other:?}; there are `refuse` and `first_skill`")));
                }
            }
        }
        // An empty topic would be found in every text.
        settings.refuse.retain(|topic| !topic.is_empty());
        Ok(settings)
    }
}

export!(Assistant);
