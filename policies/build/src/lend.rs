//! Makes handles that a component is given into handles that it is lent.
//!
//! A compiler may drop lent handles too late: componentize-qjs does so after a function has returned, where the component model has them dropped
//! before it does, and traps. Policies for it are therefore compiled against a contract that gives the handles (`turn` for `borrow<turn>`), are
//! made to drop them in time by their helper, and are then made to fit the real contract here. For a module both kinds are the same number.

use std::collections::HashMap;

use wasmparser::{
    BinaryReaderError, ComponentDefinedType, ComponentType, ComponentValType, Parser, Payload, Validator, WasmFeatures,
};

use crate::BuildError;

/// The parameters of hooks that are handles.
const LENT: [&str; 3] = ["turn", "catalog", "sample"];
/// How the binary format begins the type of a handle that is given, and of one that is lent; the resource follows.
const GIVEN: u8 = 0x69;
const BORROWED: u8 = 0x68;

/// The contract `wit` with handles given instead of lent.
pub fn given(wit: &str) -> String {
    let mut out = String::with_capacity(wit.len());
    let mut rest = wit;
    while let Some((before, after)) = rest.split_once("borrow<") {
        let (name, behind) = after.split_once('>').unwrap_or((after, ""));
        out.push_str(before);
        out.push_str(name);
        rest = behind;
    }
    out + rest
}

/// The component `given` with handles lent instead of given.
pub fn lend(given: &[u8]) -> Result<Vec<u8>, BuildError> {
    let unreadable = |error: BinaryReaderError| BuildError::Lend(error.to_string());
    let mut lent = given.to_vec();
    // It counts the types of each component, by which they are referred to.
    let mut validator = Validator::new_with_features(WasmFeatures::all());
    // Of each component that one is in, where its types of given handles stand.
    let mut scopes: Vec<HashMap<u32, usize>> = Vec::new();
    for payload in Parser::new(0).parse_all(given) {
        let payload = payload.map_err(unreadable)?;
        match &payload {
            Payload::Version { .. } => scopes.push(HashMap::new()),
            Payload::End(_) => drop(scopes.pop()),
            Payload::ComponentTypeSection(types) => {
                let first = validator.types(0).map_or(0, |types| types.component_type_count());
                let Some(scope) = scopes.last_mut() else { continue };
                for (index, item) in (first..).zip(types.clone().into_iter_with_offsets()) {
                    match item.map_err(unreadable)? {
                        (at, ComponentType::Defined(ComponentDefinedType::Own(_))) => drop(scope.insert(index, at)),
                        (_, ComponentType::Func(function)) => {
                            let handles = function.params.iter().filter(|(name, _)| LENT.contains(name));
                            for at in handles.filter_map(|(_, kind)| match kind {
                                ComponentValType::Type(index) => scope.get(index),
                                ComponentValType::Primitive(_) => None,
                            }) {
                                // Elsewhere it would change a byte that means something else, which the validation may not see.
                                match lent.get_mut(*at) {
                                    Some(kind) if matches!(*kind, GIVEN | BORROWED) => *kind = BORROWED,
                                    _ => return Err(BuildError::Lend(format!("no handle's type begins at {at}"))),
                                }
                            }
                        }
                        _ => {}
                    }
                }
            }
            _ => {}
        }
        validator.payload(&payload).map_err(unreadable)?;
    }
    Ok(lent)
}
