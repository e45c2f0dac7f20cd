use std::collections::HashMap;

use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{PreTokenizerWrapper, SplitDelimiterBehavior};

use crate::ModelError;
use crate::gguf::Gguf;

/// ggml's token types, as far as they matter here.
const NORMAL: i64 = 1;
const UNKNOWN: i64 = 2;
const CONTROL: i64 = 3;
const USER_DEFINED: i64 = 4;
const UNUSED: i64 = 5;

/// Control tokens that end an answer, by the names that Llama-family models give them.
const END_TOKENS: &[&str] = &["<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|end_of_text|>", "<|endoftext|>", "</s>"];

const LLAMA_3: &str = concat!(
    r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])",
    r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
);
const QWEN_2: &str = concat!(
    r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])",
    r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
);

/// Text to tokens and back, from the vocabulary in the model's file.
///
/// The BPE part does not know the special tokens at all: no text encodes to one. They come into a prompt only where the
/// chat template wrote them (see [`crate::template`]).
pub(crate) struct Tokenizer {
    bpe: tokenizers::Tokenizer,
    /// The bytes that each token stands for; none for control tokens.
    bytes: Vec<Box<[u8]>>,
    /// Tokens that only a template may write, longest text first.
    specials: Vec<(String, u32)>,
    /// Tokens that end an answer.
    ends: Vec<u32>,
    /// The texts of the begin and end tokens, for templates.
    pub(crate) begin: String,
    pub(crate) end: String,
    /// The longest token, in bytes: no text has fewer tokens than its length over this.
    longest: usize,
}

impl Tokenizer {
    pub(crate) fn read(gguf: &Gguf) -> Result<Self, ModelError> {
        let model = gguf.need_text("tokenizer.ggml.model")?;
        if model != "gpt2" {
            return Err(gguf.unsupported(format!("a tokenizer of type `{model}`")));
        }
        let tokens = gguf.need_texts("tokenizer.ggml.tokens")?;
        let types = gguf.numbers("tokenizer.ggml.token_type").unwrap_or_else(|| vec![NORMAL; tokens.len()]);
        if types.len() != tokens.len() || u32::try_from(tokens.len()).is_err() {
            return Err(gguf.error(format!("it has {} tokens and {} token types", tokens.len(), types.len())));
        }
        let all = || (0u32..).zip(&tokens).zip(&types).map(|((id, text), kind)| (id, *text, *kind));
        let of_kind = |kinds: &'static [i64]| all().filter(move |(_, _, kind)| kinds.contains(kind));

        let from_char: HashMap<char, u8> = (0..=255).map(|byte| (byte_char(byte), byte)).collect();
        let bytes: Vec<Box<[u8]>> = all()
            .map(|(_, text, kind)| match kind {
                CONTROL | UNKNOWN | UNUSED => Box::default(),
                USER_DEFINED => text.as_bytes().into(),
                _ => text.chars().filter_map(|c| from_char.get(&c).copied()).collect(),
            })
            .collect();
        let mut specials: Vec<(String, u32)> = of_kind(&[CONTROL, USER_DEFINED])
            .filter(|s| !s.1.is_empty())
            .map(|(id, text, _)| (text.to_owned(), id))
            .collect();
        specials.sort_by_key(|(text, _)| std::cmp::Reverse(text.len()));

        let named = |key: &str| gguf.number(key).and_then(|id| u32::try_from(id).ok());
        let mut ends: Vec<u32> = [named("tokenizer.ggml.eos_token_id"), named("tokenizer.ggml.eot_token_id")]
            .into_iter()
            .flatten()
            .chain(of_kind(&[CONTROL]).filter(|(_, text, _)| END_TOKENS.contains(text)).map(|(id, _, _)| id))
            .collect();
        ends.sort_unstable();
        ends.dedup();
        let text_of = |key: &str| named(key).and_then(|id| tokens.get(id as usize)).map(|t| (*t).to_owned());

        let ordinary = of_kind(&[NORMAL]).map(|(id, text, _)| (text.to_owned(), id)).collect();
        Ok(Tokenizer {
            bpe: bpe(gguf, ordinary)?,
            longest: bytes.iter().map(|b| b.len()).max().unwrap_or(0).max(1),
            bytes,
            specials,
            ends,
            begin: text_of("tokenizer.ggml.bos_token_id").unwrap_or_default(),
            end: text_of("tokenizer.ggml.eos_token_id").unwrap_or_default(),
        })
    }

    /// Whether `token` ends an answer.
    pub(crate) fn is_end(&self, token: u32) -> bool {
        self.ends.contains(&token)
    }

