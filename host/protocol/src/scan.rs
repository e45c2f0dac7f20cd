use std::ops::Range;

use memchr::memchr2;

/// The deepest nesting accepted, top level included. A bit each in [`Scanner::skip_value`]'s stack.
pub(crate) const MAX_DEPTH: u32 = 64;

/// A place in the body that is not JSON, or not JSON that we accept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScanError {
    /// Something else stood where `expected` should.
    #[error("expected {expected} at byte {at}")]
    Expected {
        /// What the grammar allows there.
        expected: &'static str,
        /// Offset into the body.
        at: usize,
    },
    /// Nested deeper than 64.
    #[error("nested deeper than {MAX_DEPTH} at byte {at}")]
    TooDeep {
        /// Offset into the body.
        at: usize,
    },
    /// More of something than is kept track of.
    #[error("there are more than {most} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many there may be.
        most: usize,
    },
}

/// Walks over JSON text, checking it, without building anything.
///
/// Neither `serde_json`'s raw values (about a third of the speed) nor `sonic-rs` (as fast, but its checking mode recurses
/// without a bound, which lets a body of brackets overflow the stack) gives what every turn needs: a full check, spans
/// of the top two levels, and bounded depth, in one pass. Strings, which are nearly all of a prompt, are skipped with SIMD.
pub(crate) struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Containers that the caller has entered itself.
    depth: u32,
    /// Whether there is any control character at all. Compact JSON has none, so its strings need not be searched for one.
    controls: bool,
}

/// One `"key": value` of an object.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// The key with its quotes.
    pub(crate) key: Range<usize>,
    pub(crate) value: Range<usize>,
}

