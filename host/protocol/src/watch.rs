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
    /// The last bytes of the chunk before, for marks that lie across a border.
    carry: Vec<u8>,
    seen: StreamEnd,
    at_event_start: bool,
}

const DONE: &[u8] = b"data: [DONE]";
const DONE_TIGHT: &[u8] = b"data:[DONE]";
const FINISH: &[u8] = br#""finish_reason""#;
/// More than the longest mark with the white space that may follow it.
const CARRY: usize = 48;

impl Default for StreamWatch {
    fn default() -> Self {
        StreamWatch {
            done: Finder::new(b"[DONE]"),
            finish: Finder::new(FINISH),
            carry: Vec::with_capacity(2 * CARRY),
            seen: StreamEnd::Broken,
            at_event_start: true,
        }
    }
}

impl StreamWatch {
    /// Takes notice of the next bytes.
    pub fn push(&mut self, chunk: &[u8]) {
        if let Some(last_two) = chunk.len().checked_sub(2).map(|n| &chunk[n..]) {
            self.at_event_start = last_two == b"\n\n" || chunk.ends_with(b"\r\n\r\n");
        }
        if self.seen == StreamEnd::Done {
            return;
        }
        // The border: what was left over, and as much of this chunk as could complete a mark.
        if !self.carry.is_empty() {
            let head = chunk.len().min(CARRY);
            self.carry.extend_from_slice(&chunk[..head]);
            let border = std::mem::take(&mut self.carry);
            self.look(&border);
            self.carry = border;
        }
        self.look(chunk);
        let tail = chunk.len().min(CARRY);
        if tail == CARRY {
            self.carry.clear();
        } else {
            let keep = self.carry.len().min(CARRY);
            self.carry.drain(..self.carry.len() - keep);
            if keep > 0 {
                // A tiny chunk is already in the carry from the border search.
                return;
            }
        }
        self.carry.extend_from_slice(&chunk[chunk.len() - tail..]);
    }

    /// How the stream stands if it ends now.
    pub fn end(&self) -> StreamEnd {
        self.seen
    }

    /// Whether the bytes so far end with a whole event, so that another may follow.
    pub fn at_event_start(&self) -> bool {
        self.at_event_start
    }

    fn look(&mut self, bytes: &[u8]) {
        if self.done.find_iter(bytes).any(|at| is_done_line(bytes, at)) {
            self.seen = StreamEnd::Done;
        } else if self.seen == StreamEnd::Broken && self.finish.find_iter(bytes).any(|at| has_string_value(&bytes[at + FINISH.len()..])) {
            self.seen = StreamEnd::Finished;
        }
    }
}

/// Whether `[DONE]` at `at` is a data line of its own and not text that a model wrote.
fn is_done_line(bytes: &[u8], at: usize) -> bool {
    let line = &bytes[..at + 6];
    [DONE, DONE_TIGHT].iter().any(|mark| {
        line.strip_suffix(*mark).is_some_and(|before| before.is_empty() || before.ends_with(b"\n"))
    })
}

fn has_string_value(after_key: &[u8]) -> bool {
    let mut rest = after_key.iter().filter(|b| !b.is_ascii_whitespace());
    rest.next() == Some(&b':') && rest.next() == Some(&b'"')
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
        ("data: {\"choices\":[{\"delta\":{\"content\":\"\\\"finish_reason\\\":\\\"stop\\\" data: [DONE]\"}}]}\n\n", StreamEnd::Broken),
        ("data: {\"choices\":[{\"delta\":{\"content\":\"finish_reason\"}}]}\n\n", StreamEnd::Broken),
        ("data: {\"choices\":[{\"delta\":{},\"finish_reason\" : \"stop\"}]}\n\n", StreamEnd::Finished),
        ("data: {\"choices\":[{\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n", StreamEnd::Done),
        ("data: {\"choices\":[{\"finish_reason\":\"stop\"}]}\n\ndata:[DONE]", StreamEnd::Done),
        ("data: {\"x\":\"yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\"}\r\n\r\ndata: [DONE]\r\n\r\n", StreamEnd::Done),
    ];

    #[test]
    fn knows_the_end_whole_or_byte_by_byte() {
        for (text, want) in CASES {
            assert_eq!(watch([text.as_bytes()]), *want, "{text}");
            assert_eq!(watch(text.as_bytes().chunks(1)), *want, "{text}");
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
