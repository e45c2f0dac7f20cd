use std::fs;
use std::path::{Path, PathBuf};

use ::config::Paths;
use anyhow::Context;
use clap::Args;
use domain::{ArtifactRef, Digest};
use registry::{Limits, ModuleCache, Pulled};
use serde_json::json;

use super::login::LoginArgs;
use crate::{modules, output};

/// `metaclaw policy pull`
#[derive(Debug, Args)]
#[command(
    after_help = "The module is kept in the home's cache, where the host finds it, also without a network. What a tag means may change at any
time; what is printed has the digest and does not.

Examples:
  metaclaw policy pull oci://ghcr.io/team/topics:1.0
  metaclaw policy pull oci://ghcr.io/team/topics:1.0 --out topics.wasm
  metaclaw policy inspect topics.wasm"
)]
pub(super) struct PullArgs {
    /// What to fetch
    #[arg(value_name = "oci://REGISTRY/REPOSITORY[:TAG][@sha256:DIGEST]")]
    reference: ArtifactRef,
    /// Write the module there, too, and its signature beside it
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    login: LoginArgs,
}

/// Fetches a module.
pub(super) fn run(args: &PullArgs, paths: &Paths, json: bool) -> anyhow::Result<()> {
    let reference = &args.reference;
    let cache = ModuleCache::of(&paths.home);
    let pulled = match reference.digest().and_then(|digest| cache.find(digest)) {
        Some(kept) => kept,
        None => {
            let login = args.login.resolve(paths, reference)?;
            let pulled = registry::pull(reference, login, &Limits::PATIENT);
            let pulled = crate::commands::runtime()?.block_on(pulled)?;
            cache.keep(&pulled)?;
            // Without a configuration nobody knows what is used, and all of it stays.
            if let Ok(loaded) = ::config::load(paths, crate::commands::lenient()) {
                cache.prune(&[modules::pinned(&loaded.config), vec![pulled.digest]].concat())?;
            }
            pulled
        }
    };
    if let Some(file) = &args.out {
        write(file, &pulled)?;
    }
    let pinned = reference.pinned(pulled.digest);
    let sha256 = Digest::of(&pulled.module);
    if json {
        output::json(&json!({
            "reference": pinned.to_string(), "sha256": sha256.to_string(), "bytes": pulled.module.len(),
            "signed": pulled.signature.is_some(), "file": args.out,
        }));
        return Ok(());
    }
    let signed = if pulled.signature.is_some() { ", with a signature" } else { "" };
    output::line(format_args!("pulled {} bytes{signed}; sha256 {sha256}", pulled.module.len()));
    args.out.iter().for_each(|file| output::line(format_args!("written to {}", file.display())));
    output::line(format_args!("for the configuration: module: \"{pinned}\""));
    Ok(())
}

fn write(file: &Path, pulled: &Pulled) -> anyhow::Result<()> {
    let not_written = |file: &Path| format!("{} was not written", file.display());
    fs::write(file, &pulled.module).with_context(|| not_written(file))?;
    let signature = modules::signature_of(file);
    match &pulled.signature {
        Some(text) => fs::write(&signature, text).with_context(|| not_written(&signature)),
        // One that was there before would be another module's.
        None if signature.exists() => fs::remove_file(&signature).with_context(|| not_written(&signature)),
        None => Ok(()),
    }
}
