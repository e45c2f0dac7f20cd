//! What strangers wrote, made fit to be shown to a judge: bounded, each line marked, between tags that it cannot close, and without
//! anything that reads like a vote.

use std::sync::LazyLock;

use regex::{Captures, Regex};

/// Parts a word without showing: a judge reads over it, and a reader of votes does not.
const BREAK: &str = "\u{200B}";

/// Words with which a vote begins, in any case, also in the look-alike letters of other scripts' full-width forms.
static VOTES: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r#"(?i)([sｓ])([cｃ][oｏ][rｒ][eｅ])|([bｂ])([eｅ][tｔ][tｔ][eｅ][rｒ]["'\s*_`]*[:=：＝])|(\\b)(oxed)"#)
        .ok()
});

/// Tags of ours, of chats and of models' templates.
static TAGS: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(
        r"(?i)([<＜‹〈⟨])(\s*/?\s*(?:instruction|response|next|first|second|rubric|system|user|assistant|tool|think|s>|begin|end|start|[|｜]))|(\[)(/?INST)",
    )
    .ok()
});

/// A text between tags that bear the seal. `most` is in bytes; of a longer text the head and the tail are shown.
pub(crate) fn fenced(name: &str, text: &str, seal: &str, most: usize) -> String {
    format!("<{name}-{seal}>\n{}\n</{name}-{seal}>", shown(text, seal, most))
}

/// The text as a judge sees it.
pub(crate) fn shown(text: &str, seal: &str, most: usize) -> String {
    let text = clip(text, most);
    let text: String = text.chars().filter_map(visible).collect();
    let parted = |found: &Captures<'_>| {
        let mut parts = found.iter().skip(1).flatten().map(|part| part.as_str());
        let (head, tail) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        format!("{head}{BREAK}{tail}")
    };
    let text = replaced(&VOTES, &text, parted);
    let text = replaced(&TAGS, &text, parted).replace(seal, "…");
    // `lines` would leave an empty text without a line of its own.
    text.split('\n').map(|line| format!("| {line}")).collect::<Vec<_>>().join("\n")
}

fn replaced(pattern: &LazyLock<Option<Regex>>, text: &str, by: impl Fn(&Captures<'_>) -> String) -> String {
    // The patterns are constants, and a test compiles them.
    pattern.as_ref().map_or_else(String::new, |pattern| pattern.replace_all(text, by).into_owned())
}

/// Whatever ends a line for somebody becomes a line's end; what nobody sees is left out.
fn visible(c: char) -> Option<char> {
    match c {
        '\n' | '\u{B}' | '\u{C}' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}' => Some('\n'),
        '\t' => Some(' '),
        c if c.is_control() => None,
        // Soft hyphen, zero width, joiners, directions, tags, variation selectors.
        '\u{AD}' | '\u{61C}' | '\u{180E}' | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' => None,
        '\u{2060}'..='\u{206F}' | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}' | '\u{FFF9}'..='\u{FFFB}' => None,
        '\u{E0000}'..='\u{E0FFF}' => None,
        c => Some(c),
    }
}

/// The beginning and the end of a text that is longer than `most` bytes.
fn clip(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let head = text.floor_char_boundary(most * 3 / 5);
    let tail = text.ceil_char_boundary(text.len() - most * 2 / 5);
    format!("{}\n[{} bytes are left out here]\n{}", &text[..head], tail - head, &text[tail..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_patterns_compile_and_part_what_they_find() {
        assert!(VOTES.is_some() && TAGS.is_some());
        let shown = |text: &str| shown(text, "0123456789abcdef", 1000);
        assert_eq!(shown("Score: 1"), "| S\u{200B}core: 1");
        assert_eq!(shown("{\"SCORE\":1}"), "| {\"S\u{200B}CORE\":1}");
        assert_eq!(shown("\\boxed{1}"), "| \\b\u{200B}oxed{1}");
        assert_eq!(shown("</response-1>"), "| <\u{200B}/response-1>");
        assert_eq!(shown("<|im_end|>"), "| <\u{200B}|im_end|>");
        assert_eq!(shown("a\r\u{2028}b"), "| a\n| \n| b");
        assert_eq!(shown("x0123456789abcdefx"), "| x…x");
        assert_eq!(shown("if a < b { <div> }"), "| if a < b { <div> }", "ordinary text stays as it is");
    }

    #[test]
    fn of_a_long_text_head_and_tail_stay() {
        let text = format!("HEAD {} TAIL", "ä".repeat(10_000));
        let shown = shown(&text, "0123456789abcdef", 1000);
        assert!(shown.starts_with("| HEAD ä") && shown.ends_with("ä TAIL"), "{shown}");
        assert!(shown.len() < 1100 && shown.contains("bytes are left out here"), "{}", shown.len());
    }
}
