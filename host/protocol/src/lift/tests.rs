use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::Answer;

const ALL: Lifts = Lifts {
    reasoning: &[("<think>", "</think>"), ("<reasoning>", "</reasoning>"), ("◁think▷", "◁/think▷")],
    kimi_calls: true,
    qwen_calls: true,
};

fn lifting(more: &str) -> Lifting {
    let tool = |name: &str| json!({"type": "function", "function": {"name": name}}).to_string();
    let parameters = json!({"properties": {
        "path": {"type": "string"}, "line": {"type": "integer"}, "all": {"type": "boolean"}, "of": {"type": "array"},
    }});
    let read = json!({"type": "function", "function": {"name": "read", "parameters": parameters}});
    let tools = format!("[{},{}]", tool("get_weather"), read);
    let body = format!(r#"{{"messages":[{{"role":"user","content":"q"}}],"tools":{tools}{more}}}"#);
    Lifting::new(&ALL, &ChatRequest::parse(Bytes::from(body)).unwrap(), "t")
}

fn without_tools() -> Lifting {
    let request = ChatRequest::parse(Bytes::from_static(br#"{"messages":[{"role":"user","content":"q"}]}"#)).unwrap();
    Lifting::new(&ALL, &request, "t")
}

/// A text, and what its answer holds then: reasoning, words, and the calls as `id name arguments`.
type Case = (&'static str, &'static str, &'static str, &'static [&'static str]);

#[rustfmt::skip]
const CASES: &[Case] = &[
    ("", "", "", &[]),
    ("plain words", "", "plain words", &[]),
    ("a < b, <b>bold</b>, <", "", "a < b, <b>bold</b>, <", &[]),
    ("  \n two blanks", "", "  \n two blanks", &[]),
    ("<thin", "", "<thin", &[]),
    ("\n<thinking>x</thinking>", "", "\n<thinking>x</thinking>", &[]),
    ("<think>I muse</think>\n\nHello", "I muse", "Hello", &[]),
    ("\n <think>\nI < muse </think </think>Hello", "\nI < muse </think ", "Hello", &[]),
    ("<think></think>Hello", "", "Hello", &[]),
    ("<think>cut of", "cut of", "", &[]),
    ("<think>cut of</thi", "cut of</thi", "", &[]),
    ("<reasoning>a</think>b</reasoning>c", "a</think>b", "c", &[]),
    ("◁think▷a◁b◁/think▷c◁think▷", "a◁b", "c◁think▷", &[]),
    ("Hello <think>not at the start</think>", "", "Hello <think>not at the start</think>", &[]),
    ("<think>é\"\\\u{1f600}</think>\n\"\u{1f600}\\n", "é\"\\\u{1f600}", "\"\u{1f600}\\n", &[]),
    // Qwen.
    ("<tool_call>\n{\"name\": \"read\", \"arguments\": {\"path\": \"a }</tool_call>\\\"\"}}\n</tool_call>", "", "",
     &["call_t0 read {\"path\": \"a }</tool_call>\\\"\"}"]),
    ("<think>so</think>I look.\n<tool_call>{\"name\":\"read\",\"arguments\":{}}</tool_call>\n<tool_call>{\"arguments\":\"{\\\"a\\\":1}\",\"name\":\"get_weather\"}</tool_call>\nDone",
     "so", "I look.\nDone", &["call_t0 read {}", "call_t1 get_weather {\"a\":1}"]),
    ("<tool_call>{\"name\":\"read\"}</tool_call>", "", "", &["call_t0 read {}"]),
    ("<tool_call>{\"name\":\"rm\",\"arguments\":{}}</tool_call>x", "", "<tool_call>{\"name\":\"rm\",\"arguments\":{}}</tool_call>x", &[]),
    ("<tool_call>{\"name\":\"read\",\"arguments\":\"no json\"}</tool_call>", "", "<tool_call>{\"name\":\"read\",\"arguments\":\"no json\"}</tool_call>", &[]),
    ("<tool_call>{\"name\":\"read\",\"arguments\":{}", "", "<tool_call>{\"name\":\"read\",\"arguments\":{}", &[]),
    ("<tool_call>{\"name\":\"read\",\"arguments\":{}}</tool_ca", "", "<tool_call>{\"name\":\"read\",\"arguments\":{}}</tool_ca", &[]),
    ("<tool_call>hm <tool_call>{\"name\":\"read\"}</tool_call>", "", "<tool_call>hm ", &["call_t0 read {}"]),
    ("<tool_call>{}}</tool_call>", "", "<tool_call>{}}</tool_call>", &[]),
    // Qwen3-Coder.
    ("<tool_call><function=read>\n</function></tool_call>", "", "", &["call_t0 read {}"]),
    ("<think>so</think>I look.\n<tool_call>\n<function=read>\n<parameter=path>\n/tmp/ä.txt\n</parameter>\n<parameter=line>\n7\n</parameter>\n<parameter=all>\nTrue\n</parameter>\n<parameter=of>\n[\"a\", {}]\n</parameter>\n</function>\n</tool_call>\n<tool_call><function=get_weather><parameter=city>Ulm</parameter></function></tool_call>\nDone",
     "so", "I look.\nDone", &["call_t0 read {\"path\": \"/tmp/ä.txt\", \"line\": 7, \"all\": true, \"of\": [\"a\", {}]}", "call_t1 get_weather {\"city\": \"Ulm\"}"]),
    ("<tool_call><function=read><parameter=path>\n\na</parameter>b</function></tool_call> <parameter=x>\n\n</parameter> </function> </tool_call>",
     "", "", &["call_t0 read {\"path\": \"\\na</parameter>b</function></tool_call> <parameter=x>\\n\"}"]),
    ("<tool_call><function=read><parameter=path>a</parameter><parameter=path>b</parameter></function></tool_call>x", "", "x", &["call_t0 read {\"path\": \"b\"}"]),
    ("<tool_call>\n<function=rm><parameter=path>/</parameter></function></tool_call>x", "", "<tool_call>\n<function=rm><parameter=path>/</parameter></function></tool_call>x", &[]),
    ("<tool_call><function=read>what?</function></tool_call>", "", "<tool_call><function=read>what?</function></tool_call>", &[]),
    ("<tool_call><function=read><parameter=path>a</function></tool_call>", "", "<tool_call><function=read><parameter=path>a</function></tool_call>", &[]),
    ("<tool_call><function=read></function>x</tool_call>", "", "<tool_call><function=read></function>x</tool_call>", &[]),
    ("<tool_call><function=read><parameter=path>a</parameter></function></tool_ca", "", "<tool_call><function=read><parameter=path>a</parameter></function></tool_ca", &[]),
    ("<tool_call><func", "", "<tool_call><func", &[]),
    ("<tool_call><funk", "", "<tool_call><funk", &[]),
    // Kimi.
    ("I look.<|tool_calls_section_begin|><|tool_call_begin|>functions.get_weather:0<|tool_call_argument_begin|>{\"city\": \"Tokyo\"}<|tool_call_end|><|tool_calls_section_end|>",
     "", "I look.", &["functions.get_weather:0 get_weather {\"city\": \"Tokyo\"}"]),
    ("<think>t</think><|tool_calls_section_begin|> <|tool_call_begin|> functions.read:3 <|tool_call_argument_begin|> {} <|tool_call_end|>\n<|tool_call_begin|>read:4<|tool_call_argument_begin|>{\"a\":[{}]}<|tool_call_end|>\n<|tool_calls_section_end|>\nEnd",
     "t", "End", &["functions.read:3 read {}", "read:4 read {\"a\":[{}]}"]),
    ("<|tool_call_begin|>functions.read:0<|tool_call_argument_begin|>{}<|tool_call_end|> then", "", "then", &["functions.read:0 read {}"]),
    ("<|tool_calls_section_begin|>nothing of it", "", "<|tool_calls_section_begin|>nothing of it", &[]),
    ("<|tool_calls_section_begin|> <|tool_call_beg", "", "<|tool_calls_section_begin|> <|tool_call_beg", &[]),
    ("<|tool_calls_section_begin|><|tool_call_begin|>read<|tool_call_argument_begin|>{}<|tool_call_end|>", "",
     "<|tool_calls_section_begin|><|tool_call_begin|>read<|tool_call_argument_begin|>{}<|tool_call_end|>", &[]),
    ("<|tool_calls_section_begin|><|tool_call_begin|>functions.read:0<|tool_call_argument_begin|>{}<|tool_call_end|><|tool_call_begin|>functions.rm:1<|tool_call_argument_begin|>{}<|tool_call_end|>",
     "", "<|tool_call_begin|>functions.rm:1<|tool_call_argument_begin|>{}<|tool_call_end|>", &["functions.read:0 read {}"]),
];

/// What an answer says: reasoning, words, calls, and how it ended.
fn told(message: &Value, finish: &Value) -> (String, String, Vec<String>, String) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let calls = message["tool_calls"].as_array().cloned().unwrap_or_default();
    let calls = calls.iter().map(|call| {
        assert_eq!(call["type"], "function");
        let function = &call["function"];
        format!("{} {} {}", text(&call["id"]), text(&function["name"]), text(&function["arguments"]))
    });
    (text(&message["reasoning_content"]), text(&message["content"]), calls.collect(), text(finish))
}

fn expected(case: &Case) -> (String, String, Vec<String>, String) {
    let finish = if case.3.is_empty() { "stop" } else { "tool_calls" };
    (case.1.into(), case.2.into(), case.3.iter().map(|c| (*c).to_owned()).collect(), finish.into())
}

#[expect(clippy::needless_pass_by_value, reason = "for `json!` at the call")]
fn event(delta: Value, finish: Value) -> String {
    let choices = json!([{"index": 0, "delta": delta, "finish_reason": finish}]);
    format!("data: {}\n\n", json!({"id": "c", "created": 1, "model": "m", "choices": choices}))
}

/// A stream that says the text in these pieces.
fn stream<'a>(pieces: impl IntoIterator<Item = &'a str>) -> String {
    let words: String = pieces.into_iter().map(|piece| event(json!({"content": piece}), Value::Null)).collect();
    let head = event(json!({"role": "assistant", "content": ""}), Value::Null);
    format!(": hello\n\n{head}{words}{}data: [DONE]\n\n", event(json!({}), "stop".into()))
}

fn lifted<'a>(lifting: Lifting, chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut lifter = StreamLifter::new(lifting);
    let mut out = Vec::new();
    chunks.into_iter().for_each(|chunk| out.extend_from_slice(&lifter.push(chunk)));
    out.extend_from_slice(&lifter.finish());
    out
}

fn read_stream(raw: &[u8]) -> (String, String, Vec<String>, String) {
    let whole: Value = serde_json::from_slice(&Answer::from_stream(raw).unwrap().json).unwrap();
    let choice = &whole["choices"][0];
    told(&choice["message"], &choice["finish_reason"])
}

fn by_character(text: &str) -> Vec<&str> {
    text.char_indices().map(|(at, c)| &text[at..at + c.len_utf8()]).collect()
}

#[test]
fn a_streamed_answer_is_lifted_however_it_is_worded() {
    for case in CASES {
        for pieces in [vec![case.0], by_character(case.0)] {
            let raw = lifted(lifting(""), [stream(pieces).as_bytes()]);
            assert_eq!(read_stream(&raw), expected(case), "{:?}\n{}", case.0, String::from_utf8_lossy(&raw));
        }
    }
}

#[test]
fn a_whole_answer_is_lifted_alike() {
    for case in CASES {
        let message = json!({"role": "assistant", "content": case.0});
        let body = json!({"id": "c", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]});
        let got: Value = serde_json::from_slice(&lifting("").whole(body.to_string().into())).unwrap();
        let choice = &got["choices"][0];
        assert_eq!(told(&choice["message"], &choice["finish_reason"]), expected(case), "{:?}", case.0);
        assert!(case.0 == case.2 || got != body, "{:?}", case.0);
    }
}

#[test]
fn where_nothing_is_to_be_called_markup_is_text() {
    let text = "<think>a</think><tool_call>{\"name\":\"read\",\"arguments\":{}}</tool_call>";
    for lifting in [without_tools(), lifting(r#","tool_choice":"none""#)] {
        let (reasoning, content, calls, finish) = read_stream(&lifted(lifting, [stream([text]).as_bytes()]));
        assert_eq!((reasoning.as_str(), calls.len(), finish.as_str()), ("a", 0, "stop"));
        assert_eq!(content, text[16..]);
    }
}

/// Events as they come, and as they leave: what does not change stays as it was written.
#[test]
fn only_what_changes_is_written_anew() {
    #[rustfmt::skip]
    let cases: &[(&str, &str)] = &[
        ("data:  {\"x\": 1.0, \"choices\": [ {\"delta\": {\"content\": \"h\\u00e9\"}} ]} \r\n\r\n", "="),
        ("data: {\"choices\":[{\"delta\":{\"content\":\"a <b\"}}]}\n\n", "="),
        ("data: {\"choices\":[{\"delta\":{\"content\":\"half \\ud83d\"}}]}\n\ndata: {\"choices\":[{\"delta\":{\"content\":\"\\ude00\"}}]}\n\n", "="),
        ("event: x\ndata: nonsense\nid: 7\n\ndata: {\"choices\":null}\n\ndata: {\"choices\":[1,{}]}\n\ndata: [DONE]\n\n", "="),
        ("data: {\"choices\":[{\"delta\":{\"content\":\"x <tool_\"}}]}\n\ndata: [DONE]\n\n",
         "data: {\"choices\":[{\"delta\":{\"content\":\"x \"}}]}\n\ndata: {\"choices\":[{\"delta\":{\"content\":\"<tool_\"},\"finish_reason\":null,\"index\":0}]}\n\ndata: [DONE]\n\n"),
        // Broken off: what was held comes before the half event.
        ("data: {\"choices\":[{\"delta\":{\"content\":\"<\"}}]}\n\ndata: {\"choi",
         "data: {\"choices\":[{\"delta\":{\"content\":\"\"}}]}\n\ndata: {\"choices\":[{\"delta\":{\"content\":\"<\"},\"finish_reason\":null,\"index\":0}]}\n\ndata: {\"choi"),
        // Only the line's end is missing.
        ("data: {\"choices\":[{\"delta\":{\"content\":\"<\"}}]}",
         "data: {\"choices\":[{\"delta\":{\"content\":\"\"}}]}\n\ndata: {\"choices\":[{\"delta\":{\"content\":\"<\"},\"finish_reason\":null,\"index\":0}]}\n\n"),
        ("data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"<think>\"}}]}\n\ndata: {\"choices\":[{\"delta\":{\"content\":\"\\ud83d\", \"x\":1}}]}\n\n",
         "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\ndata: {\"choices\":[{\"delta\":{\"reasoning_content\":\"\\ud83d\", \"x\":1}}]}\n\n"),
        ("data: {\"choices\":[{\"delta\":{\"content\":\"<think>a</think>b\",\"tool_calls\":null,\"reasoning_content\":null}}]}\n\n",
         "data: {\"choices\":[{\"delta\":{\"content\":\"b\",\"tool_calls\":null,\"reasoning_content\":\"a\"}}]}\n\n"),
        ("data: {\"choices\":[{\"delta\":{\"content\":\"<think>a\",\"reasoning_content\":\"n\"}}]}\n\n",
         "data: {\"choices\":[{\"delta\":{\"content\":\"\",\"reasoning_content\":\"na\"}}]}\n\n"),
        // The upstream found the calls itself.
        ("data: {\"choices\":[{\"delta\":{\"content\":null,\"tool_calls\":[{\"index\":0}]}}]}\n\ndata: {\"choices\":[{\"delta\":{\"content\":\"<tool_call>{\\\"name\\\":\\\"read\\\"}</tool_call>\"},\"finish_reason\":\"stop\"}]}\n\n", "="),
        // A finish without a delta, and with none to speak of.
        ("data: {\"choices\":[{\"delta\":{\"content\":\"a<\"}}]}\n\ndata: {\"choices\":[{\"finish_reason\":\"stop\"}]}\n\n",
         "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\ndata: {\"choices\":[{\"delta\":{\"content\":\"<\"},\"finish_reason\":\"stop\"}]}\n\n"),
        ("data: {\"choices\":[{\"delta\":{\"content\":\"a<\"}}]}\n\ndata: {\"choices\":[{\"delta\":null,\"finish_reason\":\"length\"}]}\n\n",
         "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\ndata: {\"choices\":[{\"delta\":{\"content\":\"<\"},\"finish_reason\":\"length\"}]}\n\n"),
        // Escaped, as some servers write it; and two choices, each for itself.
        ("data: {\"choices\":[{\"index\":1,\"delta\":{\"content\":\"\\u003cthink\\u003ea\"}},{\"index\":0,\"delta\":{\"content\":\"b\"}}]}\n\n",
         "data: {\"choices\":[{\"index\":1,\"delta\":{\"reasoning_content\":\"a\"}},{\"index\":0,\"delta\":{\"content\":\"b\"}}]}\n\n"),
    ];
    for (raw, want) in cases {
        let want = if *want == "=" { raw } else { want };
        for chunk in [raw.len(), 1, 7] {
            let out = lifted(lifting(""), raw.as_bytes().chunks(chunk));
            assert_eq!(String::from_utf8(out).unwrap(), *want, "in chunks of {chunk}");
        }
    }
}

#[test]
fn what_is_no_answer_stays_as_it_is() {
    for body in
        ["", "nonsense", "[]", r#"{"error":{"message":"<think>"}}"#, r#"{"choices":[{"message":{"content":null}}]}"#]
    {
        assert_eq!(lifting("").whole(Bytes::from(body)), body);
    }
    let half = Bytes::from_static(b"{\"choices\":[{\"message\":{\"content\":\"<think>\xff\"}}]}");
    assert_eq!(lifting("").whole(half.clone()), half);
}

#[test]
fn little_is_held_whatever_comes() {
    let begun = "<tool_call>{\"name\":\"read\",\"arguments\":\"";
    let mut lifter = StreamLifter::new(lifting(""));
    let (mut sent, mut came) = (0, 0);
    for piece in std::iter::once(begun).chain(std::iter::repeat_n("0123456789abcdef", 40_000)) {
        sent += piece.len();
        let out = lifter.push(event(json!({"content": piece}), Value::Null).as_bytes());
        came += Answer::from_stream(&out).map_or(0, |a| a.text.len());
        assert!(sent - came <= text::MAX_HELD + 16, "{sent} {came}");
    }
    assert!(came > 0);
    let line = format!("data: {}", "x".repeat(3 << 20));
    let passed: usize = line.as_bytes().chunks(1000).map(|chunk| lifter.push(chunk).len()).sum();
    assert!(line.len() - passed < 2 << 20, "a line without end passes");
}

fn cut<'a>(text: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let (mut rest, mut chunks) = (text, Vec::new());
    for cut in cuts {
        let (head, tail) = rest.split_at((*cut).min(rest.len()));
        chunks.push(head);
        rest = tail;
    }
    chunks.push(rest);
    chunks
}

proptest! {
    /// Wherever the network cuts the stream, the same bytes come out.
    #[test]
    fn borders_of_chunks_do_not_matter(case in 0..CASES.len(), cuts in proptest::collection::vec(1usize..90, 1..40)) {
        let raw = stream([CASES[case].0]);
        prop_assert_eq!(lifted(lifting(""), cut(raw.as_bytes(), &cuts)), lifted(lifting(""), [raw.as_bytes()]));
    }

    /// Wherever the upstream cuts the text, the same answer comes out.
    #[test]
    fn borders_of_events_do_not_matter(case in 0..CASES.len(), cuts in proptest::collection::vec(1usize..20, 1..30)) {
        let characters = by_character(CASES[case].0);
        let (mut pieces, mut rest) = (Vec::new(), characters.as_slice());
        for at in cuts {
            let (head, tail) = rest.split_at(at.min(rest.len()));
            pieces.push(head.concat());
            rest = tail;
        }
        pieces.push(rest.concat());
        let raw = lifted(lifting(""), [stream(pieces.iter().map(String::as_str)).as_bytes()]);
        prop_assert_eq!(read_stream(&raw), expected(&CASES[case]));
    }

    /// Text without marks comes out as it went in, byte for byte where it is not held back.
    #[test]
    fn other_text_does_not_change(pieces in proptest::collection::vec("[ -~é◁<>|\n]{0,12}", 0..12)) {
        let text = pieces.concat();
        prop_assume!(!["<think>", "<reasoning>", "<tool_call", "<|tool_call"].iter().any(|mark| text.contains(mark)));
        let (reasoning, content, calls, _) =
            read_stream(&lifted(lifting(""), [stream(pieces.iter().map(String::as_str)).as_bytes()]));
        prop_assert_eq!((reasoning.as_str(), content, calls.len()), ("", text, 0));
    }

    /// Whatever bytes come, all other lines pass, and nothing fails.
    #[test]
    fn anything_may_come(raw in proptest::collection::vec(any::<u8>(), 0..200), cuts in proptest::collection::vec(1usize..30, 1..8)) {
        prop_assert_eq!(lifted(lifting(""), cut(&raw, &cuts)), raw);
    }
}
