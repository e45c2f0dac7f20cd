use std::borrow::Cow;
use std::ops::Range;

use crate::value;

/// Who speaks in a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The operator: `system`, or `developer` as newer models call it.
    System,
    /// The person.
    User,
    /// The model.
    Assistant,
    /// A tool's result.
    Tool,
    /// Whatever else the client wrote.
    Other,
}

/// A message with its text decoded.
#[derive(Clone, Debug, PartialEq)]
pub struct Message<'a> {
    /// The role as written.
    pub role: Cow<'a, str>,
    /// Text parts joined by line breaks; images and audio are left out.
    pub text: Cow<'a, str>,
}

/// Where a message and its parts are in the body.
#[derive(Clone, Debug)]
pub(crate) struct MessageSpan {
    pub(crate) whole: Range<usize>,
    pub(crate) role: Option<Range<usize>>,
    pub(crate) content: Option<Range<usize>>,
    pub(crate) kind: Role,
}

impl Role {
    /// The role of this `role` value.
    pub(crate) fn of(raw: &str) -> Self {
        match value::string(raw).as_deref() {
            Some("system" | "developer") => Role::System,
            Some("user") => Role::User,
            Some("assistant") => Role::Assistant,
            Some("tool" | "function") => Role::Tool,
            _ => Role::Other,
        }
    }
}

/// Decodes a `content` value: a string, or a list of parts of which the texts count.
pub(crate) fn content_text(raw: &str) -> Cow<'_, str> {
    if let Some(text) = value::string(raw) {
        return text;
    }
    let texts: Vec<_> =
        value::elements(raw).into_iter().filter_map(|part| value::string(value::member(part, "text")?)).collect();
    Cow::Owned(texts.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_text_whatever_its_form() {
        for (raw, text) in [
            (r#""plain""#, "plain"),
            (r#""a\n\u00e9""#, "a\né"),
            (
                r#"[{"type":"text","text":"a"},{"type":"image_url","image_url":{}},{"type":"text","text":"b\"c"}]"#,
                "a\nb\"c",
            ),
            ("null", ""),
            ("[]", ""),
            ("{}", ""),
            (r#"[{"type":"text","text":"a","text":"b"},{"text":5},{"\u0074ext":"c"},"d"]"#, "b\nc"),
        ] {
            assert_eq!(content_text(raw), text, "{raw}");
        }
    }
}
