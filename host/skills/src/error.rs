use std::io;

use domain::AgentId;

use crate::scan::{MAX_FILE_BYTES, MAX_FOLDER_BYTES, MAX_FOLDER_SKILLS, MAX_FOLDERS};
use crate::{InvalidSkillName, SkillName};

/// Something in the tree that is not served, and why. Everything else still is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SkillProblem {
    /// Relative to the skills root, `/` between parts, control characters escaped; empty for the root itself.
    pub path: String,
    /// What is wrong, and what to do.
    pub reason: SkillsError,
}

/// What can be wrong with skills.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SkillsError {
    /// The operating system said no.
    #[error("cannot {doing}: {message}")]
    Io {
        /// `read the folder`, `write the file`.
        doing: &'static str,
        /// The kind, for programs.
        kind: io::ErrorKind,
        /// The system's words.
        message: String,
    },
    /// A symbolic link, at any depth.
    #[error("it is a symbolic link, and links are not followed: put a real folder or file in its place")]
    Link,
    /// A FIFO, a socket, a device, or a folder where a file belongs.
    #[error("it is not a regular file: put a plain file in its place")]
    NotRegular,
    /// The file has a second name, perhaps outside the tree.
    #[error("the file has {0} hard links, and only files with one are read: copy it instead")]
    HardLinks(u64),
    /// A file over the limit.
    #[error("the file has {0} bytes, at most {MAX_FILE_BYTES} are read: move details to a file beside it")]
    TooLarge(u64),
    /// A folder over the limit of skills.
    #[error("a folder holds at most {MAX_FOLDER_SKILLS} skills and this is one more: remove some")]
    TooManySkills,
    /// A folder over the limit of bytes.
    #[error("a folder's skills hold at most {MAX_FOLDER_BYTES} bytes together and this one goes over: remove some")]
    TooManyBytes,
    /// The root over its limit.
    #[error("a folder is read up to {MAX_FOLDERS} entries, the rest is ignored: remove some")]
    TooManyEntries,
    /// A skill folder without its file.
    #[error("the folder has no SKILL.md: add one (the name is case-sensitive), or remove the folder")]
    NoFile,
    /// A `SKILL.md` where skills' folders belong.
    #[error("a skill is a folder of its own: move the file to `SKILL.md` in a folder with the skill's name")]
    StrayFile,
    /// A folder that begins with `_`.
    #[error("only `_shared` and `_default` begin with an underscore: rename the folder")]
    ReservedFolder,
    /// A folder that holds no SKILL.md and whose name is no agent's.
    #[error("`{0}` names neither an agent nor a skill: rename the folder to a-z, 0-9, `-`, `_`")]
    FolderName(String),
    /// Skills below a folder that is itself a skill.
    #[error(
        "the folder holds a SKILL.md, so it is a skill of `_default` and not an agent: its skill `{0}` is not read; remove the outer SKILL.md"
    )]
    NestedSkill(String),
    /// Not UTF-8.
    #[error("the file is not UTF-8 from byte {0} on: save it as UTF-8")]
    NotUtf8(usize),
    /// No `---` at the start.
    #[error("the file does not begin with `---`: put front matter with a name and a description first")]
    NoFrontMatter,
    /// No second `---`.
    #[error("the front matter is not closed: put a line `---` after it")]
    UnclosedFrontMatter,
    /// The YAML is wrong, or exceeds its bounds.
    #[error("the front matter cannot be read: {0}")]
    FrontMatter(String),
    /// The name is wrong.
    #[error("the name `{text}` cannot be used: {why}")]
    Name {
        /// As written, or the folder's name; control characters escaped.
        text: String,
        /// The rule it breaks.
        why: InvalidSkillName,
    },
    /// No description, or an empty one.
    #[error("there is no description: add `description:`, one sentence that says when to use the skill")]
    NoDescription,
    /// The description is over the format's limit.
    #[error("the description has {0} characters, the format allows 1024: shorten it")]
    LongDescription(usize),
    /// The category is over our limit.
    #[error("the category has {0} characters, at most 64 are allowed: shorten it")]
    LongCategory(usize),
    /// Nothing after the front matter.
    #[error("there is no text after the front matter: say what to do")]
    NoBody,
    /// A second skill of the same name in one folder.
    #[error("the name `{name}` is taken by `{by}`: rename one of them")]
    Duplicate {
        /// The name.
        name: SkillName,
        /// The folder that came first, relative to the root.
        by: String,
    },
    /// Adding over an existing skill.
    #[error("there is a skill `{name}` in `{shelf}` already: choose another name, or replace it")]
    Exists {
        /// The name.
        name: SkillName,
        /// `_shared` or the agent.
        shelf: String,
    },
    /// An agent's folder cannot hold agents' skills, because it is a flat skill.
    #[error("`{0}` is a skill of the flat layout, not a folder of the agent's skills: move it to `_default/{0}` first")]
    ShelfIsSkill(AgentId),
    /// The operating system gave no thread.
    #[error("cannot start the thread that follows the skills: {0}")]
    Thread(String),
}

impl SkillsError {
    /// Keeps what matters of an I/O error in a form that can be compared.
    pub(crate) fn io(doing: &'static str, error: &io::Error) -> Self {
        SkillsError::Io { doing, kind: error.kind(), message: error.to_string() }
    }
}

/// Text from outside as it may stand in a message: control characters escaped.
pub(crate) fn shown(text: &str) -> String {
    let escape = |c: char| if c.is_control() { c.escape_default().collect() } else { String::from(c) };
    text.chars().map(escape).collect()
}
