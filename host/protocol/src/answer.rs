use std::borrow::Cow;

use bytes::Bytes;
use domain::{ToolCall, Usage};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::message::content_text;

/// An upstream's answer, whole. When it was streamed it is put together from its chunks, after the last one has gone out.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// A `chat.completion` object.
    pub json: Bytes,
    /// The assistant's words of the first choice.
    pub text: String,
    /// `stop`, `length`, `tool_calls`, …; empty when the answer broke off.
    pub finish_reason: String,
    /// Tokens, when the upstream said.
    pub usage: Option<Usage>,
}

#[derive(Deserialize)]
struct Whole<'a> {
    #[serde(borrow, default)]
    choices: Vec<WholeChoice<'a>>,
    #[serde(default)]
    usage: Option<Value>,
}

#[derive(Deserialize)]
struct WholeChoice<'a> {
    #[serde(borrow, default)]
    message: Option<WholeMessage<'a>>,
    #[serde(default)]
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct WholeMessage<'a> {
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
}

/// What every chunk repeats stays raw: only the first one's is read.
#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    created: Option<&'a RawValue>,
    #[serde(borrow, default)]
    model: Option<&'a RawValue>,
    #[serde(borrow, default)]
    choices: Option<Vec<ChunkChoice<'a>>>,
    #[serde(default)]
    usage: Option<Value>,
}

#[derive(Deserialize)]
struct ChunkChoice<'a> {
    #[serde(default)]
    index: u64,
    #[serde(borrow, default)]
    delta: Option<&'a RawValue>,
    #[serde(default)]
    finish_reason: Option<String>,
}

/// What calls of tools are read from.
#[derive(Deserialize)]
struct Calling<'a> {
    #[serde(borrow, default)]
    choices: Vec<CallingChoice<'a>>,
}

#[derive(Deserialize)]
struct CallingChoice<'a> {
    #[serde(borrow, default)]
    message: Option<CallingMessage<'a>>,
}

#[derive(Deserialize)]
struct CallingMessage<'a> {
    #[serde(borrow, default)]
    tool_calls: Option<Vec<Call<'a>>>,
}

#[derive(Deserialize)]
struct Call<'a> {
    #[serde(borrow, default)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    function: Option<Function<'a>>,
}

#[derive(Deserialize)]
struct Function<'a> {
    #[serde(borrow, default)]
    name: Cow<'a, str>,
    #[serde(borrow, default)]
    arguments: Cow<'a, str>,
}

/// The delta that nearly every chunk has.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Words<'a> {
    #[serde(borrow)]
    content: Cow<'a, str>,
}

#[derive(Default)]
struct Choice {
    message: Map<String, Value>,
    tool_calls: Vec<Map<String, Value>>,
    finish_reason: Option<String>,
}

/// More choices or tool calls than this in one answer are not put together.
const MAX_INDEX: u64 = 128;

/// The tools that a `chat.completion` object calls, in its first choice. Calls that are no functions are left out.
pub fn tool_calls(completion: &[u8]) -> Vec<ToolCall> {
    let read: Option<Calling<'_>> = serde_json::from_slice(completion).ok();
    let message = read.and_then(|read| read.choices.into_iter().next()?.message);
    let calls = message.and_then(|message| message.tool_calls).unwrap_or_default();
    calls
        .into_iter()
        .filter_map(|call| {
            let function = call.function?;
            let (id, name) = (call.id.into_owned(), function.name.into_owned());
            Some(ToolCall { id, name, arguments: function.arguments.into_owned() })
        })
        .collect()
}

impl Answer {
    /// Reads a `chat.completion` body. None when it is not one.
    pub fn from_json(body: &Bytes) -> Option<Answer> {
        let whole: Whole<'_> = serde_json::from_slice(body).ok()?;
        let first = whole.choices.into_iter().next()?;
        let content = first.message.and_then(|m| m.content);
        Some(Answer {
            text: content.map(|c| content_text(c.get()).into_owned()).unwrap_or_default(),
            finish_reason: first.finish_reason.unwrap_or_default(),
            usage: whole.usage.as_ref().and_then(usage),
            json: body.clone(),
        })
    }

