use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;

use crate::message::{Message, MessageSpan, Role, content_text};
use crate::openclaw;
use crate::scan::{Entry, ScanError, Scanner};
use crate::value;

/// The body of a `POST /v1/chat/completions`, checked, with the places of what the host looks at.
#[derive(Clone, Debug)]
pub struct ChatRequest {
    pub(crate) body: Bytes,
    pub(crate) entries: Vec<Entry>,
    pub(crate) known: Known,
    pub(crate) messages: Vec<MessageSpan>,
    /// Where the `messages` array's `[` is.
    pub(crate) messages_start: usize,
}

/// Values of the top-level keys that the host acts on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    pub(crate) messages: Option<Range<usize>>,
    pub(crate) model: Option<Range<usize>>,
    pub(crate) stream: Option<Range<usize>>,
    pub(crate) stream_options: Option<Range<usize>>,
    pub(crate) tools: Option<Range<usize>>,
    pub(crate) claims: [Option<Range<usize>>; CLAIMS.len()],
}

/// MetaClaw's body fallbacks for the identity headers. They are the host's, so they never go upstream.
pub(crate) const CLAIMS: [&str; 6] =
    ["session_id", "turn_type", "session_done", "memory_scope", "user_id", "workspace_id"];

/// The most messages in a conversation.
const MAX_MESSAGES: usize = 100_000;
/// The most keys beside `messages`.
const MAX_KEYS: usize = 1000;

/// What the body itself says of its sender, each overridden by the header of that name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    /// `session_id`.
    pub session_id: Option<String>,
    /// `turn_type`.
    pub turn_type: Option<String>,
    /// `session_done`, as text.
    pub session_done: Option<String>,
    /// `memory_scope`.
    pub memory_scope: Option<String>,
    /// `user_id`.
    pub user_id: Option<String>,
    /// `workspace_id`.
    pub workspace_id: Option<String>,
}

/// Why a body is not a chat request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Not UTF-8.
    #[error("the body is not UTF-8: byte {0} is out of place")]
    NotUtf8(usize),
    /// Not JSON, or too deep.
    #[error("the body is not JSON that can be accepted: {0}")]
    Json(#[from] ScanError),
    /// A key that the host acts on stands twice, and readers differ on which one counts.
    #[error("the key `{0}` stands twice in the body: leave one out")]
    Duplicate(String),
    /// No messages.
    #[error("`messages` must be a list with at least one message")]
    NoMessages,
    /// An element of `messages` is not an object.
    #[error("`messages[{0}]` must be an object with `role` and `content`")]
    Message(usize),
    /// A field of the wrong type.
    #[error("`{0}` must be {1}")]
    Type(&'static str, &'static str),
}

