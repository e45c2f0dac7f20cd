//! Each provider on the wire: what it is sent, and what the client gets of what it answers.
//!
//! `golden/providers/NAME.txt` shows both. `UPDATE_GOLDEN=1` rewrites them, and the table of `docs/providers.md`; read the
//! difference before you commit it.

use std::fmt::Write;
use std::path::PathBuf;

use bytes::Bytes;
use config::{Preset, Window, presets};
use serde_json::{Value, json};
use tests::{Home, Host, Reply, Seen, Upstream};
use tokio::sync::mpsc;

/// A request with a field of every kind that some provider refuses or renames, in a writing of its own.
const REQUEST: &str = concat!(
    r#"{"model":"asked", "temperature":0.70,"top_p":1.0, "store":true,"metadata":{"a":[1]},"seed":7 ,"max_tokens":500,"#,
    r#""messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"Weather?"}],"#,
    r#""tools":[{"type":"function","function":{"name":"get_weather","parameters":{"type":"object","#,
    r#""properties":{"city":{"type":"string"},"days":{"type":"integer"}}}}}],"#,
    r#""prompt_cache_key":"k","frequency_penalty":0.10,"presence_penalty":0,"top_k":5,"x_unknown":1.00}"#
);

/// A model for each provider; that of Kimi refuses what Kimi's models refuse.
fn model(preset: &Preset) -> &'static str {
    if preset.name == "kimi" { "kimi-k2.6" } else { "a-model" }
}

/// What the model writes: reasoning in the marks that this provider may leave in the words, then a call in each markup, of
/// which Qwen's has two forms.
fn text(preset: &Preset) -> String {
    let (open, close) = preset.quirks.lifts.reasoning.first().copied().unwrap_or(("<think>", "</think>"));
    format!(
        "{open}It must be asked.{close}\n\nI ask.\n<tool_call>\n{{\"name\": \"get_weather\", \"arguments\": {{\"city\": \"Ulm\"}}}}\n\
         </tool_call>\n<tool_call>\n<function=get_weather>\n<parameter=city>\nNeu-Ulm\n</parameter>\n<parameter=days>\n3\n</parameter>\n\
         </function>\n</tool_call><|tool_calls_section_begin|><|tool_call_begin|>functions.get_weather:0<|tool_call_argument_begin|>\
         {{\"city\": \"Bonn\"}}<|tool_call_end|><|tool_calls_section_end|>"
    )
}

fn chunk(delta: Value, finish: Value) -> Bytes {
    let choices = json!([{"index": 0, "delta": delta, "finish_reason": finish}]);
    format!(
        "data: {}\n\n",
        json!({"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": choices})
    )
    .into()
}

/// The text in pieces of some characters each.
fn streamed(text: &str) -> Vec<Bytes> {
    let letters: Vec<char> = text.chars().collect();
    let words = letters.chunks(40).map(|piece| chunk(json!({"content": String::from_iter(piece)}), Value::Null));
    let head = chunk(json!({"role": "assistant", "content": ""}), Value::Null);
    let tail = [chunk(json!({}), "stop".into()), Bytes::from_static(b"data: [DONE]\n\n")];
    std::iter::once(head).chain(words).chain(tail).collect()
}

fn whole(text: &str) -> String {
    let message = json!({"role": "assistant", "content": text});
    let usage = json!({"prompt_tokens": 11, "completion_tokens": 3, "total_tokens": 14});
    let choices = json!([{"index": 0, "message": message, "finish_reason": "stop"}]);
    json!({"id": "c1", "object": "chat.completion", "created": 1, "model": "m", "choices": choices, "usage": usage})
        .to_string()
}

/// The provider that a request is meant for: each is told by its key.
fn meant_for(seen: &Seen) -> &'static Preset {
    let shown = seen.headers["authorization"].to_str().unwrap();
    presets().iter().find(|preset| shown == format!("Bearer key-of-{}", preset.name)).expect("one of the keys")
}

async fn upstream() -> Upstream {
    Upstream::scripted(|seen| {
        let text = text(meant_for(seen));
        if seen.body["stream"] != true {
            return Reply::Status(200, whole(&text));
        }
        let (sender, pieces) = mpsc::channel(64);
        for piece in streamed(&text) {
            sender.try_send(Ok(piece)).unwrap();
        }
        Reply::Pieces("text/event-stream", pieces)
    })
    .await
}

