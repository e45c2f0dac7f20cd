use std::io;
use std::path::PathBuf;

use domain::Digest;

/// Why a module could not be pulled, pushed or kept.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// No connection.
    #[error("the registry {registry} cannot be reached ({reason}): check its name and the network")]
    Unreachable {
        /// Whose.
        registry: String,
        /// What the system says.
        reason: String,
    },
    /// Silence, or a drip.
    #[error("the registry {registry} is too slow: {what} did not come in time; try again later")]
    Timeout {
        /// Whose.
        registry: String,
        /// What was waited for.
        what: String,
    },
    /// It has failed already, and every module of it would be waited for anew.
    #[error("the registry {registry} has failed already ({reason}), and is not asked for more now")]
    Failed {
        /// Whose.
        registry: String,
        /// The failure.
        reason: String,
    },
    /// Others have taken all the time.
    #[error("there is no time left for it: all registries together have {seconds} s when the configuration is read")]
    Late {
        /// How long that is.
        seconds: u64,
    },
    /// An answer broke off.
    #[error("{what} broke off ({reason}); try again")]
    Broken {
        /// What was being sent.
        what: String,
        /// What the system says.
        reason: String,
    },
    /// The registry does not have it.
    #[error("{what} is not in {registry}: check repository, tag and digest, and whether it is open to you")]
    NotFound {
        /// Whose.
        registry: String,
        /// What is missing.
        what: String,
    },
    /// The registry wants to know who asks, or does not let them.
    #[error("the registry {registry} {why}: name a login in `registry.auth_file`, or with --user")]
    Login {
        /// Whose.
        registry: String,
        /// What it does.
        why: String,
    },
    /// A status that was not to be expected.
    #[error("the registry {registry} answered {status} for {what}{words}")]
    Status {
        /// Whose.
        registry: String,
        /// The HTTP status.
        status: u16,
        /// What was asked.
        what: String,
        /// Its own words, or nothing.
        words: String,
    },
    /// It sends us where we do not go.
    #[error("the registry {registry} leads to {place}, {why}")]
    Place {
        /// Whose.
        registry: String,
        /// Host and scheme.
        place: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// More than is read.
    #[error("{what} has more than {most} bytes")]
    TooLong {
        /// What is.
        what: String,
        /// The bound.
        most: usize,
    },
    /// Other bytes than were asked for.
    #[error(
        "{what} is not what the registry sent: that hashes to {actual}; the registry or the way to it is not to be trusted"
    )]
    WrongDigest {
        /// What was asked for, with its digest.
        what: String,
        /// What came.
        actual: Digest,
    },
    /// An artifact, but not of a policy.
    #[error("the manifest of {what} is not one of a policy ({why}): push modules with `metaclaw policy push`")]
    Manifest {
        /// Whose manifest.
        what: String,
        /// What is wrong with it.
        why: String,
    },
    /// An answer that the protocol does not have.
    #[error("the registry {registry} does not keep to the protocol: {why}")]
    Protocol {
        /// Whose.
        registry: String,
        /// How.
        why: &'static str,
    },
    /// It is not in the cache, and the network is not asked.
    #[error(
        "it is not in the cache yet: the host fetches it when it starts or reloads, or `metaclaw policy pull` does"
    )]
    NotCached,
    /// The host ends.
    #[error("the host is stopping")]
    Stopped,
    /// The cache cannot be used.
    #[error("the module cache {} cannot be used: {reason}", path.display())]
    Cache {
        /// Where.
        path: PathBuf,
        /// Why.
        reason: io::Error,
    },
    /// The file with logins cannot be used.
    #[error("the logins in {} cannot be used: {why}", path.display())]
    AuthFile {
        /// Where.
        path: PathBuf,
        /// Why, and what to do.
        why: String,
    },
    /// This machine does not let us.
    #[error("no connection can be made from here: {0}")]
    Machine(String),
}
