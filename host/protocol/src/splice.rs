use std::ops::Range;

use bytes::Bytes;

use crate::message::Role;
use crate::omission::Omission;
use crate::openclaw;
use crate::quirks::Quirks;
use crate::request::ChatRequest;

/// A text for the prompt, escaped for JSON once and then used for every turn that needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// JSON string content, without quotes.
    escaped: Bytes,
}

/// What changes between the client's request and ours.
#[derive(Clone, Debug, Default)]
pub struct Splice<'a> {
    /// Goes to the end of the first system message, or of its stable part when the client marks one; or becomes one.
    pub block: Option<&'a Block>,
    /// Replaces the model.
    pub model: Option<&'a str>,
    /// Leaves these messages out.
    pub omitted: Option<&'a Omission>,
    /// What the provider does not take as it is.
    pub quirks: Option<&'a Quirks>,
}

/// The request for the upstream: pieces of the client's body and what was put between them.
#[derive(Clone, Debug)]
pub struct Spliced {
    /// In order.
    pub parts: Vec<Bytes>,
    /// Bytes in all.
    pub len: usize,
}

/// Replaces the bytes of `at` by `with`.
pub(crate) struct Edit {
    pub(crate) at: Range<usize>,
    pub(crate) with: Vec<Bytes>,
}

impl Block {
    /// Escapes `text`.
    pub fn new(text: &str) -> Self {
        let quoted = serde_json::Value::from(text).to_string();
        let len = quoted.len();
        Block { escaped: Bytes::from(quoted).slice(1..len - 1) }
    }

    /// How many bytes it takes in a request.
    #[expect(clippy::len_without_is_empty, reason = "nobody asks")]
    pub fn len(&self) -> usize {
        self.escaped.len()
    }
}

impl ChatRequest {
    /// The body for the upstream. Every byte that is not part of the change stays as the client wrote it.
    pub fn splice(&self, splice: &Splice<'_>) -> Spliced {
        let mut edits = Vec::with_capacity(4);
        edits.extend(splice.block.map(|b| self.inject(b)));
        edits.extend(splice.model.and_then(|m| self.replace_model(m)));
        let spans = splice.omitted.into_iter().flat_map(|omitted| omitted.spans(&self.messages));
        edits.extend(spans.map(|at| Edit { at, with: Vec::new() }));
        let refused = splice.quirks.map(|quirks| self.adapt(quirks, splice.model, &mut edits)).unwrap_or_default();
        self.drop_entries(&refused, &mut edits);
        edits.sort_by_key(|e| (e.at.start, e.at.end));
        self.apply(edits)
    }

