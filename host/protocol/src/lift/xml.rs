//! Qwen3-Coder's calls: `<tool_call><function=NAME><parameter=KEY>` VALUE `</parameter>…</function></tool_call>`. Values are
//! bare text, so what the client declares of a parameter decides what it becomes.

use memchr::memmem;
use serde::de::IgnoredAny;
use serde_json::{Map, Number, Value};

use super::calls::{Call, MAX_HEADER};
use crate::value;

const FUNCTION: &str = "<function=";
const FUNCTION_END: &str = "</function>";
const PARAMETER: &str = "<parameter=";
const PARAMETER_END: &str = "</parameter>";
/// How deep a declaration may say `anyOf` within `anyOf`.
const MAX_CHOICES_WITHIN: u32 = 4;

/// How such a call begins, behind `<tool_call>`.
pub(super) const BEGIN: &str = FUNCTION;

/// A call that is being read. It goes on where it stopped when more comes.
pub(super) struct Function {
    /// So far it is read.
    at: usize,
    name: Option<String>,
    parameters: Vec<(String, String)>,
    /// The parameter whose value has begun: its name, and where.
    open: Option<(String, usize)>,
}

/// More must come, or it is no call.
pub(super) enum Unread {
    Wait,
    NoCall,
}

/// The types that a parameter may have.
#[derive(Default)]
struct Types {
    text: bool,
    null: bool,
    boolean: bool,
    number: bool,
    integer: bool,
    structure: bool,
    /// What is declared elsewhere, which is an object mostly.
    unknown: bool,
}

impl Function {
    pub(super) fn from(at: usize) -> Self {
        Function { at, name: None, parameters: Vec::new(), open: None }
    }

    /// The function's name, as soon as it has come.
    pub(super) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Reads on; where the function ends.
    pub(super) fn end(&mut self, text: &str) -> Result<usize, Unread> {
        loop {
            if let Some((key, start)) = self.open.take() {
                match value_end(text, start, self.at) {
                    Ok(end) => {
                        let value = &text[start..end];
                        let value = value.strip_prefix('\n').unwrap_or(value);
                        let value = value.strip_suffix('\n').unwrap_or(value);
                        self.parameters.push((key, value.to_owned()));
                        self.at = end + PARAMETER_END.len();
                    }
                    Err(searched) => {
                        self.at = searched;
                        self.open = Some((key, start));
                        return Err(Unread::Wait);
                    }
                }
            }
            let rest = text[self.at..].trim_start();
            let at = text.len() - rest.len();
            if self.name.is_none() {
                let (name, len) = header(rest, FUNCTION)?;
                (self.name, self.at) = (Some(name), at + len);
                return Err(Unread::Wait);
            }
            if rest.starts_with(FUNCTION_END) {
                return Ok(at + FUNCTION_END.len());
            }
            if FUNCTION_END.starts_with(rest) {
                return Err(Unread::Wait);
            }
            let (key, len) = header(rest, PARAMETER)?;
            self.at = at + len;
            self.open = Some((key, self.at));
        }
    }

    /// The call, once its end has come. `tools` is what the client offers.
    pub(super) fn call(&self, tools: &str) -> Option<Call> {
        let name = self.name.clone()?;
        let declared = declared(tools, &name);
        let mut arguments: Vec<(&str, String)> = Vec::with_capacity(self.parameters.len());
        for (key, text) in &self.parameters {
            let json = argument(text, declared.as_ref().and_then(|all| all.get(key)));
            // Said twice, the last word counts.
            match arguments.iter_mut().find(|(known, _)| known == key) {
                Some((_, before)) => *before = json,
                None => arguments.push((key, json)),
            }
        }
        let members: Vec<String> =
            arguments.into_iter().map(|(key, json)| format!("{}: {json}", Value::from(key))).collect();
        Some(Call { id: None, name, arguments: format!("{{{}}}", members.join(", ")) })
    }
}

/// `<function=NAME>` or `<parameter=NAME>`: the name, and the length.
fn header(text: &str, mark: &str) -> Result<(String, usize), Unread> {
    let Some(rest) = text.strip_prefix(mark) else {
        return Err(if mark.starts_with(text) { Unread::Wait } else { Unread::NoCall });
    };
    match rest.find('>') {
        Some(len) if len <= MAX_HEADER => Ok((rest[..len].trim().to_owned(), mark.len() + len + 1)),
        None if rest.len() <= MAX_HEADER => Err(Unread::Wait),
        _ => Err(Unread::NoCall),
    }
}

/// Where the value that begins at `start` ends; so far there is no need to look again where that is open. A value may hold its
/// own closing mark: only one that another parameter or the function's end follows closes it.
fn value_end(text: &str, start: usize, searched: usize) -> Result<usize, usize> {
    let mut from = searched.max(start);
    loop {
        let Some(found) = memmem::find(&text.as_bytes()[from..], PARAMETER_END.as_bytes()) else {
            return Err(from.max((text.len() + 1).saturating_sub(PARAMETER_END.len())));
        };
        let end = from + found;
        let rest = text[end + PARAMETER_END.len()..].trim_start();
        let follow = [PARAMETER, FUNCTION_END];
        if follow.iter().any(|mark| rest.starts_with(mark)) {
            return Ok(end);
        }
        if follow.iter().any(|mark| mark.starts_with(rest)) {
            return Err(end);
        }
        from = end + 1;
    }
}

