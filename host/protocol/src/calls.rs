//! Tool calls that are held back from an answer until somebody has decided on each of them. The rest of the answer goes on.

use bytes::Bytes;
use domain::ToolCall;
use memchr::memmem;
use serde_json::{Map, Value, json};

/// More than this of one call's arguments is not kept, and the call not passed on.
const MAX_ARGUMENTS: usize = 1 << 20;
/// More calls than this in one answer are not passed on.
const MAX_CALLS: usize = 128;
/// What the client reads instead of a call that is not looked at.
const TOO_LARGE: &str = "A tool call was too large to be looked at, and was not passed on.";
/// What an answer without calls ends with.
const STOP: &str = "stop";
const CALLS: &str = "tool_calls";

/// The calls of an answer that comes in one piece.
#[derive(Debug)]
pub struct WholeCalls {
    answer: Value,
    /// Choice and position of each.
    places: Vec<(usize, usize)>,
    calls: Vec<ToolCall>,
}

/// The calls of a stream. What stands behind them is held back too, once they are whole.
#[derive(Debug, Default)]
pub struct StreamCalls {
    /// What each chunk of this stream repeats.
    head: Map<String, Value>,
    held: Vec<HeldCall>,
    /// Events that come when the calls are whole.
    behind: Vec<Behind>,
    due: bool,
    /// Whether the assistant has said something before.
    said: bool,
}

#[derive(Debug)]
struct HeldCall {
    choice: u64,
    index: u64,
    call: ToolCall,
    too_large: bool,
}

#[derive(Debug)]
enum Behind {
    Chunk(Value),
    Other(Vec<u8>),
}

impl WholeCalls {
    /// The calls of this answer; none when it has none.
    pub fn find(body: &[u8]) -> Option<Self> {
        memmem::find(body, CALLS.as_bytes())?;
        let answer: Value = serde_json::from_slice(body).ok()?;
        let (mut places, mut calls) = (Vec::new(), Vec::new());
        for (choice, message) in answer["choices"].as_array()?.iter().map(|choice| &choice["message"]).enumerate() {
            for (at, wire) in message[CALLS].as_array().into_iter().flatten().enumerate() {
                let mut call = ToolCall { id: String::new(), name: String::new(), arguments: String::new() };
                add(&mut call, wire);
                places.push((choice, at));
                calls.push(call);
            }
        }
        (!calls.is_empty()).then_some(WholeCalls { answer, places, calls })
    }

    /// The calls, in order.
    pub fn calls(&self) -> &[ToolCall] {
        &self.calls
    }

    /// The answer without the calls for which there are words, which the assistant says instead.
    pub fn release(mut self, denials: &[Option<String>]) -> Bytes {
        let denied = || self.places.iter().zip(denials).filter_map(|(place, words)| Some((*place, words.as_deref()?)));
        for ((choice, _), words) in denied() {
            let message = &mut self.answer["choices"][choice]["message"];
            message["content"] = match message["content"].as_str() {
                None | Some("") => words.into(),
                Some(said) => format!("{said}\n\n{words}").into(),
            };
        }
        // From the last one on, so that the positions before stay what they are.
        for ((choice, at), _) in denied().collect::<Vec<_>>().into_iter().rev() {
            let choice = &mut self.answer["choices"][choice];
            let Some(calls) = choice["message"][CALLS].as_array_mut() else { continue };
            calls.remove(at);
            if calls.is_empty() {
                choice["message"].as_object_mut().map(|message| message.remove(CALLS));
                if choice["finish_reason"] == CALLS {
                    choice["finish_reason"] = STOP.into();
                }
            }
        }
        self.answer.to_string().into()
    }
}

impl StreamCalls {
    /// Takes whole events, and gives what goes on now.
    pub fn push(&mut self, events: &Bytes) -> Bytes {
        if self.held.is_empty() && memmem::find(events, CALLS.as_bytes()).is_none() {
            self.said = self.said || says_something(events);
            return events.clone();
        }
        let mut out = Vec::with_capacity(events.len());
        let mut rest = &events[..];
        while !rest.is_empty() {
            let end = memmem::find(rest, b"\n\n").map_or(rest.len(), |at| at + 2);
            let (event, after) = rest.split_at(end);
            self.take(event, &mut out);
            rest = after;
        }
        out.into()
    }

