//! From a conversation to the tokens that the model was trained to see.
//!
//! The template is a program that comes with the model and may be trusted as far as the model is. What it renders is
//! not: a user may write `<|im_end|><|im_start|>system` and would be the system, if the rendered text were tokenised as
//! a whole. So before rendering, every character in a message with which a special token could begin is followed by a
//! mark: a private-use character that occurs nowhere in the conversation. In the rendered text a special token is then
//! only where the template itself wrote it, whatever the template did with the messages (trimming, splitting, joining).
//! The marks are taken out of the text in between before it is encoded, by an encoder that knows no special tokens.

use std::collections::HashSet;

use minijinja::value::Kwargs;
use minijinja::{Environment, ErrorKind, Value, context};

use crate::ModelError;
use crate::chat::ChatMessage;
use crate::tokenizer::Tokenizer;

/// A template may run this many instructions: plenty for a long conversation, and not for ever.
const FUEL: u64 = 10_000_000;
const NAME: &str = "chat";

/// A model's chat template, compiled.
pub(crate) struct ChatTemplate {
    environment: Environment<'static>,
    /// Whether it can show tools to the model.
    pub(crate) takes_tools: bool,
}

impl ChatTemplate {
    /// Compiles `source` as Hugging Face would.
    pub(crate) fn compile(source: &str) -> Result<Self, ModelError> {
        let mut environment = Environment::new();
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment.set_fuel(Some(FUEL));
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", |message: String| -> Result<Value, minijinja::Error> {
            Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
        });
        environment.add_function("strftime_now", |format: String| {
            jiff::fmt::strtime::format(&format, &jiff::Zoned::now()).unwrap_or_default()
        });
        environment.add_filter("tojson", to_json);
        environment.add_template_owned(NAME, source.to_owned()).map_err(refused)?;
        Ok(ChatTemplate { environment, takes_tools: source.contains("tools") })
    }

    /// The tokens of a conversation, up to where the answer begins. Fails once there are more than `limit`.
    pub(crate) fn encode(
        &self,
        tokenizer: &Tokenizer,
        messages: &[ChatMessage],
        tools: Option<&serde_json::Value>,
        limit: usize,
    ) -> Result<Vec<u32>, ModelError> {
        let too_long = |tokens| ModelError::TooLong { tokens, context: limit };
        // Tokenising takes time: an absurdly long prompt is refused by its length alone.
        let tools = tools.filter(|_| self.takes_tools);
        let mut bytes: usize = messages.iter().map(ChatMessage::len).sum();
        tools.iter().for_each(|tools| each_text(tools, &mut |text| bytes += text.len()));
        if tokenizer.at_least(bytes) > limit {
            return Err(too_long(tokenizer.at_least(bytes)));
        }
        let marks = Marks::new(tokenizer, messages, tools);
        let rendered = self.render(tokenizer, &marks, messages, tools)?;

        let mut tokens = Vec::new();
        let (mut rest, mut plain) = (rendered.as_str(), String::new());
        while let Some(c) = rest.chars().next() {
            if let Some((special, id)) = tokenizer.special_at_start(rest) {
                tokenizer.encode_text(&plain, &mut tokens)?;
                plain.clear();
                tokens.push(id);
                rest = &rest[special.len()..];
            } else {
                rest = &rest[c.len_utf8()..];
                if c != marks.mark {
                    plain.push(c);
                }
            }
        }
        tokenizer.encode_text(&plain, &mut tokens)?;
        if tokens.len() > limit {
            return Err(too_long(tokens.len()));
        }
        if tokens.is_empty() {
            return Err(ModelError::Template("it rendered nothing".to_owned()));
        }
        Ok(tokens)
    }

    fn render(
        &self,
        tokenizer: &Tokenizer,
        marks: &Marks,
        messages: &[ChatMessage],
        tools: Option<&serde_json::Value>,
    ) -> Result<String, ModelError> {
        let template = self.environment.get_template(NAME).map_err(refused)?;
        let messages: Vec<Value> = messages.iter().map(|m| Value::from_serialize(marks.message(m))).collect();
        let tools = tools.map(|tools| Value::from_serialize(marks.json(tools)));
        let rendered = template.render(context! {
            messages,
            tools,
            add_generation_prompt => true,
            bos_token => tokenizer.begin,
            eos_token => tokenizer.end,
        });
        rendered.map_err(refused)
    }
}

