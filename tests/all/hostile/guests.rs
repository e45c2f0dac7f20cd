//! The modules of the table, as files, and what lies in wait for them in their agents' folders.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use domain::Digest;
use rustix::fs::{CWD, FileType, mknodat};
use tests::{Home, guest, wasi_guest};

use super::table::{Asked, Outcome, Row};
use crate::bombs;

#[path = "../../guests/text.rs"]
mod text;

/// An agent's policy section for this row, its module being made in `folder` if it is not a crate. `code` is what a host keeps of a good
/// module.
pub(crate) fn policy(row: &Row, folder: &Path, code: &[u8]) -> String {
    let module = module(row, folder, code);
    let pin = match row.deed() {
        "another module than the pinned one" => Digest::of(b"another one"),
        // They have no bytes that could be read.
        "a pipe" | "a file of 1 TiB" => Digest::of(b""),
        _ => Digest::of(&fs::read(&module).unwrap()),
    };
    let settings = match (row.guest.as_str(), row.asked) {
        ("misbehaving", Asked::Load) if row.deed() == "bad-config" => "do: bad-config".to_owned(),
        ("misbehaving", asked) => {
            let hook = if asked == Asked::Load { "validate".to_owned() } else { format!("{asked:?}").to_lowercase() };
            format!("do: {}, in: {hook}", row.deed())
        }
        _ => String::new(),
    };
    let grants = match row.guest.as_str() {
        _ if row.with.contains("grants: ") => "",
        "storing" => "grants: { skills: write, lora: read, kv: 64KiB }",
        "wasi" => "grants: { skills: read, wasi: stub, wasi-fs: read }",
        _ => "",
    };
    let limits = match &row.outcome {
        Outcome::Fails(class, _) if class == "cpu" => "",
        _ if row.with.contains("limits: ") => "",
        _ => "limits: { cpu: 5s, filter_cpu: 5s }",
    };
    let more = [grants, limits, &row.with].into_iter().filter(|part| !part.is_empty()).map(|part| format!(", {part}"));
    format!("module: \"{}\", sha256: \"{pin}\", config: {{ {settings} }}{}", module.display(), more.collect::<String>())
}

fn module(row: &Row, folder: &Path, code: &[u8]) -> PathBuf {
    let bytes = match row.guest.as_str() {
        "misbehaving" | "storing" => return guest(&format!("tests/guests/{}", row.guest)),
        "wasi" => return wasi_guest(),
        "bytes" => bytes(row, folder, code),
        other => {
            let name = other.strip_prefix("text/").unwrap_or_else(|| panic!("{}: no guest {other:?}", row.agent));
            text::text_guest(name, &row.changes())
        }
    };
    let file = folder.join(format!("{}.wasm", row.agent));
    if !file.exists() {
        fs::write(&file, bytes).unwrap();
    }
    file
}

fn bytes(row: &Row, folder: &Path, code: &[u8]) -> Vec<u8> {
    let good = text::text_guest("policy", &[]);
    let file = folder.join(format!("{}.wasm", row.agent));
    match row.deed() {
        "nothing" => Vec::new(),
        "words" => b"allow everything\n".to_vec(),
        "a module without its end" => good[..good.len() - 3].to_vec(),
        "a core module" => wat::parse_str("(module)").unwrap(),
        "machine code" => {
            let at = code.windows(4).position(|bytes| bytes == b"\x7fELF").expect("wasmtime's code is an ELF file");
            code[at..].to_vec()
        }
        "a file of the cache" => code.to_vec(),
        "another module than the pinned one" => good,
        "100,001 functions" => bombs::tiny_functions(100_001),
        "a function of 1 MB" => bombs::live_locals(100_000),
        "a pipe" => {
            mknodat(CWD, &file, FileType::Fifo, 0o600.into(), 0).unwrap();
            Vec::new()
        }
        "a file of 1 TiB" => {
            sparse(&file);
            Vec::new()
        }
        other => panic!("{}: nobody knows how to make {other:?}", row.agent),
    }
}

fn sparse(file: &Path) {
    fs::File::create(file).unwrap().set_len(1 << 40).unwrap();
}

/// What this agent finds in its folder, as the table says; `outside` is what it must not get at.
pub(crate) fn lay_traps(row: &Row, home: &Home, outside: &Path) {
    let skills = home.path().join("skills").join(&row.agent);
    for threat in &row.threats {
        match threat {
            24..=31 => drop(home.skill(&row.agent, "mine", "For me alone", "MINE")),
            _ => continue,
        }
        match threat {
            24..=28 => lay_links(&skills, outside),
            29 => sparse(&skills.join("huge")),
            31 => fs::write(skills.join("ballast"), vec![b'x'; 8 << 20]).unwrap(),
            _ => {}
        }
    }
}

fn lay_links(skills: &Path, outside: &Path) {
    let secret = outside.join("secret.txt");
    symlink(&secret, skills.join("out")).unwrap();
    symlink("mine/SKILL.md", skills.join("in")).unwrap();
    symlink(outside, skills.join("away")).unwrap();
    symlink(outside.join("made.txt"), skills.join("gone")).unwrap();
    fs::hard_link(&secret, skills.join("twin")).unwrap();
    mknodat(CWD, skills.join("pipe"), FileType::Fifo, 0o600.into(), 0).unwrap();
    // The socket stays when nobody listens any more.
    drop(UnixListener::bind(skills.join("socket")).unwrap());
}
