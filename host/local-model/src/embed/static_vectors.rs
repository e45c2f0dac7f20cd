use super::normalise;
use super::rows::Rows;
use super::words::Words;
use crate::ModelError;
use crate::gguf::Gguf;

/// How many tokens of a text are looked at.
const MAX_TOKENS: usize = 512;
/// The metadata that holds the length of a row.
pub(super) const WIDTH_KEY: &str = "static-vectors.embedding_length";
/// The table in the file.
pub(super) const TABLE: &str = "token_embd.weight";

/// A vector for each token. A text's vector is the mean of its tokens' ones, brought to length 1.
pub(super) struct StaticVectors {
    words: Words,
    table: Rows,
}

impl StaticVectors {
    pub(super) fn read(gguf: &mut Gguf) -> Result<Self, ModelError> {
        let words = Words::read(gguf, MAX_TOKENS, false)?;
        let width = gguf.need_number(WIDTH_KEY)?;
        let table = Rows::read(gguf, TABLE, words.vocab(), width)?;
        Ok(StaticVectors { words, table })
    }

    /// How long its vectors are.
    pub(super) fn dims(&self) -> usize {
        self.table.width()
    }

    /// The vector of a text.
    pub(super) fn embed(&self, text: &str) -> Result<Vec<f32>, ModelError> {
        let mut sum = vec![0.0; self.dims()];
        let mut row = vec![0.0; self.dims()];
        for token in self.words.tokens(text)? {
            if self.table.get(token, &mut row) {
                sum.iter_mut().zip(&row).for_each(|(sum, x)| *sum += x);
            }
        }
        // The mean has the direction of the sum.
        normalise(&mut sum);
        Ok(sum)
    }
}
