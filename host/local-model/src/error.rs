use std::path::PathBuf;

use domain::Digest;

/// Why a model could not be loaded, installed or run.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The file system said no.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried, such as `read`.
        action: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not a GGUF file, or a damaged one.
    #[error("{path} is not a readable GGUF model: {reason}; fetch it again with `metaclaw models fetch`")]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A sound file, of a kind that this host cannot run.
    #[error(
        "{path} needs {what}, which the embedded model does not support; use a Llama-family GGUF with a BPE tokenizer"
    )]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// What it needs.
        what: String,
    },
    /// The file is not the one that was installed.
    #[error(
        "{path} has changed since it was installed: its sha256 is {found}, not {expected}; remove it and fetch it again"
    )]
    Checksum {
        /// The file.
        path: PathBuf,
        /// The digest recorded when it was installed.
        expected: Digest,
        /// The digest it has now.
        found: Digest,
    },
    /// No such model is installed.
    #[error("no model named {name:?} is installed in {dir}; `metaclaw models list` shows what is")]
    NotInstalled {
        /// The name asked for.
        name: String,
        /// Where it was looked for.
        dir: PathBuf,
    },
    /// Model names become file names.
    #[error("{0:?} is not a model name: use 1 to 64 of a-z, 0-9, `.`, `_` and `-`, beginning with a letter or digit")]
    Name(String),
    /// The name belongs to a model of another kind.
    #[error("the name {name:?} is taken by {path}: choose another with --name, or remove that one first")]
    Taken {
        /// The name.
        name: String,
        /// The file that has it.
        path: PathBuf,
    },
    /// No vector can be made of a text.
    #[error("no vector can be made of this text: {0}")]
    Text(String),
    /// The model's own chat template refused the conversation.
    #[error("the model's chat template refused the messages: {0}")]
    Template(String),
    /// A message cannot be shown to a text model.
    #[error("message {index} cannot be read: {reason}")]
    Message {
        /// Its position in the conversation, from 0.
        index: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// The conversation leaves no room for an answer.
    #[error(
        "the prompt has {tokens} tokens or more, but the context of this model holds {context}; send fewer messages"
    )]
    TooLong {
        /// How many the prompt has, as far as they were counted.
        tokens: usize,
        /// How many fit, the answer included.
        context: usize,
    },
    /// A sampling setting is out of its range.
    #[error("{name} is {value}, but must be {range}")]
    Sampling {
        /// Which setting.
        name: &'static str,
        /// What it was.
        value: f64,
        /// What it may be.
        range: &'static str,
    },
    /// An adapter was made for another model.
    #[error("adapter {adapter:?} does not fit this model: {reason}")]
    Adapter {
        /// The adapter's name.
        adapter: String,
        /// What does not fit.
        reason: String,
    },
    /// A low-rank change is not one.
    #[error("a low-rank change cannot be made of these numbers: {0}")]
    LowRank(&'static str),
    /// A file of an adapter cannot be taken.
    #[error("the adapter's file {file} is refused: {reason}")]
    AdapterFile {
        /// Its name.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An example cannot be trained on. Nothing of its batch was.
    #[error("example {index} of the batch cannot be trained on: {reason}; take it out and train on the rest")]
    Datum {
        /// Its position in the batch, from 0.
        index: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// Training cannot go on as it was set.
    #[error("the adapter cannot be trained: {0}")]
    Training(String),
    /// Training was told to stop. Nothing of the batch was kept.
    #[error("training was stopped before the batch was through; nothing of it was kept")]
    Interrupted,
    /// Tokens are none of the model's.
    #[error("these tokens cannot be read: {0}")]
    Tokens(String),
    /// The engine was shut down before the answer was complete.
    #[error("the embedded model was shut down; send the request again once the host is back")]
    Stopped,
}

/// Why the engine did not take a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// As many requests as allowed are waiting already.
    #[error("the embedded model is busy: {waiting} requests are waiting; try again shortly")]
    Busy {
        /// The size of the queue.
        waiting: usize,
    },
    /// The engine was shut down.
    #[error("the embedded model was shut down")]
    Stopped,
}

impl ModelError {
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| ModelError::Io { action, path, source }
    }
}