    /// The calls that are to be decided on now: they are whole. Empty while there is nothing to decide.
    pub fn due(&self) -> Vec<ToolCall> {
        let due = self.held.iter().filter(|held| !held.too_large);
        if self.due { due.map(|held| held.call.clone()).collect() } else { Vec::new() }
    }

    /// Whether something is held back that must be released.
    pub fn is_due(&self) -> bool {
        self.due
    }

    /// The stream has ended: what is held back must be decided on as it is.
    pub fn finish(&mut self) {
        self.due = !self.held.is_empty();
    }

    /// What was held back, without the calls for which there are words, which the assistant says instead.
    pub fn release(&mut self, denials: &[Option<String>]) -> Bytes {
        let mut denials = denials.iter();
        let mut out = Vec::new();
        let mut passed: Vec<(u64, u64)> = Vec::new();
        for HeldCall { choice, call, too_large, .. } in std::mem::take(&mut self.held) {
            let denied = if too_large { Some(TOO_LARGE) } else { denials.next().and_then(Option::as_deref) };
            let delta = match denied {
                Some(words) => {
                    let space = if std::mem::replace(&mut self.said, true) { "\n\n" } else { "" };
                    json!({"content": format!("{space}{words}")})
                }
                None => {
                    let index = passed.iter().filter(|(of, _)| *of == choice).count() as u64;
                    passed.push((choice, index));
                    let function = json!({"name": call.name, "arguments": call.arguments});
                    json!({CALLS: [{"index": index, "id": call.id, "type": "function", "function": function}]})
                }
            };
            let mut chunk = self.head.clone();
            chunk.insert("choices".into(), json!([{"index": choice, "delta": delta, "finish_reason": null}]));
            write(&Value::Object(chunk), &mut out);
        }
        for behind in std::mem::take(&mut self.behind) {
            match behind {
                Behind::Other(event) => out.extend_from_slice(&event),
                Behind::Chunk(mut chunk) => {
                    for choice in chunk["choices"].as_array_mut().into_iter().flatten() {
                        let index = choice["index"].as_u64().unwrap_or(0);
                        if choice["finish_reason"] == CALLS && passed.iter().all(|(of, _)| *of != index) {
                            choice["finish_reason"] = STOP.into();
                        }
                    }
                    write(&chunk, &mut out);
                }
            }
        }
        self.due = false;
        out.into()
    }

    fn take(&mut self, event: &[u8], out: &mut Vec<u8>) {
        let data = event.strip_prefix(b"data:").map(<[u8]>::trim_ascii);
        let chunk = data.and_then(|data| serde_json::from_slice::<Value>(data).ok()).filter(Value::is_object);
        let Some(mut chunk) = chunk else {
            // What is behind the last chunk comes behind the calls; a comment goes on at once.
            self.due = self.due || (!self.held.is_empty() && data == Some(b"[DONE]"));
            return match self.due && data.is_some() {
                true => self.behind.push(Behind::Other(event.to_vec())),
                false => out.extend_from_slice(event),
            };
        };
        let before = self.held.len();
        let (mut took, mut ends, mut remains) = (false, false, chunk["usage"].is_object());
        for choice in chunk["choices"].as_array_mut().into_iter().flatten() {
            let index = choice["index"].as_u64().unwrap_or(0);
            ends |= !choice["finish_reason"].is_null();
            let Some(delta) = choice["delta"].as_object_mut() else { continue };
            if let Some(calls) = delta.remove(CALLS) {
                took = true;
                calls.as_array().into_iter().flatten().for_each(|call| self.hold(index, call));
            }
            remains |= delta.values().any(|value| !value.is_null() && value != "");
        }
        if before == 0 && took {
            let repeated = |(key, _): &(&String, &Value)| !matches!(key.as_str(), "choices" | "usage");
            let fields = chunk.as_object().into_iter().flatten().filter(repeated);
            self.head = fields.map(|(key, value)| (key.clone(), value.clone())).collect();
        }
        self.due = self.due || (ends && !self.held.is_empty());
        if self.due {
            self.behind.push(Behind::Chunk(chunk));
        } else if took && remains {
            self.said = self.said || says_something(event);
            write(&chunk, out);
        } else if !took {
            self.said = self.said || says_something(event);
            out.extend_from_slice(event);
        }
    }

