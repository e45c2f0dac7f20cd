//! Whether what an upstream sent is a chat completion, or a piece of one.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// Why an answer, or the rest of one, is not passed on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// Nothing was in it.
    #[error("it is empty")]
    Empty,
    /// Bytes that are no text.
    #[error("it is not UTF-8")]
    Utf8,
    /// Not JSON, or deeper than can be read.
    #[error("it is not JSON")]
    Json,
    /// JSON of another kind.
    #[error("it is not a chat completion")]
    Kind,
    /// Lines that are no server-sent events.
    #[error("it is not an event stream")]
    Events,
    /// An event, or a whole answer, beyond all measure.
    #[error("a part of it is longer than this host takes")]
    TooLong,
    /// It ended before its words did.
    #[error("it broke off before its end")]
    Cut,
    /// The upstream says that it has failed.
    #[error("it is an error, though its status says otherwise")]
    Error {
        /// The HTTP status that it names, 400 to 599.
        status: Option<u16>,
        /// The whole JSON object; empty when it is long.
        body: Bytes,
    },
}

/// What a well-formed piece of a stream says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Something of the answer.
    Words,
    /// The end of it, with the reason.
    Finish,
    /// Nothing that a client of chat completions would understand.
    Foreign,
}

#[derive(Deserialize)]
struct Whole<'a> {
    #[serde(borrow, default)]
    choices: Option<Vec<WholeChoice<'a>>>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
    #[serde(borrow, default)]
    object: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct WholeChoice<'a> {
    #[serde(borrow, default)]
    message: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow, default)]
    choices: Option<Vec<ChunkChoice<'a>>>,
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
    #[serde(borrow, default)]
    object: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct ChunkChoice<'a> {
    #[serde(borrow, default)]
    delta: Option<&'a RawValue>,
    #[serde(borrow, default)]
    finish_reason: Option<&'a RawValue>,
}

/// Errors longer than this are not kept.
const MAX_ERROR: usize = 64 << 10;
/// A byte order mark, which some put before JSON and event streams though neither has a use for it.
pub const BOM: &[u8] = b"\xEF\xBB\xBF";

/// A `chat.completion` as it may be passed on: the body, without a byte order mark.
pub fn checked(body: &Bytes) -> Result<Bytes, Flaw> {
    let body = if body.starts_with(BOM) { body.slice(BOM.len()..) } else { body.clone() };
    let text = object(&body)?;
    let whole: Whole<'_> = serde_json::from_str(text).map_err(|e| misread(&e))?;
    complaint(text, whole.error, whole.object)?;
    let choices = whole.choices.unwrap_or_default();
    let spoken = !choices.is_empty() && choices.iter().all(|c| c.message.is_some_and(is_object));
    if spoken { Ok(body) } else { Err(Flaw::Kind) }
}

/// One event's data.
pub(crate) fn chunk(data: &[u8]) -> Result<Piece, Flaw> {
    let text = object(data)?;
    let chunk: Chunk<'_> = serde_json::from_str(text).map_err(|e| misread(&e))?;
    complaint(text, chunk.error, chunk.object)?;
    let Some(choices) = chunk.choices else {
        return Ok(if chunk.usage.is_some() { Piece::Words } else { Piece::Foreign });
    };
    if choices.iter().any(|c| c.delta.is_some_and(|delta| !is_object(delta))) {
        return Err(Flaw::Kind);
    }
    // Some upstreams write `""` until the last chunk.
    let ends = |reason: &RawValue| reason.get().starts_with('"') && reason.get().len() > 2;
    let finish = choices.iter().any(|c| c.finish_reason.is_some_and(ends));
    Ok(if finish { Piece::Finish } else { Piece::Words })
}

/// The text of a JSON object. serde would take an array for a struct as well.
fn object(bytes: &[u8]) -> Result<&str, Flaw> {
    let text = simdutf8::basic::from_utf8(bytes).map_err(|_| Flaw::Utf8)?;
    match text.trim_ascii_start().as_bytes().first() {
        None => Err(Flaw::Empty),
        Some(b'{') => Ok(text),
        Some(_) if serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok() => Err(Flaw::Kind),
        Some(_) => Err(Flaw::Json),
    }
}

fn is_object(raw: &RawValue) -> bool {
    raw.get().starts_with('{')
}

fn misread(error: &serde_json::Error) -> Flaw {
    if error.is_data() { Flaw::Kind } else { Flaw::Json }
}

