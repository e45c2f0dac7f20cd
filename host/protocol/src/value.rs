//! Looking into values that the scanner has accepted. It never fails: what is not there, or of another kind, is nothing.
//! A key that stands twice counts as most readers take it, by its last value; so a policy reads what an upstream reads.

use std::borrow::Cow;

use serde::de::{Deserialize, Deserializer, Error, Visitor};

use crate::scan::Scanner;

/// A decoded string. Half of a surrogate pair, which is JSON but no text, becomes replacement characters: clients that cut
/// a text within an emoji send such halves, and the rest of the text still counts.
struct Lossy(String);

struct LossyVisitor;

/// The elements of a list, each as it was written.
pub(crate) fn elements(raw: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut scanner = Scanner::new(raw.as_bytes());
    // The text was accepted as JSON before, so this fails only where there is no list.
    let _ = scanner.array(|s| s.skip_value().map(|value| found.push(&raw[value])));
    found
}

/// The value of a key of an object, as it was written.
pub(crate) fn member<'a>(raw: &'a str, name: &str) -> Option<&'a str> {
    let mut found = None;
    let mut scanner = Scanner::new(raw.as_bytes());
    // As above.
    let _ = scanner.object(|s, key| {
        let value = s.skip_value()?;
        if string(&raw[key]).is_some_and(|key| key == name) {
            found = Some(&raw[value]);
        }
        Ok(())
    });
    found
}

/// A string, decoded.
pub(crate) fn string(raw: &str) -> Option<Cow<'_, str>> {
    let plain = raw.strip_prefix('"')?.strip_suffix('"')?;
    if memchr::memchr(b'\\', plain.as_bytes()).is_none() {
        return Some(Cow::Borrowed(plain));
    }
    serde_json::from_str(raw).ok().map(|Lossy(text)| Cow::Owned(text))
}

impl<'de> Deserialize<'de> for Lossy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Asked for bytes, serde_json decodes a string without insisting that it is text.
        deserializer.deserialize_bytes(LossyVisitor)
    }
}

impl Visitor<'_> for LossyVisitor {
    type Value = Lossy;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a string")
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Lossy, E> {
        Ok(Lossy(String::from_utf8_lossy(bytes).into_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_into_values_as_an_upstream_does() {
        let object = r#"{"a":1,"b":{"a":2},"\u0063":"x","a":3,"\ud800":4}"#;
        assert_eq!(member(object, "a"), Some("3"), "the last one counts");
        assert_eq!(member(object, "c"), Some("\"x\""), "however the key is written");
        assert_eq!(member(object, "d"), None);
        assert_eq!(member("[1]", "a"), None);
        assert_eq!(elements(r#"[1, {"a":[2]} ,"]"]"#), ["1", r#"{"a":[2]}"#, "\"]\""]);
        assert!(elements("[ ]").is_empty() && elements("{}").is_empty());
    }

    #[test]
    fn half_an_emoji_does_not_hide_the_text_around_it() {
        for (raw, text) in [
            (r#""plain""#, Some("plain")),
            (r#""a\n\u00e9\ud83d\ude00""#, Some("a\né😀")),
            (r#""before\ud83d""#, Some("before\u{fffd}\u{fffd}\u{fffd}")),
            ("null", None),
        ] {
            assert_eq!(string(raw).as_deref(), text, "{raw}");
        }
    }
}