    fn inject(&self, block: &Block) -> Edit {
        let system = self.messages.iter().find(|m| m.kind == Role::System);
        let content = system.and_then(|m| m.content.clone()).filter(|c| matches!(self.body[c.start], b'"' | b'['));
        let text = block.escaped.clone();
        let Some(content) = content else {
            let at = self.messages_start + 1;
            let with = vec![
                Bytes::from_static(br#"{"role":"system","content":""#),
                text,
                // `messages` is never empty, so something follows.
                Bytes::from_static(br#""},"#),
            ];
            return Edit { at: at..at, with };
        };
        if let Some(at) = openclaw::end_of_stable(&self.body[content.clone()]).map(|at| content.start + at) {
            let with = vec![Bytes::from_static(br"\n"), text, Bytes::from_static(br"\n")];
            return Edit { at: at..at, with };
        }
        let at = content.end - 1;
        if self.body[content.start] == b'"' {
            return Edit { at: at..at, with: vec![Bytes::from_static(br"\n\n"), text] };
        }
        // A list of parts gets one more part, behind any `cache_control` that the client set.
        let inner = &self.body[content.start + 1..at];
        let open: &[u8] = match inner.iter().all(u8::is_ascii_whitespace) {
            true => br#"{"type":"text","text":""#,
            false => br#",{"type":"text","text":"\n\n"#,
        };
        Edit { at: at..at, with: vec![Bytes::copy_from_slice(open), text, Bytes::from_static(br#""}"#)] }
    }

    fn replace_model(&self, model: &str) -> Option<Edit> {
        let json = Bytes::from(serde_json::Value::from(model).to_string());
        match &self.known.model {
            Some(at) if self.body[at.clone()] == json[..] => None,
            Some(at) => Some(Edit { at: at.clone(), with: vec![json] }),
            None => {
                // The object is not empty: it has `messages`.
                let at = self.entries.first()?.key.start;
                Some(Edit {
                    at: at..at,
                    with: vec![Bytes::from_static(br#""model":"#), json, Bytes::from_static(b",")],
                })
            }
        }
    }

    /// Cuts out the identity fields and what the provider refuses, each with one of the commas beside it.
    fn drop_entries(&self, refused: &[Range<usize>], edits: &mut Vec<Edit>) {
        if refused.is_empty() && self.known.claims.iter().all(Option::is_none) {
            return;
        }
        let goes = |value: &Range<usize>| refused.iter().chain(self.known.claims.iter().flatten()).any(|c| c == value);
        let mut kept_end = None;
        for (i, entry) in self.entries.iter().enumerate() {
            if !goes(&entry.value) {
                kept_end = Some(entry.value.end);
                continue;
            }
            let at = match kept_end {
                Some(_) => self.entries[i - 1].value.end..entry.value.end,
                None => entry.key.start..self.entries.get(i + 1).map_or(entry.value.end, |next| next.key.start),
            };
            edits.push(Edit { at, with: Vec::new() });
        }
    }

    fn apply(&self, edits: Vec<Edit>) -> Spliced {
        let mut parts = Vec::with_capacity(2 * edits.len() + 1);
        let mut from = 0;
        for edit in edits {
            if edit.at.start > from {
                parts.push(self.body.slice(from..edit.at.start));
            }
            parts.extend(edit.with);
            from = edit.at.end.max(from);
        }
        parts.push(self.body.slice(from..));
        let len = parts.iter().map(Bytes::len).sum();
        Spliced { parts, len }
    }
}

impl Spliced {
    /// The whole body in one piece.
    pub fn to_bytes(&self) -> Bytes {
        match &self.parts[..] {
            [only] => only.clone(),
            parts => parts.concat().into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn spliced(body: &str, block: Option<&str>, model: Option<&str>) -> String {
        let block = block.map(Block::new);
        let request = ChatRequest::parse(Bytes::copy_from_slice(body.as_bytes())).unwrap();
        let out = request.splice(&Splice { block: block.as_ref(), model, ..Splice::default() });
        assert_eq!(out.len, out.to_bytes().len());
        String::from_utf8(out.to_bytes().to_vec()).unwrap()
    }

    #[test]
    fn only_the_change_changes() {
        let check = |body: &str, block, model, want: &str| assert_eq!(spliced(body, block, model), want);
        let user = r#"{"role":"user","content":"q"}"#;
        check(
            &format!(r#"{{ "messages":[{user}], "n":1.00e0 }}"#),
            None,
            None,
            &format!(r#"{{ "messages":[{user}], "n":1.00e0 }}"#),
        );
        check(
            &format!(r#"{{"messages":[{{"role":"system","content":"be \"good\""}},{user}],"x":0.10}}"#),
            Some("a\n\"b\""),
            None,
            &format!(r#"{{"messages":[{{"role":"system","content":"be \"good\"\n\na\n\"b\""}},{user}],"x":0.10}}"#),
        );
        check(
            &format!(
                r#"{{"messages":[{{"role":"developer","content":[{{"type":"text","text":"s","cache_control":{{"type":"ephemeral"}}}} ]}},{user}]}}"#
            ),
            Some("b"),
            None,
            &format!(
                r#"{{"messages":[{{"role":"developer","content":[{{"type":"text","text":"s","cache_control":{{"type":"ephemeral"}}}} ,{{"type":"text","text":"\n\nb"}}]}},{user}]}}"#
            ),
        );
        check(
            &format!(r#"{{"messages":[{{"role":"system","content":[ ]}},{user}]}}"#),
            Some("b"),
            None,
            &format!(r#"{{"messages":[{{"role":"system","content":[ {{"type":"text","text":"b"}}]}},{user}]}}"#),
        );
        let marked = |stable: &str| {
            let dynamic = "<!-- openclaw:attempt:DYNAMIC -->\\nnow\\n<!-- /openclaw:attempt:DYNAMIC -->";
            let system =
                format!("<!-- openclaw:attempt:STABLE -->\\n{stable}<!-- /openclaw:attempt:STABLE -->\\n{dynamic}");
            format!(r#"{{"messages":[{{"role":"system","content":"{system}"}},{user}]}}"#)
        };
        check(&marked(r"be good\n"), Some("a\nb"), None, &marked(r"be good\n\na\nb\n"));
        check(
            &format!(r#"{{"messages":[ {user}]}}"#),
            Some("b"),
            None,
            &format!(r#"{{"messages":[{{"role":"system","content":"b"}}, {user}]}}"#),
        );
        check(
            &format!(r#"{{"model":"a","messages":[{user}]}}"#),
            None,
            Some("b"),
            &format!(r#"{{"model":"b","messages":[{user}]}}"#),
        );
        check(
            &format!(r#"{{"messages":[{user}]}}"#),
            None,
            Some("b"),
            &format!(r#"{{"model":"b","messages":[{user}]}}"#),
        );
        check(
            &format!(
                r#"{{"session_id":"s","turn_type":"main","messages":[{user}],"user_id":1 , "x":[1] ,"session_done":true}}"#
            ),
            None,
            None,
            &format!(r#"{{"messages":[{user}] , "x":[1]}}"#),
        );
        check(
            &format!(r#"{{"messages":[{user}],"session_id":"s"}}"#),
            None,
            Some("m"),
            &format!(r#"{{"model":"m","messages":[{user}]}}"#),
        );
        check(
            &format!(r#"{{"session_id":"s","messages":[{user}]}}"#),
            None,
            Some("m"),
            &format!(r#"{{"model":"m","messages":[{user}]}}"#),
        );
    }

    proptest! {
        /// Whatever the block's text, the prompt's structure stays: the text arrives as text, in one place.
        #[test]
        fn a_block_is_data(text in ".{0,80}", system in proptest::option::of(".{0,20}"), user in ".{0,20}") {
            let mut messages = Vec::new();
            messages.extend(system.as_ref().map(|s| json!({"role": "system", "content": s})));
            messages.push(json!({"role": "user", "content": user}));
            let body = json!({"messages": messages, "temperature": 0.5}).to_string();
            let got: Value = serde_json::from_str(&spliced(&body, Some(&text), None)).unwrap();
            let want = match &system { Some(s) => format!("{s}\n\n{text}"), None => text };
            prop_assert_eq!(&got["messages"][0], &json!({"role": "system", "content": want}));
            prop_assert_eq!(&got["messages"][1], &json!({"role": "user", "content": user}));
            prop_assert_eq!(got["messages"].as_array().unwrap().len(), 2);
            prop_assert_eq!(got.as_object().unwrap().len(), 2);
        }

        /// Claims go whatever their order and neighbours, and nothing else does.
        #[test]
        fn claims_never_leave(order in Just(vec!["session_id", "turn_type", "a", "b", "messages", "user_id"]).prop_shuffle(), sep in " {0,2}") {
            let entry = |k: &&str| format!("\"{k}\":{}", if *k == "messages" { r#"[{"role":"user","content":"q"}]"# } else { "\"v\"" });
            let body = format!("{{{}}}", order.iter().map(entry).collect::<Vec<_>>().join(&format!("{sep},{sep}")));
            let got: Value = serde_json::from_str(&spliced(&body, None, None)).unwrap();
            prop_assert_eq!(got, json!({"a": "v", "b": "v", "messages": [{"role": "user", "content": "q"}]}));
        }
    }
}
