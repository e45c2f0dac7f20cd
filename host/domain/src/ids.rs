use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The longest agent name, in bytes.
const MAX_AGENT_NAME: usize = 64;
/// The longest session id, in bytes. OpenClaw sends UUIDs; other clients send keys of a few dozen characters.
const MAX_SESSION_ID: usize = 256;
/// Names that Windows turns into devices, whatever the folder. Refused everywhere, so that a state directory can be
/// carried from one system to another.
const DEVICE_NAMES: &[&str] = &["con", "prn", "aux", "nul", "conin", "conout"];

/// Whose turn it is.
///
/// `_default` is a variant and not a name: no text that a client sends can become it, and `_shared`, which is nobody's,
/// cannot be expressed at all.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AgentId {
    /// The agent of requests that name none.
    Default,
    /// An agent that was named, by config or by a client.
    Named(AgentName),
}

/// A checked agent name: `[a-z0-9][a-z0-9_-]{0,63}`, ASCII letters lower-cased first, as OpenClaw does.
///
/// It is always exactly one ordinary path component.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AgentName(Arc<str>);

/// Why a text is not an agent name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAgentName {
    /// Nothing was there.
    #[error("an agent id must not be empty")]
    Empty,
    /// More than 64 bytes.
    #[error("an agent id has at most {MAX_AGENT_NAME} characters, this one has {0}")]
    TooLong(usize),
    /// `_shared`, `_default` and whatever we may need later.
    #[error("an agent id must not begin with `{0}`: it begins with a letter or a digit")]
    Start(char),
    /// Something other than a letter, a digit, `_` or `-`.
    #[error("an agent id holds only a-z, 0-9, `_` and `-`, not {0:?}")]
    Character(char),
    /// `con`, `nul`, `com1` and the like.
    #[error("an agent id must not be a device name")]
    Device,
}

/// A client's name for one conversation, unique within its agent only.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(Arc<str>);

/// Why a text is not a session id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSessionId {
    /// Nothing was there.
    #[error("a session id must not be empty")]
    Empty,
    /// More than 256 bytes.
    #[error("a session id has at most {MAX_SESSION_ID} bytes, this one has {0}")]
    TooLong(usize),
    /// A control character, which would break logs and headers.
    #[error("a session id must not hold the control character {0:?}")]
    Control(char),
}

/// One request and its answer; a UUIDv7, so ids sort by time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TurnId(pub uuid::Uuid);

impl AgentId {
    /// The folder and database name: `_default`, or the agent's own name.
    pub fn as_str(&self) -> &str {
        match self {
            AgentId::Default => "_default",
            AgentId::Named(name) => name.as_str(),
        }
    }

    /// Reads a name that this program wrote itself, as in a database row or a config key, where `_default` is meant.
    ///
    /// Never call this on what a client sent: parse an [`AgentName`] there.
    pub fn from_trusted(text: &str) -> Result<Self, InvalidAgentName> {
        match text {
            "_default" => Ok(AgentId::Default),
            other => other.parse().map(AgentId::Named),
        }
    }
}

impl AgentName {
    /// The lower-cased name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for AgentName {
    type Err = InvalidAgentName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let first = text.chars().next().ok_or(InvalidAgentName::Empty)?;
        if text.len() > MAX_AGENT_NAME {
            return Err(InvalidAgentName::TooLong(text.chars().count()));
        }
        let lower = text.to_ascii_lowercase();
        if matches!(first, '_' | '-') {
            return Err(InvalidAgentName::Start(first));
        }
        if let Some(bad) = lower.chars().find(|c| !matches!(c, 'a'..='z' | '0'..='9' | '_' | '-')) {
            return Err(InvalidAgentName::Character(bad));
        }
        if is_device(&lower) {
            return Err(InvalidAgentName::Device);
        }
        Ok(AgentName(lower.into()))
    }
}

fn is_device(name: &str) -> bool {
    let port =
        |prefix: &str| name.strip_prefix(prefix).is_some_and(|n| n.len() == 1 && n.as_bytes()[0].is_ascii_digit());
    DEVICE_NAMES.contains(&name) || port("com") || port("lpt")
}

impl SessionId {
    /// An id for a client that named none.
    pub fn generated(unique: uuid::Uuid) -> Self {
        SessionId(format!("auto-{}", unique.simple()).into())
    }

    /// The id as the client wrote it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SessionId {
    type Err = InvalidSessionId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Err(InvalidSessionId::Empty);
        }
        if text.len() > MAX_SESSION_ID {
            return Err(InvalidSessionId::TooLong(text.len()));
        }
        match text.chars().find(|c| c.is_control()) {
            Some(c) => Err(InvalidSessionId::Control(c)),
            None => Ok(SessionId(text.into())),
        }
    }
}

impl FromStr for TurnId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        uuid::Uuid::try_parse(text).map(TurnId)
    }
}

impl fmt::Display for AgentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for AgentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for TurnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<AgentName> for AgentId {
    fn from(name: AgentName) -> Self {
        AgentId::Named(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_one_ordinary_component_or_refused() {
        let long = "a".repeat(65);
        let check = |text: &str, want: Result<&str, InvalidAgentName>| {
            assert_eq!(text.parse::<AgentName>().map(|n| n.as_str().to_owned()), want.map(str::to_owned), "{text:?}");
        };
        check("researcher", Ok("researcher"));
        check("Code-Reviewer_2", Ok("code-reviewer_2"));
        check("7", Ok("7"));
        check(&"a".repeat(64), Ok(&"a".repeat(64)));
        check("", Err(InvalidAgentName::Empty));
        check(&long, Err(InvalidAgentName::TooLong(65)));
        check("_shared", Err(InvalidAgentName::Start('_')));
        check("_default", Err(InvalidAgentName::Start('_')));
        check("-x", Err(InvalidAgentName::Start('-')));
        for hostile in
            ["../x", "a/b", "a\\b", "a.b", "a b", "a\0b", "é", "ａ", "a\u{202e}b", "a%2e", "a,b", "\u{17f}", "\u{212a}"]
        {
            assert!(matches!(hostile.parse::<AgentName>(), Err(InvalidAgentName::Character(_))), "{hostile:?}");
        }
        for device in ["con", "NUL", "com1", "Lpt9"] {
            check(device, Err(InvalidAgentName::Device));
        }
    }

    #[test]
    fn session_ids_are_any_printable_text_of_bounded_length() {
        assert_eq!("agent:main:主".parse::<SessionId>().unwrap().as_str(), "agent:main:主");
        assert_eq!("".parse::<SessionId>(), Err(InvalidSessionId::Empty));
        assert_eq!("a\nb".parse::<SessionId>(), Err(InvalidSessionId::Control('\n')));
        assert_eq!("x".repeat(257).parse::<SessionId>(), Err(InvalidSessionId::TooLong(257)));
    }
}
