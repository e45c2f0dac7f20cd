//! The faults.

mod odd;

use tests::Act;

use Want::{Answer, Broken, Error, Torn, Unlearned};

/// What the client is to get.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Want {
    /// The answer, whole; it is learned from.
    Answer,
    /// The answer, but nothing to learn from.
    Unlearned,
    /// An error instead.
    Error(u16, &'static str),
    /// The beginning of a stream, then an error event.
    Broken(&'static str),
    /// Either of the last two: a reset may overtake the words before it.
    Torn,
}

pub(super) struct Fault {
    pub(super) name: &'static str,
    pub(super) stream: (Vec<Act>, Want),
    pub(super) whole: (Vec<Act>, Want),
}

const WORDS: &str =
    r#"data: {"id":"c","choices":[{"index":0,"delta":{"role":"assistant","content":"words"},"finish_reason":null}]}"#;
const STOP: &str = r#"data: {"id":"c","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;
const WHOLE: &str =
    r#"{"id":"c","choices":[{"index":0,"message":{"role":"assistant","content":"words"},"finish_reason":"stop"}]}"#;

/// A whole stream with this between its first words and its end.
fn events(between: &str) -> String {
    format!("{WORDS}\n\n{between}{STOP}\n\ndata: [DONE]\n\n")
}

fn send(bytes: impl AsRef<[u8]>) -> Act {
    Act::Send(bytes.as_ref().to_vec())
}

/// A head; the body ends when the connection does.
fn head(kind: &str) -> Act {
    send(format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nConnection: close\r\n\r\n"))
}

fn sse() -> Act {
    head("text/event-stream")
}

fn json() -> Act {
    head("application/json")
}

/// A response in good order with this body.
fn good(kind: &str, body: impl AsRef<[u8]>) -> Vec<Act> {
    let body = body.as_ref();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n", body.len());
    vec![send([head.as_bytes(), body].concat()), Act::Next]
}

fn good_events(body: impl AsRef<[u8]>) -> Vec<Act> {
    good("text/event-stream", body)
}

fn good_json(body: impl AsRef<[u8]>) -> Vec<Act> {
    good("application/json", body)
}

/// Faults before the kind of answer matters.
fn either(name: &'static str, acts: Vec<Act>, want: Want) -> Fault {
    Fault { name, stream: (acts.clone(), want), whole: (acts, want) }
}

fn fault(name: &'static str, stream: Vec<Act>, streamed: Want, whole: Vec<Act>, unstreamed: Want) -> Fault {
    Fault { name, stream: (stream, streamed), whole: (whole, unstreamed) }
}

pub(super) const BROKEN: Want = Error(502, "upstream_broken");
const MALFORMED: Want = Error(502, "upstream_malformed");
const FAILED: Want = Error(502, "upstream_failed");
const LATE: Want = Error(504, "upstream_timeout");

fn no_answer() -> Vec<Fault> {
    let status = |line: &str| vec![send(format!("HTTP/1.1 {line}\r\nContent-Length: 2\r\n\r\n{{}}"))];
    vec![
        either("closed before the head", vec![], BROKEN),
        either("reset before the head", vec![Act::Reset], BROKEN),
        either("closed within the head", vec![send("HTTP/1.1 200 OK\r\nContent-Ty")], BROKEN),
        either("garbage for a status line", vec![send("WHAT IS THIS\r\n\r\n")], BROKEN),
        either(
            "headers without end",
            vec![send("HTTP/1.1 200 OK\r\n"), Act::Endless(b"X: y\r\n".repeat(1000))],
            BROKEN,
        ),
        either(
            "two lengths",
            vec![send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 7\r\n\r\nabcdefg")],
            BROKEN,
        ),
        either("silence", vec![Act::Hang], LATE),
        either("a head that never ends", vec![send("HTTP/1.1 200 OK\r\nX: "), Act::Hang], LATE),
        either("a head, then silence", vec![sse(), Act::Hang], LATE),
        either("nothing in the body", good_events(""), MALFORMED),
        either("white space without end", vec![sse(), Act::Endless(b" \r\n".repeat(100))], MALFORMED),
        either("no content", vec![send("HTTP/1.1 204 No Content\r\n\r\n")], MALFORMED),
        either(
            "another protocol",
            vec![send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n")],
            FAILED,
        ),
        either(
            "a redirect",
            vec![send("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n")],
            FAILED,
        ),
        either("a server error", status("500 Oops"), FAILED),
        either("a timeout of its own", status("504 Late"), FAILED),
        either("a web page", good("text/html", "<html>words</html>"), MALFORMED),
        either(
            "a packed answer",
            vec![send("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\n\x1f\x08\x00")],
            MALFORMED,
        ),
        either("an error with 200", good_json(r#"{"error":{"message":"overloaded"}}"#), FAILED),
        either(
            "an error with 200 that names its status",
            good_json(r#"{"error":{"message":"slow","code":429}}"#),
            Error(429, ""),
        ),
        either(
            "an error with 200 for the client",
            good_json(r#"{"error":{"message":"too long","code":"400"}}"#),
            Error(400, ""),
        ),
        either("JSON of another kind", good_json(r#"{"object":"list","data":[]}"#), MALFORMED),
        either("a list", good_json("[1]"), MALFORMED),
        either("brackets", good_json("[".repeat(100_000)), MALFORMED),
    ]
}

fn cut_short() -> Vec<Fault> {
    let half = &WHOLE[..40];
    let short = |kind: &str, body: &str| {
        vec![send(format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: 9999\r\n\r\n{body}"))]
    };
    let chunked = |kind: &str, body: &str, end: &str| {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n");
        vec![send(format!("{head}{:x}\r\n{body}\r\n{end}", body.len()))]
    };
    let first = format!("{WORDS}\n\n");
    let within = format!("{WORDS}\n\ndata: {{\"choi");
    let (events_kind, json_kind) = ("text/event-stream", "application/json");
    vec![
        fault(
            "reset after the first words",
            vec![sse(), send(&first), Act::Reset],
            Torn,
            vec![json(), send(half), Act::Reset],
            BROKEN,
        ),
        fault("reset within an event", vec![sse(), send(&within), Act::Reset], Torn, vec![json(), Act::Reset], BROKEN),
        fault(
            "closed within an event",
            vec![sse(), send(&within)],
            Broken("upstream_broken"),
            vec![json(), send(half)],
            MALFORMED,
        ),
        fault(
            "closed before the announced length",
            short(events_kind, &within),
            Broken("upstream_broken"),
            short(json_kind, half),
            BROKEN,
        ),
        fault(
            "closed before the announced length, though whole",
            short(events_kind, &events("")),
            Answer,
            short(json_kind, WHOLE),
            BROKEN,
        ),
        fault(
            "closed before the last chunk",
            chunked(events_kind, &first, ""),
            Broken("upstream_broken"),
            chunked(json_kind, WHOLE, ""),
            BROKEN,
        ),
        fault(
            "a chunk of no size",
            chunked(events_kind, &first, "ZZ\r\n"),
            Broken("upstream_broken"),
            chunked(json_kind, WHOLE, "ZZ\r\n"),
            BROKEN,
        ),
        fault(
            "silence within",
            vec![sse(), send(&within), Act::Hang],
            Broken("upstream_timeout"),
            vec![json(), send(half), Act::Hang],
            LATE,
        ),
        fault("only the beginning of an event", good_events("data: {\"choi"), BROKEN, good_json("{"), MALFORMED),
        fault(
            "words without a finish",
            good_events(&first),
            Broken("upstream_broken"),
            good_json(&WHOLE[..WHOLE.len() - 1]),
            MALFORMED,
        ),
    ]
}

fn malformed() -> Vec<Fault> {
    let bad = |text: &str| text.replace("words", "w\u{1}rds").into_bytes();
    let utf8 = |text: &str| [text.as_bytes(), b"\xFF"].concat();
    let big = format!("{WORDS}\n\n{}", WORDS.replace("words", &"w".repeat(2 << 20)));
    let broken = Broken("upstream_malformed");
    let error = "data: {\"error\":{\"message\":\"overloaded\",\"code\":503}}\n\n";
    vec![
        fault(
            "bad UTF-8 at once",
            good_events([b"data: \xFF\n\n".as_slice(), events("").as_bytes()].concat()),
            MALFORMED,
            good_json(b"\xFF"),
            MALFORMED,
        ),
        fault(
            "bad UTF-8 later",
            good_events([&utf8(&format!("{WORDS}\n\n: "))[..], b"\n\n"].concat()),
            broken,
            good_json(utf8(WHOLE)),
            MALFORMED,
        ),
        fault("an event that is not JSON", good_events(events("data: oops\n\n")), broken, good_json("oops"), MALFORMED),
        fault(
            "half an event that looks like the one before",
            good_events(events(&format!("{}\n\n", &WORDS[..WORDS.len() - 2]))),
            broken,
            good_json(&WHOLE[1..]),
            MALFORMED,
        ),
        fault(
            "a control character in a string",
            good_events(format!("{WORDS}\n\n{}\n\n", String::from_utf8(bad(WORDS)).unwrap())),
            broken,
            good_json(bad(WHOLE)),
            MALFORMED,
        ),
        fault(
            "an event of two mebibytes",
            good_events(format!("{big}\n\n{STOP}\n\n")),
            broken,
            good_json(WHOLE.replace("words", &"w".repeat(2 << 20))),
            Answer,
        ),
        fault(
            "an error within",
            good_events(events(error)),
            Broken("upstream_failed"),
            good_json(WHOLE.replace("\"id\":\"c\"", "\"error\":\"x\"")),
            FAILED,
        ),
        fault(
            "lines that are no events",
            good_events(events("<html>\n\n")),
            broken,
            good_json(format!("{WHOLE}<html>")),
            MALFORMED,
        ),
        fault(
            "events of another kind",
            good_events("data: {\"type\":\"ping\"}\n\n"),
            BROKEN,
            good_json("{}"),
            MALFORMED,
        ),
        fault(
            "nothing but [DONE]",
            good_events("data: [DONE]\n\n"),
            MALFORMED,
            good_json(r#"{"choices":[]}"#),
            MALFORMED,
        ),
        fault(
            "a delta that is none",
            good_events("data: {\"choices\":[{\"delta\":\"a\"}]}\n\n"),
            MALFORMED,
            good_json(r#"{"choices":[{"message":"a"}]}"#),
            MALFORMED,
        ),
        fault(
            "[DONE] without a finish",
            good_events(format!("{WORDS}\n\ndata: [DONE]\n\n")),
            Unlearned,
            good_json(format!("{WHOLE}{WHOLE}")),
            MALFORMED,
        ),
    ]
}

/// Every fault.
pub(super) fn all() -> Vec<Fault> {
    [no_answer(), cut_short(), malformed(), odd::odd_but_whole()].into_iter().flatten().collect()
}
