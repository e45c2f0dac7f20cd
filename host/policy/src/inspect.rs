//! What can be said of a module before it is compiled. Compiling costs far more than reading, and cannot be stopped.

use wasmparser::{Encoding, Parser, Payload, TypeRef};

use crate::error::LoadError;
use crate::grants::Asks;
use crate::wasi;

/// The largest module, in bytes.
pub const MAX_MODULE: usize = 32 << 20;
/// The most functions of a module; CPython has some 25,000.
pub const MAX_FUNCTIONS: u64 = 100_000;
/// The largest function, in bytes of code. Compiling takes more than linear time; interpreters' main loops have 200 KiB.
pub const MAX_FUNCTION: usize = 512 << 10;
/// The package whose interfaces guests may import, and which of them.
pub(crate) const PACKAGE: &str = "metaclaw:policy/";
const IMPORTS: [&str; 8] = ["types", "settings", "turn", "catalog", "sample", "log", "files", "kv"];
/// The lines of versions that this host speaks.
const VERSIONS: [&str; 2] = ["0.1.", "1."];

/// What the module's imports ask for. Refuses what is not a component, imports what no policy gets, was built for another version, or would take too long
/// to compile.
pub(crate) fn inspect(bytes: &[u8]) -> Result<Asks, LoadError> {
    if bytes.len() > MAX_MODULE {
        return Err(LoadError::TooLarge { size: bytes.len(), limit: MAX_MODULE });
    }
    let invalid = |e: wasmparser::BinaryReaderError| LoadError::invalid(&e);
    // Core modules and components inside the component come in order, each closed by an end.
    let mut depth = 0_usize;
    let mut asks = Asks::default();
    let mut functions = 0;
    let mut memories = 0;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.map_err(invalid)? {
            Payload::Version { encoding: Encoding::Module, .. } if depth == 0 => return Err(LoadError::CoreModule),
            Payload::Version { .. } => (depth, memories) = (depth + 1, 0),
            // The engine takes several, for what it makes itself of a component of components; guests have no use for them.
            Payload::End(_) if memories > 1 => return Err(LoadError::invalid(&"a core module has several memories")),
            Payload::End(_) => (depth, memories) = (depth.saturating_sub(1), 0),
            Payload::ComponentImportSection(section) if depth == 1 => {
                for import in section {
                    match check_import(import.map_err(invalid)?.name.name)? {
                        "kv" => asks.kv = true,
                        "log" => asks.log = true,
                        "wasi" => asks.wasi = true,
                        _ => {}
                    }
                }
            }
            Payload::ComponentExportSection(section) if depth == 1 => {
                for export in section {
                    check_export(export.map_err(invalid)?.name.name)?;
                }
            }
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    memories += u32::from(matches!(import.map_err(invalid)?.ty, TypeRef::Memory(_)));
                }
            }
            Payload::MemorySection(section) => memories += section.count(),
            Payload::CodeSectionStart { count, .. } => {
                functions += u64::from(count);
                if functions > MAX_FUNCTIONS {
                    return Err(LoadError::TooComplex(format!("it has more than {MAX_FUNCTIONS} functions")));
                }
            }
            Payload::CodeSectionEntry(body) if body.range().len() > MAX_FUNCTION => {
                let size = body.range().len();
                return Err(LoadError::TooComplex(format!("a function has {size} bytes, at most {MAX_FUNCTION}")));
            }
            _ => {}
        }
    }
    Ok(asks)
}

/// The interface of ours that an import names, or `wasi`.
fn check_import(name: &str) -> Result<&str, LoadError> {
    if let Some(rest) = name.strip_prefix(PACKAGE) {
        let (interface, version) = rest.split_once('@').unwrap_or((rest, ""));
        if !is_spoken(version) {
            return Err(LoadError::Version(shown(name)));
        }
        if IMPORTS.contains(&interface) {
            return Ok(interface);
        }
    }
    if wasi::PACKAGES.iter().any(|package| name.starts_with(package)) {
        return Ok("wasi");
    }
    let hint = match name.split(':').next() {
        Some("wasi") => {
            ": sockets and HTTP are for no policy; build it without (componentize-py and componentize-qjs: `--stub-wasi`; \
             componentize-js: `-d` for every feature)"
        }
        _ => "",
    };
    Err(LoadError::Import { name: shown(name), hint })
}

fn is_spoken(version: &str) -> bool {
    VERSIONS.iter().any(|line| version.starts_with(line))
}

fn check_export(name: &str) -> Result<(), LoadError> {
    match name.strip_prefix(PACKAGE).map(|rest| rest.split_once('@').unwrap_or((rest, ""))) {
        Some((_, version)) if !is_spoken(version) => Err(LoadError::Version(shown(name))),
        // Other exports are the module's own business: nobody calls them.
        _ => Ok(()),
    }
}

fn shown(name: &str) -> String {
    crate::text::printable(name, 200)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What inspecting a component with this in it says; what is wrong is left out.
    fn looked_over(body: &str) -> Result<(), String> {
        inspect(&wat::parse_str(format!("(component {body})")).unwrap()).map(|_| ()).map_err(|e| e.to_string())
    }

    #[test]
    fn functions_are_counted_in_all_modules_together() {
        let module = |functions: usize| format!("(core module {})", "(func)".repeat(functions));
        assert_eq!(looked_over(&module(100_000)), Ok(()));
        assert_eq!(looked_over(&[module(40_000), module(60_000)].concat()), Ok(()));
        for too_many in [module(100_001), [module(40_000), module(60_001)].concat()] {
            assert!(looked_over(&too_many).unwrap_err().contains("more than 100000 functions"));
        }
    }

    #[test]
    fn a_function_has_at_most_half_a_mebibyte() {
        // Beside its instructions it has a number of locals, and an end.
        let function = |bytes: usize| format!("(core module (func {}))", "nop ".repeat(bytes - 2));
        assert_eq!(looked_over(&function(MAX_FUNCTION)), Ok(()));
        let refused = looked_over(&function(MAX_FUNCTION + 1)).unwrap_err();
        assert!(refused.contains("a function has 524289 bytes, at most 524288"), "{refused}");
    }
}
