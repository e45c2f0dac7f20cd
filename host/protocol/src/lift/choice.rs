use std::ops::Range;

use serde_json::{Value, json};

use super::Lifting;
use super::calls::Call;
use super::text::{Piece, TextLifter, Within};
use crate::scan::{Entry, ScanError, Scanner};
use crate::value;

/// How an answer comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// In pieces, each in the `delta` of a choice.
    Stream,
    /// At once, in the `message` of a choice.
    Whole,
}

/// Where a choice is in the JSON.
pub(super) struct Found {
    pub(super) index: u64,
    /// Behind its `{`.
    open: usize,
    /// Whether it is `{}`.
    empty: bool,
    /// The value of `delta` or `message`.
    part: Option<Range<usize>>,
    /// The entries of that value.
    entries: Vec<Entry>,
    finish: Option<Range<usize>>,
}

/// Replaces the bytes of a range.
pub(super) type Change = (Range<usize>, String);

/// Names calls.
pub(super) struct Ids {
    prefix: String,
    next: u32,
}

/// One of an answer's choices, as far as it has come.
pub(super) struct Choice {
    text: TextLifter,
    /// How many calls were lifted.
    calls: u64,
}

/// What pieces come to, by field.
#[derive(Default)]
struct Fields {
    reasoning: String,
    content: String,
    calls: Vec<Call>,
}

impl Shape {
    fn part(self) -> &'static str {
        match self {
            Shape::Stream => r#""delta""#,
            Shape::Whole => r#""message""#,
        }
    }
}

impl Ids {
    pub(super) fn new(prefix: String) -> Self {
        Ids { prefix, next: 0 }
    }

    fn next(&mut self) -> String {
        self.next += 1;
        format!("call_{}{}", self.prefix, self.next - 1)
    }
}

/// The choices of an answer or a chunk; none when it is not JSON.
pub(super) fn find(json: &str, shape: Shape) -> Option<Vec<Found>> {
    let mut found = Vec::new();
    let mut scanner = Scanner::new(json.as_bytes());
    scanner.skip_space();
    let read = scanner.object(|s, key| match &json[key] {
        r#""choices""# if s.next_byte() == b'[' => s.array(|s| {
            if s.next_byte() == b'{' {
                found.push(choice(s, json, shape)?);
            } else {
                s.skip_value()?;
            }
            Ok(())
        }),
        _ => s.skip_value().map(drop),
    });
    read.and_then(|()| scanner.end()).ok().map(|()| found)
}

fn choice(s: &mut Scanner<'_>, json: &str, shape: Shape) -> Result<Found, ScanError> {
    let open = s.position() + 1;
    let mut found = Found { index: 0, open, empty: true, part: None, entries: Vec::new(), finish: None };
    s.object(|s, key| {
        found.empty = false;
        let key = &json[key];
        let start = s.position();
        if key == shape.part() && s.next_byte() == b'{' {
            s.object(|s, key| {
                let value = s.skip_value()?;
                found.entries.push(Entry { key, value });
                Ok(())
            })?;
            found.part = Some(start..s.position());
            return Ok(());
        }
        let value = s.skip_value()?;
        match key {
            r#""index""# => found.index = json[value].parse().unwrap_or(u64::MAX),
            r#""finish_reason""# => found.finish = Some(value),
            _ if key == shape.part() => found.part = Some(value),
            _ => {}
        }
        Ok(())
    })?;
    Ok(found)
}

/// The JSON with these changes; none when there is none.
pub(super) fn apply(json: &str, mut edits: Vec<Change>) -> Option<String> {
    if edits.is_empty() {
        return None;
    }
    edits.sort_by_key(|(at, _)| at.start);
    let mut out = String::with_capacity(json.len() + 256);
    let mut from = 0;
    for (at, with) in edits {
        out.push_str(&json[from..at.start]);
        out.push_str(&with);
        from = at.end;
    }
    out.push_str(&json[from..]);
    Some(out)
}

impl Choice {
    pub(super) fn new(lifting: &Lifting) -> Self {
        Choice { text: TextLifter::new(lifting.lifts, lifting.grammar.clone()), calls: 0 }
    }

    /// Whether anything is held back.
    pub(super) fn holds(&self) -> bool {
        self.text.holds()
    }

