use serde_json::Value;

use crate::ModelError;
use crate::template::each_text;

/// One message of a conversation, as a chat template sees it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ChatMessage {
    /// `system`, `user`, `assistant`, `tool` or whatever the template knows.
    pub role: String,
    /// The text; empty when there is none.
    pub content: String,
    /// For an assistant's message: the tools it called, in OpenAI's form.
    pub tool_calls: Option<Value>,
    /// For a tool's message: which call it answers.
    pub tool_call_id: Option<String>,
    /// The speaker's or tool's name.
    pub name: Option<String>,
}

impl ChatMessage {
    /// A message that is text alone.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        ChatMessage { role: role.into(), content: content.into(), ..ChatMessage::default() }
    }

    /// Reads the `messages` of an OpenAI chat request. Content in parts becomes one text.
    ///
    /// # Errors
    /// When it is not a list of messages, or one holds something other than text.
    pub fn from_openai(messages: &Value) -> Result<Vec<Self>, ModelError> {
        let whole = || ModelError::Message { index: 0, reason: "`messages` is not a list of messages".to_owned() };
        let messages = messages.as_array().filter(|list| !list.is_empty()).ok_or_else(whole)?;
        let read = |(index, message)| {
            Self::from_openai_message(message).map_err(|reason| ModelError::Message { index, reason })
        };
        messages.iter().enumerate().map(read).collect()
    }

    fn from_openai_message(message: &Value) -> Result<Self, String> {
        let text = |key: &str| message.get(key).and_then(Value::as_str).map(str::to_owned);
        // `developer` is OpenAI's newer name for `system`, which is the one that templates know.
        let role = text("role").ok_or("it has no role")?;
        let role = if role == "developer" { "system".to_owned() } else { role };
        Ok(ChatMessage {
            role,
            content: flatten(message.get("content").unwrap_or(&Value::Null))?,
            tool_calls: message.get("tool_calls").filter(|calls| !calls.is_null()).map(with_parsed_arguments),
            tool_call_id: text("tool_call_id"),
            name: text("name"),
        })
    }

    /// The JSON object that templates expect.
    pub(crate) fn to_json(&self) -> Value {
        let mut json = serde_json::Map::new();
        json.insert("role".to_owned(), self.role.clone().into());
        json.insert("content".to_owned(), self.content.clone().into());
        let optional = [
            ("tool_calls", self.tool_calls.clone()),
            ("tool_call_id", self.tool_call_id.clone().map(Value::from)),
            ("name", self.name.clone().map(Value::from)),
        ];
        json.extend(optional.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))));
        Value::Object(json)
    }

    /// Bytes of text in it.
    pub(crate) fn len(&self) -> usize {
        let mut len = 0;
        self.each_text(&mut |text| len += text.len());
        len
    }

    pub(crate) fn each_text(&self, f: &mut dyn FnMut(&str)) {
        f(&self.role);
        f(&self.content);
        self.tool_calls.iter().for_each(|calls| each_text(calls, f));
        self.tool_call_id.iter().chain(&self.name).for_each(|text| f(text));
    }
}

fn flatten(content: &Value) -> Result<String, String> {
    match content {
        Value::Null => Ok(String::new()),
        Value::String(text) => Ok(text.clone()),
        Value::Array(parts) => {
            let texts: Result<Vec<&str>, String> = parts.iter().map(part_text).collect();
            Ok(texts?.join("\n"))
        }
        _ => Err("its content is neither a text nor a list of parts".to_owned()),
    }
}

fn part_text(part: &Value) -> Result<&str, String> {
    if let Some(text) = part.as_str().or_else(|| part.get("text")?.as_str()) {
        return Ok(text);
    }
    let kind = part.get("type").and_then(Value::as_str).unwrap_or("unknown");
    Err(format!("it has a part of type `{kind}`, and the embedded model reads text only"))
}

/// OpenAI sends a call's arguments as JSON in a string; templates expect the object.
fn with_parsed_arguments(calls: &Value) -> Value {
    let mut calls = calls.clone();
    for call in calls.as_array_mut().into_iter().flatten() {
        if let Some(arguments) = call.pointer_mut("/function/arguments")
            && let Some(parsed) = arguments.as_str().and_then(|text| serde_json::from_str(text).ok())
        {
            *arguments = parsed;
        }
    }
    calls
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn openai_messages_become_text() {
        let messages = json!([
            { "role": "developer", "content": "be brief" },
            { "role": "user", "content": [{ "type": "text", "text": "a" }, { "type": "input_text", "text": "b" }] },
            { "role": "assistant", "content": null,
              "tool_calls": [{ "id": "1", "function": { "name": "f", "arguments": "{\"x\":1}" } }] },
            { "role": "tool", "tool_call_id": "1", "content": "2" },
        ]);
        let read = ChatMessage::from_openai(&messages).unwrap();
        assert_eq!(read[0], ChatMessage::new("system", "be brief"));
        assert_eq!(read[1], ChatMessage::new("user", "a\nb"));
        assert_eq!(read[2].tool_calls.as_ref().unwrap()[0]["function"]["arguments"], json!({ "x": 1 }));
        assert_eq!(read[3].tool_call_id.as_deref(), Some("1"));
    }

    #[test]
    fn what_is_not_text_is_refused_with_its_place() {
        let cases = [
            (json!({}), "message 0 cannot be read: `messages` is not a list of messages"),
            (json!([{ "content": "x" }]), "message 0 cannot be read: it has no role"),
            (
                json!([{ "role": "user", "content": "x" }, { "role": "user", "content": [{ "type": "image_url" }] }]),
                "message 1 cannot be read: it has a part of type `image_url`, and the embedded model reads text only",
            ),
            (
                json!([{ "role": "user", "content": 7 }]),
                "message 0 cannot be read: its content is neither a text nor a list of parts",
            ),
        ];
        for (messages, want) in cases {
            assert_eq!(ChatMessage::from_openai(&messages).unwrap_err().to_string(), want);
        }
    }
}
