//! The whole product from outside, by subject. See `../README.md`.

mod admin;
#[path = "../../host/metaclaw/tests/hostile/mod.rs"]
mod bombs;
mod canary;
mod chat;
mod cli;
mod destination;
mod doctor;
mod edge;
mod embedded;
mod fallbacks;
mod faults;
mod grants;
mod hostile;
mod identity;
mod keys;
mod keys_command;
mod layering;
mod modules;
mod openclaw_connect;
mod openclaw_wire;
mod operations;
mod policy;
mod private_files;
mod readme;
mod reload;
mod retries;
mod sdk;
mod sessions;
mod setup;
mod shutdown;
mod skills;
mod streaming;
mod tenancy;
mod wasi;
