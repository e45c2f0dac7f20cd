//! What `wasmtime` makes of `wit/0.1.1`: the functions that guests import, as traits for [`State`](crate::state::State)
//! to implement, and those that they export. Hooks are optional, so each hook's exports are looked up on their own and
//! the binding of the whole world is not used.
#![allow(missing_docs, unreachable_pub, clippy::pedantic, reason = "generated")]

/// The turn, as a type for `wasmtime`'s handles. There is one per store, so the handle itself holds nothing.
pub enum TurnHandle {}
/// The catalog; see [`TurnHandle`].
pub enum CatalogHandle {}
/// The sample; see [`TurnHandle`].
pub enum SampleHandle {}

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
        "metaclaw:policy/turn.turn": crate::bindings::TurnHandle,
        "metaclaw:policy/catalog.catalog": crate::bindings::CatalogHandle,
        "metaclaw:policy/sample.sample": crate::bindings::SampleHandle,
    },
});
