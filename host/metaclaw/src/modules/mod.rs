//! Policy modules: which bytes are taken for an agent's module, and who compiles them.

mod files;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use config::{Config, ModuleRef, ModuleSource, PolicyConfig};
use domain::{Digest, SignatureError, TrustRoot};
use policy::{Cache, CacheLimits, ChildCompiler, Compile, CompileLimits, Engine, Module};
use registry::Modules;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The command that a host has this program started with, to compile one module.
pub(crate) const COMPILE: &str = "compile-policy";
/// This very program, even if a newer one has taken its place on disk meanwhile, which would compile for itself.
const THIS_PROGRAM: &str = "/proc/self/exe";
/// The folder below the home with what can be made anew.
const CACHE: &str = "cache";
/// What is added to a module's name for its signature's.
const SIGNATURE: &str = ".minisig";
/// The engine checks this too, but only once the bytes are in memory.
const MAX_MODULE: u64 = 32 << 20;
/// Far more than a signature has.
const MAX_SIGNATURE: u64 = 4 << 10;

/// Why a module is not taken for the agent's, beside what the engine says.
#[derive(Debug, thiserror::Error)]
enum ModuleError {
    #[error("it must be signed by {who}, but there is no {}: sign it with `minisign -Sm {}`", signature.display(), module.display())]
    Unsigned { who: String, signature: PathBuf, module: PathBuf },
    #[error(
        "it must be signed by {who}, but it was pushed without a signature: sign it, push it again and take the new digest"
    )]
    PushedUnsigned { who: String },
    #[error("it must be signed by {who}, but {signature}: {why}")]
    Signature { who: String, signature: String, why: SignatureError },
}

/// Where an agent's modules are taken from, beside files.
#[derive(Clone, Copy)]
pub(crate) struct Sources<'a> {
    pub(crate) registries: &'a Modules,
    /// The logins for them.
    pub(crate) auth_file: Option<&'a Path>,
}

/// A module's bytes, and what is beside them.
struct Found {
    bytes: Vec<u8>,
    /// Its signature's text; looked for only where one is asked for.
    signature: Option<String>,
}

/// What a configuration names, each module as often as it does.
pub(crate) fn named(config: &Config) -> impl Iterator<Item = &ModuleRef> {
    config.agents().flat_map(|(_, agent)| agent.policy.hooks.iter().filter_map(|(_, module)| module.as_ref()))
}

/// The manifests of the modules that a configuration takes from registries, each once.
pub(crate) fn pinned(config: &Config) -> Vec<Digest> {
    let digest = |module: &ModuleRef| match &module.source {
        ModuleSource::Registry(reference) => reference.digest(),
        ModuleSource::File(_) => None,
    };
    let mut digests: Vec<Digest> = named(config).filter_map(digest).collect();
    digests.sort();
    digests.dedup();
    digests
}

/// The whole program, when it was started to compile one module: a host starts it for each, so nothing comes before this.
pub(crate) fn as_compiler() -> Option<ExitCode> {
    (std::env::args_os().nth(1)? == COMPILE).then(policy::run_compiler)
}

/// Who compiles modules for a host: a child for each, and what they make is kept in the home.
pub(crate) fn compiler(home: &Path) -> anyhow::Result<Arc<dyn Compile>> {
    allow_open_files();
    let program = match Path::new(THIS_PROGRAM).exists() {
        true => PathBuf::from(THIS_PROGRAM),
        false => std::env::current_exe().context("this program does not find itself, to compile policies with")?,
    };
    let child = ChildCompiler::new(program, &[COMPILE], CompileLimits::default());
    Ok(Arc::new(Cache::open(&home.join(CACHE), Arc::new(child), CacheLimits::default())))
}

/// Every module's memory is a file that stays open, and many systems allow 1,024 unless asked for more.
fn allow_open_files() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::debug!(%error, "no more than {:?} files can be open", limit.current);
    }
}

/// The bytes of a module that a person names.
pub(crate) fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let bytes = files::read(path, MAX_MODULE).with_context(|| format!("the policy module {}", path.display()))?;
    let most = policy::MAX_MODULE;
    anyhow::ensure!(bytes.len() <= most, "the policy module {} has more than {most} bytes", path.display());
    Ok(bytes)
}

