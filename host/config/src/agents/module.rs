use std::fmt;
use std::path::{Path, PathBuf};

use domain::{ArtifactRef, Digest, InvalidArtifactRef, PublicKey, TrustRoot};

use crate::load::Reader;
use crate::setting::unknown;
use crate::yaml::quote;

/// The policy that is part of this program.
const BUILTIN: &str = "builtin:default";
/// How an artifact in a registry is named.
const ARTIFACT: &str = "oci://REGISTRY/REPOSITORY:TAG@sha256:DIGEST";

/// A module to load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModuleRef {
    /// Where it is. Nobody has looked yet.
    pub source: ModuleSource,
    /// What its bytes must hash to. Outside dev mode a file has this or a signature, or both.
    pub sha256: Option<Digest>,
    /// Who may have signed it: one of these must have. Empty: it needs no signature.
    pub signed_by: Vec<TrustRoot>,
}

/// Where a module is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModuleSource {
    /// In this file, absolute.
    File(PathBuf),
    /// In a registry. Outside dev mode it has a digest.
    Registry(ArtifactRef),
}

impl ModuleRef {
    /// The file that it is in, if it is in one.
    pub fn file(&self) -> Option<&Path> {
        match &self.source {
            ModuleSource::File(path) => Some(path),
            ModuleSource::Registry(_) => None,
        }
    }
}

impl fmt::Display for ModuleSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ModuleSource::File(path) => write!(f, "{}", path.display()),
            ModuleSource::Registry(reference) => write!(f, "{reference}"),
        }
    }
}

/// The module that a section names.
#[derive(Clone)]
pub(super) enum Named {
    Nothing,
    Builtin,
    Module(ModuleRef),
}

impl Named {
    pub(super) fn module(self) -> Option<ModuleRef> {
        match self {
            Named::Module(module) => Some(module),
            Named::Nothing | Named::Builtin => None,
        }
    }
}

pub(super) fn named_module(prefix: &str, inherited: bool, reader: &mut Reader<'_>) -> Named {
    let (module_key, digest_key) = (format!("{prefix}.module"), format!("{prefix}.sha256"));
    let Some(text) = reader.text(&module_key) else {
        if !inherited && !reader.settings.mentions(&module_key) {
            check_lone_proof(prefix, reader);
        }
        return Named::Nothing;
    };
    if text == BUILTIN {
        return Named::Builtin;
    }
    let signed_by = signed_by(prefix, inherited, reader);
    let sha256 = reader.value(&digest_key);
    let source = match ArtifactRef::is_meant(&text) {
        true => in_registry(&module_key, &text, inherited, reader),
        false => in_file(&module_key, &text, inherited, reader),
    };
    let is_file = matches!(source, Some(ModuleSource::File(_)));
    let unproven = signed_by.as_ref().is_some_and(Vec::is_empty) && !reader.settings.mentions(&digest_key);
    if is_file && !inherited && unproven {
        report_missing_digest(prefix, reader);
    }
    let signed_by = signed_by.unwrap_or_default();
    source.map_or(Named::Nothing, |source| Named::Module(ModuleRef { source, sha256, signed_by }))
}

fn in_file(key: &str, text: &str, inherited: bool, reader: &mut Reader<'_>) -> Option<ModuleSource> {
    if inherited {
        return reader.paths.expand(text).ok().map(ModuleSource::File);
    }
    if let Some((scheme, _)) = text.split_once(':') {
        let message = format!("{} cannot be loaded: no module comes from `{scheme}:`", quote(text));
        reader.report.error(key, reader.place(key), message, format!("write a path, {ARTIFACT}, or {BUILTIN}"));
        return None;
    }
    reader.expand(key, text).map(ModuleSource::File)
}

fn in_registry(key: &str, text: &str, inherited: bool, reader: &mut Reader<'_>) -> Option<ModuleSource> {
    let reference: ArtifactRef = match text.parse() {
        Ok(reference) => reference,
        Err(why) => {
            if !inherited {
                // A password is not repeated.
                let what = if why == InvalidArtifactRef::Login { "the reference".to_owned() } else { quote(text) };
                let message = format!("{what} cannot be loaded: {why}");
                reader.report.error(key, reader.place(key), message, format!("write {ARTIFACT}"));
            }
            return None;
        }
    };
    if reference.digest().is_none() && !inherited {
        let place = reader.place(key);
        let message = "the reference has no digest, so it means whatever the registry has under this tag at the time";
        let remedy = format!("write it with its digest, as `metaclaw policy pull {reference}` prints it");
        match reader.options.dev {
            true => reader.report.warning(key, place, message, remedy),
            false => reader.report.error(key, place, message, format!("{remedy}; or use --dev while you write it")),
        }
    }
    Some(ModuleSource::Registry(reference))
}

/// Who may have signed the module of this section; none when that cannot be said, which has been reported.
fn signed_by(prefix: &str, inherited: bool, reader: &mut Reader<'_>) -> Option<Vec<TrustRoot>> {
    let key = format!("{prefix}.signed_by");
    if !reader.settings.mentions(&key) {
        return Some(Vec::new());
    }
    let names: Vec<String> = reader.value(&key)?;
    let mut problem = None;
    if names.is_empty() {
        let remedy = "name somebody whose key is in `trust`, or remove it".to_owned();
        problem = Some(("nobody may have signed the module".to_owned(), remedy));
    }
    let mut roots = Vec::new();
    for name in names {
        match reader.value::<PublicKey>(&format!("trust.{name}")) {
            Some(root) => roots.push(TrustRoot { name, key: root }),
            // A key that is there, and wrong, is reported where it stands.
            None if reader.settings.mentions(&format!("trust.{name}")) => return None,
            None => problem = Some(unknown_root(&name, reader)),
        }
    }
    let Some((message, remedy)) = problem else { return Some(roots) };
    if !inherited {
        reader.report.error(&key, reader.place(&key), message, remedy);
    }
    None
}

fn unknown_root(name: &str, reader: &Reader<'_>) -> (String, String) {
    let known: Vec<&str> = reader.settings.trusted.keys().map(String::as_str).collect();
    match known.is_empty() {
        true => (
            format!("{} is not in `trust`, for there is none", quote(name)),
            "write `trust:` at the top level, and below it each name with its public key".to_owned(),
        ),
        false => unknown(name, "in `trust`", &known),
    }
}

fn report_missing_digest(prefix: &str, reader: &mut Reader<'_>) {
    let place = reader.place(&format!("{prefix}.module"));
    let digest_key = format!("{prefix}.sha256");
    let message = "the module's digest is missing, so any file in its place would be run";
    let remedy =
        format!("set {digest_key} to what `sha256sum` prints for the file, in quotes, or signed_by to who signs it");
    if reader.options.dev {
        reader.report.warning(digest_key, place, message, remedy);
    } else {
        reader.report.error(digest_key, place, message, format!("{remedy}; or use --dev while you write it"));
    }
}

/// A digest or a signer without a module beside it would leave open what it is about.
pub(super) fn check_lone_proof(prefix: &str, reader: &mut Reader<'_>) {
    for (name, message) in [
        ("sha256", "this digest has no module beside it"),
        ("signed_by", "this says who signs a module, but there is no module beside it"),
    ] {
        let key = format!("{prefix}.{name}");
        if let Some(place) = reader.place(&key) {
            reader.report.error(key, Some(place), message, "name the module in the same section, or remove this key");
        }
    }
}
