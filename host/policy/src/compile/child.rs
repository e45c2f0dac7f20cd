//! What runs in the child: it limits itself, reads one component, compiles it, and writes the code.

use std::fs;
use std::io::{self, Read, Write};
use std::process::ExitCode;

use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};

use super::request::Request;
use crate::error::LoadError;
use crate::inspect::MAX_MODULE;
use crate::text::first_bytes;

/// How the child ends, beside 0; from `sysexits.h` where that has a word for it.
pub(super) const INVALID: u8 = 65;
pub(super) const FAILED: u8 = 70;
pub(super) const NO_MEMORY: u8 = 71;
pub(super) const TOO_MUCH_CODE: u8 = 73;

/// The most that the child says, in bytes.
pub(super) const MAX_WORDS: usize = 4 << 10;
/// How long it may go on after the signal that its time is up, in seconds.
const LAST_SECONDS: u64 = 1;
/// Standard input, output and errors, and a few for what the system's libraries look up.
const MAX_FILES: u64 = 16;
/// The kernel's scale ends here: if the system runs out of memory, the child goes first.
const FIRST_TO_GO: &str = "1000";
/// Everybody else goes first.
const LOWEST_PRIORITY: i32 = 19;

/// Why there is no code.
enum Refusal {
    /// The component is not valid, and this is why.
    Invalid(String),
    /// What it may have of memory is not enough.
    NoMemory,
    /// There is more code than may be.
    TooMuchCode,
    /// Everything else.
    Failed(String),
}

/// The whole work of a process that [`ChildCompiler`](super::ChildCompiler) has started: call it before anything else,
/// and end with what it returns. Reads standard input, and writes to standard output.
pub fn run_compiler() -> ExitCode {
    let (status, words) = match serve(&mut io::stdin().lock(), &mut io::stdout().lock()) {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Refusal::Invalid(why)) => (INVALID, why),
        Err(Refusal::NoMemory) => (NO_MEMORY, String::new()),
        Err(Refusal::TooMuchCode) => (TOO_MUCH_CODE, String::new()),
        Err(Refusal::Failed(why)) => (FAILED, why),
    };
    // Whoever started this reads the status, too.
    let _ = io::stderr().write_all(first_bytes(&words, MAX_WORDS).as_bytes());
    ExitCode::from(status)
}

fn serve(input: &mut impl Read, output: &mut impl Write) -> Result<(), Refusal> {
    let failed = |e: io::Error| match e.kind() {
        io::ErrorKind::OutOfMemory => Refusal::NoMemory,
        _ => Refusal::Failed(e.to_string()),
    };
    let request = Request::read(input).map_err(failed)?;
    restrict(&request).map_err(|e| Refusal::Failed(format!("cannot limit itself: {e}")))?;
    let mut component = Vec::new();
    input.take(MAX_MODULE as u64 + 1).read_to_end(&mut component).map_err(failed)?;
    if component.len() as u64 != request.length {
        return Err(Refusal::Failed("was not given the whole module".to_owned()));
    }
    let mut code = request.recipe.follow(&component, request.digest).map_err(|error| match error {
        LoadError::Invalid(why) => Refusal::Invalid(why),
        LoadError::CompileLimit { .. } => Refusal::NoMemory,
        LoadError::Compiler(why) => Refusal::Failed(why),
        other => Refusal::Failed(other.to_string()),
    })?;
    if code.machine_code().len() as u64 > request.output {
        return Err(Refusal::TooMuchCode);
    }
    output.write_all(code.seal(&request.key)).and_then(|()| output.flush()).map_err(failed)
}

/// Takes away from this process what compiling does not need, for good.
fn restrict(request: &Request) -> io::Result<()> {
    rustix::thread::set_no_new_privs(true)?;
    // Should the host be killed, this process would have nobody left to end it.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    rustix::process::setpriority_process(None, LOWEST_PRIORITY)?;
    // Only a wish, and there may be no `/proc`.
    let _ = fs::write("/proc/self/oom_score_adj", FIRST_TO_GO);
    for (resource, soft, hard) in [
        (Resource::Cpu, request.cpu, request.cpu.saturating_add(LAST_SECONDS)),
        (Resource::As, request.memory, request.memory),
        (Resource::Fsize, output_file(request.output), output_file(request.output)),
        (Resource::Nofile, MAX_FILES, MAX_FILES),
        (Resource::Core, 0, 0),
        // Neither processes nor threads. It does not hold for root.
        (Resource::Nproc, 0, 0),
    ] {
        // A limit that the operator has set lower stays.
        let highest = getrlimit(resource).maximum.unwrap_or(u64::MAX);
        setrlimit(resource, Rlimit { current: Some(soft.min(highest)), maximum: Some(hard.min(highest)) })?;
    }
    Ok(())
}

/// How long a file with so much code is.
pub(super) fn output_file(code: u64) -> u64 {
    code.saturating_add(super::code::HEADER as u64)
}