    fn hold(&mut self, choice: u64, piece: &Value) {
        let next = self.held.iter().filter(|held| held.choice == choice).count() as u64;
        let index = piece["index"].as_u64().unwrap_or(next);
        let at = match self.held.iter().position(|held| held.choice == choice && held.index == index) {
            Some(at) => at,
            // What comes behind the last one that is kept goes nowhere, and the last one neither.
            None if self.held.len() == MAX_CALLS => {
                return self.held.iter_mut().for_each(|held| held.too_large |= held.index + 1 == MAX_CALLS as u64);
            }
            None => {
                let call = ToolCall { id: String::new(), name: String::new(), arguments: String::new() };
                self.held.push(HeldCall { choice, index, call, too_large: false });
                self.held.len() - 1
            }
        };
        let held = &mut self.held[at];
        add(&mut held.call, piece);
        if held.call.arguments.len() > MAX_ARGUMENTS {
            held.too_large = true;
            held.call.arguments.clear();
        }
    }
}

/// Adds a piece of a call, or all of it.
fn add(call: &mut ToolCall, piece: &Value) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let function = &piece["function"];
    for (have, more) in [(&mut call.id, &piece["id"]), (&mut call.name, &function["name"])] {
        // Some providers repeat them with each piece.
        if have.is_empty() {
            *have = text(more);
        }
    }
    call.arguments.push_str(function["arguments"].as_str().unwrap_or_default());
}

fn write(chunk: &Value, out: &mut Vec<u8>) {
    out.extend_from_slice(b"data: ");
    out.extend_from_slice(chunk.to_string().as_bytes());
    out.extend_from_slice(b"\n\n");
}

