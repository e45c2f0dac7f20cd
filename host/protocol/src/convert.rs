//! Answers of the other kind than was asked for: a stream made of a whole answer. (The way back is [`crate::Answer::from_stream`].)

use bytes::Bytes;
use serde_json::{Map, Value, json};

/// The event stream of a `chat.completion`, in as few events as say it all. None when it is not one.
pub fn stream_of(whole: &[u8], include_usage: bool) -> Option<Bytes> {
    let Value::Object(mut head) = serde_json::from_slice(whole).ok()? else { return None };
    let Value::Array(choices) = head.remove("choices")? else { return None };
    let usage = head.remove("usage").unwrap_or_default();
    head.insert("object".into(), "chat.completion.chunk".into());
    let mut out = Vec::with_capacity(2 * whole.len());
    let mut push = |choices: Value, usage: Option<Value>| {
        let mut chunk = head.clone();
        chunk.insert("choices".into(), choices);
        chunk.extend(usage.map(|usage| ("usage".to_owned(), usage)));
        out.extend_from_slice(format!("data: {}\n\n", Value::Object(chunk)).as_bytes());
    };
    for (place, choice) in choices.into_iter().enumerate() {
        let Value::Object(mut choice) = choice else { return None };
        let Value::Object(message) = choice.remove("message")? else { return None };
        let finish = choice.remove("finish_reason").filter(|reason| !reason.is_null()).unwrap_or_else(|| "stop".into());
        choice.entry("index").or_insert_with(|| place.into());
        let index = choice["index"].clone();
        choice.insert("delta".into(), delta(message).into());
        choice.insert("finish_reason".into(), Value::Null);
        push(json!([choice]), None);
        push(json!([{"index": index, "delta": {}, "finish_reason": finish}]), None);
    }
    if include_usage && usage.is_object() {
        push(json!([]), Some(usage));
    }
    out.extend_from_slice(b"data: [DONE]\n\n");
    Some(out.into())
}

/// In a stream each tool call says which it is.
fn delta(mut message: Map<String, Value>) -> Map<String, Value> {
    for (place, call) in message.get_mut("tool_calls").and_then(Value::as_array_mut).into_iter().flatten().enumerate() {
        if let Value::Object(call) = call {
            call.entry("index").or_insert_with(|| place.into());
        }
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Answer;

    #[test]
    fn there_and_back_again() {
        let whole = json!({
            "id": "c", "object": "chat.completion", "created": 5, "model": "m",
            "choices": [{"index": 0, "finish_reason": "tool_calls", "message": {"role": "assistant", "content": "é\n",
                "tool_calls": [{"id": "t", "type": "function", "function": {"name": "read", "arguments": "{}"}}]}}],
            "usage": {"prompt_tokens": 7, "completion_tokens": 3},
        });
        let stream = stream_of(whole.to_string().as_bytes(), true).unwrap();
        assert!(stream.ends_with(b"data: [DONE]\n\n"));
        let back: Value = serde_json::from_slice(&Answer::from_stream(&stream).unwrap().json).unwrap();
        assert_eq!(back, whole);
        let uncounted = stream_of(whole.to_string().as_bytes(), false).unwrap();
        assert!(!String::from_utf8_lossy(&uncounted).contains("usage"));
        assert_eq!(stream_of(b"{}", true), None);
    }
}