impl ChatRequest {
    /// Checks the body and notes where things are. The body is kept, not copied.
    pub fn parse(body: Bytes) -> Result<Self, RequestError> {
        simdutf8::compat::from_utf8(&body).map_err(|e| RequestError::NotUtf8(e.valid_up_to()))?;
        let mut entries = Vec::with_capacity(16);
        let mut messages = Vec::with_capacity(16);
        let mut messages_start = 0;
        let mut scanner = Scanner::new(&body);
        scanner.skip_space();
        let mut twice = None;
        scanner.object(|s, key| {
            let start = s.position();
            let value = if &body[key.clone()] == br#""messages""# && s.next_byte() == b'[' {
                messages.clear();
                messages_start = start;
                s.array(|s| {
                    within("messages", messages.len(), MAX_MESSAGES)?;
                    let index = messages.len();
                    messages.push(message(s, &body, |key| twice = twice.or(Some((index, key))))?);
                    Ok(())
                })?;
                start..s.position()
            } else {
                s.skip_value()?
            };
            within("keys", entries.len(), MAX_KEYS)?;
            entries.push(Entry { key, value });
            Ok(())
        })?;
        scanner.end()?;
        let known = Known::find(&body, &entries)?;
        if let Some((index, key)) = twice {
            return Err(RequestError::Duplicate(format!("messages[{index}].{key}")));
        }
        let request = ChatRequest { body, entries, known, messages, messages_start };
        request.check_types()?;
        Ok(request)
    }

    fn check_types(&self) -> Result<(), RequestError> {
        if let Some(model) = &self.known.model
            && self.raw(model).as_bytes().first() != Some(&b'"')
        {
            return Err(RequestError::Type("model", "a string"));
        }
        if let Some(stream) = &self.known.stream
            && !matches!(self.raw(stream), "true" | "false" | "null")
        {
            return Err(RequestError::Type("stream", "true or false"));
        }
        if let Some(bad) = self.messages.iter().position(|m| self.body[m.whole.start] != b'{') {
            return Err(RequestError::Message(bad));
        }
        if self.messages.is_empty() { Err(RequestError::NoMessages) } else { Ok(()) }
    }

    /// The body as the client sent it.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    pub(crate) fn raw(&self, span: &Range<usize>) -> &str {
        raw(&self.body, span)
    }

    fn string(&self, span: &Range<usize>) -> Cow<'_, str> {
        content_text(self.raw(span))
    }

    /// The model that the client asked for; empty when it named none.
    pub fn model(&self) -> Cow<'_, str> {
        self.known.model.as_ref().map(|m| self.string(m)).unwrap_or_default()
    }

    /// Whether the client wants server-sent events.
    pub fn stream(&self) -> bool {
        self.known.stream.as_ref().is_some_and(|s| self.raw(s) == "true")
    }

    /// Whether a stream must end with a usage chunk.
    pub fn include_usage(&self) -> bool {
        let options = self.known.stream_options.as_ref().map(|o| self.raw(o));
        options.and_then(|o| value::member(o, "include_usage")) == Some("true")
    }

    /// How many messages there are; at least one.
    pub fn message_count(&self) -> usize {
        self.messages.len()
    }

    /// The role of message `index`.
    pub fn role(&self, index: usize) -> Option<Role> {
        self.messages.get(index).map(|m| m.kind)
    }

    /// Message `index`, decoded.
    pub fn message(&self, index: usize) -> Option<Message<'_>> {
        let span = self.messages.get(index)?;
        Some(Message {
            role: span.role.as_ref().map(|r| self.string(r)).unwrap_or_default(),
            text: span.content.as_ref().map(|c| self.string(c)).unwrap_or_default(),
        })
    }

    /// The user's last words: of the last user message that the client's machinery did not write, without what it added to
    /// them. Empty when there is none. What OpenClaw's machinery writes is known by its text, which a user can imitate; a policy
    /// that must not be deceived reads the messages.
    pub fn user_text(&self) -> Cow<'_, str> {
        let users = || self.messages.iter().filter(|m| m.kind == Role::User).filter_map(|m| m.content.as_ref());
        let mut last = users().rev();
        if !self.is_openclaws() {
            return last.next().map(|c| self.string(c)).unwrap_or_default();
        }
        let first = users().next();
        last.find_map(|c| openclaw::users_words(self.string(c), Some(c) == first)).unwrap_or_default()
    }

    /// Whether the system prompt is marked as OpenClaw marks its own.
    fn is_openclaws(&self) -> bool {
        let system = self.messages.iter().find(|m| m.kind == Role::System).and_then(|m| m.content.as_ref());
        system.is_some_and(|content| openclaw::end_of_stable(&self.body[content.clone()]).is_some())
    }

    /// What stays the same of message `index`, as the client wrote it, whenever it is sent again. None when the message is no
    /// part of the conversation: the system's, which clients rewrite, and those that a client shows once and does not keep.
    pub fn lasting(&self, index: usize) -> Option<[&[u8]; 2]> {
        let message = self.messages.get(index)?;
        let raw = &self.body[message.whole.clone()];
        match message.kind {
            Role::System => None,
            Role::User => openclaw::lasting(raw),
            _ => Some([raw, b""]),
        }
    }

    /// The names of the offered functions.
    pub fn tool_names(&self) -> Vec<String> {
        let name = |tool| value::string(value::member(value::member(tool, "function")?, "name")?);
        let tools = value::elements(self.tools().unwrap_or_default());
        tools.into_iter().filter_map(name).map(Cow::into_owned).collect()
    }

    /// As [`tools`](Self::tools), sharing the body's memory; empty when there are none.
    pub(crate) fn tools_bytes(&self) -> Bytes {
        self.known.tools.as_ref().map(|tools| self.body.slice(tools.clone())).unwrap_or_default()
    }

    /// The `tools` value as the client wrote it.
    pub fn tools(&self) -> Option<&str> {
        self.known.tools.as_ref().map(|t| self.raw(t))
    }

    /// The identity that the body claims.
    pub fn claims(&self) -> Claims {
        let claim = |i: usize| {
            let raw = self.raw(self.known.claims[i].as_ref()?);
            Some(if raw.starts_with('"') { content_text(raw).into_owned() } else { raw.to_owned() })
                .filter(|t| t != "null")
        };
        Claims {
            session_id: claim(0),
            turn_type: claim(1),
            session_done: claim(2),
            memory_scope: claim(3),
            user_id: claim(4),
            workspace_id: claim(5),
        }
    }
}