    /// Takes what this choice says next, and adds what must change in its JSON.
    pub(super) fn take(&mut self, json: &str, found: &Found, shape: Shape, ids: &mut Ids, edits: &mut Vec<Change>) {
        let entry = |name: &str| found.entries.iter().rfind(|e| &json[e.key.clone()] == name);
        let raw = |entry: Option<&Entry>| entry.map(|e| &json[e.value.clone()]);
        if raw(entry(r#""tool_calls""#)).is_some_and(|calls| !matches!(calls, "null" | "[]")) {
            self.text.stop_calls();
        }
        let content = entry(r#""content""#).filter(|e| json[e.value.clone()].starts_with('"'));
        let said = raw(content).unwrap_or(r#""""#);
        let finish = found.finish.as_ref().filter(|f| json[f.start..].starts_with('"') && f.len() > 2);
        let ends = shape == Shape::Whole || finish.is_some();
        if !ends && said == r#""""# {
            return;
        }
        if !ends && is_plain(said) && self.passes(content, said, entry(r#""reasoning_content""#), edits) {
            return;
        }
        let said = value::string(said).unwrap_or_default();
        let mut pieces = Vec::new();
        self.text.push(&said, &mut pieces);
        if ends {
            self.text.flush(&mut pieces);
        }
        let fields = Fields::of(pieces);
        if !fields.is_only(&said) {
            self.put(json, found, shape, fields, ids, edits);
        }
        if let Some(finish) = finish.filter(|f| self.calls > 0 && &json[(*f).clone()] == r#""stop""#) {
            edits.push((finish.clone(), r#""tool_calls""#.to_owned()));
        }
    }

    /// Words that hold no mark go where the last ones went, as they were written.
    fn passes(&self, content: Option<&Entry>, said: &str, reasoning: Option<&Entry>, edits: &mut Vec<Change>) -> bool {
        let Some(content) = content else { return false };
        match self.text.within() {
            Some(Within::Text) => true,
            Some(Within::Reasoning) if reasoning.is_none() => {
                edits.push((content.key.start..content.value.end, format!(r#""reasoning_content":{said}"#)));
                true
            }
            _ => false,
        }
    }

    /// Puts the fields into the JSON.
    fn put(&mut self, json: &str, found: &Found, shape: Shape, fields: Fields, ids: &mut Ids, edits: &mut Vec<Change>) {
        let entry = |name: &str| found.entries.iter().rfind(|e| json[e.key.clone()] == *name);
        let blank = fields.content.trim().is_empty();
        let mut wanted: Vec<(&str, String)> = Vec::new();
        if !fields.reasoning.is_empty() {
            let have = entry(r#""reasoning_content""#).and_then(|e| value::string(&json[e.value.clone()]));
            let reasoning = format!("{}{}", have.unwrap_or_default(), fields.reasoning);
            wanted.push((r#""reasoning_content""#, Value::from(reasoning).to_string()));
        }
        let content = entry(r#""content""#);
        // A piece of a stream that says nothing more has no `content`; a message always has one.
        let keeps = shape == Shape::Whole || (fields.reasoning.is_empty() && fields.calls.is_empty());
        if !fields.content.is_empty() || (content.is_some() && keeps) {
            let null = shape == Shape::Whole && blank && !fields.calls.is_empty();
            let text = if null { Value::Null } else { Value::from(fields.content) };
            wanted.push((r#""content""#, text.to_string()));
        }
        if !fields.calls.is_empty() {
            let calls = fields.calls.into_iter().map(|call| self.name(call, shape, ids)).collect();
            wanted.push((r#""tool_calls""#, Value::Array(calls).to_string()));
        }
        let (mut added, mut instead) = (Vec::new(), content.filter(|_| wanted.iter().all(|w| w.0 != r#""content""#)));
        for (key, value) in wanted {
            match entry(key) {
                Some(entry) => edits.push((entry.value.clone(), value)),
                None => added.push(format!("{key}:{value}")),
            }
        }
        let added = added.join(",");
        match (&found.part, instead.take()) {
            (Some(_), Some(content)) if !added.is_empty() => edits.push((content.key.start..content.value.end, added)),
            (Some(_), Some(content)) => edits.push((content.value.clone(), r#""""#.to_owned())),
            (_, None) if added.is_empty() => {}
            (Some(part), _) if json[part.start..].starts_with('{') => {
                let comma = if found.entries.is_empty() { "" } else { "," };
                edits.push((part.start + 1..part.start + 1, format!("{added}{comma}")));
            }
            (Some(part), _) => edits.push((part.clone(), format!("{{{added}}}"))),
            (None, _) => {
                let comma = if found.empty { "" } else { "," };
                edits.push((found.open..found.open, format!("{}:{{{added}}}{comma}", shape.part())));
            }
        }
    }

    fn name(&mut self, call: Call, shape: Shape, ids: &mut Ids) -> Value {
        let id = call.id.unwrap_or_else(|| ids.next());
        let mut named =
            json!({"id": id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}});
        if shape == Shape::Stream {
            named["index"] = self.calls.into();
        }
        self.calls += 1;
        named
    }

    /// What was held back, when nothing more comes, as a choice of a chunk of its own.
    pub(super) fn rest(&mut self, index: u64) -> Option<Value> {
        let mut pieces = Vec::new();
        self.text.flush(&mut pieces);
        let fields = Fields::of(pieces);
        let delta = match (fields.reasoning.as_str(), fields.content.as_str()) {
            ("", "") => return None,
            ("", content) => json!({"content": content}),
            (reasoning, _) => json!({"reasoning_content": reasoning}),
        };
        Some(json!({"index": index, "delta": delta, "finish_reason": null}))
    }
}

impl Fields {
    fn of(pieces: Vec<Piece>) -> Self {
        let mut fields = Fields::default();
        for piece in pieces {
            match piece {
                Piece::Text(text) => fields.content.push_str(&text),
                Piece::Reasoning(text) => fields.reasoning.push_str(&text),
                Piece::Call(call) => fields.calls.push(call),
            }
        }
        fields
    }

    /// Whether nothing was lifted and nothing held back.
    fn is_only(&self, said: &str) -> bool {
        self.content == said && self.reasoning.is_empty() && self.calls.is_empty()
    }
}

/// Whether a text, as it stands in JSON, cannot hold a beginning of a mark, escaped or not.
fn is_plain(raw: &str) -> bool {
    !raw.contains(['<', '◁']) && !raw.contains("u003") && !raw.contains("u25")
}
