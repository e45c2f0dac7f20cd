use std::fmt::Write as _;

/// `text` for an operator's eyes: characters that move the cursor, reorder a line or cannot be seen are written as
/// escapes, and what exceeds `limit` bytes is cut off, with a mark.
pub(crate) fn printable(text: &str, limit: usize) -> String {
    let mut out = String::with_capacity(text.len().min(limit));
    for c in text.chars() {
        let length = out.len();
        match c {
            c if is_unprintable(c) => {
                // Writing into a string cannot fail.
                let _ = write!(out, "{}", c.escape_default());
            }
            c => out.push(c),
        }
        if out.len() > limit {
            out.truncate(length);
            out.push('…');
            break;
        }
    }
    out
}

/// Control characters, and the marks that change a line's direction or take no room.
fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// The first `limit` bytes of `text`, or a few less so that no character is cut in two.
pub(crate) fn first_bytes(text: &str, limit: usize) -> &str {
    &text[..text.floor_char_boundary(limit)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_operator_reads_cannot_act_on_the_terminal() {
        for (text, limit, want) in [
            ("plain, with é and 主", 100, "plain, with é and 主"),
            ("a\nb\r\x1b[2Jc\0", 100, "a\\nb\\r\\u{1b}[2Jc\\u{0}"),
            ("\u{202e}txt\u{feff}", 100, "\\u{202e}txt\\u{feff}"),
            ("abcdef", 4, "abcd…"),
            ("ééé", 5, "éé…"),
            ("ab\n\n", 5, "ab\\n…"),
        ] {
            assert_eq!(printable(text, limit), want, "{text:?}");
        }
    }

    #[test]
    fn texts_are_cut_between_characters() {
        for (text, limit, want) in [("abc", 9, "abc"), ("abc", 2, "ab"), ("é", 1, ""), ("aé", 3, "aé")] {
            assert_eq!(first_bytes(text, limit), want);
        }
    }
}
