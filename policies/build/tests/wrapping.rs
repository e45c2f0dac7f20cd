//! What becomes of core modules that other compilers make.
#![cfg(test)]

use std::fs;

use wit_parser::{Handle, Type, TypeDefKind, WorldItem};

const CONTRACT: &str = "package metaclaw:policy@1.0.0;
interface turn { resource turn { body-size: func() -> u64; } }
interface routing { use turn.{turn}; route: func(turn: borrow<turn>) -> u64; }";
const WORLD: &str = "package local:policy;
world policy { export metaclaw:policy/routing@1.0.0; }";
/// A policy that asks for the size, reads the clock as its language's runtime does, and drops its handle.
const CORE: &str = r#"(module
  (import "metaclaw:policy/turn@1.0.0" "[method]turn.body-size" (func $size (param i32) (result i64)))
  (import "metaclaw:policy/turn@1.0.0" "[resource-drop]turn" (func $drop (param i32)))
  (import "wasi_snapshot_preview1" "clock_time_get" (func $clock (param i32 i64 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "metaclaw:policy/routing@1.0.0#route") (param i32) (result i64)
    (drop (call $clock (i32.const 0) (i64.const 0) (i32.const 0)))
    (call $size (local.get 0))
    (call $drop (local.get 0))))"#;

/// A folder with the world, and this contract beside it.
fn wit(contract: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let deps = dir.path().join("deps/metaclaw-policy");
    fs::create_dir_all(&deps).unwrap();
    fs::write(dir.path().join("policy.wit"), WORLD).unwrap();
    fs::write(deps.join("policy.wit"), contract).unwrap();
    dir
}

fn wrapped(contract: &str) -> Vec<u8> {
    policy_build::wrap(&wat::parse_str(CORE).unwrap(), wit(contract).path()).unwrap()
}

/// The names of what a component imports, and how `route` has its handle.
fn shape(component: &[u8]) -> (Vec<String>, Handle) {
    let decoded = wit_component::decode(component).unwrap();
    let resolve = decoded.resolve();
    let (_, world) = resolve.worlds.iter().next_back().unwrap();
    let imports = world.imports.keys().map(|key| resolve.name_world_key(key)).collect();
    let Some(WorldItem::Interface { id, .. }) = world.exports.values().next() else { panic!("it exports nothing") };
    let Type::Id(handle) = resolve.interfaces[*id].functions["route"].params[0].ty else { panic!("no handle") };
    let TypeDefKind::Handle(handle) = resolve.types[handle].kind else { panic!("no handle") };
    (imports, handle)
}

#[test]
fn a_module_that_wants_a_system_becomes_a_component_that_imports_none() {
    let (imports, handle) = shape(&wrapped(CONTRACT));
    assert_eq!(imports, ["metaclaw:policy/turn@1.0.0"]);
    assert!(matches!(handle, Handle::Borrow(_)));
}

#[test]
fn a_component_that_was_given_handles_is_lent_them() {
    let contract = policy_build::given(CONTRACT);
    assert!(!contract.contains("borrow") && contract.contains("func(turn: turn)"), "{contract}");
    let given = wrapped(&contract);
    assert!(matches!(shape(&given).1, Handle::Own(_)));
    let lent = policy_build::lend(&given).unwrap();
    assert!(matches!(shape(&lent).1, Handle::Borrow(_)));
    wasmparser::validate(&lent).unwrap();
    assert_eq!(policy_build::lend(&lent).unwrap(), lent, "what is lent already is left as it is");
}

#[test]
fn what_cannot_be_wrapped_is_named() {
    let without = CORE.replace("#route", "#rout");
    let error = policy_build::wrap(&wat::parse_str(without).unwrap(), wit(CONTRACT).path()).unwrap_err();
    assert!(error.to_string().contains("route"), "{error}");
    let error = policy_build::wrap(&wat::parse_str(CORE).unwrap(), &std::env::temp_dir().join("nowhere")).unwrap_err();
    assert!(error.to_string().contains("nowhere"), "{error}");
    assert!(policy_build::lend(b"no component").is_err());
}
