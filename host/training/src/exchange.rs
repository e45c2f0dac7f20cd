//! A turn as the judge sees it: what was asked, what was answered, what came next.

use domain::TurnRecord;
use protocol::{Answer, ChatRequest};

/// One turn and what came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Exchange {
    pub(crate) instruction: String,
    pub(crate) response: String,
    pub(crate) next: Option<String>,
}

/// Reads a turn, and what the next one of its session shows of its outcome.
pub(crate) fn exchange(turn: &TurnRecord, next: Option<&TurnRecord>) -> Exchange {
    Exchange { instruction: instruction(turn), response: response(turn), next: next.and_then(outcome) }
}

/// What the user asked last, and, where tools have answered since, what they gave.
pub(crate) fn instruction(turn: &TurnRecord) -> String {
    let Ok(request) = ChatRequest::parse(turn.request.clone()) else { return String::new() };
    let asked = request.user_text().into_owned();
    match results(&request) {
        results if results.is_empty() => asked,
        results => format!("{asked}\n\nTool results so far:\n{results}"),
    }
}

fn response(turn: &TurnRecord) -> String {
    let mut parts = vec![Answer::from_json(&turn.answer).map(|answer| answer.text).unwrap_or_default()];
    let calls = protocol::tool_calls(&turn.answer).into_iter();
    parts.extend(calls.map(|call| format!("(calls the tool {} with {})", call.name, call.arguments)));
    parts.retain(|part| !part.trim().is_empty());
    parts.join("\n")
}

/// What a turn brings that the one before could not know: the user's next words, or what the tools gave.
fn outcome(next: &TurnRecord) -> Option<String> {
    let request = ChatRequest::parse(next.request.clone()).ok()?;
    let results = results(&request);
    let said = if results.is_empty() { request.user_text().into_owned() } else { results };
    (!said.trim().is_empty()).then_some(said)
}

/// The tool results that stand at the end of a conversation.
fn results(request: &ChatRequest) -> String {
    let messages = (0..request.message_count()).rev().filter_map(|index| request.message(index));
    let results = messages.take_while(|message| matches!(&*message.role, "tool" | "function"));
    let last: Vec<String> = results.map(|message| message.text.into_owned()).collect();
    last.into_iter().rev().collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use domain::{AgentId, DecisionSource, Digest, TurnId, TurnKind, TurnOutcome};
    use serde_json::{Value, json};

    use super::*;

    fn turn(messages: &Value, answer: &Value) -> TurnRecord {
        TurnRecord {
            id: TurnId(uuid::Uuid::now_v7()),
            agent: AgentId::Default,
            session: "s".parse().unwrap(),
            session_key: None,
            kind: TurnKind::Main,
            started: SystemTime::now(),
            duration: Duration::from_secs(1),
            first_byte: None,
            upstream: "u".into(),
            model: "m".into(),
            request: json!({ "messages": messages }).to_string().into(),
            answer: json!({"choices": [{ "message": answer }]}).to_string().into(),
            skills: vec![],
            policy: (Digest::of(b""), DecisionSource::Builtin),
            adapter: 0,
            usage: None,
            outcome: TurnOutcome::Complete,
        }
    }

    #[test]
    fn a_turn_is_what_was_asked_answered_and_came_of_it() {
        let call = json!({"role": "assistant", "content": null, "tool_calls":
            [{"id": "1", "type": "function", "function": {"name": "ls", "arguments": "{}"}}]});
        let ask = json!({"role": "user", "content": [{"type": "text", "text": "What is there?"}]});
        let result = json!({"role": "tool", "tool_call_id": "1", "content": "a.txt"});
        let said = json!({"role": "assistant", "content": "A file."});
        let thanks = json!({"role": "user", "content": "Thanks!"});
        let system = json!({"role": "system", "content": "PERSONA"});
        let first = turn(&json!([system, ask]), &call);
        let second = turn(&json!([system, ask, call, result]), &said);
        let third = turn(&json!([system, ask, call, result, said, thanks]), &said);

        let seen = exchange(&first, Some(&second));
        assert_eq!(
            (seen.instruction.as_str(), seen.response.as_str()),
            ("What is there?", "(calls the tool ls with {})")
        );
        assert_eq!(seen.next.as_deref(), Some("a.txt"), "the tool's result is the next state");
        let seen = exchange(&second, Some(&third));
        assert_eq!(seen.instruction, "What is there?\n\nTool results so far:\na.txt");
        assert_eq!((seen.response.as_str(), seen.next.as_deref()), ("A file.", Some("Thanks!")));
        assert_eq!(exchange(&third, None).next, None);
    }
}
