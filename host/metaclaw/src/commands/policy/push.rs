use std::path::PathBuf;

use ::config::Paths;
use anyhow::{Context, bail};
use clap::Args;
use domain::ArtifactRef;
use policy::Anatomy;
use registry::{Artifact, Limits};
use serde_json::json;

use super::login::LoginArgs;
use super::subject::Subject;
use crate::{modules, output};

/// `metaclaw policy push`
#[derive(Debug, Args)]
#[command(
    after_help = "The module goes as one layer of a Wasm OCI artifact, and its signature, if there is MODULE.minisig, with it. What is printed
names exactly these bytes, for `policy.module` of any host. The same module always makes the same artifact.

Examples:
  metaclaw policy push policy.wasm oci://localhost:5000/team/topics:1.0
  metaclaw policy push policy.wasm oci://ghcr.io/team/topics:1.0 --user ada --password-file ghcr.token"
)]
pub(super) struct PushArgs {
    /// The module
    module: PathBuf,
    /// Where it goes
    #[arg(value_name = "oci://REGISTRY/REPOSITORY:TAG")]
    reference: ArtifactRef,
    #[command(flatten)]
    login: LoginArgs,
}

/// Puts a module into a registry.
pub(super) fn run(args: &PushArgs, paths: &Paths, json: bool) -> anyhow::Result<()> {
    let reference = &args.reference;
    if reference.digest().is_some() {
        bail!("{reference} has a digest, which only the registry's answer can have: name a tag to push to");
    }
    let subject = Subject::read(&args.module)?;
    let anatomy = Anatomy::of(&subject.bytes)?;
    if anatomy.contract().is_none() {
        bail!("{} is no policy: `metaclaw policy check` says why", subject.path.display());
    }
    let signature = modules::read_signature(&subject.path)?;
    if signature.as_ref().is_some_and(|text| text.len() > registry::MAX_SIGNATURE) {
        bail!("the signature {} is too long to be one", modules::signature_of(&subject.path).display());
    }
    let artifact = Artifact {
        module: &subject.bytes,
        imports: &anatomy.imports,
        exports: &anatomy.exports,
        signature: signature.as_deref(),
    };
    let login = args.login.resolve(paths, reference)?;
    let pushed = crate::commands::runtime()?.block_on(registry::push(reference, &artifact, login, &Limits::PATIENT));
    let pinned = reference.pinned(pushed.with_context(|| format!("{} was not pushed", subject.path.display()))?);
    if json {
        output::json(&json!({
            "module": subject.path, "sha256": subject.digest.to_string(), "reference": pinned.to_string(),
            "signed": signature.is_some(),
        }));
        return Ok(());
    }
    let signed = if signature.is_some() { ", with its signature" } else { "" };
    output::line(format_args!("pushed {} ({} bytes{signed})", subject.path.display(), subject.bytes.len()));
    output::line(format_args!("for the configuration: module: \"{pinned}\""));
    Ok(())
}