    /// Puts the chunks of an event stream together. None when it held no chunk that can be read.
    pub fn from_stream(raw: &[u8]) -> Option<Answer> {
        let (mut head, mut choices, mut counted) = (None, Vec::<Choice>::new(), None);
        for data in events(raw) {
            let Ok(chunk) = serde_json::from_slice::<Chunk<'_>>(data) else { continue };
            counted = chunk.usage.filter(Value::is_object).or(counted);
            for piece in chunk.choices.into_iter().flatten().filter(|c| c.index < MAX_INDEX) {
                let index = usize::try_from(piece.index).ok()?;
                if choices.len() <= index {
                    choices.resize_with(index + 1, Choice::default);
                }
                choices[index].add(piece);
            }
            head.get_or_insert_with(|| [chunk.id, chunk.created, chunk.model].map(read));
        }
        let [id, created, model] = head?;
        let text = choices.first().and_then(|c| c.message.get("content")?.as_str()).unwrap_or_default().to_owned();
        let finish_reason = choices.first().and_then(|c| c.finish_reason.clone()).unwrap_or_default();
        let usage = counted.as_ref().and_then(usage);
        let choices: Vec<_> = choices.into_iter().enumerate().map(|(i, c)| c.into_json(i)).collect();
        let mut whole =
            json!({"id": id, "object": "chat.completion", "created": created, "model": model, "choices": choices});
        if let (Some(counted), Some(object)) = (counted, whole.as_object_mut()) {
            object.insert("usage".into(), counted);
        }
        Some(Answer { json: whole.to_string().into(), text, finish_reason, usage })
    }
}

impl Choice {
    fn add(&mut self, piece: ChunkChoice<'_>) {
        self.finish_reason = piece.finish_reason.or(self.finish_reason.take());
        let Some(delta) = piece.delta.map(RawValue::get) else { return };
        if let Ok(words) = serde_json::from_str::<Words<'_>>(delta)
            && let Some(Value::String(have)) = self.message.get_mut("content")
        {
            return have.push_str(&words.content);
        }
        for (key, value) in serde_json::from_str::<Map<String, Value>>(delta).into_iter().flatten() {
            match (key.as_str(), value) {
                (_, Value::Null) => {}
                ("tool_calls", Value::Array(calls)) => calls.into_iter().for_each(|c| self.add_call(c)),
                // `content`, `reasoning_content`, `refusal`, …: texts arrive in pieces.
                (name, Value::String(text)) if name != "role" => match self.message.get_mut(name) {
                    Some(Value::String(have)) => have.push_str(&text),
                    _ => drop(self.message.insert(key, text.into())),
                },
                (_, value) => drop(self.message.insert(key, value)),
            }
        }
    }

    fn add_call(&mut self, call: Value) {
        let Value::Object(mut call) = call else { return };
        let index = call.remove("index").and_then(|i| i.as_u64()).unwrap_or(self.tool_calls.len() as u64);
        let Some(index) = usize::try_from(index).ok().filter(|_| index < MAX_INDEX) else { return };
        if self.tool_calls.len() <= index {
            self.tool_calls.resize_with(index + 1, Map::new);
        }
        let have = &mut self.tool_calls[index];
        if let Some(Value::Object(function)) = call.remove("function") {
            let into = have.entry("function").or_insert_with(|| json!({}));
            for (key, value) in function {
                match (into.get_mut(&key), value) {
                    (Some(Value::String(have)), Value::String(more)) if key == "arguments" => have.push_str(&more),
                    (_, value) => into[key] = value,
                }
            }
        }
        have.extend(call);
    }

    fn into_json(mut self, index: usize) -> Value {
        self.message.entry("role").or_insert_with(|| "assistant".into());
        self.message.entry("content").or_insert(Value::Null);
        if !self.tool_calls.is_empty() {
            self.message.insert("tool_calls".into(), self.tool_calls.into_iter().map(Value::Object).collect());
        }
        json!({"index": index, "message": self.message, "finish_reason": self.finish_reason})
    }
}

