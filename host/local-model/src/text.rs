/// Turns an answer's bytes into text that can be sent: whole characters only, and never any part of a stop text.
pub(crate) struct TextStream {
    stops: Vec<String>,
    /// The start of a character whose rest has not come yet.
    partial: Vec<u8>,
    /// Text that may still turn out to be the start of a stop text.
    held: String,
    stopped: bool,
}

impl TextStream {
    pub(crate) fn new(stops: Vec<String>) -> Self {
        TextStream { stops, partial: Vec::new(), held: String::new(), stopped: false }
    }

    /// Whether a stop text has come. Nothing more is sent then.
    pub(crate) fn stopped(&self) -> bool {
        self.stopped
    }

    /// Takes the bytes of one more token; returns what can be sent now, which may be nothing.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> String {
        if self.stopped {
            return String::new();
        }
        self.partial.extend_from_slice(bytes);
        self.take_characters();
        let found = self.stops.iter().filter_map(|stop| self.held.find(stop.as_str())).min();
        if let Some(at) = found {
            self.stopped = true;
            self.held.truncate(at);
            return std::mem::take(&mut self.held);
        }
        let keep = self.stops.iter().map(|stop| overlap(&self.held, stop)).max().unwrap_or(0);
        let rest = self.held.split_off(self.held.len() - keep);
        std::mem::replace(&mut self.held, rest)
    }

    /// What was held back, at the end of the answer. A character that never became whole is left out.
    pub(crate) fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// Moves whole characters from `partial` to `held`; what can never become one is replaced by U+FFFD.
    fn take_characters(&mut self) {
        let mut done = 0;
        for chunk in self.partial.utf8_chunks() {
            self.held.push_str(chunk.valid());
            done += chunk.valid().len();
            let invalid = chunk.invalid();
            let at_end = done + invalid.len() == self.partial.len();
            let unfinished = at_end && std::str::from_utf8(invalid).is_err_and(|e| e.error_len().is_none());
            if !invalid.is_empty() && !unfinished {
                self.held.push(char::REPLACEMENT_CHARACTER);
                done += invalid.len();
            }
        }
        self.partial.drain(..done);
    }
}

/// The length of the longest end of `text` that `stop` begins with.
fn overlap(text: &str, stop: &str) -> usize {
    let longest = stop.len().min(text.len());
    let fits = |len: &usize| stop.is_char_boundary(*len) && text.ends_with(&stop[..*len]);
    (1..=longest).rev().find(fits).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is sent for each piece, with `|` between pieces; and whether the stream stopped.
    fn check(stops: &[&str], pieces: &[&[u8]], want: &str, stopped: bool) {
        let mut stream = TextStream::new(stops.iter().map(|s| (*s).to_owned()).collect());
        let mut sent: Vec<String> = pieces.iter().map(|piece| stream.push(piece)).collect();
        sent.push(stream.finish());
        assert_eq!((sent.join("|").as_str(), stream.stopped()), (want, stopped), "{stops:?} {pieces:?}");
    }

    #[test]
    fn characters_are_sent_whole() {
        check(&[], &["é".as_bytes(), "a".as_bytes()], "é|a|", false);
        check(&[], &[b"a\xF0", b"\x9F", b"\x98\x80b"], "a||😀b|", false);
        check(&[], &[b"a\xF0\x9F", b"b"], "a|\u{FFFD}b|", false);
        check(&[], &[b"a\xFFb"], "a\u{FFFD}b|", false);
        check(&[], &[b"a\xE2\x82"], "a|", false);
    }

    #[test]
    fn stop_texts_are_never_sent_however_they_are_split() {
        check(&["END"], &[b"one END two"], "one |", true);
        check(&["END"], &[b"one E", b"N", b"D two"], "one |||", true);
        check(&["END"], &[b"one E", b"N", b"O"], "one ||ENO|", false);
        check(&["END"], &[b"EEN", b"D"], "E||", true);
        check(&["END"], &[b"one EN"], "one |EN", false);
        check(&["\n\n", "b"], &[b"a\n", b"\nb"], "a||", true);
        check(&["é!"], &[b"x\xC3", b"\xA9", b"!"], "x|||", true);
        check(&["é!"], &[b"x\xC3", b"\xA9", b"?"], "x||é?|", false);
    }
}