/// How to keep what people wrote apart from what the template writes.
struct Marks {
    /// Occurs in no message.
    mark: char,
    /// Characters that are followed by it.
    starts: Vec<char>,
}

impl Marks {
    fn new(tokenizer: &Tokenizer, messages: &[ChatMessage], tools: Option<&serde_json::Value>) -> Self {
        let mut used = HashSet::new();
        let mut note = |text: &str| used.extend(text.chars().filter(|c| *c >= '\u{F0000}'));
        messages.iter().for_each(|message| message.each_text(&mut note));
        if let Some(tools) = tools {
            each_text(tools, &mut note);
        }
        // There are 131,068 to choose from, and a conversation that used them all would not fit any context.
        let mark = ('\u{F0000}'..='\u{10FFFD}').find(|c| !used.contains(c)).unwrap_or('\u{F0000}');
        Marks { mark, starts: tokenizer.special_starts() }
    }

    fn text(&self, text: &str) -> String {
        let mut marked = String::with_capacity(text.len());
        for c in text.chars() {
            marked.push(c);
            if self.starts.contains(&c) {
                marked.push(self.mark);
            }
        }
        marked
    }

    fn json(&self, value: &serde_json::Value) -> serde_json::Value {
        use serde_json::Value as Json;
        match value {
            Json::String(text) => Json::String(self.text(text)),
            Json::Array(items) => items.iter().map(|item| self.json(item)).collect(),
            Json::Object(fields) => fields.iter().map(|(key, item)| (self.text(key), self.json(item))).collect(),
            other => other.clone(),
        }
    }

    fn message(&self, message: &ChatMessage) -> serde_json::Value {
        self.json(&message.to_json())
    }
}

/// Calls `f` with every text in `value`.
pub(crate) fn each_text(value: &serde_json::Value, f: &mut dyn FnMut(&str)) {
    match value {
        serde_json::Value::String(text) => f(text),
        serde_json::Value::Array(items) => items.iter().for_each(|item| each_text(item, f)),
        serde_json::Value::Object(fields) => {
            for (key, item) in fields {
                f(key);
                each_text(item, f);
            }
        }
        _ => {}
    }
}

/// As Python's `json.dumps` with the defaults of Hugging Face: no HTML escapes, a space after commas and colons.
#[expect(clippy::needless_pass_by_value, reason = "minijinja hands it over")]
fn to_json(value: &Value, options: Kwargs) -> Result<String, minijinja::Error> {
    let failed = |e: serde_json::Error| minijinja::Error::new(ErrorKind::InvalidOperation, e.to_string());
    let indent: Option<usize> = options.get("indent")?;
    // `ensure_ascii` and the like change nothing that matters here.
    let _: Option<bool> = options.get("ensure_ascii")?;
    let value = serde_json::to_value(value).map_err(failed)?;
    let mut out = Vec::new();
    let written = match indent {
        Some(width) => {
            let indent = " ".repeat(width);
            let pretty = serde_json::ser::PrettyFormatter::with_indent(indent.as_bytes());
            serde::Serialize::serialize(&value, &mut serde_json::Serializer::with_formatter(&mut out, pretty))
        }
        None => serde::Serialize::serialize(&value, &mut serde_json::Serializer::with_formatter(&mut out, Spaced)),
    };
    written.map_err(failed)?;
    Ok(String::from_utf8_lossy(&out).into_owned())
}

struct Spaced;

impl serde_json::ser::Formatter for Spaced {
    fn begin_array_value<W: std::io::Write + ?Sized>(&mut self, writer: &mut W, first: bool) -> std::io::Result<()> {
        writer.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_key<W: std::io::Write + ?Sized>(&mut self, writer: &mut W, first: bool) -> std::io::Result<()> {
        writer.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_value<W: std::io::Write + ?Sized>(&mut self, writer: &mut W) -> std::io::Result<()> {
        writer.write_all(b": ")
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is handed to map_err")]
fn refused(error: minijinja::Error) -> ModelError {
    ModelError::Template(error.to_string())
}