/// One agent for each provider.
fn config(upstream: &Upstream) -> String {
    let (mut upstreams, mut agents) = (String::new(), String::new());
    for preset in presets() {
        let name = preset.name;
        writeln!(
            upstreams,
            "  {name}: {{ provider: {name}, api_base: \"{}\", models: [{}], api_key: \"env:KEY_OF_{name}\" }}",
            upstream.base(),
            model(preset)
        )
        .unwrap();
        writeln!(agents, "  {name}: {{ upstream: {name} }}").unwrap();
    }
    format!("upstreams:\n{upstreams}agents:\n  _default: {{ upstream: custom }}\n{agents}")
}

async fn start(upstream: &Upstream) -> Host {
    let home = Home::new();
    home.config(&config(upstream));
    let keys: Vec<(String, String)> =
        presets().iter().map(|p| (format!("KEY_OF_{}", p.name), format!("key-of-{}", p.name))).collect();
    let keys: Vec<(&str, &str)> = keys.iter().map(|(name, key)| (name.as_str(), key.as_str())).collect();
    home.start_in(&keys).await
}

async fn ask(host: &Host, preset: &Preset, stream: bool) -> (u16, String) {
    let body = if stream { REQUEST.replacen('{', "{\"stream\":true,", 1) } else { REQUEST.to_owned() };
    let request = host.client.post(host.url("/v1/chat/completions")).header("x-agent-id", preset.name);
    let answer = request.header("authorization", "Bearer the-clients-own").body(body).send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

/// A request as it arrived, without what differs from run to run.
fn shown(seen: &Seen, upstream: &Upstream) -> String {
    let base = upstream.base();
    let host = base.trim_start_matches("http://").trim_end_matches("/v1");
    let mut headers: Vec<String> =
        seen.headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
    headers.sort();
    let head = headers.join("\n").replace(host, "HOST").replace(env!("CARGO_PKG_VERSION"), "VERSION");
    format!("POST /v1/chat/completions\n{head}\n\n{}\n", str::from_utf8(&seen.raw).unwrap())
}

/// Calls that the host names have a random name.
fn without_names(text: &str) -> String {
    const NAME: &str = "\"id\":\"call_";
    let mut parts = text.split(NAME);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        assert!(part.as_bytes()[..32].iter().all(u8::is_ascii_hexdigit), "{part}");
        write!(out, "{NAME}NAME{}", &part[32..]).unwrap();
    }
    out
}

fn golden(name: &str) -> PathBuf {
    tests::root().join("tests/all/golden/providers").join(format!("{name}.txt"))
}

fn updates() -> bool {
    std::env::var_os("UPDATE_GOLDEN").is_some()
}

#[tokio::test]
async fn each_provider_gets_and_gives_what_is_written() {
    let upstream = upstream().await;
    let host = start(&upstream).await;
    let mut different = Vec::new();
    for preset in presets() {
        let mut got = String::new();
        for (stream, what) in [(false, "whole"), (true, "streamed")] {
            let (status, answer) = ask(&host, preset, stream).await;
            if !stream {
                write!(got, "=== the request as it arrives\n{}\n", shown(&upstream.last(), &upstream)).unwrap();
            }
            write!(got, "=== the answer, {what}\n{status}\n{}\n", without_names(answer.trim_end())).unwrap();
        }
        let file = golden(preset.name);
        if updates() {
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(&file, &got).unwrap();
        } else if std::fs::read_to_string(&file).unwrap_or_default() != got {
            different.push(format!("--- {}\n{got}", file.display()));
        }
    }
    assert!(different.is_empty(), "run with UPDATE_GOLDEN=1 to accept:\n{}", different.join("\n"));
}

