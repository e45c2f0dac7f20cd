//! Words that say nothing of a subject, in many languages.
//!
//! Among a few dozen skills a rare word is not yet a telling one: "how" may stand in a single description. The lists
//! (NLTK's, by the `stop-words` crate) name the articles, pronouns and particles of the languages below; a word of
//! theirs never makes a skill relevant. For a language without a list the index still has frequency and coverage.

use std::sync::LazyLock;

use hashbrown::HashTable;

use crate::words::{TermKind, each_term, is_hiragana};

/// Those with lists of a few hundred words at most that hold function words only.
const LANGUAGES: &[&str] = &[
    "ar", "az", "be", "ca", "da", "de", "el", "en", "es", "eu", "fi", "fr", "he", "hu", "it", "kk", "ne", "nl", "no",
    "pt", "ro", "ru", "sq", "sv", "tr", "zh",
];

/// What descriptions of skills begin with ("Use this skill when the user asks to …"), and what people say around their
/// request, whatever it is about. It describes neither the skill nor the request.
const BOILERPLATE: &str = "
    apply ask asked asks best better create creates creating follow get give good great hello help helps hey hi invoke
    let like make makes making need needed needs new one please skill skills task tasks tell thank thanks thing things
    trigger use used useful user users uses using want wants way whenever would write writes writing written
    bitte danke erstelle erstellen hallo schreib schreibe schreiben
    bonjour merci écris écrire
    crea crear escribe escribir favor gracias hola
    напиши написать пожалуйста привет сделай спасибо
    你好 谢谢";

static COMMON: LazyLock<HashTable<Box<str>>> = LazyLock::new(|| {
    let mut table: HashTable<Box<str>> = HashTable::new();
    let mut add = |word: &str| {
        let hash = hash(word);
        if table.find(hash, |known| **known == *word).is_none() {
            table.insert_unique(hash, Box::from(word), |known| self::hash(known));
        }
    };
    BOILERPLATE.split_whitespace().for_each(&mut add);
    for entry in LANGUAGES.iter().filter_map(|code| stop_words::lookup(code)).flatten() {
        let mut terms = Vec::new();
        each_term(entry, |term, _| terms.push(term.to_owned()));
        // "don't" is "don", which is common, and more words would be a phrase.
        if let [term] = terms.as_slice() {
            add(term);
        }
    }
    table
});

/// The hash of a term, the same for every table of this crate so that one computation serves several look-ups.
pub(crate) fn hash(term: &str) -> u64 {
    std::hash::BuildHasher::hash_one(&rustc_hash::FxBuildHasher, term)
}

/// Whether a term says nothing of a subject. `hash` is [`hash`] of `term`.
pub(crate) fn is_common(term: &str, hash: u64, kind: TermKind) -> bool {
    let listed = |term: &str, hash| COMMON.find(hash, |known| **known == *term).is_some();
    if listed(term, hash) {
        return true;
    }
    let mut buffer = [0; 4];
    kind == TermKind::Pair
        && term.chars().any(|c| {
            let alone = &*c.encode_utf8(&mut buffer);
            is_hiragana(c) || listed(alone, self::hash(alone))
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::kind_of;

    #[test]
    fn function_words_are_common_and_subjects_are_not() {
        let common = |term: &str| is_common(term, hash(term), kind_of(term.chars().next().unwrap()));
        for word in ["the", "how", "please", "und", "für", "что", "pour", "的人", "什么", "です", "skill"] {
            assert!(common(word), "{word}");
        }
        for word in ["debug", "email", "python", "sql", "git", "邮件", "письмо", "bericht", "メー", "france", "test"]
        {
            assert!(!common(word), "{word}");
        }
    }
}
