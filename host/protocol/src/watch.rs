use memchr::memmem::Finder;

/// What a stream had said when it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamEnd {
    /// `[DONE]`: nothing is missing.
    Done,
    /// Every word came, but not the closing `[DONE]`.
    Finished,
    /// It broke off before a `finish_reason`.
    Broken,
}

/// Looks at a stream's bytes as they pass, to know at its end whether it was whole. It does not parse: a few vector
/// searches a chunk, whatever the chunk borders.
#[derive(Debug)]
pub struct StreamWatch {
    done: Finder<'static>,
    finish: Finder<'static>,
    /// The last bytes so far, for marks that lie across a border; never empty.
    carry: Vec<u8>,
    seen: StreamEnd,
}

const DONE: &[u8] = b"\ndata: [DONE]";
const DONE_TIGHT: &[u8] = b"\ndata:[DONE]";
const FINISH: &[u8] = br#""finish_reason""#;
/// More than the longest mark with the white space that may be in it.
const CARRY: usize = 48;

impl Default for StreamWatch {
    fn default() -> Self {
        let mut carry = Vec::with_capacity(2 * CARRY);
        // A stream begins like what follows an event.
        carry.extend_from_slice(b"\n\n");
        StreamWatch { done: Finder::new(b"[DONE]"), finish: Finder::new(FINISH), carry, seen: StreamEnd::Broken }
    }
}

impl StreamWatch {
    /// Takes notice of the next bytes.
    pub fn push(&mut self, chunk: &[u8]) {
        if self.seen == StreamEnd::Done {
            return;
        }
        // The border: what was left over, and as much of this chunk as could complete a mark.
        let mut border = std::mem::take(&mut self.carry);
        border.extend_from_slice(&chunk[..chunk.len().min(CARRY)]);
        self.look(&border);
        if chunk.len() > CARRY {
            self.look(chunk);
            border.clear();
            border.extend_from_slice(&chunk[chunk.len() - CARRY..]);
        } else {
            border.drain(..border.len().saturating_sub(CARRY));
        }
        self.carry = border;
    }

    /// How the stream stands if it ends now.
    pub fn end(&self) -> StreamEnd {
        self.seen
    }

    /// Whether the bytes so far end with a whole event, so that another may follow. Of no meaning after `[DONE]`.
    pub fn at_event_start(&self) -> bool {
        self.carry.ends_with(b"\n\n") || self.carry.ends_with(b"\n\r\n")
    }

    fn look(&mut self, bytes: &[u8]) {
        if self.done.find_iter(bytes).any(|at| is_done_line(&bytes[..at + 6])) {
            self.seen = StreamEnd::Done;
        } else if self.seen == StreamEnd::Broken
            && self.finish.find_iter(bytes).any(|at| has_text_value(&bytes[at + FINISH.len()..]))
        {
            self.seen = StreamEnd::Finished;
        }
    }
}

/// Whether this ends with a data line of its own, and not with text that a model wrote. A line that begins where a chunk
/// does is recognised with the border before it.
fn is_done_line(upto: &[u8]) -> bool {
    upto.ends_with(DONE) || upto.ends_with(DONE_TIGHT)
}

/// Whether the value is a string that says something: some upstreams write `""` until the last chunk.
fn has_text_value(after_key: &[u8]) -> bool {
    let mut rest = after_key.iter().filter(|b| !b.is_ascii_whitespace());
    rest.next() == Some(&b':') && rest.next() == Some(&b'"') && rest.next().is_some_and(|b| *b != b'"')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn watch<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> StreamEnd {
        let mut watch = StreamWatch::default();
        chunks.into_iter().for_each(|c| watch.push(c));
        watch.end()
    }

    const CASES: &[(&str, StreamEnd)] = &[
        ("", StreamEnd::Broken),
        ("data: {\"choices\":[{\"delta\":{\"content\":\"a\"},\"finish_reason\":null}]}\n\n", StreamEnd::Broken),
        (
            "data: {\"choices\":[{\"delta\":{\"content\":\"\\\"finish_reason\\\":\\\"stop\\\" data: [DONE]\"}}]}\n\n",
            StreamEnd::Broken,
        ),
        ("data: {\"choices\":[{\"delta\":{\"content\":\"finish_reason\"}}]}\n\n", StreamEnd::Broken),
        ("data: {\"choices\":[{\"delta\":{\"content\":\"a\"},\"finish_reason\":\"\"}]}\n\n", StreamEnd::Broken),
        ("data: {\"choices\":[{\"delta\":{},\"finish_reason\" : \"stop\"}]}\n\n", StreamEnd::Finished),
        ("data: {\"choices\":[{\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n", StreamEnd::Done),
        ("data: {\"choices\":[{\"finish_reason\":\"stop\"}]}\n\ndata:[DONE]", StreamEnd::Done),
        (
            "data: {\"x\":\"yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\"}\r\n\r\ndata: [DONE]\r\n\r\n",
            StreamEnd::Done,
        ),
    ];

    #[test]
    fn knows_the_end_whole_or_byte_by_byte() {
        for (text, want) in CASES {
            assert_eq!(watch([text.as_bytes()]), *want, "{text}");
            assert_eq!(watch(text.as_bytes().chunks(1)), *want, "{text}");
        }
    }

    #[test]
    fn words_of_a_model_are_no_mark_wherever_they_are_cut() {
        let text = r#"data: {"choices":[{"delta":{"content":"it ends with data: [DONE]"}}]}"#;
        for cut in 0..text.len() {
            let (head, tail) = text.as_bytes().split_at(cut);
            assert_eq!(watch([head, tail]), StreamEnd::Broken, "cut at {cut}");
        }
    }

    #[test]
    fn knows_whether_an_event_may_follow() {
        for (chunks, may) in [
            (&[][..], true),
            (&["data: a\n\n"], true),
            (&["data: a\r\n\r\n"], true),
            (&["data: a\n", "\n"], true),
            (&["data: a\r\n", "\r\n"], true),
            (&["data: a\n"], false),
            (&["data: a\n\n", "d"], false),
        ] {
            let mut watch = StreamWatch::default();
            chunks.iter().for_each(|c| watch.push(c.as_bytes()));
            assert_eq!(watch.at_event_start(), may, "{chunks:?}");
        }
    }

    proptest! {
        #[test]
        fn borders_do_not_matter(case in 0..CASES.len(), cuts in proptest::collection::vec(1usize..60, 1..20)) {
            let (text, want) = CASES[case];
            let (mut rest, mut chunks) = (text.as_bytes(), Vec::new());
            for cut in cuts {
                let (head, tail) = rest.split_at(cut.min(rest.len()));
                chunks.push(head);
                rest = tail;
            }
            chunks.push(rest);
            prop_assert_eq!(watch(chunks), want);
        }
    }
}
