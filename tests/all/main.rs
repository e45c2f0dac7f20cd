//! The whole product from outside, by subject. See `../README.md`.

#[path = "../../host/metaclaw/tests/hostile/mod.rs"]
mod bombs;
mod canary;
mod chat;
mod cli;
mod edge;
mod embedded;
mod forward;
mod grants;
mod hostile;
mod identity;
mod keys;
mod layering;
mod modules;
mod openclaw_connect;
mod openclaw_wire;
mod operations;
mod policy;
mod providers;
mod readme;
mod reload;
mod sdk;
mod sessions;
mod shutdown;
mod skills;
mod streaming;
mod wasi;
