use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The longest skill name, in bytes, as the Agent Skills format has it.
const MAX_NAME: usize = 64;

/// A checked skill name: 1 to 64 of `a-z`, `0-9`, `-` and `_`, beginning with a letter or a digit.
///
/// It is always exactly one ordinary path component, and one word in a Markdown heading.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SkillName(Arc<str>);

/// Why a text is not a skill name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSkillName {
    /// Nothing was there.
    #[error("a skill name must not be empty")]
    Empty,
    /// More than 64 bytes.
    #[error("a skill name has at most {MAX_NAME} characters, this one has {0}")]
    TooLong(usize),
    /// `-x`, `_x`.
    #[error("a skill name begins with a letter or a digit, not with {0:?}")]
    Start(char),
    /// Something else than a small letter, a digit, `-` or `_`.
    #[error("a skill name holds only a-z, 0-9, `-` and `_`, not {0:?}")]
    Character(char),
}

impl SkillName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as text that can be passed around without copying.
    pub fn shared(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }
}

impl FromStr for SkillName {
    type Err = InvalidSkillName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let first = text.chars().next().ok_or(InvalidSkillName::Empty)?;
        if text.len() > MAX_NAME {
            return Err(InvalidSkillName::TooLong(text.chars().count()));
        }
        if matches!(first, '-' | '_') {
            return Err(InvalidSkillName::Start(first));
        }
        match text.chars().find(|c| !matches!(c, 'a'..='z' | '0'..='9' | '-' | '_')) {
            Some(bad) => Err(InvalidSkillName::Character(bad)),
            None => Ok(SkillName(text.into())),
        }
    }
}

impl fmt::Display for SkillName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

// A list of names can be searched by text.
impl std::borrow::Borrow<str> for SkillName {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_one_ordinary_component_or_refused() {
        let check = |text: &str, want: Result<(), InvalidSkillName>| {
            assert_eq!(text.parse::<SkillName>().map(|name| assert_eq!(name.as_str(), text)), want, "{text:?}");
        };
        for good in ["debug-systematically", "a", "2048", "snake_case", &"a".repeat(64)] {
            check(good, Ok(()));
        }
        check("", Err(InvalidSkillName::Empty));
        check(&"a".repeat(65), Err(InvalidSkillName::TooLong(65)));
        check("-x", Err(InvalidSkillName::Start('-')));
        check("_shared", Err(InvalidSkillName::Start('_')));
        for (hostile, bad) in [
            ("../x", '.'),
            ("a/b", '/'),
            ("A", 'A'),
            ("a b", ' '),
            ("a\nb", '\n'),
            ("é", 'é'),
            ("a\0", '\0'),
            ("a.b", '.'),
        ] {
            check(hostile, Err(InvalidSkillName::Character(bad)));
        }
    }
}
