//! From recorded turns to episodes: what a user asked, what was done about it, and how it went. A client sends the whole
//! conversation with each turn, and one request of a user's is as many turns as the model called tools; it is one episode here.

use domain::{TurnId, TurnOutcome, TurnRecord};
use protocol::ChatRequest;
use serde_json::Value;

/// One request of a user's.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Episode {
    pub(crate) user: String,
    pub(crate) steps: Vec<Step>,
    pub(crate) answer: String,
    /// What the user said next, when there was a next time.
    pub(crate) then: Option<String>,
    /// The skills that were in the prompt.
    pub(crate) skills: Vec<String>,
    /// Who answered.
    pub(crate) model: String,
    /// The turn in which the user asked; none: it was before what is looked at.
    pub(crate) asked_in: Option<TurnId>,
    reward: Option<f32>,
    failed: bool,
    /// How many messages the conversation had when it began.
    began_at: usize,
}

/// A tool that was called.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Step {
    pub(crate) tool: String,
    pub(crate) arguments: String,
    pub(crate) result: Option<String>,
}

/// How an episode went, by what there is to see of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verdict {
    Bad,
    Good,
    Unclear,
}

/// A reward nearer to zero than this says nothing.
const TELLING_REWARD: f32 = 0.2;
/// How much of a user's next words is looked at for praise or blame, in characters.
const REACTION: usize = 160;
/// How a tool's result begins, or what it holds near its beginning, when it is likely an error.
const ERRORS: &[&str] =
    &["error", "exception", "traceback", "failed", "not found", "no such file", "permission denied", "non-zero exit"];
const BLAME: &[&str] = &[
    "wrong",
    "incorrect",
    "not what i",
    "that's not",
    "that is not",
    "doesn't work",
    "does not work",
    "didn't work",
    "you forgot",
    "i said",
    "i asked",
    "instead",
    "still broken",
    "no,",
    "no.",
    "stop ",
    "don't ",
    "falsch",
    "nicht das",
    "不对",
    "错了",
];
const PRAISE: &[&str] = &[
    "thank",
    "perfect",
    "great",
    "well done",
    "works now",
    "exactly",
    "good job",
    "nice",
    "danke",
    "super",
    "谢谢",
    "很好",
];

/// Adds the next recorded turn to the episodes before it.
pub(crate) fn add(episodes: &mut Vec<Episode>, record: &TurnRecord, reward: Option<f32>) {
    let Ok(request) = ChatRequest::parse(record.request.clone()) else { return };
    let user = request.user_text().into_owned();
    let body: Value = serde_json::from_slice(&record.request).unwrap_or_default();
    let messages = body["messages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let last_user = messages.iter().rposition(|message| message["role"] == "user");
    let asks = last_user.is_some_and(|at| at + 1 == messages.len());
    if user.trim().is_empty() {
        return;
    }
    let same = episodes.last().is_some_and(|last| last.user == user && (!asks || last.began_at == messages.len()));
    if !same {
        if let Some(last) = episodes.last_mut() {
            last.then = Some(user.clone());
        }
        let asked_in = asks.then_some(record.id);
        episodes.push(Episode { user, asked_in, began_at: messages.len(), ..Episode::default() });
    }
    let Some(episode) = episodes.last_mut() else { return };
    let after = last_user.map_or(&[][..], |at| &messages[at + 1..]);
    let steps = steps(after);
    // A client may have shortened its history meanwhile.
    if steps.len() >= episode.steps.len() {
        episode.steps = steps;
    }
    let answer: Value = serde_json::from_slice(&record.answer).unwrap_or_default();
    let message = &answer["choices"][0]["message"];
    episode.answer = text_of(&message["content"]);
    // Until the next turn shows what came of it.
    let pending = calls(message);
    episode.steps.extend(pending.into_iter().map(|(_, step)| step));
    episode.model.clone_from(&record.model);
    episode.failed = matches!(record.outcome, TurnOutcome::Failed);
    episode.reward = reward.or(episode.reward);
    for skill in &record.skills {
        if !episode.skills.contains(skill) {
            episode.skills.push(skill.clone());
        }
    }
}

impl Episode {
    /// How it went, and by which signs. What a user says next is a weak sign, and named as one.
    pub(crate) fn verdict(&self) -> (Verdict, Vec<String>) {
        let mut signs = Vec::new();
        let mut verdict = Verdict::Unclear;
        let reaction = self.then.as_deref().map(|then| then.chars().take(REACTION).collect::<String>().to_lowercase());
        let says =
            |words: &[&str]| reaction.as_deref().is_some_and(|text| words.iter().any(|word| text.contains(word)));
        if says(BLAME) {
            verdict = Verdict::Bad;
            signs.push("weak sign: the user's next words read like a correction".to_owned());
        } else if says(PRAISE) {
            verdict = Verdict::Good;
            signs.push("weak sign: the user's next words read like thanks".to_owned());
        }
        let errors = self.steps.iter().filter(|step| step.is_error()).count();
        if errors > 0 {
            signs.push(format!("{errors} of {} tool results look like errors", self.steps.len()));
            // What went wrong on the way may have come right.
            if self.steps.last().is_some_and(Step::is_error) && verdict == Verdict::Unclear {
                verdict = Verdict::Bad;
            }
        }
        if self.failed {
            verdict = Verdict::Bad;
            signs.push("the model's answer broke off".to_owned());
        }
        if let Some(reward) = self.reward {
            signs.push(format!("reward {reward:.2}, from -1 to 1"));
            if reward.abs() > TELLING_REWARD {
                verdict = if reward > 0.0 { Verdict::Good } else { Verdict::Bad };
            }
        }
        (verdict, signs)
    }
}

impl Step {
    pub(crate) fn is_error(&self) -> bool {
        let head: String = self.result.as_deref().unwrap_or_default().chars().take(200).collect();
        let head = head.to_lowercase();
        ERRORS.iter().any(|word| head.contains(word))
    }
}

/// The calls after the user's words, each with its result.
fn steps(messages: &[Value]) -> Vec<Step> {
    let mut steps: Vec<(String, Step)> = Vec::new();
    for message in messages {
        match message["role"].as_str() {
            Some("assistant") => steps.extend(calls(message)),
            Some("tool" | "function") => {
                let id = message["tool_call_id"].as_str().unwrap_or_default();
                let open = |(call, step): &&mut (String, Step)| step.result.is_none() && (id.is_empty() || call == id);
                if let Some((_, step)) = steps.iter_mut().find(open) {
                    step.result = Some(text_of(&message["content"]));
                }
            }
            _ => {}
        }
    }
    steps.into_iter().map(|(_, step)| step).collect()
}

fn calls(message: &Value) -> Vec<(String, Step)> {
    let calls = message["tool_calls"].as_array().map(Vec::as_slice).unwrap_or_default();
    let call = |call: &Value| {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (tool, arguments) = (text(&call["function"]["name"]), text(&call["function"]["arguments"]));
        (text(&call["id"]), Step { tool, arguments, result: None })
    };
    calls.iter().map(call).collect()
}

fn text_of(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect::<Vec<_>>().join("\n"),
        _ => String::new(),
    }
}
