use domain::Digest;

use crate::decision::Failure;
use crate::text::printable;

/// The most of a compiler's or linker's message that is shown, in bytes: it may quote the module.
const MAX_REASON: usize = 2 << 10;

/// Why the engine cannot start.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The processor or the system lacks something that wasmtime needs.
    #[error("cannot set up the WebAssembly engine: {0}")]
    Setup(String),
    /// No thread for the ticker.
    #[error("cannot start the policy engine's ticker thread")]
    Thread(#[source] std::io::Error),
    /// The embedded policy does not load, which is a defect of this build.
    #[error("the built-in policy does not load; this build is broken")]
    Builtin(#[source] LoadError),
}

/// Why a module cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// More bytes than are looked at.
    #[error("the policy module has {size} bytes, at most {limit} are allowed")]
    TooLarge {
        /// The module's.
        size: usize,
        /// The most.
        limit: usize,
    },
    /// The bytes are not those that the operator approved.
    #[error("the policy module's sha256 is {actual}, but the configuration pins {pinned}: update the pin or the file")]
    WrongDigest {
        /// From the configuration.
        pinned: Digest,
        /// Of the bytes.
        actual: Digest,
    },
    /// A core module instead of a component.
    #[error(
        "this is a core WebAssembly module, not a component: build it with `policy-build`, or wrap it with `wasm-tools component new`"
    )]
    CoreModule,
    /// Not WebAssembly, cut off, or built with features that are switched off here.
    #[error("the policy module is not a valid component: {0}")]
    Invalid(String),
    /// Something that could take very long to compile.
    #[error("the policy module is too complex to compile safely: {0}")]
    TooComplex(String),
    /// Compiling it exceeds what a compilation may use.
    #[error("compiling the policy module takes more than {limit}: make the module, or its largest function, smaller")]
    CompileLimit {
        /// How much of what, as in `60s of processor time`.
        limit: String,
    },
    /// The compiler broke down, was killed from outside, or made what is no use.
    #[error("the policy module was not compiled: the compiler {0}")]
    Compiler(String),
    /// There is no compiler: no process, or no memory to talk to it.
    #[error("the compiler for policy modules cannot be started; the module was not looked at")]
    CompilerStart(#[source] std::io::Error),
    /// The engine was shut down meanwhile.
    #[error("the policy engine has been shut down")]
    Stopped,
    /// It wants what no policy gets.
    #[error("the policy module imports `{name}`, which no policy is given{hint}")]
    Import {
        /// The import, as the module writes it.
        name: String,
        /// What to do, or nothing.
        hint: &'static str,
    },
    /// It was built against another version of the interface.
    #[error(
        "the policy module exports `{0}`: it was built for another version of `metaclaw:policy`, this host has 0.1"
    )]
    Version(String),
    /// It asks for a grant that this host does not have.
    #[error("the policy module asks for the grant `{0}`, which this host does not know: it needs a newer host")]
    UnknownGrant(String),
    /// It needs grants that the operator has not given.
    #[error("the policy module asks for more than it is granted: add `grants: {{ {} }}` to the agent's policy", .0.join(", "))]
    NotGranted(Vec<&'static str>),
    /// It exports no `lifecycle`.
    #[error("the policy module does not export `metaclaw:policy/lifecycle@0.1`, which every policy must")]
    NoLifecycle,
    /// It exports no hook.
    #[error(
        "the policy module exports no hook: it needs `routing`, `skill-selection` or `sample-filter` of `metaclaw:policy@0.1`"
    )]
    NoHook,
    /// An import or export has another shape than this host's.
    #[error("the policy module does not fit `metaclaw:policy@0.1.1`: {0}")]
    Shape(String),
    /// It failed when it was tried out.
    #[error("the policy module failed when it was tried out: {0}")]
    Probe(Failure),
    /// The module does not accept its configuration.
    #[error("the policy refuses its configuration: {}", .0.join("; "))]
    Config(Vec<String>),
}

impl LoadError {
    pub(crate) fn invalid(reason: &dyn std::fmt::Display) -> Self {
        LoadError::Invalid(printable(&format!("{reason:#}"), MAX_REASON))
    }

    pub(crate) fn shape(reason: &wasmtime::Error) -> Self {
        LoadError::Shape(printable(&format!("{reason:#}"), MAX_REASON))
    }
}
