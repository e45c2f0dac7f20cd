use bytes::Bytes;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::text::MAX_INDENT;
use super::xml::{self, Function, Unread};
use crate::quirks::Lifts;
use crate::value;

/// Kimi: `<|tool_calls_section_begin|>`, then for each call
/// `<|tool_call_begin|>functions.NAME:NUMBER<|tool_call_argument_begin|>{…}<|tool_call_end|>`, then the section's end.
pub(super) const KIMI_SECTION: &str = "<|tool_calls_section_begin|>";
pub(super) const KIMI_SECTION_END: &str = "<|tool_calls_section_end|>";
pub(super) const KIMI_CALL: &str = "<|tool_call_begin|>";
const KIMI_ARGUMENTS: &str = "<|tool_call_argument_begin|>";
const KIMI_END: &str = "<|tool_call_end|>";

/// Qwen: `<tool_call>{"name": NAME, "arguments": {…}}</tool_call>`, or what `xml` reads.
const QWEN_CALL: &str = "<tool_call>";
const QWEN_END: &str = "</tool_call>";

const KIMI_OPENERS: &[&str] = &[KIMI_SECTION, KIMI_CALL];
const QWEN_OPENERS: &[&str] = &[QWEN_CALL];
const ALL_OPENERS: &[&str] = &[KIMI_SECTION, KIMI_CALL, QWEN_CALL];

/// More than any name of a function, with what stands around it.
pub(super) const MAX_HEADER: usize = 256;

/// A tool call as it stood in the text.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Call {
    /// The model's own name for the call, which Kimi's models want to see again.
    pub(super) id: Option<String>,
    pub(super) name: String,
    /// JSON.
    pub(super) arguments: String,
}

/// Which markup opens a call, and which functions may be called. Empty when none may.
#[derive(Clone, Debug, Default)]
pub(super) struct Grammar {
    openers: &'static [&'static str],
    offered: Vec<String>,
    /// The client's `tools`, as it wrote them.
    tools: Bytes,
}

/// A call that is being read, from its opening mark on; it goes on where it stopped when more comes.
pub(super) struct Reading {
    kimi: bool,
    /// How far the opening mark goes.
    mark: usize,
    /// It is of Qwen's other form.
    function: Option<Function>,
    /// Where the name ends and the object begins; none while a name is still to come.
    object: Option<Object>,
    /// Kimi's header, when it has been read.
    header: String,
}

/// It is no call: so much of it, the opening mark, is text, and the rest is to be looked at anew.
pub(super) struct NoCall {
    pub(super) mark: usize,
}

/// Finds the end of a JSON object, looking at each byte once.
struct Object {
    start: usize,
    at: usize,
    depth: u32,
    in_string: bool,
    escaped: bool,
}

#[derive(Deserialize)]
struct QwenCall<'a> {
    name: String,
    #[serde(borrow, default)]
    arguments: Option<&'a RawValue>,
}

impl Grammar {
    /// `tools` is what the client offers, in its own words, and `offered` the names in it.
    pub(super) fn new(lifts: &Lifts, offered: Vec<String>, tools: Bytes) -> Self {
        let openers = match (lifts.kimi_calls, lifts.qwen_calls) {
            _ if offered.is_empty() => &[],
            (true, true) => ALL_OPENERS,
            (true, false) => KIMI_OPENERS,
            (false, true) => QWEN_OPENERS,
            (false, false) => &[],
        };
        Grammar { openers, offered, tools }
    }

    pub(super) fn openers(&self) -> &'static [&'static str] {
        self.openers
    }

    /// A model that shows what a call looks like does not make one: only what the client offers is called.
    fn allows(&self, name: &str) -> bool {
        self.offered.iter().any(|offered| offered == name)
    }
}

impl Reading {
    /// The text begins with Kimi's mark, `before` bytes of other markup before it.
    pub(super) fn kimi(before: usize) -> Self {
        let mark = before + KIMI_CALL.len();
        Reading { kimi: true, mark, function: None, object: None, header: String::new() }
    }

    /// The text begins with Qwen's mark.
    pub(super) fn qwen() -> Self {
        let mark = QWEN_CALL.len();
        Reading { kimi: false, mark, function: None, object: Some(Object::from(mark)), header: String::new() }
    }

    pub(super) fn is_kimis(&self) -> bool {
        self.kimi
    }

