use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use domain::{ByteSize, Digest};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, waitid};

use super::Compile;
use super::child::{FAILED, INVALID, MAX_WORDS, NO_MEMORY, TOO_MUCH_CODE, output_file};
use super::code::{Code, HEADER, Key};
use super::recipe::Recipe;
use super::request::Request;
use crate::error::LoadError;
use crate::text::printable;

/// What one compilation may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompileLimits {
    /// Processor time, in whole seconds, of the largest modules. Smaller ones have less: ten seconds, and one for every
    /// 128 KiB. An ordinary module takes a tenth of a second, a Python interpreter of 18 MiB about ten; but there are
    /// modules of a few KiB that would take hours.
    pub cpu: Duration,
    /// Time altogether: more than `cpu`, for a compilation gives way to everything else on the machine.
    pub wall: Duration,
    /// Address space. A module of the largest allowed size takes about 1.5 GiB.
    pub memory: ByteSize,
    /// Machine code. A Python interpreter is 35 MiB.
    pub output: ByteSize,
}

/// What any module has of processor time, and how many of its bytes are worth another second.
const FIRST_SECONDS: u64 = 10;
const BYTES_A_SECOND: u64 = 128 << 10;

impl CompileLimits {
    /// Processor time for a module of this length, in seconds.
    fn seconds_for(&self, length: u64) -> u64 {
        self.cpu.as_secs().min(FIRST_SECONDS + length / BYTES_A_SECOND)
    }
}

impl Default for CompileLimits {
    fn default() -> Self {
        CompileLimits {
            cpu: Duration::from_secs(60),
            wall: Duration::from_secs(120),
            memory: ByteSize(4 << 30),
            output: ByteSize(256 << 20),
        }
    }
}

/// Compiles in a process of its own: one at a time, limited, and killed when it takes too long.
#[derive(Debug)]
pub struct ChildCompiler {
    program: PathBuf,
    arguments: Vec<OsString>,
    limits: CompileLimits,
    /// Held while a child runs. Compiling takes much memory, so there is one at a time.
    turn: Mutex<()>,
    control: Mutex<Control>,
}

#[derive(Debug, Default)]
struct Control {
    stopped: bool,
    /// Of the child that runs.
    running: Option<Sender<Event>>,
}

/// What the one that waits for a child is told.
#[derive(Clone, Copy)]
enum Event {
    Ended,
    Stop,
}

/// How a child came to its end.
enum End {
    Itself(ExitStatus),
    /// We killed it.
    TooLate,
    Stopped,
}

impl ChildCompiler {
    /// Has modules compiled by `program`, which must be this very program and, with these arguments, call
    /// [`run_compiler`](super::run_compiler) before anything else. Nothing is started yet.
    pub fn new(program: impl Into<PathBuf>, arguments: &[&str], limits: CompileLimits) -> Self {
        ChildCompiler {
            program: program.into(),
            arguments: arguments.iter().map(OsString::from).collect(),
            limits,
            turn: Mutex::default(),
            control: Mutex::default(),
        }
    }

    /// Has the child do its work, and waits until it and its process group have ended.
    fn run(&self, input: File, output: &File, words: &File) -> Result<End, LoadError> {
        let (tell, hear) = mpsc::channel();
        {
            let mut control = lock(&self.control);
            if control.stopped {
                return Err(LoadError::Stopped);
            }
            control.running = Some(tell.clone());
        }
        let ended = self.spawn(input, output, words).and_then(|child| wait(child, &tell, &hear, self.limits.wall));
        lock(&self.control).running = None;
        ended.map_err(LoadError::CompilerStart)
    }

    fn spawn(&self, input: File, output: &File, words: &File) -> io::Result<Child> {
        Command::new(&self.program)
            .args(&self.arguments)
            .env_clear()
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::from(input))
            .stdout(Stdio::from(output.try_clone()?))
            .stderr(Stdio::from(words.try_clone()?))
            .spawn()
    }

    /// What it means that the child ended like this and said this.
    fn failure(&self, status: ExitStatus, words: &str, seconds: u64) -> LoadError {
        let CompileLimits { memory, output, .. } = self.limits;
        let limit = |limit: String| LoadError::CompileLimit { limit };
        let ended_by = |signal: Signal| status.signal() == Some(signal.as_raw());
        let said = printable(words.trim(), MAX_WORDS);
        match status.code().and_then(|code| u8::try_from(code).ok()) {
            Some(INVALID) => LoadError::Invalid(said),
            Some(NO_MEMORY) => limit(format!("{memory} of memory")),
            Some(TOO_MUCH_CODE) => limit(format!("{output} of machine code")),
            Some(FAILED) => LoadError::Compiler(said),
            _ if ended_by(Signal::XCPU) => limit(format!("{seconds}s of processor time")),
            _ if ended_by(Signal::XFSZ) => limit(format!("{output} of machine code")),
            // The words of Rust's own allocation failure.
            _ if ended_by(Signal::ABORT) && words.contains("memory allocation of") => {
                limit(format!("{memory} of memory"))
            }
            _ if ended_by(Signal::KILL) => {
                LoadError::Compiler("was killed, most likely because the system has no memory left".to_owned())
            }
            _ if said.is_empty() => LoadError::Compiler(format!("broke down ({status})")),
            _ => LoadError::Compiler(format!("broke down ({status}): {said}")),
        }
    }
}