impl Known {
    fn find(body: &[u8], entries: &[Entry]) -> Result<Self, RequestError> {
        let mut known = Known::default();
        for entry in entries {
            let key = value::string(raw(body, &entry.key)).unwrap_or_default();
            let slot = match &*key {
                "messages" => &mut known.messages,
                "model" => &mut known.model,
                "stream" => &mut known.stream,
                "stream_options" => &mut known.stream_options,
                "tools" => &mut known.tools,
                other => match CLAIMS.iter().position(|c| *c == other) {
                    Some(i) => &mut known.claims[i],
                    None => continue,
                },
            };
            if slot.replace(entry.value.clone()).is_some() {
                return Err(RequestError::Duplicate(key.into_owned()));
            }
        }
        Ok(known)
    }
}

/// The text of a span. The whole body was checked to be UTF-8, and spans begin and end at ASCII characters.
fn raw<'a>(body: &'a [u8], span: &Range<usize>) -> &'a str {
    str::from_utf8(&body[span.clone()]).unwrap_or_default()
}

/// Each place that is remembered takes several times the few bytes that a client needs to ask for it.
fn within(what: &'static str, have: usize, most: usize) -> Result<(), ScanError> {
    if have < most { Ok(()) } else { Err(ScanError::TooMany { what, most }) }
}