    /// Reads on. `text` begins where it began the first time. None: more must come. Otherwise the call and its length.
    pub(super) fn read(&mut self, text: &str, grammar: &Grammar) -> Option<Result<(Call, usize), NoCall>> {
        let no_call = NoCall { mark: self.mark };
        if !self.kimi && self.function.is_none() {
            let rest = text[self.mark..].trim_start();
            if rest.starts_with(xml::BEGIN) {
                self.function = Some(Function::from(text.len() - rest.len()));
            } else if xml::BEGIN.starts_with(rest) {
                return None;
            }
        }
        if let Some(function) = &mut self.function {
            return read_function(function, text, grammar).map(|found| found.ok_or(no_call));
        }
        if self.object.is_none() {
            let rest = &text[self.mark..];
            let Some(len) = rest.find(KIMI_ARGUMENTS) else {
                return (rest.len() > MAX_HEADER + KIMI_ARGUMENTS.len()).then_some(Err(no_call));
            };
            self.header = rest[..len].trim().to_owned();
            self.object = Some(Object::from(self.mark + len + KIMI_ARGUMENTS.len()));
        }
        let object = self.object.as_mut()?;
        let end = match object.end(text)? {
            Some(end) => end,
            None => return Some(Err(no_call)),
        };
        let len = match closed(text, end, if self.kimi { KIMI_END } else { QWEN_END })? {
            Some(len) => len,
            None => return Some(Err(no_call)),
        };
        let json = &text[object.start..end];
        let call = if self.kimi { kimis(&self.header, json) } else { qwens(json) };
        Some(call.filter(|call| grammar.allows(&call.name)).map(|call| (call, len)).ok_or(no_call))
    }
}

/// As [`Reading::read`]; `Some(None)` when it is no call.
fn read_function(function: &mut Function, text: &str, grammar: &Grammar) -> Option<Option<(Call, usize)>> {
    loop {
        let named = function.name().is_some();
        match function.end(text) {
            Ok(end) => {
                let tools = str::from_utf8(&grammar.tools).unwrap_or_default();
                let Some(len) = closed(text, end, QWEN_END)? else { return Some(None) };
                return Some(function.call(tools).map(|call| (call, len)));
            }
            Err(Unread::NoCall) => return Some(None),
            // A name that is not offered is known at once.
            Err(Unread::Wait) => match function.name() {
                Some(name) if !grammar.allows(name) => return Some(None),
                Some(_) if !named => {}
                _ => return None,
            },
        }
    }
}

/// How far a call goes whose content ends at `end`; `Some(None)` when its closing mark is missing, none when it may yet come.
fn closed(text: &str, end: usize, closing: &str) -> Option<Option<usize>> {
    let rest = text[end..].trim_start();
    if rest.starts_with(closing) {
        return Some(Some(text.len() - rest.len() + closing.len()));
    }
    let may_come = closing.starts_with(rest) && text.len() - end <= MAX_INDENT + closing.len();
    (!may_come).then_some(None)
}

/// `functions.NAME:NUMBER`, or without `functions.`.
fn kimis(header: &str, json: &str) -> Option<Call> {
    let (name, number) = header.rsplit_once(':')?;
    let name = name.strip_prefix("functions.").unwrap_or(name);
    serde_json::from_str::<IgnoredAny>(json).ok().filter(|_| number.bytes().all(|b| b.is_ascii_digit()))?;
    Some(Call { id: Some(header.to_owned()), name: name.to_owned(), arguments: json.trim().to_owned() })
}

fn qwens(json: &str) -> Option<Call> {
    let call: QwenCall<'_> = serde_json::from_str(json).ok()?;
    let raw = call.arguments.map_or("{}", RawValue::get);
    // Some write the arguments as a text that holds JSON, as the API does.
    let arguments = match value::string(raw) {
        Some(text) => serde_json::from_str::<IgnoredAny>(&text).ok().map(|_| text.into_owned())?,
        None if raw == "null" => "{}".to_owned(),
        None => raw.to_owned(),
    };
    Some(Call { id: None, name: call.name, arguments })
}

impl Object {
    fn from(start: usize) -> Self {
        Object { start, at: start, depth: 0, in_string: false, escaped: false }
    }

    /// Where the object ends; `Some(None)` when none begins here; None when more must come.
    fn end(&mut self, text: &str) -> Option<Option<usize>> {
        if self.at > self.start && self.depth == 0 {
            return Some(Some(self.at));
        }
        while let Some(byte) = text.as_bytes().get(self.at) {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' if self.in_string => self.escaped = true,
                b'"' if self.depth > 0 => self.in_string = !self.in_string,
                _ if self.in_string => {}
                b'{' => self.depth += 1,
                b'}' if self.depth > 0 => self.depth -= 1,
                _ if self.depth > 0 => {}
                b if b.is_ascii_whitespace() => {
                    self.at += 1;
                    self.start = self.at;
                    continue;
                }
                _ => return Some(None),
            }
            self.at += 1;
            if self.depth == 0 {
                return Some(Some(self.at));
            }
        }
        None
    }
}
