//! What `wasmtime` makes of the contract: the functions that guests import, as traits for [`State`](crate::state::State) to implement,
//! and those that they export. Hooks are optional, so each hook's exports are looked up on their own and the binding of the whole
//! world is not used.
#![allow(missing_docs, unreachable_pub, clippy::pedantic, reason = "generated")]

/// The turn, as a type for `wasmtime`'s handles. There is one per store, so the handle itself holds nothing.
pub enum TurnHandle {}
/// The catalog; see [`TurnHandle`].
pub enum CatalogHandle {}
/// The sample; see [`TurnHandle`].
pub enum SampleHandle {}

wasmtime::component::bindgen!({
    path: "../../wit/1.0.0",
    world: "policy",
    imports: { "metaclaw:policy/files": async | trappable, default: trappable },
    exports: {
        "metaclaw:policy/lifecycle": async,
        "metaclaw:policy/routing": async,
        "metaclaw:policy/skill-selection": async,
        "metaclaw:policy/skill-rendering": async,
        "metaclaw:policy/tool-gate": async,
        "metaclaw:policy/sample-filter": async,
        "metaclaw:policy/reward": async,
    },
    with: {
        "metaclaw:policy/turn.turn": crate::bindings::TurnHandle,
        "metaclaw:policy/catalog.catalog": crate::bindings::CatalogHandle,
        "metaclaw:policy/sample.sample": crate::bindings::SampleHandle,
    },
});

/// The line before, whose records are the same.
pub mod v0 {
    wasmtime::component::bindgen!({
        path: "../../wit/0.1.1",
        world: "policy",
        imports: { "metaclaw:policy/files": async | trappable, default: trappable },
        exports: {
            "metaclaw:policy/lifecycle": async,
            "metaclaw:policy/routing": async,
            "metaclaw:policy/skill-selection": async,
            "metaclaw:policy/sample-filter": async,
        },
        with: {
            "metaclaw:policy/types": crate::bindings::metaclaw::policy::types,
            "metaclaw:policy/turn.turn": crate::bindings::TurnHandle,
            "metaclaw:policy/catalog.catalog": crate::bindings::CatalogHandle,
            "metaclaw:policy/sample.sample": crate::bindings::SampleHandle,
        },
    });
}
