//! What a module asks for, and what it gets: what it asks for *and* its operator gives.

use domain::{FileGrant, PolicyGrants};

use crate::error::LoadError;

/// The attribute of `describe` in which a module says what it needs.
pub(crate) const ATTRIBUTE: &str = "grants";

/// What a module asks for beside what every module has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asks {
    /// Files in the agent's skill folders.
    pub skills: Option<FileGrant>,
    /// Files in the agent's adapter folder.
    pub lora: bool,
    /// Values that are kept.
    pub kv: bool,
    /// Words for the operator.
    pub log: bool,
    /// WASI.
    pub wasi: bool,
    /// Folders within WASI.
    pub wasi_fs: bool,
}

impl Asks {
    /// Adds what `describe` says. Words that this host does not know are refused: it could not give what they mean.
    pub(crate) fn read(&mut self, words: &str) -> Result<(), LoadError> {
        for word in words.split_whitespace() {
            match word {
                "skills:read" => self.skills = self.skills.max(Some(FileGrant::Read)),
                "skills:write" => self.skills = Some(FileGrant::Write),
                "lora:read" => self.lora = true,
                "kv" => self.kv = true,
                "log" => self.log = true,
                "wasi" => self.wasi = true,
                "wasi-fs" => self.wasi_fs = true,
                other => return Err(LoadError::UnknownGrant(crate::text::printable(other, 100))),
            }
        }
        Ok(())
    }

    /// What of it is given. Words for the operator are never needed; the rest must be given, or the module cannot work.
    pub(crate) fn given(&self, by: &PolicyGrants) -> PolicyGrants {
        PolicyGrants {
            skills: self.skills.min(by.skills),
            lora: self.lora && by.lora,
            kv: by.kv.filter(|_| self.kv),
            log: by.log.filter(|_| self.log),
            wasi: self.wasi && by.wasi,
            wasi_fs: self.wasi_fs && by.wasi_fs,
        }
    }

    /// The keys that the operator would have to add, with their values.
    pub fn missing(&self, by: &PolicyGrants) -> Vec<&'static str> {
        let skills = match (self.skills, by.skills) {
            (Some(FileGrant::Write), given) if given != Some(FileGrant::Write) => Some("skills: write"),
            (Some(FileGrant::Read), None) => Some("skills: read"),
            _ => None,
        };
        let others = [
            (self.lora && !by.lora, "lora: read"),
            (self.kv && by.kv.is_none(), "kv: 64KiB"),
            (self.wasi && !by.wasi, "wasi: stub"),
            (self.wasi_fs && !by.wasi_fs, "wasi-fs: read"),
        ];
        skills.into_iter().chain(others.into_iter().filter(|(missing, _)| *missing).map(|(_, key)| key)).collect()
    }
}

#[cfg(test)]
mod tests {
    use domain::ByteSize;

    use super::*;

    fn asks(words: &str) -> Asks {
        let mut asks = Asks::default();
        asks.read(words).unwrap();
        asks
    }

    #[test]
    fn what_is_not_given_is_named_by_its_key() {
        let some = PolicyGrants { skills: Some(FileGrant::Read), kv: Some(ByteSize(10)), ..PolicyGrants::default() };
        for (words, given, missing) in [
            ("", PolicyGrants::default(), &[][..]),
            ("skills:read kv", some, &[]),
            ("skills:write", some, &["skills: write"]),
            (
                "lora:read kv wasi wasi-fs",
                PolicyGrants::default(),
                &["lora: read", "kv: 64KiB", "wasi: stub", "wasi-fs: read"],
            ),
            ("log", PolicyGrants::default(), &[]),
        ] {
            assert_eq!(asks(words).missing(&given), missing, "{words}");
        }
        let mut asks = Asks::default();
        assert!(matches!(asks.read("skills:read network"), Err(LoadError::UnknownGrant(word)) if word == "network"));
    }

    #[test]
    fn nobody_gets_more_than_is_asked_for_and_given() {
        let all = PolicyGrants {
            skills: Some(FileGrant::Write),
            lora: true,
            kv: Some(ByteSize(10)),
            log: Some(ByteSize(10)),
            wasi: true,
            wasi_fs: true,
        };
        assert_eq!(asks("").given(&all), PolicyGrants::default());
        assert_eq!(
            asks("skills:read").given(&all),
            PolicyGrants { skills: Some(FileGrant::Read), ..PolicyGrants::default() }
        );
        let everything = "skills:write lora:read kv log wasi wasi-fs";
        assert_eq!(asks(everything).given(&all), all);
        assert_eq!(asks(everything).given(&PolicyGrants::default()), PolicyGrants::default());
    }
}
