use proptest::prelude::*;

use super::*;

const A: &str = r#"data: {"choices":[{"delta":{"content":"a"},"finish_reason":null}]}"#;
const STOP: &str = r#"data: {"choices":[{"delta":{},"finish_reason":"stop"}]}"#;

/// What passes of these pieces and of the end after them.
fn through<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (String, Option<Flaw>) {
    let mut gate = EventGate::default();
    let mut all = Vec::new();
    for piece in pieces {
        let passed = gate.take(Bytes::copy_from_slice(piece));
        all.extend_from_slice(&passed.events);
        if passed.flaw.is_some() {
            return (String::from_utf8(all).unwrap(), passed.flaw);
        }
    }
    let last = gate.end();
    all.extend_from_slice(&last.events);
    (String::from_utf8(all).unwrap(), last.flaw)
}

/// A stream, what passes of it, and its flaw.
fn cases() -> Vec<(String, String, Option<Flaw>)> {
    let whole = format!("{A}\n\n{STOP}\n\ndata: [DONE]\n\n");
    let same = |text: String, flaw| (text.clone(), text, flaw);
    let error = r#"{"error":{"code":503}}"#;
    vec![
        same(whole.clone(), None),
        same(whole.replace('\n', "\r\n"), None),
        same(whole.replace('\n', "\r"), None),
        same(format!(": hello\n\nevent: x\nid: 7\n{whole}"), None),
        (format!("{whole}data: [DONE]\n\n<html>"), whole.clone(), None),
        (format!("\u{feff}{whole}"), whole.clone(), None),
        (format!("{A}\n\n{STOP}\n\ndata:[DONE]"), format!("{A}\n\n{STOP}\n\ndata:[DONE]\n\n"), None),
        (format!("{A}\n\n{STOP}\n\n"), whole.clone(), None),
        (format!("{A}\n\n{STOP}\n\ndata: [DO"), whole.clone(), None),
        (format!("data: \n\n{A}\n\ndata: {{\"type\":\"ping\"}}\n\n{STOP}\n\ndata: [DONE]\n\n"), whole, None),
        (
            format!("{STOP}\n\ndata: {{\"choices\":\ndata: []}}\n\n"),
            format!("{STOP}\n\ndata: {{\"choices\":  []}}\n\ndata: [DONE]\n\n"),
            None,
        ),
        (String::new(), String::new(), Some(Flaw::Cut)),
        (format!("{A}\n\n"), format!("{A}\n\n"), Some(Flaw::Cut)),
        (format!("{A}\n\ndata: {{\"choi"), format!("{A}\n\n"), Some(Flaw::Cut)),
        (format!("{A}\n\ndata: oops\n\n{STOP}\n\n"), format!("{A}\n\n"), Some(Flaw::Json)),
        (format!("{A}\n\n<html>\n\n"), format!("{A}\n\n"), Some(Flaw::Events)),
        (
            format!("{A}\n\ndata: {error}\n\n"),
            format!("{A}\n\n"),
            Some(Flaw::Error { status: Some(503), body: error.into() }),
        ),
        // What a model says is not what the upstream says.
        same(format!("{}\n\n", A.replace("\"a\"", r#""data: [DONE] \"finish_reason\":\"stop\"""#)), Some(Flaw::Cut)),
    ]
}

#[test]
fn whole_events_pass_and_nothing_else() {
    for (stream, passes, flaw) in cases() {
        assert_eq!(through([stream.as_bytes()]), (passes, flaw), "{stream:?}");
    }
    let mut bad = A.as_bytes().to_vec();
    bad[38] = 0xFF;
    assert_eq!(through([&bad[..], b"\n\n"]), (String::new(), Some(Flaw::Utf8)));
}

#[test]
fn an_event_may_have_a_mebibyte() {
    for (len, flaw) in [(MAX_EVENT, Some(Flaw::Cut)), (MAX_EVENT + 1, Some(Flaw::TooLong))] {
        let text = "x".repeat(len - A.len() - 1);
        let event = format!("{}\n\n", A.replace("\"a\"", &format!("\"{text}\"")));
        assert_eq!(event.len(), len);
        assert_eq!(through([event.as_bytes()]).1, flaw, "{len} in one piece");
        assert_eq!(through(event.as_bytes().chunks(1000)).1, flaw, "{len} in pieces");
    }
}

#[test]
fn an_event_that_only_looks_like_the_last_one_is_read() {
    for (text, flaw) in
        [("b", Flaw::Cut), ("\\n", Flaw::Cut), ("\\x", Flaw::Json), ("\u{1}", Flaw::Json), ("b\",\"c\":\"", Flaw::Cut)]
    {
        let second = A.replace("\"a\"", &format!("\"{text}\""));
        let stream = format!("{A}\n\n{second}\n\n");
        let passes = if flaw == Flaw::Cut { stream.clone() } else { format!("{A}\n\n") };
        assert_eq!(through([stream.as_bytes()]), (passes, Some(flaw)), "{text:?}");
    }
}

#[test]
fn whole_events_are_not_copied() {
    let chunk = Bytes::from(format!("{A}\n\n{A}\n\n"));
    let passed = EventGate::default().take(chunk.clone()).events;
    assert_eq!((passed.as_ptr(), passed.len()), (chunk.as_ptr(), chunk.len()));
}

proptest! {
    #[test]
    fn borders_do_not_matter(case in 0..18usize, cuts in proptest::collection::vec(1usize..60, 1..40)) {
        let (stream, passes, flaw) = cases().swap_remove(case);
        let (mut rest, mut pieces) = (stream.as_bytes(), Vec::new());
        for cut in cuts {
            let (head, tail) = rest.split_at(cut.min(rest.len()));
            pieces.push(head);
            rest = tail;
        }
        pieces.push(rest);
        let got = through(pieces);
        // An LF that comes after its event has passed is left out.
        prop_assert_eq!(got.0.replace("\r\n", "\n"), passes.replace("\r\n", "\n"));
        prop_assert_eq!(&got.1, &flaw);
        let bytes = through(stream.as_bytes().chunks(1));
        prop_assert_eq!(bytes.0.replace("\r\n", "\n"), passes.replace("\r\n", "\n"));
        prop_assert_eq!(bytes.1, flaw);
    }

    /// Whatever comes, what passes is whole events of text.
    #[test]
    fn nothing_passes_in_part(bytes in proptest::collection::vec(prop_oneof![
        Just(b"data: ".to_vec()), Just(b"\n\n".to_vec()), Just(b"\r".to_vec()), Just(A.as_bytes().to_vec()),
        Just(b"[DONE]".to_vec()), Just(b":".to_vec()), proptest::collection::vec(any::<u8>(), 1..9)], 0..20)) {
        let (passed, _) = through(bytes.iter().map(Vec::as_slice));
        prop_assert!(passed.is_empty() || passed.ends_with('\n') || passed.ends_with('\r'), "{:?}", passed);
    }
}
