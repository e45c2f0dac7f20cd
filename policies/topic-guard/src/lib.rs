//! Keeps an agent to its topics and to its tools: what is forbidden, or not among what is allowed, is refused politely; tools are allowed, denied or held by
//! lists.

use metaclaw_policy::prelude::*;

/// The agent's `config:`. Topics are words or phrases, which count where they stand as such: `art` is not in `start`.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct TopicGuard {
    /// What a turn must touch; empty: whatever is not forbidden.
    allowed_topics: Vec<String>,
    /// What no turn may touch.
    forbidden_topics: Vec<String>,
    /// What the user reads when a turn is refused.
    refusal: String,
    /// The only tools that the model may call, with `*` at the end for all that begin so; empty: whatever is not denied.
    allowed_tools: Vec<String>,
    /// Tools that it may not call.
    denied_tools: Vec<String>,
    /// Tools whose every call an operator decides on (`metaclaw calls`).
    held_tools: Vec<String>,
}

impl Default for TopicGuard {
    fn default() -> Self {
        let none = Vec::new;
        TopicGuard {
            allowed_topics: none(),
            forbidden_topics: none(),
            refusal: "I am sorry, but that is not something I can help with here.".to_owned(),
            allowed_tools: none(),
            denied_tools: none(),
            held_tools: none(),
        }
    }
}

impl Policy for TopicGuard {
    fn check(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if !(1..=4096).contains(&self.refusal.len()) {
            problems.push("`refusal` must have 1 to 4,096 bytes".to_owned());
        }
        if self.allowed_topics.iter().chain(&self.forbidden_topics).any(|topic| words(topic).is_empty()) {
            problems.push("a topic must hold a word".to_owned());
        }
        problems
    }

    fn route(&self, turn: &Turn) -> Result<Decision> {
        // Clients ask for titles and summaries of what was allowed already.
        if !turn.is_main() {
            return turn.to_first();
        }
        // The whole message, and not `user_text`: what looks like the client's own words around it could be the user's.
        let last = turn.messages().filter(|message| message.role == "user").last();
        let said = words(&last.map(|message| message.text).unwrap_or_default());
        let touches = |topic: &&String| holds(&said, &words(topic));
        if let Some(topic) = self.forbidden_topics.iter().find(touches) {
            log::info!("refused: {topic} is forbidden");
            return Ok(Decision::refuse(&self.refusal));
        }
        if !self.allowed_topics.is_empty() && !self.allowed_topics.iter().any(|topic| touches(&topic)) {
            log::info!("refused: no allowed topic");
            return Ok(Decision::refuse(&self.refusal));
        }
        turn.to_first()
    }

    fn gate(&self, _turn: &Turn, call: ToolCall) -> Result<Permission> {
        let among = |tools: &[String]| tools.iter().any(|tool| names(tool, &call.name));
        Ok(if among(&self.denied_tools) || !self.allowed_tools.is_empty() && !among(&self.allowed_tools) {
            Permission::deny(format!("The tool {} is not for this agent.", call.name))
        } else if among(&self.held_tools) {
            Permission::hold(format!("The tool {} wants a person's word.", call.name))
        } else {
            Permission::Allow
        })
    }
}

/// Lower-case words: what stands between characters that are neither letters nor digits.
fn words(text: &str) -> Vec<String> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_lowercase).collect()
}

/// Whether the words of a topic stand in a text, one after another.
fn holds(said: &[String], topic: &[String]) -> bool {
    !topic.is_empty() && said.windows(topic.len()).any(|part| part == topic)
}

fn names(pattern: &str, tool: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => tool.starts_with(beginning),
        None => tool == pattern,
    }
}

metaclaw_policy::export!(TopicGuard: route, gate);

#[cfg(test)]
#[test]
fn it_decides_as_its_cases_say() {
    metaclaw_policy::testing::check::<TopicGuard>("cases.yaml");
}