/// Finds what says that the upstream has failed: OpenAI's `error`, or the `"object": "error"` of some servers.
fn complaint(text: &str, error: Option<&RawValue>, kind: Option<&RawValue>) -> Result<(), Flaw> {
    let raw = match (error, kind.map(RawValue::get)) {
        (Some(error), _) => error.get(),
        (None, Some(r#""error""#)) => text,
        (None, _) => return Ok(()),
    };
    let error: Value = serde_json::from_str(raw).unwrap_or_default();
    let number = |value: &Value| value.as_u64().or_else(|| value.as_str()?.parse().ok());
    let status = number(&error["code"]).or_else(|| number(&error["status"]));
    let status = status.and_then(|s| u16::try_from(s).ok()).filter(|s| (400..600).contains(s));
    let body = if text.len() <= MAX_ERROR { Bytes::copy_from_slice(text.as_bytes()) } else { Bytes::new() };
    Err(Flaw::Error { status, body })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_answer_is_a_completion_or_has_its_flaw() {
        let error = |status, body: &str| Some(Flaw::Error { status, body: Bytes::copy_from_slice(body.as_bytes()) });
        for (body, want) in [
            (r#"{"choices":[{"message":{"content":"a"}}],"error":null}"#, None),
            (r#" {"choices":[{"message":{}},{"message":{}}]} "#, None),
            ("", Some(Flaw::Empty)),
            (" \n", Some(Flaw::Empty)),
            ("<html>", Some(Flaw::Json)),
            (r#"{"choices":[{"message":{"content":"a"}}]"#, Some(Flaw::Json)),
            (r#"{"choices":[{"message":{}}]} {}"#, Some(Flaw::Json)),
            ("[]", Some(Flaw::Kind)),
            (r#"[[{"message":{}}],null,null]"#, Some(Flaw::Kind)),
            ("null", Some(Flaw::Kind)),
            ("{}", Some(Flaw::Kind)),
            (r#"{"choices":[]}"#, Some(Flaw::Kind)),
            (r#"{"choices":{}}"#, Some(Flaw::Kind)),
            (r#"{"choices":[{"message":"a"}]}"#, Some(Flaw::Kind)),
            (r#"{"error":{"code":429}}"#, error(Some(429), r#"{"error":{"code":429}}"#)),
            (r#"{"error":{"code":"503"}}"#, error(Some(503), r#"{"error":{"code":"503"}}"#)),
            (
                r#"{"error":"gone","choices":[{"message":{}}]}"#,
                error(None, r#"{"error":"gone","choices":[{"message":{}}]}"#),
            ),
            (r#"{"object":"error","code":7}"#, error(None, r#"{"object":"error","code":7}"#)),
        ] {
            assert_eq!(checked(&Bytes::copy_from_slice(body.as_bytes())).err(), want, "{body}");
        }
        assert_eq!(
            checked(&Bytes::from_static(b"{\"choices\":[{\"message\":{\"content\":\"\xFF\"}}]}")),
            Err(Flaw::Utf8)
        );
        let marked = Bytes::from_static(b"\xEF\xBB\xBF{\"choices\":[{\"message\":{}}]}");
        assert_eq!(checked(&marked).unwrap(), marked.slice(3..), "a byte order mark is left out");
        let deep = format!("{{\"choices\":{}", "[".repeat(100_000));
        assert!(checked(&deep.into()).is_err());
    }

    #[test]
    fn a_piece_is_known_for_what_it_says() {
        for (data, want) in [
            (r#"{"choices":[{"delta":{"content":"a"},"finish_reason":null}]}"#, Ok(Piece::Words)),
            (r#"{"choices":[{"delta":{},"finish_reason" : "stop"}]}"#, Ok(Piece::Finish)),
            (r#"{"choices":[{"delta":{},"finish_reason":""}]}"#, Ok(Piece::Words)),
            (r#"{"choices":[{"delta":null,"finish_reason":"tool_calls"}]}"#, Ok(Piece::Finish)),
            (r#"{"choices":[],"usage":{}}"#, Ok(Piece::Words)),
            (r#"{"choices":null,"usage":{}}"#, Ok(Piece::Words)),
            (r#"{"type":"ping"}"#, Ok(Piece::Foreign)),
            (r#"{"choices":[{"delta":"a"}]}"#, Err(Flaw::Kind)),
            (r#"{"choices":"a"}"#, Err(Flaw::Kind)),
            ("[1]", Err(Flaw::Kind)),
            ("oops", Err(Flaw::Json)),
        ] {
            assert_eq!(chunk(data.as_bytes()), want, "{data}");
        }
    }
}
