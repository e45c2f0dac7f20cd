//! The whole product from outside, by subject. See `../README.md`.

mod chat;
mod cli;
mod identity;
mod layering;
mod policy;
mod shutdown;
mod skills;
mod streaming;
