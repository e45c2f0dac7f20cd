//! Makes a component of a core module that some other compiler than cargo has made.

use std::path::Path;

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use crate::BuildError;

/// The name under which languages look for a system interface.
const WASI: &str = "wasi_snapshot_preview1";
/// What they find.
const NO_WASI: &str = include_str!("no_wasi.wat");

/// Wraps `core` as a component of the world `policy` that the WIT folder `wit` describes, with its `deps`.
///
/// The core module names its imports and exports as the component model's ABI for core modules says (`metaclaw:policy/routing@1.0.0#route`).
/// What the world imports and the module does not use is left out; what it exports and the module lacks is an error. A module that imports
/// WASI gets one that does nothing, so that the component imports none.
pub fn wrap(core: &[u8], wit: &Path) -> Result<Vec<u8>, BuildError> {
    let wrong = |reason: String| BuildError::Wrap { guest: wit.to_owned(), reason };
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(wit).map_err(|e| wrong(format!("{e:#}")))?;
    let world = resolve.select_world(&[package], Some("policy")).map_err(|e| wrong(format!("{e:#}")))?;
    let mut module = core.to_vec();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)
        .and_then(|()| {
            let nothing = wat::parse_str(NO_WASI)?;
            ComponentEncoder::default().validate(true).module(&module)?.adapter(WASI, &nothing)?.encode()
        })
        .map_err(|e| wrong(format!("{e:#}")))
}
