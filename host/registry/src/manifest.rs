use std::collections::BTreeMap;

use domain::Digest;
use serde::{Deserialize, Serialize};

use crate::MAX_MODULE;

pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.wasm.config.v0+json";
const LAYER: &str = "application/wasm";
/// The annotation that holds a module's signature, as minisign writes it.
const SIGNATURE: &str = "metaclaw.minisig";
/// More than a signature has, in bytes.
pub const MAX_SIGNATURE: usize = 4 << 10;
/// The same module makes the same artifact, whenever it is pushed.
const CREATED: &str = "1970-01-01T00:00:00Z";

/// What is pushed: a component, and what is said of it.
#[derive(Clone, Copy, Debug)]
pub struct Artifact<'a> {
    /// The component's bytes.
    pub module: &'a [u8],
    /// What it imports, by name.
    pub imports: &'a [String],
    /// What it exports.
    pub exports: &'a [String],
    /// Its signature, as minisign writes it.
    pub signature: Option<&'a str>,
}

/// What a manifest says of a module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Manifest {
    pub(crate) layer: Digest,
    pub(crate) size: usize,
    pub(crate) signature: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    schema_version: u32,
    #[serde(default)]
    media_type: Option<String>,
    config: Descriptor,
    layers: Vec<Descriptor>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: String,
    digest: String,
    size: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Config<'a> {
    created: &'static str,
    architecture: &'static str,
    os: &'static str,
    layer_digests: [String; 1],
    component: Component<'a>,
}

#[derive(Serialize)]
struct Component<'a> {
    exports: &'a [String],
    imports: &'a [String],
}

impl Descriptor {
    fn of(media_type: &str, bytes: &[u8]) -> Self {
        let digest = format!("sha256:{}", Digest::of(bytes));
        Descriptor { media_type: media_type.to_owned(), digest, size: bytes.len() as u64 }
    }
}

impl Artifact<'_> {
    /// The config and the manifest.
    pub(crate) fn written(&self) -> Result<(Vec<u8>, Vec<u8>), serde_json::Error> {
        let config = serde_json::to_vec(&Config {
            created: CREATED,
            architecture: "wasm",
            os: "wasip2",
            layer_digests: [format!("sha256:{}", Digest::of(self.module))],
            component: Component { exports: self.exports, imports: self.imports },
        })?;
        let manifest = serde_json::to_vec(&Raw {
            schema_version: 2,
            media_type: Some(MANIFEST.to_owned()),
            config: Descriptor::of(CONFIG, &config),
            layers: vec![Descriptor::of(LAYER, self.module)],
            annotations: self.signature.iter().map(|text| (SIGNATURE.to_owned(), (*text).to_owned())).collect(),
        })?;
        Ok((config, manifest))
    }
}

impl Manifest {
    /// Reads one; the error says what is wrong with it.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, String> {
        let raw: Raw = serde_json::from_slice(bytes)
            .map_err(|error| format!("it is not the JSON of an image manifest at line {}", error.line()))?;
        if raw.schema_version != 2 || raw.media_type.is_some_and(|kind| kind != MANIFEST) {
            return Err(format!("it is not of the kind {MANIFEST}"));
        }
        if raw.config.media_type != CONFIG {
            return Err(format!("its config is not of the kind {CONFIG}"));
        }
        let [layer] = &raw.layers[..] else { return Err("it has not exactly one layer".to_owned()) };
        if layer.media_type != LAYER {
            return Err(format!("its layer is not of the kind {LAYER}"));
        }
        let digest = layer.digest.strip_prefix("sha256:").and_then(|hex| hex.parse().ok());
        let digest = digest.ok_or("its layer has no sha256 digest")?;
        let size = usize::try_from(layer.size).ok().filter(|size| *size <= MAX_MODULE);
        let size = size.ok_or_else(|| format!("its layer has more than {MAX_MODULE} bytes"))?;
        let signature = raw.annotations.get(SIGNATURE).filter(|text| text.len() <= MAX_SIGNATURE).cloned();
        Ok(Manifest { layer: digest, size, signature })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn artifact() -> Artifact<'static> {
        Artifact { module: b"\0asm", imports: &[], exports: &[], signature: Some("untrusted comment: x\n") }
    }

    #[test]
    fn what_is_written_is_read_and_always_the_same() {
        let (config, manifest) = artifact().written().unwrap();
        assert_eq!((config.clone(), manifest.clone()), artifact().written().unwrap());
        let signature = Some("untrusted comment: x\n".to_owned());
        assert_eq!(Manifest::read(&manifest), Ok(Manifest { layer: Digest::of(b"\0asm"), size: 4, signature }));
        let config: Value = serde_json::from_slice(&config).unwrap();
        let expected = json!({
            "created": "1970-01-01T00:00:00Z", "architecture": "wasm", "os": "wasip2",
            "layerDigests": [format!("sha256:{}", Digest::of(b"\0asm"))],
            "component": {"exports": [], "imports": []},
        });
        assert_eq!(config, expected);
    }

    #[test]
    fn other_artifacts_are_not_taken_for_policies() {
        let (_, manifest) = artifact().written().unwrap();
        let manifest: Value = serde_json::from_slice(&manifest).unwrap();
        let changed = |pointer: &str, value: Value| {
            let mut manifest = manifest.clone();
            *manifest.pointer_mut(pointer).unwrap() = value;
            Manifest::read(manifest.to_string().as_bytes())
        };
        let layer = manifest["layers"][0].clone();
        for (pointer, value, why) in [
            ("/schemaVersion", json!(1), "not of the kind"),
            ("/mediaType", json!("application/vnd.oci.image.index.v1+json"), "not of the kind"),
            ("/config/mediaType", json!("application/vnd.oci.image.config.v1+json"), "its config"),
            ("/layers", json!([]), "exactly one layer"),
            ("/layers", json!([layer, layer]), "exactly one layer"),
            ("/layers/0/mediaType", json!("application/vnd.oci.image.layer.v1.tar+gzip"), "its layer is not"),
            ("/layers/0/digest", json!("sha512:00"), "no sha256"),
            ("/layers/0/digest", json!("sha256:../../x"), "no sha256"),
            ("/layers/0/size", json!((32 << 20) + 1), "more than 33554432"),
            ("/layers/0/size", json!(-1), "not the JSON"),
            ("/layers", json!("x"), "not the JSON"),
        ] {
            let got = changed(pointer, value.clone());
            assert!(got.as_ref().is_err_and(|error| error.contains(why)), "{pointer} {value}: {got:?}");
        }
        assert!(changed("/mediaType", Value::Null).is_ok(), "the specification lets it be left out");
        let long = changed("/annotations/metaclaw.minisig", json!("x".repeat(MAX_SIGNATURE + 1)));
        assert_eq!(long.unwrap().signature, None, "no signature is so long");
        for bytes in [&b""[..], b"{}", b"\xff", b"[[[[[[", b"null"] {
            assert!(Manifest::read(bytes).is_err());
        }
        assert!(Manifest::read("[".repeat(1 << 20).as_bytes()).is_err());
    }
}
