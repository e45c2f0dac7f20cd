//! The models that run on the host's own CPU: a small Llama-family model that answers with no upstream at all, and
//! [`TextEmbedder`]s, which say how near two texts are in meaning.
//!
//! [`install`] turns a GGUF file into one that loads fast; [`Model::load`] reads it; [`Engine`] answers [`Request`]s
//! with it on a thread of its own, several at a time, and keeps what it computed for each session. An [`Adapter`]
//! (LoRA) is chosen per request, so agents share one copy of the weights. A [`Trainee`] is one that is being trained.
//!
//! Invariants: nothing computes on the async runtime's threads; a token's log-probabilities depend on the tokens before
//! it and the adapter only, to the last bit; no text in a message becomes a control token; nothing is shared between
//! sessions.

// The tests of the parts that train look at more than the whole shows, and want the same models.
#[cfg(test)]
extern crate self as local_model;
#[cfg(test)]
#[path = "../tests/common/mod.rs"]
mod common;

mod adapter;
mod chat;
mod compute;
mod embed;
mod engine;
mod error;
mod forward;
mod gguf;
mod install;
mod kv;
mod math;
mod matrix;
mod model;
mod peft;
mod sample;
mod sessions;
mod template;
mod text;
mod tokenizer;
mod train;
mod weights;
mod worker;

pub use adapter::{Adapter, AdapterLayer, LowRank, Projection};
pub use chat::ChatMessage;
pub use embed::{EmbedderFiles, TextEmbedder, install_embedder};
pub use engine::{Engine, EngineOptions, Event, Finish, FinishReason, Request};
pub use error::{ModelError, SubmitError};
pub use install::{InstallProgress, InstalledModel, ModelKind, Source, digest_of, find, install, list, remove, verify};
pub use model::{Model, ModelInfo};
pub use sample::Sampling;
pub use train::{AdamW, Datum, LoraShape, Loss, Optim, Report, Trainee, Watch};

/// Prompt tokens computed in one step when nothing else is being answered.
pub(crate) const PREFILL_CHUNK: usize = 128;