    /// The bytes `token` stands for: possibly part of a character, and none for control tokens.
    pub(crate) fn bytes(&self, token: u32) -> &[u8] {
        self.bytes.get(token as usize).map_or(&[], |bytes| bytes)
    }

    /// The fewest tokens that a text of `len` bytes can have.
    pub(crate) fn at_least(&self, len: usize) -> usize {
        len / self.longest
    }

    /// Ordinary text to tokens. Whatever the text says, none of them is a special token.
    pub(crate) fn encode_text(&self, text: &str, tokens: &mut Vec<u32>) -> Result<(), ModelError> {
        if text.is_empty() {
            return Ok(());
        }
        let encoded = self.bpe.encode_fast(text, false).map_err(|e| ModelError::Template(e.to_string()))?;
        tokens.extend_from_slice(encoded.get_ids());
        Ok(())
    }

    /// The special token that `text` begins with.
    pub(crate) fn special_at_start(&self, text: &str) -> Option<(&str, u32)> {
        self.specials.iter().find(|(special, _)| text.starts_with(special)).map(|(special, id)| (special.as_str(), *id))
    }

    /// The characters that special tokens begin with.
    pub(crate) fn special_starts(&self) -> Vec<char> {
        let mut starts: Vec<char> = self.specials.iter().filter_map(|(text, _)| text.chars().next()).collect();
        starts.sort_unstable();
        starts.dedup();
        starts
    }
}

fn bpe(gguf: &Gguf, vocab: Vocab) -> Result<tokenizers::Tokenizer, ModelError> {
    let pair = |merge: &str| merge.split_once(' ').map(|(a, b)| (a.to_owned(), b.to_owned()));
    let merges: Option<Vec<_>> = gguf.need_texts("tokenizer.ggml.merges")?.into_iter().map(pair).collect();
    let merges = merges.ok_or_else(|| gguf.error("a merge is not a pair of tokens"))?;
    // Llama 3's tokenizer takes a word that is a token as a whole, whatever its merges.
    let pre = gguf.text("tokenizer.ggml.pre").unwrap_or("gpt-2");
    let whole_words = matches!(pre, "llama-bpe" | "llama3" | "llama-v3");
    let model = BPE::builder().vocab_and_merges(vocab, merges).ignore_merges(whole_words).build();
    let mut tokenizer = tokenizers::Tokenizer::new(model.map_err(|e| gguf.error(e.to_string()))?);
    let split = match pre {
        "smollm" | "codeshell" | "exaone" | "refact" => {
            Sequence::new(vec![Digits::new(true).into(), ByteLevel::new(false, false, true).into()])
        }
        "gpt-2" | "default" | "olmo" => Sequence::new(vec![ByteLevel::new(false, false, true).into()]),
        "llama-bpe" | "llama3" | "llama-v3" | "smaug-bpe" => by_pattern(gguf, LLAMA_3)?,
        "qwen2" | "deepseek-r1-qwen" | "stablelm2" => by_pattern(gguf, QWEN_2)?,
        other => return Err(gguf.unsupported(format!("the pre-tokenizer `{other}`"))),
    };
    tokenizer.with_pre_tokenizer(Some(PreTokenizerWrapper::Sequence(split)));
    Ok(tokenizer)
}

fn by_pattern(gguf: &Gguf, pattern: &str) -> Result<Sequence, ModelError> {
    let pattern = SplitPattern::Regex(pattern.to_owned());
    let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false).map_err(|e| gguf.error(e.to_string()))?;
    Ok(Sequence::new(vec![split.into(), ByteLevel::new(false, false, false).into()]))
}

/// How byte-level vocabularies write a byte: printable ones as themselves, the others from U+0100 on, in order.
fn byte_char(byte: u8) -> char {
    let printable = |b: u8| matches!(b, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    if printable(byte) {
        return char::from(byte);
    }
    let mut others = (0..byte).filter(|b| !printable(*b));
    let written = ('\u{100}'..).find(|_| others.next().is_none());
    written.unwrap_or(char::REPLACEMENT_CHARACTER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_written_as_gpt_2_writes_them() {
        let cases = [(b'A', 'A'), (b' ', 'Ġ'), (b'\n', 'Ċ'), (0, 'Ā'), (0x7F, 'ġ'), (0xAD, 'Ń'), (0xFF, 'ÿ')];
        for (byte, written) in cases {
            assert_eq!(byte_char(byte), written, "{byte:#x}");
        }
    }
}