/// What is not counted, or not as a number, counts as 0.
fn usage(wire: &Value) -> Option<Usage> {
    let count = |name: &str| wire[name].as_u64().unwrap_or(0);
    wire.is_object().then(|| Usage { prompt: count("prompt_tokens"), completion: count("completion_tokens") })
}

fn read(raw: Option<&RawValue>) -> Value {
    raw.and_then(|r| serde_json::from_str(r.get()).ok()).unwrap_or_default()
}

/// The `data` of each event, `[DONE]` left out. Chat streams never break one JSON object over several `data` lines.
fn events(raw: &[u8]) -> impl Iterator<Item = &[u8]> {
    raw.split(|b| matches!(b, b'\n' | b'\r'))
        .filter_map(|line| line.strip_prefix(b"data:"))
        .map(|data| data.trim_ascii())
        .filter(|data| !data.is_empty() && *data != b"[DONE]")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(chunks: &[&str]) -> Vec<u8> {
        chunks
            .iter()
            .map(|c| format!("data: {c}\r\n\r\n"))
            .chain(["data: [DONE]\n\n".into()])
            .collect::<String>()
            .into()
    }

    #[test]
    fn chunks_become_the_completion_that_would_have_come_in_one_piece() {
        let raw = stream(&[
            r#"{"id":"c1","created":5,"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":"","reasoning_content":"th"}}]}"#,
            r#"{"id":"c1","choices":[{"index":0,"delta":{"reasoning_content":"ink","content":"Hel"}}]}"#,
            "not json",
            r#"{"id":"c1","choices":[{"index":0,"delta":{"content":"lo"}},{"index":1,"delta":{"content":"x"}}]}"#,
            r#"{"id":"c1","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"t","type":"function","function":{"name":"read","arguments":"{\"a\""}}]}}]}"#,
            r#"{"id":"c1","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":":1}"}}]}}]}"#,
            r#"{"id":"c1","choices":[{"index":0,"delta":null,"finish_reason":"tool_calls"}]}"#,
            r#"{"id":"c1","choices":null,"usage":{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10}}"#,
        ]);
        let answer = Answer::from_stream(&raw).unwrap();
        assert_eq!((answer.text.as_str(), answer.finish_reason.as_str()), ("Hello", "tool_calls"));
        let call = ToolCall { id: "t".into(), name: "read".into(), arguments: r#"{"a":1}"#.into() };
        assert_eq!(tool_calls(&answer.json), [call]);
        assert_eq!(answer.usage, Some(Usage { prompt: 7, completion: 3 }));
        let got: Value = serde_json::from_slice(&answer.json).unwrap();
        assert_eq!(
            got,
            json!({"id":"c1","object":"chat.completion","created":5,"model":"m","choices":[
                {"index":0,"finish_reason":"tool_calls","message":{"role":"assistant","content":"Hello","reasoning_content":"think",
                  "tool_calls":[{"id":"t","type":"function","function":{"name":"read","arguments":"{\"a\":1}"}}]}},
                {"index":1,"finish_reason":null,"message":{"role":"assistant","content":"x"}}],
                "usage":{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10}})
        );
    }

    #[test]
    fn a_whole_answer_is_kept_as_it_came() {
        let body = Bytes::from_static(
            br#"{"id":"c","choices":[{"message":{"role":"assistant","content":"a\nb"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":2},"x":1.0}"#,
        );
        let answer = Answer::from_json(&body).unwrap();
        assert_eq!((answer.text.as_str(), answer.finish_reason.as_str()), ("a\nb", "stop"));
        assert_eq!(answer.json, body);
        let uncounted = Bytes::from_static(
            br#"{"choices":[{"message":{"content":"a"}}],"usage":{"prompt_tokens":null,"completion_tokens":2}}"#,
        );
        assert_eq!(Answer::from_json(&uncounted).unwrap().usage, Some(Usage { prompt: 0, completion: 2 }));
        assert_eq!(Answer::from_json(&Bytes::from_static(b"{}")), None);
        assert_eq!(Answer::from_stream(b"data: [DONE]\n\n"), None);
    }
}
