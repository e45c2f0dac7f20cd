//! A policy that was built for WASI, and looks around for what it can get there. The user's words say where to look; it answers with what
//! it found. See `../README.md`.

#[path = "../../answering.rs"]
mod answering;

use std::collections::HashMap;
use std::ffi::{CString, c_char, c_int};
use std::fs;
use std::io::Read as _;
use std::time::{Duration, Instant, SystemTime};

const NAME: &str = "looking";
const GRANTS: &str = "skills:read wasi wasi-fs";

fn told<T: std::fmt::Debug>(done: std::io::Result<T>) -> String {
    match done {
        Ok(value) => format!("{value:?}"),
        Err(error) => format!("error: {:?}", error.kind()),
    }
}

/// The standard library has no stable name for it.
fn symlink(to: &str, at: &str) -> std::io::Result<()> {
    unsafe extern "C" {
        fn symlink(to: *const c_char, at: *const c_char) -> c_int;
    }
    let (to, at) = (CString::new(to)?, CString::new(at)?);
    // SAFETY: both are texts that end in a zero and live as long as the call.
    if unsafe { symlink(to.as_ptr(), at.as_ptr()) } == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

fn obey(words: &str) -> String {
    let mut parts = words.splitn(3, ' ');
    let mut next = || parts.next().unwrap_or_default();
    let (verb, one, two) = (next(), next(), next());
    match verb {
        "args" => format!("{:?}", std::env::args().collect::<Vec<_>>()),
        "env" => format!("{:?}", std::env::vars().collect::<Vec<_>>()),
        "time" => format!("{:?}", SystemTime::UNIX_EPOCH.elapsed().map(|d| d.as_secs())),
        // Whether time passes.
        "clock" => {
            let began = Instant::now();
            let sum = (0..10_000_000_u64).fold(0, |sum, n| std::hint::black_box(sum ^ n));
            format!("{:?} {}", began.elapsed(), sum & 1)
        }
        // The order of a map with a random seed.
        "random" => format!("{:?}", (0..64).map(|n| (n, ())).collect::<HashMap<_, _>>().into_keys().collect::<Vec<_>>()),
        "read" => told(fs::read_to_string(one)),
        "list" => told(fs::read_dir(one).and_then(|dir| {
            let mut names: Vec<String> = dir.filter_map(|e| Some(e.ok()?.file_name().to_string_lossy().into_owned())).collect();
            names.sort();
            Ok(names)
        })),
        "write" => told(fs::write(one, two)),
        "truncate" => told(fs::OpenOptions::new().write(true).truncate(true).open(one).map(|_| ())),
        "remove" => told(fs::remove_file(one)),
        "rename" => told(fs::rename(one, two)),
        "link" => told(fs::hard_link(one, two)),
        "symlink" => told(symlink(one, two)),
        "mkdir" => told(fs::create_dir(one)),
        "stdin" => told(std::io::stdin().read(&mut [0]).map(|count| format!("{count} bytes"))),
        "exit" => std::process::exit(0),
        "print" => {
            println!("{}", "x".repeat(1 << 20));
            "printed".into()
        }
        // As many open files as it can get.
        "open-many" => {
            let mut open = Vec::new();
            while let Ok(file) = fs::File::open(one) {
                open.push(file);
                if open.len() > 10_000 {
                    break;
                }
            }
            format!("{}", open.len())
        }
        "sleep" => {
            std::thread::sleep(Duration::from_secs(30));
            "slept".into()
        }
        _ => "what?".into(),
    }
}