impl<'a> Scanner<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Scanner { bytes, at: 0, depth: 0, controls: has_control(bytes) }
    }

    fn peek(&self) -> u8 {
        // NUL is never valid outside a string, so it doubles as the end mark.
        self.bytes.get(self.at).copied().unwrap_or(0)
    }

    fn expected<T>(&self, expected: &'static str) -> Result<T, ScanError> {
        Err(ScanError::Expected { expected, at: self.at })
    }

    pub(crate) fn skip_space(&mut self) {
        while matches!(self.peek(), b' ' | b'\n' | b'\r' | b'\t') {
            self.at += 1;
        }
    }

    /// Visits each entry of the object that starts here; `visit` must consume the value.
    pub(crate) fn object(
        &mut self,
        mut visit: impl FnMut(&mut Self, Range<usize>) -> Result<(), ScanError>,
    ) -> Result<(), ScanError> {
        self.enter(b'{', "an object")?;
        self.skip_space();
        if self.peek() == b'}' {
            return self.leave();
        }
        loop {
            self.skip_space();
            let key = self.string()?;
            self.skip_space();
            if self.peek() != b':' {
                return self.expected("`:`");
            }
            self.at += 1;
            self.skip_space();
            visit(self, key)?;
            self.skip_space();
            match self.peek() {
                b',' => self.at += 1,
                b'}' => return self.leave(),
                _ => return self.expected("`,` or `}`"),
            }
        }
    }

    /// Visits each element of the array that starts here; `visit` must consume it.
    pub(crate) fn array(&mut self, mut visit: impl FnMut(&mut Self) -> Result<(), ScanError>) -> Result<(), ScanError> {
        self.enter(b'[', "an array")?;
        self.skip_space();
        if self.peek() == b']' {
            return self.leave();
        }
        loop {
            self.skip_space();
            visit(self)?;
            self.skip_space();
            match self.peek() {
                b',' => self.at += 1,
                b']' => return self.leave(),
                _ => return self.expected("`,` or `]`"),
            }
        }
    }

    fn enter(&mut self, open: u8, what: &'static str) -> Result<(), ScanError> {
        if self.peek() != open {
            return self.expected(what);
        }
        self.at += 1;
        self.depth += 1;
        if self.depth > MAX_DEPTH { Err(ScanError::TooDeep { at: self.at - 1 }) } else { Ok(()) }
    }

    fn leave(&mut self) -> Result<(), ScanError> {
        self.at += 1;
        self.depth -= 1;
        Ok(())
    }

    pub(crate) fn position(&self) -> usize {
        self.at
    }

    pub(crate) fn next_byte(&self) -> u8 {
        self.peek()
    }

    /// Nothing but white space may follow.
    pub(crate) fn end(&mut self) -> Result<(), ScanError> {
        self.skip_space();
        if self.at == self.bytes.len() { Ok(()) } else { self.expected("the end") }
    }

    /// Skips one value of any kind, checking it, and returns where it was.
    pub(crate) fn skip_value(&mut self) -> Result<Range<usize>, ScanError> {
        let start = self.at;
        // Bit n says whether the container at depth n (within this value) is an object: no recursion, no allocation.
        let mut objects = 0u64;
        let mut inner = 0u32;
        loop {
            // Here a value begins.
            match self.peek() {
                b'"' => {
                    self.string()?;
                }
                open @ (b'{' | b'[') => {
                    if self.depth + inner >= MAX_DEPTH {
                        return Err(ScanError::TooDeep { at: self.at });
                    }
                    self.at += 1;
                    self.skip_space();
                    if self.peek() == open + 2 {
                        // `{}` or `[]`: in ASCII the closing bracket is two after the opening one.
                        self.at += 1;
                    } else {
                        objects = objects << 1 | u64::from(open == b'{');
                        inner += 1;
                        if open == b'{' {
                            self.key()?;
                        }
                        continue;
                    }
                }
                b'-' | b'0'..=b'9' => self.number()?,
                b't' => self.literal(b"true")?,
                b'f' => self.literal(b"false")?,
                b'n' => self.literal(b"null")?,
                _ => return self.expected("a value"),
            }
            // Here a value has ended: close what ends with it.
            loop {
                if inner == 0 {
                    return Ok(start..self.at);
                }
                self.skip_space();
                let object = objects & 1 == 1;
                match (self.peek(), object) {
                    (b',', _) => {
                        self.at += 1;
                        self.skip_space();
                        if object {
                            self.key()?;
                        }
                        break;
                    }
                    (b'}', true) | (b']', false) => {
                        self.at += 1;
                        objects >>= 1;
                        inner -= 1;
                    }
                    (_, true) => return self.expected("`,` or `}`"),
                    (_, false) => return self.expected("`,` or `]`"),
                }
            }
        }
    }

    fn key(&mut self) -> Result<(), ScanError> {
        self.string()?;
        self.skip_space();
        if self.peek() != b':' {
            return self.expected("`:`");
        }
        self.at += 1;
        self.skip_space();
        Ok(())
    }

    fn string(&mut self) -> Result<Range<usize>, ScanError> {
        let start = self.at;
        if self.peek() != b'"' {
            return self.expected("a string");
        }
        self.at += 1;
        loop {
            let rest = &self.bytes[self.at..];
            let Some(stop) = memchr2(b'"', b'\\', rest) else {
                self.at = self.bytes.len();
                return self.expected("the end of a string");
            };
            if self.controls && has_control(&rest[..stop]) {
                return self.expected("an escape instead of a control character in the string ending");
            }
            self.at += stop;
            if rest[stop] == b'"' {
                self.at += 1;
                return Ok(start..self.at);
            }
            match rest.get(stop + 1) {
                Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 2,
                Some(b'u') if rest.get(stop + 2..stop + 6).is_some_and(|h| h.iter().all(u8::is_ascii_hexdigit)) => {
                    self.at += 6
                }
                _ => return self.expected("an escape"),
            }
        }
    }

    fn number(&mut self) -> Result<(), ScanError> {
        if self.peek() == b'-' {
            self.at += 1;
        }
        if self.peek() == b'0' {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == b'.' {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), b'e' | b'E') {
            self.at += 1;
            if matches!(self.peek(), b'+' | b'-') {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), ScanError> {
        if !self.peek().is_ascii_digit() {
            return self.expected("a digit");
        }
        while self.peek().is_ascii_digit() {
            self.at += 1;
        }
        Ok(())
    }

    fn literal(&mut self, word: &'static [u8]) -> Result<(), ScanError> {
        if self.bytes[self.at..].starts_with(word) {
            self.at += word.len();
            Ok(())
        } else {
            self.expected("a value")
        }
    }
}

/// Folding without an early exit lets the compiler use vectors.
fn has_control(bytes: &[u8]) -> bool {
    bytes.iter().fold(false, |bad, b| bad | (*b < 0x20))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn accepts(text: &[u8]) -> bool {
        let mut scanner = Scanner::new(text);
        scanner.skip_space();
        scanner.skip_value().is_ok() && scanner.end().is_ok()
    }

    fn oracle(text: &str) -> bool {
        serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
    }

    #[test]
    fn depth_is_bounded_and_counted_from_the_top() {
        let nested = |n: usize| format!("{}1{}", "[".repeat(n), "]".repeat(n));
        assert!(accepts(nested(64).as_bytes()));
        assert!(!accepts(nested(65).as_bytes()));
        let mixed = |n: usize| format!("{}1{}", r#"{"a":["#.repeat(n), "]}".repeat(n));
        assert!(accepts(mixed(32).as_bytes()));
        assert!(!accepts(mixed(33).as_bytes()));
        let within = |n: usize| {
            let text = format!(r#"{{"messages":[{}]}}"#, nested(n));
            let mut scanner = Scanner::new(text.as_bytes());
            scanner.object(|s, _| s.array(|s| s.skip_value().map(drop)))
        };
        assert_eq!(within(62), Ok(()));
        assert!(matches!(within(63), Err(ScanError::TooDeep { .. })));
    }

    #[rustfmt::skip]
    const CORNER_CASES: &[&str] = &[
        "", " ", "null", "nul", "nullx", "true ", "1", "-", "-1", "01", "1.", "1.5e", "1e+5", "1E-0", "-0", "+1", ".5", "\"\"",
        "\"a", "\"\\", "\"\\x\"", "\"\\u12\"", "\"\\u12fg\"", "\"\\ud800\"", "\"\n\"", "\"\t\"", "\"\u{7f}\"", "[]", "[", "[1",
        "[1,", "[1,]", "[,]", "[1 2]", "{}", "{", "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "{\"a\":1 \"b\":2}", "{1:2}", "{\"a\":[{}]}",
        "[1]]", "{]", "[}", "[{\"a\":1},{\"b\":[[],{}]}]", "\u{feff}{}", "'a'", "NaN", "[1,2,\"\\u00e9é\"]\n",
    ];

    #[test]
    fn agrees_with_serde_json_on_corner_cases() {
        for text in CORNER_CASES {
            assert_eq!(accepts(text.as_bytes()), oracle(text), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn agrees_with_serde_json_on_json_like_text(text in r#"([\[\]{},:"\\ u01e.\-+a-fnrtls\n]|true|false|null|"[a-z]{0,3}"|\\u00e9|é){0,24}"#) {
            prop_assert_eq!(accepts(text.as_bytes()), oracle(&text));
        }
    }
}
