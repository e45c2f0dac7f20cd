//! What looks wrong and is a whole answer all the same.

use tests::Act;

use super::Want::Answer;
use super::{Fault, STOP, WHOLE, WORDS, events, fault, good, good_events, good_json, send, sse};

pub(super) fn odd_but_whole() -> Vec<Fault> {
    let old = |kind: &str, body: &str| vec![send(format!("HTTP/1.0 200 OK\r\nContent-Type: {kind}\r\n\r\n{body}"))];
    let bare = |body: &str| vec![send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()))];
    let hints = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n";
    let hinted = |acts: Vec<Act>| [vec![send(hints)], acts].concat();
    let all = events("");
    let trickle = |acts: Vec<Act>| -> Vec<Act> {
        let slowly = |act| match act {
            Act::Send(bytes) => Act::Trickle(bytes),
            other => other,
        };
        acts.into_iter().map(slowly).collect()
    };
    let on_and_on = vec![sse(), send(&all), Act::Endless(b"data: more\n\n".to_vec())];
    let lines = format!("data: {{\"id\":\"c\",\"choices\":\ndata: []}}\n\n{all}");
    vec![
        fault("one byte at a time", trickle(good_events(&all)), Answer, trickle(good_json(WHOLE)), Answer),
        fault("no [DONE]", good_events(format!("{WORDS}\n\n{STOP}\n\n")), Answer, old("text/plain", WHOLE), Answer),
        fault(
            "half a [DONE]",
            good_events(format!("{WORDS}\n\n{STOP}\n\ndata: [DO")),
            Answer,
            good_json(format!("\n {WHOLE}\n")),
            Answer,
        ),
        fault(
            "[DONE] without its empty line",
            good_events(format!("{WORDS}\n\n{STOP}\n\ndata: [DONE]")),
            Answer,
            bare(WHOLE),
            Answer,
        ),
        fault("[DONE] twice", good_events(format!("{all}data: [DONE]\n\n")), Answer, good_json(WHOLE), Answer),
        fault(
            "garbage after [DONE]",
            good_events(format!("{all}<html>\n\ndata: {{")),
            Answer,
            good_json(WHOLE),
            Answer,
        ),
        fault("no end after [DONE]", vec![sse(), send(&all), Act::Hang], Answer, good_json(WHOLE), Answer),
        fault("more without end after [DONE]", on_and_on, Answer, good_json(WHOLE), Answer),
        fault("a wrong content type", good("text/html", &all), Answer, good("text/html", WHOLE), Answer),
        fault(
            "the other's content type",
            good("application/json", &all),
            Answer,
            good("text/event-stream", WHOLE),
            Answer,
        ),
        fault("no content type", bare(&all), Answer, bare(WHOLE), Answer),
        fault("the other kind of answer", good_json(WHOLE), Answer, good_events(&all), Answer),
        fault(
            "HTTP/1.0 to the end of the connection",
            old("text/event-stream", &all),
            Answer,
            old("application/json", WHOLE),
            Answer,
        ),
        fault("interim answers", hinted(good_events(&all)), Answer, hinted(good_json(WHOLE)), Answer),
        fault("CRLF", good_events(all.replace('\n', "\r\n")), Answer, good_json(format!("\r\n{WHOLE}\r\n")), Answer),
        fault("CR", good_events(all.replace('\n', "\r")), Answer, good_json(format!("\r{WHOLE}\r")), Answer),
        fault(
            "comments, names, numbers",
            good_events(format!(": hello\n\nevent: chunk\nid: 1\nretry: 5\n{all}")),
            Answer,
            good_json(WHOLE),
            Answer,
        ),
        fault(
            "a stream where none was asked for, in odd lines",
            good_events(&lines),
            Answer,
            good_events(&lines),
            Answer,
        ),
        fault(
            "empty and foreign events",
            good_events(events("data:\n\ndata: {\"type\":\"ping\"}\n\n")),
            Answer,
            good_json(WHOLE),
            Answer,
        ),
        fault(
            "a byte order mark",
            good_events(format!("\u{feff}{all}")),
            Answer,
            good_json(format!("\u{feff}{WHOLE}")),
            Answer,
        ),
    ]
}
