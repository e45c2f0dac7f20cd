use std::ops::Range;

use bytes::Bytes;

use crate::request::ChatRequest;
use crate::scan::Entry;
use crate::splice::Edit;
use crate::value;

/// Where a provider's wire format departs from OpenAI's. What is empty is not touched: the bytes pass as they came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quirks {
    /// Fields of the request that are refused, each list for the models that it names.
    pub refuses: &'static [Refused],
    /// Fields of the request that have another name there: ours, theirs. Where the client sends both, theirs stays.
    pub renames: &'static [(&'static str, &'static str)],
    /// What stands in the answer's text there and has a field of its own here.
    pub lifts: Lifts,
    /// Whether it holds a model to a JSON schema (`response_format`), when the host itself asks it something.
    pub json_schema: bool,
}

/// Top-level fields that a provider refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// How the names of the models begin that refuse them, in lower case; empty: every model.
    pub models: &'static str,
    /// The fields.
    pub fields: &'static [&'static str],
}

/// What is lifted out of an answer's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifts {
    /// Marks around the reasoning with which a text may begin, opening and closing; it becomes `reasoning_content`.
    pub reasoning: &'static [(&'static str, &'static str)],
    /// `<|tool_call_begin|>…`, as Kimi's models write a tool call; it becomes one of `tool_calls`.
    pub kimi_calls: bool,
    /// `<tool_call>{…}</tool_call>`, or with `<function=…>` within, as Qwen's models write one; likewise.
    pub qwen_calls: bool,
}

impl Lifts {
    /// Nothing.
    pub const NONE: Lifts = Lifts { reasoning: &[], kimi_calls: false, qwen_calls: false };

    /// Whether answers pass as they come.
    pub fn is_none(&self) -> bool {
        self.reasoning.is_empty() && !self.calls()
    }

    pub(crate) fn calls(&self) -> bool {
        self.kimi_calls || self.qwen_calls
    }
}

impl Quirks {
    /// OpenAI's format, as it is.
    pub const NONE: Quirks = Quirks { refuses: &[], renames: &[], lifts: Lifts::NONE, json_schema: false };

    fn changes_requests(&self) -> bool {
        !(self.refuses.is_empty() && self.renames.is_empty())
    }

    fn refuses(&self, model: &str, field: &str) -> bool {
        let concerns = |refused: &Refused| {
            model.get(..refused.models.len()).is_some_and(|m| m.eq_ignore_ascii_case(refused.models))
        };
        self.refuses.iter().any(|refused| refused.fields.contains(&field) && concerns(refused))
    }
}

impl ChatRequest {
    /// Renames what the provider calls otherwise, and says which other entries it must not see. `model` is the one that is asked.
    pub(crate) fn adapt(&self, quirks: &Quirks, model: Option<&str>, edits: &mut Vec<Edit>) -> Vec<Range<usize>> {
        let mut refused = Vec::new();
        if !quirks.changes_requests() {
            return refused;
        }
        let asked = self.model();
        // Hosts of many vendors' models write `vendor/model`.
        let model = model.unwrap_or(&asked);
        let model = model.rsplit('/').next().unwrap_or(model);
        let name = |entry: &Entry| value::string(self.raw(&entry.key)).unwrap_or_default().into_owned();
        let has = |wanted: &str| self.entries.iter().any(|entry| name(entry) == wanted);
        for entry in &self.entries {
            let key = name(entry);
            if quirks.refuses(model, &key) {
                refused.push(entry.value.clone());
            } else if let Some((_, theirs)) = quirks.renames.iter().find(|(ours, _)| *ours == key) {
                match has(theirs) {
                    true => refused.push(entry.value.clone()),
                    false => {
                        let with = vec![Bytes::from(serde_json::Value::from(*theirs).to_string())];
                        edits.push(Edit { at: entry.key.clone(), with });
                    }
                }
            }
        }
        refused
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, Value, json};