/// What is declared of a function's parameters, by name.
fn declared(tools: &str, name: &str) -> Option<Map<String, Value>> {
    let functions = value::elements(tools).into_iter().filter_map(|tool| value::member(tool, "function"));
    let mut named = functions
        .filter(|function| value::member(function, "name").and_then(value::string).is_some_and(|found| found == name));
    let parameters = value::member(named.next()?, "parameters")?;
    serde_json::from_str(value::member(parameters, "properties")?).ok()
}

/// A value as JSON, of a declared type where it can be of one; else it is a text.
fn argument(text: &str, declared: Option<&Value>) -> String {
    let mut types = Types::default();
    declared.into_iter().for_each(|declared| types.add(declared, 0));
    let bare = text.trim();
    let is_json = || serde_json::from_str::<IgnoredAny>(bare).is_ok();
    if bare.eq_ignore_ascii_case("null") && (types.null || !types.text) && declared.is_some() {
        return "null".to_owned();
    }
    if (types.structure || types.unknown) && bare.starts_with(['{', '[']) && is_json() {
        return bare.to_owned();
    }
    if types.text {
        return Value::from(text).to_string();
    }
    if types.boolean && (bare.eq_ignore_ascii_case("true") || bare.eq_ignore_ascii_case("false")) {
        return bare.to_ascii_lowercase();
    }
    let is_whole = || bare.bytes().all(|b| b.is_ascii_digit() || b == b'-');
    if (types.number || types.integer && is_whole()) && serde_json::from_str::<Number>(bare).is_ok() {
        return bare.to_owned();
    }
    Value::from(text).to_string()
}

impl Types {
    fn add(&mut self, declared: &Value, depth: u32) {
        match &declared["type"] {
            Value::String(name) => self.name(name),
            Value::Array(names) => names.iter().filter_map(Value::as_str).for_each(|name| self.name(name)),
            _ => {
                let choices = ["anyOf", "oneOf"].into_iter().filter_map(|key| declared[key].as_array()).flatten();
                choices.take_while(|_| depth < MAX_CHOICES_WITHIN).for_each(|choice| self.add(choice, depth + 1));
                self.unknown |= declared.get("$ref").is_some() || declared.get("allOf").is_some();
            }
        }
    }

    fn name(&mut self, name: &str) {
        match name {
            "string" => self.text = true,
            "null" => self.null = true,
            "boolean" => self.boolean = true,
            "number" => self.number = true,
            "integer" => self.integer = true,
            "object" | "array" => self.structure = true,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_value_is_of_its_declared_type_where_it_can_be() {
        let text = json!({"type": "string"});
        let maybe = json!({"anyOf": [{"type": "string"}, {"type": "null"}]});
        let whole = json!({"type": "integer"});
        let number = json!({"type": ["number", "null"]});
        let flag = json!({"type": "boolean"});
        let list = json!({"type": "array", "items": {"type": "string"}});
        let either = json!({"oneOf": [{"type": "string"}, list]});
        let elsewhere = json!({"$ref": "#/$defs/Place"});
        for (declared, said, want) in [
            (None, "5", r#""5""#),
            (None, "null", r#""null""#),
            (Some(&text), "5", r#""5""#),
            (Some(&text), " a \"b\"\n", r#"" a \"b\"\n""#),
            (Some(&text), "null", r#""null""#),
            (Some(&text), "{}", r#""{}""#),
            (Some(&maybe), "null", "null"),
            (Some(&maybe), "x", r#""x""#),
            (Some(&whole), " -12\n", "-12"),
            (Some(&whole), "99999999999999999999999", "99999999999999999999999"),
            (Some(&whole), "1.5", r#""1.5""#),
            (Some(&whole), "five", r#""five""#),
            (Some(&whole), "012", r#""012""#),
            (Some(&whole), "Null", "null"),
            (Some(&number), "1.50", "1.50"),
            (Some(&number), "1e3", "1e3"),
            (Some(&number), "NaN", r#""NaN""#),
            (Some(&flag), "True", "true"),
            (Some(&flag), "yes", r#""yes""#),
            (Some(&list), "[\"a\", 1]", "[\"a\", 1]"),
            (Some(&list), "['a']", r#""['a']""#),
            (Some(&either), "[1]", "[1]"),
            (Some(&either), "1", r#""1""#),
            (Some(&elsewhere), "{\"a\": 1}", "{\"a\": 1}"),
            (Some(&elsewhere), "a", r#""a""#),
            (Some(&json!({})), "5", r#""5""#),
            (Some(&json!(true)), "5", r#""5""#),
        ] {
            assert_eq!(argument(said, declared), want, "{said:?} {declared:?}");
        }
    }
}
