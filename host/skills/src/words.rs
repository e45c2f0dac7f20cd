//! Text into index terms, for any language.
//!
//! Words are what stands between characters that are neither letters nor digits, lower-cased; `snake_case`, `don't` and
//! `file.rs` are two words each. Scripts that write no spaces between words are cut into overlapping pieces: pairs for
//! Chinese, Japanese and Korean (as Lucene does), triples for Thai, Lao, Khmer and Burmese, whose pairs say too little.
//! There is no stemming: the index relates words by their beginnings instead, which no single language defines.

use unicode_segmentation::UnicodeSegmentation;

/// Longer runs are identifiers, hashes or encoded data, not words.
const MAX_WORD_BYTES: usize = 40;

/// What a term is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TermKind {
    /// A word of a script that separates words.
    Word,
    /// A pair of Chinese, Japanese or Korean characters.
    Pair,
    /// A triple of Thai, Lao, Khmer or Burmese characters.
    Triple,
}

/// The tokenizer for the `bm25` crate.
pub(crate) struct Words;

impl bm25::Tokenizer for Words {
    fn tokenize(&self, text: &str) -> Vec<String> {
        let mut terms = Vec::new();
        each_term(text, |term, _| terms.push(term.to_owned()));
        terms
    }
}

/// Calls `visit` with every term, in order. ASCII text, which is most of all queries, allocates at most once.
pub(crate) fn each_term(text: &str, mut visit: impl FnMut(&str, TermKind)) {
    let bytes = text.as_bytes();
    let mut lower = String::new();
    let mut at = 0;
    while at < bytes.len() {
        let start = at;
        let mut seen = 0;
        while at < bytes.len() && CLASS[bytes[at] as usize] != 0 {
            seen |= CLASS[bytes[at] as usize];
            at += 1;
        }
        // Both ends lie beside an ASCII byte or at an end of the text, so they are character boundaries.
        let chunk = &text[start..at];
        at += 1;
        if chunk.is_empty() {
            continue;
        }
        if seen & FOREIGN != 0 {
            each_foreign_term(chunk, &mut visit);
        } else if is_word(chunk) {
            if seen & UPPER == 0 {
                visit(chunk, TermKind::Word);
            } else {
                lower.clear();
                lower.push_str(chunk);
                lower.make_ascii_lowercase();
                visit(&lower, TermKind::Word);
            }
        }
    }
}

const PLAIN: u8 = 1;
const UPPER: u8 = 2;
const FOREIGN: u8 = 4;

/// For every byte: 0 separates words, the others are part of one.
static CLASS: [u8; 256] = {
    let mut class = [0; 256];
    let mut byte = 0u8;
    loop {
        class[byte as usize] = match byte {
            b'a'..=b'z' | b'0'..=b'9' => PLAIN,
            b'A'..=b'Z' => UPPER,
            0x80.. => FOREIGN,
            _ => 0,
        };
        if byte == u8::MAX {
            break class;
        }
        byte += 1;
    }
};

/// One ASCII letter or two digits say nothing of a subject.
fn is_word(ascii: &str) -> bool {
    let least = if ascii.bytes().all(|byte| byte.is_ascii_digit()) { 3 } else { 2 };
    (least..=MAX_WORD_BYTES).contains(&ascii.len())
}

/// A run without ASCII separators that holds other characters.
fn each_foreign_term(chunk: &str, visit: &mut impl FnMut(&str, TermKind)) {
    let mut rest = chunk;
    while let Some(first) = rest.chars().next() {
        let kind = kind_of(first);
        let end = rest.find(|c| kind_of(c) != kind).unwrap_or(rest.len());
        let (run, tail) = rest.split_at(end);
        rest = tail;
        match kind {
            TermKind::Word => {
                for word in run.unicode_words().filter(|word| word.len() <= MAX_WORD_BYTES) {
                    if !word.is_ascii() || is_word(word) {
                        visit(&word.to_lowercase(), kind);
                    }
                }
            }
            TermKind::Pair => each_piece(run, 2, |piece| visit(piece, kind)),
            TermKind::Triple => each_piece(run, 3, |piece| visit(piece, kind)),
        }
    }
}

/// Every `length` neighbouring characters of `run`; all of it when it is shorter.
fn each_piece(run: &str, length: usize, mut visit: impl FnMut(&str)) {
    let starts = run.char_indices().map(|(at, _)| at);
    let ends = run.char_indices().map(|(at, c)| at + c.len_utf8()).skip(length - 1);
    let mut pieces = starts.zip(ends).peekable();
    if pieces.peek().is_none() {
        visit(run);
    }
    pieces.for_each(|(start, end)| visit(&run[start..end]));
}

/// How a character's script is cut into terms.
pub(crate) fn kind_of(c: char) -> TermKind {
    match u32::from(c) {
        0x1100..=0x11FF // Hangul letters
        | 0x3005..=0x3007
        | 0x3041..=0x309F // Hiragana
        | 0x30A1..=0x30FA | 0x30FC..=0x30FF // Katakana
        | 0x3131..=0x318E
        | 0x3400..=0x4DBF | 0x4E00..=0x9FFF // Han
        | 0xAC00..=0xD7A3 // Hangul syllables
        | 0xF900..=0xFAFF
        | 0xFF66..=0xFF9D
        | 0x20000..=0x323AF => TermKind::Pair,
        0x0E01..=0x0E3A | 0x0E40..=0x0E4E // Thai
        | 0x0E81..=0x0ECD // Lao
        | 0x1000..=0x103F // Burmese
        | 0x1780..=0x17D3 => TermKind::Triple, // Khmer
        _ => TermKind::Word,
    }
}

/// Hiragana carries grammar: a pair with it is rarely a subject.
pub(crate) fn is_hiragana(c: char) -> bool {
    matches!(c, '\u{3041}'..='\u{309F}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_script_is_cut_into_terms() {
        let check = |text: &str, want: &[&str]| {
            assert_eq!(bm25::Tokenizer::tokenize(&Words, text), want, "{text:?}");
        };
        check("", &[]);
        check("  ... !", &[]);
        check("Debug this Python function", &["debug", "this", "python", "function"]);
        check("snake_case, file.rs don't: e-mail", &["snake", "case", "file", "rs", "don", "mail"]);
        check("42 404 x y2", &["404", "y2"]);
        check(&"a".repeat(41), &[]);
        check("Größe der Übersicht", &["größe", "der", "übersicht"]);
        check("Напиши письмо, пожалуйста", &["напиши", "письмо", "пожалуйста"]);
        check("写一封邮件", &["写一", "一封", "封邮", "邮件"]);
        check("用Python写代码。好", &["用", "python", "写代", "代码", "好"]);
        check("メールを書く", &["メー", "ール", "ルを", "を書", "書く"]);
        check("이메일 써줘", &["이메", "메일", "써줘"]);
        check("อีเมล", &["อีเ", "ีเม", "เมล"]);
        check("हिन्दी में", &["हिन्दी", "में"]);
        check("“quoted” — naïve", &["quoted", "naïve"]);
        check("\u{200b}\u{202e}ok\0ok", &["ok", "ok"]);
    }
}