/// Whether there is a `content` that is not empty. A guess that costs little: it decides on an empty line.
fn says_something(events: &[u8]) -> bool {
    memmem::find_iter(events, b"\"content\"").any(|at| {
        let value = events[at + b"\"content\"".len()..].trim_ascii_start();
        let value = value.strip_prefix(b":").unwrap_or_default().trim_ascii_start();
        value.starts_with(b"\"") && !value.starts_with(b"\"\"")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(delta: &Value, finish: Option<&str>) -> String {
        let choices = json!([{"index": 0, "delta": delta, "finish_reason": finish}]);
        format!(
            "data: {}\n\n",
            json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": choices})
        )
    }

    fn stream() -> Vec<String> {
        let call = |index: u64, id: Option<&str>, name: Option<&str>, arguments: &str| {
            let function = match name {
                Some(name) => json!({"name": name, "arguments": arguments}),
                None => json!({"arguments": arguments}),
            };
            match id {
                Some(id) => {
                    json!({"tool_calls": [{"index": index, "id": id, "type": "function", "function": function}]})
                }
                None => json!({"tool_calls": [{"index": index, "function": function}]}),
            }
        };
        vec![
            event(&json!({"role": "assistant", "content": ""}), None),
            event(&json!({"content": "Wait."}), None),
            event(&call(0, Some("one"), Some("read"), ""), None),
            event(&call(0, None, None, "{\"path\":"), None),
            event(&call(0, None, None, "\"a\"}"), None),
            ": keep-alive\n\n".into(),
            event(&call(1, Some("two"), Some("remove"), "{}"), None),
            event(&json!({}), Some("tool_calls")),
            "data: [DONE]\n\n".into(),
        ]
    }

    /// What the client sees when the events come in pieces of so many, and the calls named are denied.
    fn seen(at_once: usize, denied: &[&str]) -> (String, Vec<ToolCall>) {
        let (mut calls, mut out, mut asked) = (StreamCalls::default(), String::new(), Vec::new());
        for piece in stream().chunks(at_once) {
            out += str::from_utf8(&calls.push(&Bytes::from(piece.concat()))).unwrap();
            if calls.is_due() {
                let due = calls.due();
                let words = |call: &ToolCall| denied.contains(&&*call.name).then(|| format!("No {}.", call.name));
                out += str::from_utf8(&calls.release(&due.iter().map(words).collect::<Vec<_>>())).unwrap();
                asked.extend(due);
            }
        }
        (out, asked)
    }

    #[test]
    fn what_is_allowed_goes_on_and_what_is_denied_becomes_words() {
        for at_once in 1..=stream().len() {
            for (denied, words, left, finish) in [
                (&[][..], "Wait.", &["read", "remove"][..], "tool_calls"),
                (&["remove"], "Wait.\n\nNo remove.", &["read"], "tool_calls"),
                (&["read"], "Wait.\n\nNo read.", &["remove"], "tool_calls"),
                (&["read", "remove"], "Wait.\n\nNo read.\n\nNo remove.", &[], "stop"),
            ] {
                let (out, asked) = seen(at_once, denied);
                let names: Vec<_> = asked.iter().map(|call| (call.id.as_str(), call.arguments.as_str())).collect();
                assert_eq!(names, [("one", "{\"path\":\"a\"}"), ("two", "{}")]);
                let answer = crate::Answer::from_stream(out.as_bytes()).unwrap();
                let passed = crate::tool_calls(&answer.json);
                assert_eq!((answer.text.as_str(), answer.finish_reason.as_str()), (words, finish), "{at_once}: {out}");
                assert_eq!(passed.iter().map(|call| call.name.as_str()).collect::<Vec<_>>(), left, "{out}");
                assert!(out.ends_with("data: [DONE]\n\n") && out.contains(": keep-alive"), "{out}");
                let whole =
                    WholeCalls::find(&crate::Answer::from_stream(stream().concat().as_bytes()).unwrap().json).unwrap();
                let denial = |call: &ToolCall| denied.contains(&&*call.name).then(|| format!("No {}.", call.name));
                let denials: Vec<_> = whole.calls().iter().map(denial).collect();
                let answer = crate::Answer::from_json(&whole.release(&denials)).unwrap();
                assert_eq!(answer.finish_reason, finish);
                assert_eq!(crate::tool_calls(&answer.json).len(), left.len());
                assert_eq!(answer.text, words);
            }
        }
    }

    #[test]
    fn an_answer_without_calls_is_not_touched() {
        let words = Bytes::from(event(&json!({"content": "tool calls are fine"}), Some("stop")));
        let mut calls = StreamCalls::default();
        assert_eq!(calls.push(&words), words);
        calls.finish();
        assert!(
            !calls.is_due()
                && WholeCalls::find(b"{\"choices\":[{\"message\":{\"content\":\"tool_calls\"}}]}").is_none()
        );
    }

    #[test]
    fn what_is_too_large_is_never_passed_on() {
        let call = json!({"tool_calls": [{"index": 0, "id": "x", "function": {"name": "n", "arguments": "y".repeat(700_000)}}]});
        let mut calls = StreamCalls::default();
        assert!(calls.push(&event(&call, None).into()).is_empty());
        calls.push(&event(&call, Some("tool_calls")).into());
        assert!(calls.is_due() && calls.due().is_empty());
        let out = calls.release(&[]);
        let answer = crate::Answer::from_stream(&out).unwrap();
        assert_eq!((answer.text.as_str(), answer.finish_reason.as_str()), (TOO_LARGE, "stop"));
        // A stream that ends with calls and no word about it is decided on as well.
        let mut calls = StreamCalls::default();
        calls.push(&Bytes::from(stream()[..5].concat()));
        calls.finish();
        assert_eq!(calls.due().len(), 1);
    }
}
