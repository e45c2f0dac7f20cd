//! Texts into vectors whose angle says how near their meanings are, on the host's own CPU.
//!
//! [`MiniLm`] is a small BERT: milliseconds a text, and it knows that "what do I owe" is about invoices. [`StaticVectors`]
//! is a table with one row for each token, averaged: microseconds a text, and it knows words but not sentences.

mod install;
mod minilm;
mod rows;
mod static_vectors;
mod words;

use std::path::Path;

use domain::Digest;

use crate::ModelError;
use crate::gguf::Gguf;
use crate::install::{ModelKind, check_file};
pub use install::{EmbedderFiles, install_embedder};
use minilm::MiniLm;
use static_vectors::StaticVectors;

/// The most of a text that is looked at, in bytes: more than 256 tokens of nearly every text, which is what [`MiniLm`] takes.
const MAX_TEXT: usize = 4096;

/// A model that makes vectors of texts, in memory. Shared and never changed.
pub struct TextEmbedder {
    model: Digest,
    inner: Inner,
}

enum Inner {
    MiniLm(MiniLm),
    Static(StaticVectors),
}

impl TextEmbedder {
    /// Loads an installed one. Reading takes a fraction of a second; do not call this on the async runtime.
    ///
    /// # Errors
    /// When the file cannot be read, is damaged, has changed since it was installed, or holds no such model.
    pub fn load(path: &Path) -> Result<Self, ModelError> {
        let model = check_file(path)?;
        let mut gguf = Gguf::open(path)?;
        let inner = match install::kind_of(&gguf)? {
            ModelKind::MiniLm => Inner::MiniLm(MiniLm::read(&mut gguf)?),
            ModelKind::StaticVectors => Inner::Static(StaticVectors::read(&mut gguf)?),
            ModelKind::Chat => return Err(gguf.error("it answers, and makes no vectors")),
        };
        Ok(TextEmbedder { model, inner })
    }

    /// The digest of its file: vectors of one model say nothing about those of another.
    pub fn model(&self) -> Digest {
        self.model
    }

    /// Which kind it is.
    pub fn kind(&self) -> ModelKind {
        match &self.inner {
            Inner::MiniLm(_) => ModelKind::MiniLm,
            Inner::Static(_) => ModelKind::StaticVectors,
        }
    }

    /// How long its vectors are.
    pub fn dims(&self) -> usize {
        match &self.inner {
            Inner::MiniLm(model) => model.dims(),
            Inner::Static(table) => table.dims(),
        }
    }

    /// The vector of a text, of length 1; all zeros when the text has no word. What is beyond 4 KiB is not looked at.
    ///
    /// Computed on the calling thread: microseconds with static vectors, milliseconds with MiniLM.
    ///
    /// # Errors
    /// When the tokenizer refuses the text.
    pub fn embed(&self, text: &str) -> Result<Vec<f32>, ModelError> {
        let text = &text[..text.floor_char_boundary(MAX_TEXT)];
        match &self.inner {
            Inner::MiniLm(model) => model.embed(text),
            Inner::Static(table) => table.embed(text),
        }
    }
}

/// Brings a vector to length 1; one of zeros stays.
fn normalise(vector: &mut [f32]) {
    let length = crate::math::dot(vector, vector).sqrt();
    if length > 0.0 {
        vector.iter_mut().for_each(|x| *x /= length);
    }
}
