use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use serde_json::json;

use super::languages::Language;
use crate::output;

/// `metaclaw policy new`
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  metaclaw policy new --lang rust my-policy
  metaclaw policy new --lang python no-secrets policies/no-secrets")]
pub(super) struct NewArgs {
    /// The policy's name: a-z, 0-9 and `-`
    name: String,
    /// The language
    #[arg(long, value_enum)]
    lang: Language,
    /// The folder to make [default: the name]
    dir: Option<PathBuf>,
}

/// Every file of the templates, by its path below `policies/`, and the contract.
const FILES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/templates.rs"));
/// What the templates are called within.
const PLACEHOLDER: &str = "my-policy";
/// Where languages that read the contract's text look for it.
pub(super) const CONTRACT: &str = "wit/deps/metaclaw-policy/policy.wit";
/// What a Rust policy stands on, which is in no registry: folders of `policies/`, and the project's own for them.
const RUST_NEEDS: [(&str, &str); 2] = [("sdk", "sdk/sdk"), ("cases", "sdk/cases")];

/// Writes a project.
pub(super) fn run(args: &NewArgs, json: bool) -> anyhow::Result<()> {
    check_name(&args.name)?;
    let folder = args.dir.clone().unwrap_or_else(|| PathBuf::from(&args.name));
    let files = project(args.lang, &args.name);
    if files.is_empty() {
        bail!("this build of metaclaw has no template for {}", args.lang);
    }
    make_empty(&folder)?;
    for (path, bytes) in &files {
        let file = folder.join(path);
        let written = file.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(&file, bytes));
        written.with_context(|| format!("{} was not written", file.display()))?;
    }
    let shown = folder.display();
    let next = [
        format!("metaclaw policy build {shown} --install"),
        format!("metaclaw policy test {shown}"),
        format!("metaclaw policy check {shown}/policy.wasm"),
    ];
    if json {
        let files: Vec<&str> = files.iter().map(|(path, _)| path.as_str()).collect();
        output::json(
            &json!({"policy": args.name, "lang": args.lang.word(), "folder": folder, "files": files, "next": next}),
        );
        return Ok(());
    }
    output::line(format_args!("made {shown}: the policy is in {}, its cases in cases.yaml. Next:", args.lang.source()));
    next.iter().for_each(|command| output::line(format_args!("  {command}")));
    Ok(())
}

/// A name that is one in every language, and in a configuration.
fn check_name(name: &str) -> anyhow::Result<()> {
    let plain = name.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-');
    let whole = name.split('-').all(|part| !part.is_empty()) && name.starts_with(|c: char| c.is_ascii_lowercase());
    if !plain || !whole || name.len() > 64 {
        bail!(
            "{name:?} is no name for a policy: write a-z, 0-9 and single `-` between them, a letter first, at most 64"
        );
    }
    Ok(())
}

/// Nothing of anybody's is written over.
fn make_empty(folder: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("the folder {} cannot be made", folder.display()))?;
    let mut there = fs::read_dir(folder).with_context(|| format!("the folder {}", folder.display()))?;
    if there.next().is_some() {
        bail!("{} is not empty: name another folder, `metaclaw policy new --lang … NAME FOLDER`", folder.display());
    }
    Ok(())
}

/// The files of a project, by their paths in it.
fn project(language: Language, name: &str) -> Vec<(String, Vec<u8>)> {
    let template = format!("templates/{language}/");
    let mut files: Vec<(String, Vec<u8>)> =
        below(&template).map(|(path, bytes)| (path.to_owned(), named(bytes, name))).collect();
    if files.is_empty() {
        return files;
    }
    if language == Language::Rust {
        for (from, to) in RUST_NEEDS {
            files.extend(below(&format!("{from}/")).map(|(path, bytes)| (format!("{to}/{path}"), bytes.to_vec())));
        }
    } else {
        files.push((CONTRACT.to_owned(), contract().to_vec()));
    }
    files
}

fn below(folder: &str) -> impl Iterator<Item = (&'static str, &'static [u8])> {
    FILES.iter().filter_map(move |(path, bytes)| Some((path.strip_prefix(folder)?, *bytes)))
}

/// The contract's text.
pub(super) fn contract() -> &'static [u8] {
    FILES.iter().find(|(path, _)| *path == "contract").map_or(&[], |(_, bytes)| bytes)
}

/// A file of a template, with the policy's own name in it, as words with `-` and, where a language wants that, with `_`.
fn named(bytes: &[u8], name: &str) -> Vec<u8> {
    match std::str::from_utf8(bytes) {
        Ok(text) => text
            .replace(PLACEHOLDER, name)
            .replace(&PLACEHOLDER.replace('-', "_"), &name.replace('-', "_"))
            .into_bytes(),
        Err(_) => bytes.to_vec(),
    }
}
