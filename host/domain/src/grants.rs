use crate::ByteSize;

/// What an agent's policy may do beside deciding. The default is nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PolicyGrants {
    /// The agent's own skill folder, and, to read, the shared one.
    pub skills: Option<FileGrant>,
    /// Reading the agent's own adapters.
    pub lora: bool,
    /// Keeping values between calls: the size of all keys and values together.
    pub kv: Option<ByteSize>,
    /// Words for the operator: how many in a call.
    pub log: Option<ByteSize>,
    /// An empty WASI, for language runtimes that insist on one: no arguments, variables, files or sockets, a clock that
    /// stands still and randomness that is always the same.
    pub wasi: bool,
    /// The granted folders as read-only folders of that WASI.
    pub wasi_fs: bool,
}

/// What may be done in a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileGrant {
    /// Listing and reading.
    Read,
    /// Writing and removing as well.
    Write,
}
