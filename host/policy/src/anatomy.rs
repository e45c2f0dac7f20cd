//! What a module's bytes say of themselves, for people: nothing is compiled, nothing runs.

use std::collections::BTreeMap;

use wasmparser::{Encoding, KnownCustom, Parser, Payload, ProducersSectionReader};

use crate::error::LoadError;
use crate::text::printable;

/// The most of a name that is shown, in bytes.
const MAX_NAME: usize = 200;
/// The most names, sections and producers that are kept of one kind: a module may be anybody's.
const MAX_NAMED: usize = 1000;
/// Bytes to a page of memory.
const PAGE: u64 = 64 << 10;

/// What a component consists of. Names are escaped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Anatomy {
    /// Whether it is a component, and not a core module.
    pub is_component: bool,
    /// What it imports, by the names that the component has for it.
    pub imports: Vec<String>,
    /// What it exports.
    pub exports: Vec<String>,
    /// Bytes by what they are: `code`, `data`, `custom NAME` and `other`, over all modules inside.
    pub sections: BTreeMap<String, usize>,
    /// Core modules inside.
    pub modules: usize,
    /// Functions in all of them.
    pub functions: u64,
    /// The largest of these, in bytes of code.
    pub largest_function: usize,
    /// The memory with which an instance begins, in bytes.
    pub memory: u64,
    /// What made it, as its makers say.
    pub producers: Vec<Producer>,
}

/// A tool or language that a module was made with.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Producer {
    /// `language`, `sdk` or `processed-by`.
    pub role: String,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
}

impl Anatomy {
    /// Reads a module, of whatever size and whether or not a host would load it. Fails on what is no WebAssembly.
    pub fn of(bytes: &[u8]) -> Result<Self, LoadError> {
        let invalid = |e: wasmparser::BinaryReaderError| LoadError::invalid(&e);
        let mut found = Anatomy::default();
        let mut depth = 0_usize;
        for payload in Parser::new(0).parse_all(bytes) {
            let payload = payload.map_err(invalid)?;
            found.weigh(&payload);
            match payload {
                Payload::Version { encoding, .. } => {
                    found.is_component |= depth == 0 && encoding == Encoding::Component;
                    found.modules += usize::from(encoding == Encoding::Module);
                    depth += 1;
                }
                Payload::End(_) => depth = depth.saturating_sub(1),
                Payload::ComponentImportSection(section) if depth == 1 => {
                    for import in section {
                        keep(&mut found.imports, import.map_err(invalid)?.name.name);
                    }
                }
                Payload::ComponentExportSection(section) if depth == 1 => {
                    for export in section {
                        keep(&mut found.exports, export.map_err(invalid)?.name.name);
                    }
                }
                Payload::MemorySection(section) => {
                    for memory in section {
                        let pages = memory.map_err(invalid)?.initial;
                        found.memory = found.memory.saturating_add(pages.saturating_mul(PAGE));
                    }
                }
                Payload::CodeSectionStart { count, .. } => found.functions += u64::from(count),
                Payload::CodeSectionEntry(body) => {
                    found.largest_function = found.largest_function.max(body.range().len());
                }
                Payload::CustomSection(section) => {
                    if let KnownCustom::Producers(producers) = section.as_known() {
                        found.note_producers(producers);
                    }
                }
                _ => {}
            }
        }
        found.producers.sort();
        found.producers.dedup();
        Ok(found)
    }

    /// The version of `metaclaw:policy` that it is built for, by what it exports.
    pub fn contract(&self) -> Option<&str> {
        let ours = |name: &'_ String| name.starts_with(crate::inspect::PACKAGE);
        self.exports.iter().find(|name| ours(name)).and_then(|name| name.split_once('@')).map(|(_, version)| version)
    }

    fn weigh(&mut self, payload: &Payload<'_>) {
        let what = match payload {
            // What is inside comes by itself.
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } | Payload::CodeSectionEntry(_) => return,
            Payload::CodeSectionStart { .. } => "code".to_owned(),
            Payload::DataSection(_) => "data".to_owned(),
            Payload::CustomSection(section) => format!("custom {}", printable(section.name(), MAX_NAME)),
            _ => "other".to_owned(),
        };
        let Some((_, range)) = payload.as_section() else { return };
        if self.sections.len() < MAX_NAMED || self.sections.contains_key(&what) {
            *self.sections.entry(what).or_default() += range.len();
        }
    }

    /// A section that is not as it should be says nothing, and harms nothing.
    fn note_producers(&mut self, section: ProducersSectionReader<'_>) {
        for field in section.into_iter().map_while(Result::ok) {
            for made in field.values.into_iter().map_while(Result::ok) {
                if self.producers.len() < MAX_NAMED {
                    let [role, name, version] =
                        [field.name, made.name, made.version].map(|text| printable(text, MAX_NAME));
                    self.producers.push(Producer { role, name, version });
                }
            }
        }
    }
}

fn keep(names: &mut Vec<String>, name: &str) {
    if names.len() < MAX_NAMED {
        names.push(printable(name, MAX_NAME));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_inside_is_counted_once() {
        let text = r#"(component
            (import "metaclaw:policy/log@1.0.0" (instance))
            (core module (memory 2) (func nop nop) (func) (data "abcd"))
            (core module (memory 1) (func nop))
            (instance $none)
            (export "metaclaw:policy/lifecycle@1.0.0" (instance $none))
        )"#;
        let found = Anatomy::of(&wat::parse_str(text).unwrap()).unwrap();
        assert!(found.is_component);
        assert_eq!(found.imports, ["metaclaw:policy/log@1.0.0"]);
        assert_eq!(found.contract(), Some("1.0.0"));
        assert_eq!((found.modules, found.functions, found.memory), (2, 3, 3 * PAGE));
        assert_eq!(found.largest_function, 4, "locals, two instructions and an end");
        assert!(found.sections["code"] > 0 && found.sections["data"] > 4, "{:?}", found.sections);
        let whole: usize = found.sections.values().sum();
        let size = wat::parse_str(text).unwrap().len();
        assert!(whole <= size, "{whole} of {size}");

        let core = Anatomy::of(&wat::parse_str("(module (func))").unwrap()).unwrap();
        assert!(!core.is_component && core.modules == 1 && core.contract().is_none());
        assert!(Anatomy::of(b"\0asm").is_err() && Anatomy::of(b"words").is_err());
    }
}