impl Compile for ChildCompiler {
    fn compile(&self, component: &[u8], digest: Digest, recipe: Recipe) -> Result<Code, LoadError> {
        let _turn = lock(&self.turn);
        let key = Key::random().map_err(LoadError::CompilerStart)?;
        let request = Request {
            recipe,
            digest,
            length: component.len() as u64,
            key: key.clone(),
            cpu: self.limits.seconds_for(component.len() as u64),
            memory: self.limits.memory.0,
            output: self.limits.output.0,
        };
        let files = || -> io::Result<_> {
            let input = filled("policy-module", &[&request.to_bytes(), component])?;
            let output = sized("policy-code", output_file(request.output))?;
            Ok((input, output, sized("policy-words", MAX_WORDS as u64)?))
        };
        let (input, output, words) = files().map_err(LoadError::CompilerStart)?;
        match self.run(input, &output, &words)? {
            End::Stopped => Err(LoadError::Stopped),
            End::TooLate => Err(LoadError::CompileLimit {
                limit: format!("{:?} altogether, for which a busy machine may be to blame", self.limits.wall),
            }),
            End::Itself(status) if status.success() => read_code(output, request.output)
                .and_then(|bytes| Code::open(bytes, &key, digest, recipe).map_err(|e| e.to_string()))
                .map_err(|why| LoadError::Compiler(format!("wrote what is no use: {why}"))),
            End::Itself(status) => Err(self.failure(status, &read_words(words), request.cpu)),
        }
    }

    fn stop(&self) {
        let mut control = lock(&self.control);
        control.stopped = true;
        if let Some(running) = &control.running {
            // Should it have ended just now, nobody listens any more.
            let _ = running.send(Event::Stop);
        }
    }
}

/// Waits until the child has ended, by itself or because it has to, and ends what is left of its process group.
fn wait(mut child: Child, tell: &Sender<Event>, hear: &Receiver<Event>, patience: Duration) -> io::Result<End> {
    let pid = Pid::from_child(&child);
    let end = || {
        // The child is not reaped yet, so its number is nobody else's. It may be a group's leader no more.
        let _ = kill_process_group(pid, Signal::KILL);
        let _ = kill_process(pid, Signal::KILL);
    };
    let event = thread::scope(|scope| {
        let waiter = thread::Builder::new().name("policy-compile".to_owned()).spawn_scoped(scope, || {
            // Without reaping it. An interrupted wait is begun again; should it fail, there is nothing to wait for.
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            while matches!(waitid(WaitId::Pid(pid), options), Err(Errno::INTR)) {}
            let _ = tell.send(Event::Ended);
        });
        let event = waiter.map(|_| hear.recv_timeout(patience).ok());
        end();
        event
    });
    let status = child.wait()?;
    Ok(match event? {
        Some(Event::Ended) => End::Itself(status),
        Some(Event::Stop) => End::Stopped,
        None => End::TooLate,
    })
}

/// A file in memory that holds these bytes for good. A pipe would have to be filled while the child reads.
fn filled(name: &str, parts: &[&[u8]]) -> io::Result<File> {
    let mut file = in_memory(name)?;
    parts.iter().try_for_each(|part| file.write_all(part))?;
    file.rewind()?;
    fcntl_add_seals(&file, SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)?;
    Ok(file)
}

/// A file in memory that can be written within this length only, whoever writes. A pipe would have to be emptied while
/// the child writes, and be waited for when somebody else has got hold of its other end.
fn sized(name: &str, length: u64) -> io::Result<File> {
    let file = in_memory(name)?;
    file.set_len(length)?;
    fcntl_add_seals(&file, SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)?;
    Ok(file)
}

fn in_memory(name: &str) -> io::Result<File> {
    Ok(memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?.into())
}

/// The sealed code that the file begins with. Whether it is what it says is for the seal to tell.
fn read_code(mut file: File, limit: u64) -> Result<Vec<u8>, String> {
    let mut header = [0; HEADER];
    let mut read = || -> io::Result<_> {
        file.rewind()?;
        file.read_exact(&mut header)
    };
    read().map_err(|e| e.to_string())?;
    let length = Code::announced_length(&header).map_err(|e| e.to_string())?;
    if length > limit {
        return Err(format!("it announces {length} bytes of code"));
    }
    let mut bytes = header.to_vec();
    // With room from the beginning, so that what has been read is not copied again and again.
    bytes.reserve_exact(usize::try_from(length).unwrap_or(0));
    file.take(length).read_to_end(&mut bytes).map_err(|e| e.to_string())?;
    Ok(bytes)
}

/// What the child has said. The file is as long as it may be; what was not written is zeros.
fn read_words(mut file: File) -> String {
    let mut bytes = Vec::new();
    // What cannot be read is not said.
    let _ = file.rewind().and_then(|()| file.take(MAX_WORDS as u64).read_to_end(&mut bytes));
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
