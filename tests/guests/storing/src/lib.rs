//! A policy that does with its files and values what the user says, and answers with what came of it. See `../README.md`.

#[path = "../../answering.rs"]
mod answering;

use answering::metaclaw::policy::types::Problem;
use answering::metaclaw::policy::{files, kv, log};

const NAME: &str = "storing";
const GRANTS: &str = "skills:write lora:read";

/// What came of an operation, in words.
fn told<T>(done: Result<T, Problem>, show: impl FnOnce(T) -> String) -> String {
    match done {
        Ok(value) => show(value),
        Err(problem) => format!("{}: {}", problem.code, problem.message),
    }
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8_lossy(&bytes).into_owned()
}

/// `VERB ARGUMENTS…`, the last argument being the rest.
fn obey(words: &str) -> String {
    let mut parts = words.splitn(4, ' ');
    let mut next = || parts.next().unwrap_or_default();
    let (verb, one, two, rest) = (next(), next(), next(), next());
    let done = |(): ()| "done".to_owned();
    let many = |count: &str| vec![b'x'; count.parse().unwrap_or_default()];
    match verb {
        "list" => told(files::list(one, two), |entries| {
            let shown = entries.iter().map(|e| format!("{}:{}:{}", e.name, e.kind, e.size));
            shown.collect::<Vec<_>>().join(" ")
        }),
        "stat" => told(files::stat(one, two), |e| format!("{}:{}:{}", e.name, e.kind, e.size)),
        "read" => told(files::read(one, two, 0, 4096), text),
        // As much as there is, in one piece.
        "read-all" => told(files::read(one, two, 0, u32::MAX), |bytes| format!("{} bytes", bytes.len())),
        "write" => told(files::write(one, two, rest.as_bytes()), done),
        "write-big" => told(files::write(one, two, &many(rest)), done),
        "remove" => told(files::remove(one, two), done),
        "get" => told(kv::get(one), |value| value.map_or("nothing".to_owned(), text)),
        "set" => told(kv::set(one, two.as_bytes()), done),
        "set-big" => told(kv::set(one, &many(two)), done),
        // A key of so many bytes.
        "set-key" => told(kv::set(&text(many(one)), b""), done),
        "delete" => told(kv::delete(one), done),
        "keys" => told(kv::keys(one), |keys| keys.join(" ")),
        // Counts its calls.
        "count" => {
            let before = told(kv::get("count"), |value| value.map_or("0".to_owned(), text));
            let next = before.parse::<u64>().unwrap_or_default() + 1;
            told(kv::set("count", next.to_string().as_bytes()), |()| before)
        }
        // Changes something, and then fails: nothing of it may stay.
        "set-and-panic" => {
            let _ = kv::set(one, two.as_bytes());
            panic!("on purpose");
        }
        // As many changes as it can make.
        "flood" => {
            let problem = (0..1_000_000).find_map(|n| kv::set(&format!("key-{n}"), b"").err().map(|p| format!("{n} {}", p.code)));
            problem.unwrap_or_default()
        }
        // As much of the disk as it can get.
        "fill" => {
            let file = |n: u32| files::write("skills", &format!("fill/{n}"), &vec![b'x'; 256 << 10]);
            (0..1_000_000).find_map(|n| file(n).err()).map_or(String::new(), |p| format!("{}: {}", p.code, p.message))
        }
        // Makes the host write, or wait for the disk, for ever.
        "write-flood" => loop {
            let _ = files::write("skills", "flood/x.txt", b"x");
        },
        "stat-flood" => loop {
            let _ = files::stat("skills", "");
        },
        "say" => {
            log::write("info", words);
            "said".to_owned()
        }
        // So many bytes for the operator.
        "say-big" => {
            log::write("warn", &text(many(one)));
            "said".to_owned()
        }
        _ => "what?".to_owned(),
    }
}