/// Whatever a provider leaves in the words, the host's client reads it in its own place, in both forms of the answer.
#[tokio::test]
async fn what_is_lifted_is_the_same_in_both_forms() {
    let upstream = upstream().await;
    let host = start(&upstream).await;
    for preset in presets() {
        let lifts = &preset.quirks.lifts;
        let calls = u64::from(lifts.kimi_calls) + 2 * u64::from(lifts.qwen_calls);
        let (_, answer) = ask(&host, preset, false).await;
        let answer: Value = serde_json::from_str(&answer).unwrap();
        let (_, stream) = ask(&host, preset, true).await;
        let put_together = protocol::Answer::from_stream(stream.as_bytes()).unwrap();
        let from_stream: Value = serde_json::from_slice(&put_together.json).unwrap();
        for answer in [&answer, &from_stream] {
            let choice = &answer["choices"][0];
            let found = choice["message"]["tool_calls"].as_array().map_or(0, |calls| calls.len() as u64);
            assert_eq!(found, calls, "{}: {answer}", preset.name);
            assert_eq!(choice["finish_reason"], if calls > 0 { "tool_calls" } else { "stop" }, "{}", preset.name);
            let reasoning = choice["message"]["reasoning_content"].as_str();
            assert_eq!(reasoning.is_some(), !lifts.reasoning.is_empty(), "{}: {answer}", preset.name);
        }
        let said = |answer: &Value| answer["choices"][0]["message"]["content"].clone();
        assert_eq!(said(&answer), said(&from_stream), "{}", preset.name);
        if lifts.is_none() {
            let sent = streamed(&text(preset)).concat();
            assert_eq!(stream.as_bytes(), sent, "{}: byte for byte", preset.name);
        }
    }
}

/// The table of `docs/providers.md` is that of the program.
#[test]
fn the_page_of_providers_is_true() {
    const BEGIN: &str = "<!-- table: written by tests/all/providers.rs -->\n";
    const END: &str = "<!-- end of table -->";
    let file = tests::root().join("docs/providers.md");
    let page = std::fs::read_to_string(&file).unwrap();
    let (before, rest) = page.split_once(BEGIN).unwrap();
    let (present, after) = rest.split_once(END).unwrap();
    let table = table();
    if updates() {
        std::fs::write(&file, format!("{before}{BEGIN}{table}{END}{after}")).unwrap();
    } else {
        assert_eq!(present, table, "run with UPDATE_GOLDEN=1 to accept");
    }
}

fn table() -> String {
    let mut table = "| `provider` | who | address | its key | context window | what is done for it |\n\
                     | --- | --- | --- | --- | --- | --- |\n"
        .to_owned();
    for preset in presets() {
        let address = preset.api_base.map_or("`api_base`".to_owned(), |base| format!("`{base}`"));
        let key = match (preset.key_env, preset.needs_key) {
            ([], _) => "if it wants one".to_owned(),
            ([first, ..], true) => format!("`{first}`"),
            ([first, ..], false) => format!("none, or `{first}`"),
        };
        let window = match preset.window {
            Window::Models(tokens) => format!("the model's; else {tokens}"),
            Window::Server(tokens) => format!("the server's; {tokens} by default"),
        };
        let name = preset.name;
        writeln!(table, "| `{name}` | {} | {address} | {key} | {window} | {} |", preset.title, done_for(preset))
            .unwrap();
    }
    table
}

fn done_for(preset: &Preset) -> String {
    let quirks = &preset.quirks;
    let quoted = |words: &[&str]| words.iter().map(|w| format!("`{w}`")).collect::<Vec<_>>().join(", ");
    let mut done: Vec<String> = Vec::new();
    for refused in quirks.refuses {
        let whose = if refused.models.is_empty() { String::new() } else { format!(" for `{}…`", refused.models) };
        done.push(format!("{} taken out{whose}", quoted(refused.fields)));
    }
    done.extend(quirks.renames.iter().map(|(ours, theirs)| format!("`{ours}` sent as `{theirs}`")));
    let open: Vec<&str> = quirks.lifts.reasoning.iter().map(|(open, _)| *open).collect();
    if !open.is_empty() {
        done.push(format!("reasoning in {} lifted", quoted(&open)));
    }
    let calls = [(quirks.lifts.kimi_calls, "Kimi's"), (quirks.lifts.qwen_calls, "Qwen's")];
    let calls: Vec<&str> = calls.iter().filter(|(lifted, _)| *lifted).map(|(_, whose)| *whose).collect();
    if !calls.is_empty() {
        done.push(format!("{} tool-call markup lifted", calls.join(" and ")));
    }
    if done.is_empty() { "nothing".to_owned() } else { done.join("; ") }
}
