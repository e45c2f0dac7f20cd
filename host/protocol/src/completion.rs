use bytes::Bytes;
use domain::Usage;
use serde::Serialize;
use serde_json::{Value, json};

/// What every chunk of one answer repeats. For answers that the host makes itself: a refusal, the embedded model's.
#[derive(Clone, Debug)]
pub struct CompletionHead {
    /// `chatcmpl-…`
    pub id: String,
    /// Seconds since 1970.
    pub created: u64,
    /// The model that answers.
    pub model: String,
}

/// The error shape that OpenAI's clients understand.
#[derive(Clone, Debug, Serialize)]
pub struct ErrorBody {
    /// The one member.
    pub error: ErrorDetail,
}

/// The inside of an [`ErrorBody`].
#[derive(Clone, Debug, Serialize)]
pub struct ErrorDetail {
    /// For a person.
    pub message: String,
    /// The family, such as `invalid_request_error`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The field at fault, when there is one.
    pub param: Option<&'static str>,
    /// For a program, such as `invalid_agent_id`.
    pub code: &'static str,
    /// The `x-request-id` of the answer.
    pub request_id: String,
}

/// The answer of `GET /v1/models`.
#[derive(Clone, Debug, Serialize)]
pub struct ModelList {
    object: &'static str,
    data: Vec<ModelEntry>,
}

#[derive(Clone, Debug, Serialize)]
struct ModelEntry {
    id: String,
    object: &'static str,
    created: u64,
    owned_by: String,
}

impl CompletionHead {
    /// The whole answer as one `chat.completion`.
    pub fn whole(&self, text: &str, finish_reason: &str, usage: Usage) -> Bytes {
        json!({
            "id": self.id, "object": "chat.completion", "created": self.created, "model": self.model,
            "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish_reason, "logprobs": null}],
            "usage": usage_json(usage),
        })
        .to_string()
        .into()
    }

    /// The event that opens a stream.
    pub fn first_event(&self) -> Bytes {
        self.event(&json!([{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": null}]), None)
    }

    /// The event of one piece of text.
    pub fn text_event(&self, text: &str) -> Bytes {
        self.event(&json!([{"index": 0, "delta": {"content": text}, "finish_reason": null}]), None)
    }

    /// The events that close a stream: the finish reason, the usage when asked for, `[DONE]`.
    pub fn last_events(&self, finish_reason: &str, usage: Option<Usage>) -> Bytes {
        let mut out = self.event(&json!([{"index": 0, "delta": {}, "finish_reason": finish_reason}]), None).to_vec();
        if let Some(usage) = usage {
            out.extend(self.event(&json!([]), Some(usage)));
        }
        out.extend_from_slice(b"data: [DONE]\n\n");
        out.into()
    }

    fn event(&self, choices: &Value, usage: Option<Usage>) -> Bytes {
        let mut chunk = json!({
            "id": self.id, "object": "chat.completion.chunk", "created": self.created, "model": self.model, "choices": choices,
        });
        if let Some(usage) = usage {
            chunk["usage"] = usage_json(usage);
        }
        format!("data: {chunk}\n\n").into()
    }
}

fn usage_json(usage: Usage) -> Value {
    json!({
        "prompt_tokens": usage.prompt, "completion_tokens": usage.completion, "total_tokens": usage.prompt + usage.completion,
    })
}

impl ErrorBody {
    /// As a body.
    pub fn to_json(&self) -> Bytes {
        serde_json::to_vec(self).unwrap_or_default().into()
    }

    /// As the event that ends a stream which broke. No `[DONE]` follows it.
    pub fn to_event(&self) -> Bytes {
        [b"data: ".as_slice(), &self.to_json(), b"\n\n"].concat().into()
    }
}

impl ModelList {
    /// Lists `(model, owner)` pairs.
    pub fn new(models: impl IntoIterator<Item = (String, String)>) -> Self {
        let entry = |(id, owned_by)| ModelEntry { id, object: "model", created: 0, owned_by };
        ModelList { object: "list", data: models.into_iter().map(entry).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Answer;

    #[test]
    fn streamed_and_whole_say_the_same() {
        let head = CompletionHead { id: "chatcmpl-1".into(), created: 9, model: "m".into() };
        let usage = Usage { prompt: 4, completion: 2 };
        let stream =
            [head.first_event(), head.text_event("a\n"), head.text_event("b"), head.last_events("stop", Some(usage))]
                .concat();
        let streamed = Answer::from_stream(&stream).unwrap();
        let whole = Answer::from_json(&head.whole("a\nb", "stop", usage)).unwrap();
        assert_eq!(
            (&streamed.text, &streamed.finish_reason, streamed.usage),
            (&whole.text, &whole.finish_reason, whole.usage)
        );
        assert!(stream.ends_with(b"data: [DONE]\n\n"));
    }
}