/// The signature beside a module, as text; none when there is none.
pub(crate) fn read_signature(module: &Path) -> anyhow::Result<Option<String>> {
    let signature = signature_of(module);
    match files::read(&signature, MAX_SIGNATURE) {
        Ok(text) => Ok(Some(String::from_utf8_lossy(&text).into_owned())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("the signature {}", signature.display())),
    }
}

/// Loads an agent's module, whose digest, signature or both must be what the configuration says. One from a registry is fetched
/// if it is not kept already, so this may take a while.
pub(crate) fn load(
    engine: &Engine,
    module: &ModuleRef,
    settings: &PolicyConfig,
    sources: Sources<'_>,
) -> anyhow::Result<Arc<Module>> {
    let loaded = load_approved(engine, module, &settings.config_json, sources)?;
    loaded.check_grants(&settings.grants).with_context(|| format!("policy module {}", module.source))?;
    Ok(loaded)
}

/// The file beside a module that holds its signature.
pub(crate) fn signature_of(module: &Path) -> PathBuf {
    let mut signature = module.as_os_str().to_owned();
    signature.push(SIGNATURE);
    PathBuf::from(signature)
}

fn load_approved(
    engine: &Engine,
    module: &ModuleRef,
    config_json: &str,
    sources: Sources<'_>,
) -> anyhow::Result<Arc<Module>> {
    let what = || format!("policy module {}", module.source);
    // These are the bytes that are checked and the bytes that run: the file is not looked at again.
    let found = find(module, sources).with_context(what)?;
    let signer = check_signed(module, &found.bytes, found.signature.as_deref()).with_context(what)?;
    let loaded = engine.load(&found.bytes, module.sha256, config_json).with_context(what)?;
    signer.iter().for_each(|root| loaded.note_signer(&root.key));
    Ok(loaded)
}

fn find(module: &ModuleRef, sources: Sources<'_>) -> anyhow::Result<Found> {
    match &module.source {
        ModuleSource::File(path) => {
            let bytes = files::read(path, MAX_MODULE)?;
            let signature = if module.signed_by.is_empty() { None } else { read_signature(path)? };
            Ok(Found { bytes, signature })
        }
        ModuleSource::Registry(reference) => {
            let pulled = sources.registries.fetch(reference, sources.auth_file)?;
            Ok(Found { bytes: pulled.module, signature: pulled.signature })
        }
    }
}

/// One of those whose signature the operator wants, if any, must have signed this file's very bytes: who has.
pub(crate) fn check_signature<'a>(module: &'a ModuleRef, bytes: &[u8]) -> anyhow::Result<Option<&'a TrustRoot>> {
    let signature = match module.file() {
        Some(path) if !module.signed_by.is_empty() => read_signature(path)?,
        _ => None,
    };
    check_signed(module, bytes, signature.as_deref())
}

fn check_signed<'a>(
    module: &'a ModuleRef,
    bytes: &[u8],
    signature: Option<&str>,
) -> anyhow::Result<Option<&'a TrustRoot>> {
    if module.signed_by.is_empty() {
        return Ok(None);
    }
    let who = module.signed_by.iter().map(|root| root.name.as_str()).collect::<Vec<_>>().join(" or ");
    let Some(text) = signature else {
        return Err(match module.file() {
            Some(path) => ModuleError::Unsigned { who, signature: signature_of(path), module: path.to_owned() },
            None => ModuleError::PushedUnsigned { who },
        }
        .into());
    };
    let place = || match module.file() {
        Some(path) => signature_of(path).display().to_string(),
        None => "the signature that was pushed with it".to_owned(),
    };
    let signer = verify(&module.signed_by, bytes, text);
    Ok(Some(signer.map_err(|why| ModuleError::Signature { who, signature: place(), why })?))
}

/// Fails with what is wrong for the root that comes closest: that the key is another one says least.
fn verify<'a>(roots: &'a [TrustRoot], bytes: &[u8], signature: &str) -> Result<&'a TrustRoot, SignatureError> {
    let mut worst = SignatureError::OtherKey;
    for root in roots {
        match root.key.verify(bytes, signature) {
            Ok(()) => return Ok(root),
            Err(SignatureError::OtherKey) => {}
            Err(other) => worst = other,
        }
    }
    Err(worst)
}