    use super::*;
    use crate::Splice;

    const QUIRKS: Quirks = Quirks {
        json_schema: false,
        refuses: &[
            Refused { models: "", fields: &["store", "seed"] },
            Refused { models: "kimi-", fields: &["temperature"] },
        ],
        renames: &[("max_tokens", "max_completion_tokens")],
        lifts: Lifts::NONE,
    };

    fn sent(body: &str, model: Option<&str>) -> String {
        let request = ChatRequest::parse(Bytes::copy_from_slice(body.as_bytes())).unwrap();
        let out = request.splice(&Splice { model, quirks: Some(&QUIRKS), ..Splice::default() });
        String::from_utf8(out.to_bytes().to_vec()).unwrap()
    }

    #[test]
    fn only_what_the_provider_refuses_goes() {
        let user = r#""messages":[{"role":"user","content":"q","store":1}]"#;
        for (body, model, want) in [
            (format!("{{{user} , \"store\":true, \"x\":1.0}}"), None, format!("{{{user}, \"x\":1.0}}")),
            (format!("{{\"store\":true,{user}}}"), None, format!("{{{user}}}")),
            (format!("{{\"st\\u006fre\":true,{user},\"seed\":[1,{{}}]}}"), None, format!("{{{user}}}")),
            (format!("{{\"max_tokens\": 5,{user}}}"), None, format!("{{\"max_completion_tokens\": 5,{user}}}")),
            (
                format!("{{\"max_tokens\":5,{user},\"max_completion_tokens\":6}}"),
                None,
                format!("{{{user},\"max_completion_tokens\":6}}"),
            ),
            (format!("{{{user},\"temperature\":0}}"), None, format!("{{{user},\"temperature\":0}}")),
            (
                format!("{{\"model\":\"Kimi-K3\",{user},\"temperature\":0}}"),
                None,
                format!("{{\"model\":\"Kimi-K3\",{user}}}"),
            ),
            (
                format!("{{\"model\":\"a\",\"temperature\":0,{user}}}"),
                Some("moonshotai/kimi-k3"),
                format!("{{\"model\":\"moonshotai/kimi-k3\",{user}}}"),
            ),
            (
                format!("{{\"model\":\"kimi-k3\",\"temperature\":0,{user}}}"),
                Some("other"),
                format!("{{\"model\":\"other\",\"temperature\":0,{user}}}"),
            ),
            (
                format!("{{\"session_id\":\"s\",\"seed\":1,\"store\":false,{user},\"user_id\":2,\"seed\":3}}"),
                None,
                format!("{{{user}}}"),
            ),
            (
                format!("{{\"max_tokens\":5,{user}}}"),
                Some("m"),
                format!("{{\"model\":\"m\",\"max_completion_tokens\":5,{user}}}"),
            ),
        ] {
            assert_eq!(sent(&body, model), want, "{body}");
        }
    }

    proptest! {
        /// In whatever order and between whatever neighbours, exactly the refused fields go.
        #[test]
        fn the_rest_stays(order in Just(vec!["store", "a", "seed", "b", "messages", "session_id", "max_tokens"]).prop_shuffle(), sep in " {0,2}") {
            let entry = |key: &&str| {
                let value = if *key == "messages" { json!([{"role": "user", "content": "q"}]) } else { json!("v") };
                format!("\"{key}\":{value}")
            };
            let body = format!("{{{}}}", order.iter().map(entry).collect::<Vec<_>>().join(&format!("{sep},{sep}")));
            let got: Value = serde_json::from_str(&sent(&body, None)).unwrap();
            let mut want: Map<String, Value> = serde_json::from_str(&body).unwrap();
            want.retain(|key, _| !["store", "seed", "session_id"].contains(&key.as_str()));
            let tokens = want.remove("max_tokens").unwrap();
            want.insert("max_completion_tokens".into(), tokens);
            prop_assert_eq!(got, Value::Object(want));
        }
    }
}
