//! Lists the files that the program embeds: what `metaclaw policy new` writes, and the bank of skills.

use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// Below `policies/`: the templates, and what a Rust policy stands on.
const FOLDERS: [&str; 3] = ["templates", "sdk", "cases"];
/// The contract, as `new` and `build` put it beside a world.
const CONTRACT: &str = "../../wit/1.0.0/policy.wit";
/// The bank of skills.
const BANK: &str = "../../examples/skills";
/// What builds and editors leave behind, and what only this project needs.
const LEFT_OUT: [&str; 5] = ["target", "node_modules", "__pycache__", "tests", ".zig"];

#[expect(clippy::disallowed_methods, reason = "a build script is told by cargo where to write")]
fn main() -> Result<(), Box<dyn Error>> {
    let out = std::env::var("OUT_DIR")?;
    let mut list = String::from("&[\n");
    for folder in FOLDERS {
        let root = Path::new("../../policies").join(folder);
        println!("cargo:rerun-if-changed={}", root.display());
        if root.is_dir() {
            add(&root, folder, &mut list)?;
        }
    }
    println!("cargo:rerun-if-changed={CONTRACT}");
    entry("contract", Path::new(CONTRACT), &mut list)?;
    list.push(']');
    fs::write(Path::new(&out).join("templates.rs"), list)?;
    println!("cargo:rerun-if-changed={BANK}");
    fs::write(Path::new(&out).join("bank.rs"), bank()?)?;
    Ok(())
}

/// Every `SHELF/SKILL` of the bank, with its `SKILL.md`.
fn bank() -> Result<String, Box<dyn Error>> {
    let mut files = Vec::new();
    for shelf in folders(Path::new(BANK))? {
        files.extend(folders(&shelf)?);
    }
    files.sort();
    let mut list = String::from("&[\n");
    for folder in files {
        let name = folder.strip_prefix(BANK)?.to_str().ok_or("a skill's name is not UTF-8")?.to_owned();
        entry(&name, &folder.join("SKILL.md"), &mut list)?;
    }
    list.push(']');
    Ok(list)
}

fn folders(folder: &Path) -> Result<Vec<PathBuf>, std::io::Error> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            found.push(path);
        }
    }
    Ok(found)
}

/// Every file of a folder, in the order of names.
fn add(folder: &Path, name: &str, list: &mut String) -> Result<(), Box<dyn Error>> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<Result<_, std::io::Error>>()?;
    paths.sort();
    for path in paths {
        let Some(file) = path.file_name().and_then(|file| file.to_str()) else { continue };
        let is_built = path.extension().is_some_and(|ending| ending == "wasm");
        if LEFT_OUT.contains(&file) || is_built {
            continue;
        }
        let name = format!("{name}/{file}");
        if path.is_dir() { add(&path, &name, list)? } else { entry(&name, &path, list)? }
    }
    Ok(())
}

fn entry(name: &str, path: &Path, list: &mut String) -> Result<(), Box<dyn Error>> {
    writeln!(list, "({name:?}, include_bytes!({:?})),", fs::canonicalize(path)?)?;
    Ok(())
}
