//! Reading what the model proposes: the JSON object, wherever in its words it is.

use serde::Deserialize;
use serde_json::Value;

/// The longest answer that is read, in bytes. Three proposals of 4 KiB and some prose are far less.
pub(crate) const MAX_ANSWER: usize = 128 << 10;
/// At how many places the object is looked for.
const MAX_STARTS: usize = 64;

/// One proposal, as the model wrote it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Proposal {
    pub(crate) action: String,
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) category: String,
    pub(crate) body: String,
    pub(crate) why: String,
    pub(crate) replaces: Vec<String>,
}

/// The proposals of an answer; none is an ordinary answer. The error is a sentence for the model and the operator.
pub(crate) fn read(text: &str) -> Result<Vec<Proposal>, String> {
    if text.len() > MAX_ANSWER {
        return Err(format!("the answer has {} bytes, and at most {MAX_ANSWER} are read", text.len()));
    }
    let text = without_reasoning(text).trim();
    if text.is_empty() {
        return Err("the answer is empty".to_owned());
    }
    if text.trim_matches(|c: char| !c.is_alphanumeric()).eq_ignore_ascii_case("nothing") {
        return Ok(Vec::new());
    }
    let mut error = None;
    for written in [text.to_owned(), escaped(text)] {
        let starts = written.char_indices().filter(|(_, c)| matches!(c, '{' | '[')).map(|(at, _)| at);
        for start in starts.take(MAX_STARTS) {
            match serde_json::Deserializer::from_str(&written[start..]).into_iter::<Value>().next() {
                Some(Ok(value)) => match proposals(value) {
                    Some(read) => return read,
                    None => continue,
                },
                Some(Err(found)) => {
                    error.get_or_insert_with(|| found.to_string());
                }
                None => {}
            }
        }
    }
    Err(error.map_or_else(|| "there is no JSON object in it".to_owned(), |error| format!("the JSON is wrong: {error}")))
}

/// None when the value is something else than an answer, such as an example in the prose before it.
fn proposals(value: Value) -> Option<Result<Vec<Proposal>, String>> {
    let list = match value {
        Value::Object(mut object) => match object.remove("proposals") {
            Some(Value::Array(list)) => list,
            Some(Value::Null) => Vec::new(),
            Some(Value::Object(one)) => vec![Value::Object(one)],
            Some(_) => return Some(Err("`proposals` must be a list".to_owned())),
            None if object.contains_key("action") => vec![Value::Object(object)],
            None => return None,
        },
        Value::Array(list) if list.iter().any(|item| item.get("action").is_some()) => list,
        _ => return None,
    };
    Some(list.into_iter().map(proposal).collect())
}

fn proposal(mut value: Value) -> Result<Proposal, String> {
    if let Value::Object(fields) = &mut value {
        // Models leave out what does not apply, or say `null`; and name one thing where several may stand.
        fields.retain(|_, field| !field.is_null());
        if let Some(one @ Value::String(_)) = fields.get_mut("replaces") {
            *one = Value::Array(vec![one.take()]);
        }
    }
    let mut proposal: Proposal = serde_json::from_value(value).map_err(|e| format!("a proposal is wrong: {e}"))?;
    proposal.action = proposal.action.trim().to_lowercase();
    match proposal.action.as_str() {
        "add" | "update" | "merge" | "retire" | "nothing" => Ok(proposal),
        other => {
            let other: String = other.chars().take(40).collect();
            Err(format!("`action` must be add, update, merge, retire or nothing, not {other:?}"))
        }
    }
}

/// The words after a reasoning model's thoughts.
fn without_reasoning(text: &str) -> &str {
    match text.trim_start().strip_prefix("<think>") {
        Some(rest) => rest.split_once("</think>").map_or("", |(_, after)| after),
        None => text,
    }
}

/// The text with line ends and tabs within strings escaped, as JSON wants them and models forget.
fn escaped(text: &str) -> String {
    let (mut out, mut inside, mut escape) = (String::with_capacity(text.len()), false, false);
    for c in text.chars() {
        match c {
            '\n' if inside => out.push_str("\\n"),
            '\r' if inside => {}
            '\t' if inside => out.push_str("\\t"),
            _ => out.push(c),
        }
        inside ^= c == '"' && !escape;
        escape = inside && c == '\\' && !escape;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = r#"{"proposals":[{"action":"add","name":"tidy","description":"d","category":"c","body":"Run:\n```sh\nls {a}\n```\nThen stop.","why":"w","replaces":[]}]}"#;

    fn one() -> Proposal {
        let text = |text: &str| text.to_owned();
        let body = text("Run:\n```sh\nls {a}\n```\nThen stop.");
        let (action, name, description) = (text("add"), text("tidy"), text("d"));
        Proposal { action, name, description, category: text("c"), body, why: text("w"), replaces: vec![] }
    }

    #[test]
    fn the_object_is_found_wherever_it_stands_and_fences_in_bodies_survive() {
        let raw_lines = ONE.replace("\\n", "\n");
        for written in [
            ONE.to_owned(),
            format!("```json\n{ONE}\n```"),
            format!("Here is what I propose, with {{care}} and [thought]:\n\n{ONE}\n\nI hope {{that}} helps."),
            format!("<think>{{\"proposals\":[{{\"action\":\"retire\"}}]}}</think>\n{ONE}"),
            format!("For example {{\"a\": 1}} is JSON. {ONE}"),
            ONE.replace("{\"proposals\":", "").replace("]}]}", "]}]"),
            ONE.replace("{\"proposals\":[", "").replace("]}]}", "]}"),
            raw_lines,
        ] {
            assert_eq!(read(&written), Ok(vec![one()]), "{written}");
        }
    }

    #[test]
    fn nothing_is_an_ordinary_answer() {
        for written in
            ["nothing", "Nothing.", "{\"proposals\":[]}", "{\"proposals\":null}", "```\n{\"proposals\": []}\n```"]
        {
            assert_eq!(read(written), Ok(vec![]), "{written}");
        }
        assert_eq!(read("{\"action\":\"nothing\"}").unwrap()[0].action, "nothing");
    }

    #[test]
    fn faults_are_said_in_a_sentence() {
        for (written, says) in [
            (String::new(), "empty"),
            ("<think>and on and on".to_owned(), "empty"),
            ("I would rather not.".to_owned(), "no JSON object"),
            (ONE[..120].to_owned(), "the JSON is wrong: EOF"),
            ("{\"proposals\": 7}".to_owned(), "must be a list"),
            ("{\"proposals\": [7]}".to_owned(), "a proposal is wrong"),
            ("{\"proposals\": [{\"action\":\"delete\"}]}".to_owned(), "not \"delete\""),
            ("{\"proposals\": [{\"action\":\"add\",\"body\":{}}]}".to_owned(), "a proposal is wrong"),
            ("x".repeat(1 << 20), "1048576 bytes"),
            ("{".repeat(100_000), "the JSON is wrong"),
        ] {
            let error = read(&written).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
    }
}