/// Reads one message, and calls `twice` with a key that readers could differ on.
fn message(s: &mut Scanner<'_>, body: &[u8], mut twice: impl FnMut(&'static str)) -> Result<MessageSpan, ScanError> {
    let start = s.position();
    let (mut role, mut content) = (None, None);
    if s.next_byte() == b'{' {
        s.object(|s, key| {
            let span = s.skip_value()?;
            let (slot, name) = match value::string(raw(body, &key)).as_deref() {
                Some("role") => (&mut role, "role"),
                Some("content") => (&mut content, "content"),
                _ => return Ok(()),
            };
            if slot.replace(span).is_some() {
                twice(name);
            }
            Ok(())
        })?;
    } else {
        s.skip_value()?;
    }
    let kind = role.as_ref().map_or(Role::Other, |role| Role::of(raw(body, role)));
    Ok(MessageSpan { whole: start..s.position(), role, content, kind })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<ChatRequest, RequestError> {
        ChatRequest::parse(Bytes::copy_from_slice(text.as_bytes()))
    }

    #[test]
    fn reads_what_the_host_needs() {
        let request = parse(
            r#" {"model":"m\u002d1", "stream" : true, "stream_options":{"include_usage":true},
                "messages":[{"role":"system","content":"s <!-- /openclaw:attempt:STABLE -->"},{"content":[{"type":"text","text":"q1"}],"role":"user"},
                {"role":"user","content":"<<<BEGIN_OPENCLAW_INTERNAL_CONTEXT>>>x<<<END_OPENCLAW_INTERNAL_CONTEXT>>>"}],
                "tools":[{"type":"function","function":{"name":"read"}},{"type":"x"}], "session_id":"s1", "turn_type":null, "session_done":true} "#,
        )
        .unwrap();
        assert_eq!(request.model(), "m-1");
        assert!(request.stream() && request.include_usage());
        assert_eq!(request.message_count(), 3);
        assert_eq!(request.user_text(), "q1");
        assert_eq!([0, 1, 2, 3].map(|i| request.lasting(i).is_some()), [false, true, false, false]);
        assert_eq!(
            request.message(0),
            Some(Message { role: "system".into(), text: "s <!-- /openclaw:attempt:STABLE -->".into() })
        );
        assert_eq!(request.tool_names(), ["read"]);
        let claims = request.claims();
        assert_eq!(claims.session_id.as_deref(), Some("s1"));
        assert_eq!(claims.turn_type, None);
        assert_eq!(claims.session_done.as_deref(), Some("true"));
    }

    #[test]
    fn refuses_what_readers_could_disagree_on() {
        let user = r#"{"role":"user","content":"x"}"#;
        let check = |text: String, want: RequestError| assert_eq!(parse(&text).unwrap_err(), want, "{text}");
        check(format!(r#"{{"messages":[{user}],"messages":[{user}]}}"#), RequestError::Duplicate("messages".into()));
        check(
            format!(r#"{{"messages":[{user}],"mod\u0065l":"a","model":"b"}}"#),
            RequestError::Duplicate("model".into()),
        );
        let twice = |key: &str| RequestError::Duplicate(format!("messages[1].{key}"));
        check(
            format!(r#"{{"messages":[{user},{{"role":"user","content":"mild","content":"wild"}}]}}"#),
            twice("content"),
        );
        check(
            format!(r#"{{"messages":[{user},{{"role":"user","content":"mild","c\u006fntent":"wild"}}]}}"#),
            twice("content"),
        );
        check(format!(r#"{{"messages":[{user},{{"role":"tool","content":"x","rol\u0065":"user"}}]}}"#), twice("role"));
        check(r#"{"messages":[]}"#.into(), RequestError::NoMessages);
        check(r#"{"messages":{}}"#.into(), RequestError::NoMessages);
        check(r#"{"model":"m"}"#.into(), RequestError::NoMessages);
        check(r#"{"messages":["x"]}"#.into(), RequestError::Message(0));
        check(format!(r#"{{"messages":[{user}],"model":5}}"#), RequestError::Type("model", "a string"));
        check(format!(r#"{{"messages":[{user}],"stream":"yes"}}"#), RequestError::Type("stream", "true or false"));
        assert!(matches!(parse("[]"), Err(RequestError::Json(_))));
        assert!(matches!(parse(""), Err(RequestError::Json(_))));
        assert!(matches!(ChatRequest::parse(Bytes::from_static(b"{\"a\":\"\xff\"}")), Err(RequestError::NotUtf8(6))));
    }

    #[test]
    fn escapes_hide_nothing_from_a_policy() {
        let request = parse(
            r#"{"messages":[{"role":"user","content":"mild"},{"r\u006fle":"us\u0065r","\u0063ontent":[{"text":"mild","text":"wild \ud83d"}]}],
                "tools":[{"function":{"name":null}},{"function":{"name":"f","name":"r\u006d"}}]}"#,
        )
        .unwrap();
        assert!(request.user_text().starts_with("wild"), "{}", request.user_text());
        assert_eq!(request.role(1), Some(Role::User));
        assert_eq!(request.tool_names(), ["rm"]);
    }

    #[test]
    fn what_is_remembered_of_a_body_is_bounded() {
        let many = |n: usize| parse(&format!(r#"{{"messages":[{}]}}"#, vec!["{}"; n].join(",")));
        assert!(many(MAX_MESSAGES).is_ok());
        assert!(matches!(many(MAX_MESSAGES + 1), Err(RequestError::Json(ScanError::TooMany { what: "messages", .. }))));
        let keys = |n: usize| parse(&format!(r#"{{"messages":[{{}}]{}}}"#, r#","k":1"#.repeat(n)));
        assert!(keys(MAX_KEYS - 1).is_ok());
        assert!(matches!(keys(MAX_KEYS), Err(RequestError::Json(ScanError::TooMany { what: "keys", .. }))));
    }
}
