use tokenizers::{ModelWrapper, Tokenizer, TruncationParams};

use crate::ModelError;
use crate::gguf::Gguf;

/// Where GGUF files keep a whole `tokenizer.json`.
pub(super) const TOKENIZER_KEY: &str = "tokenizer.huggingface.json";

/// Text to tokens, by the model's own `tokenizer.json`.
pub(super) struct Words {
    tokenizer: Tokenizer,
    /// Whether the model wants its own tokens around the text.
    marks: bool,
}

impl Words {
    /// Reads the tokenizer from the model's file. At most `limit` tokens are made of a text, the marks included.
    pub(super) fn read(gguf: &Gguf, limit: usize, marks: bool) -> Result<Self, ModelError> {
        let json = gguf.need_text(TOKENIZER_KEY)?;
        let broken = |e: tokenizers::Error| gguf.error(format!("its tokenizer cannot be read: {e}"));
        let mut tokenizer = Tokenizer::from_bytes(json).map_err(broken)?;
        let truncation = TruncationParams { max_length: limit, ..TruncationParams::default() };
        tokenizer.with_truncation(Some(truncation)).map_err(broken)?;
        tokenizer.with_padding(None);
        // What a text says never becomes one of the model's own tokens.
        tokenizer.set_encode_special_tokens(true);
        // Without pre-tokenizer a whole text is one word: remembering those would only keep what users said.
        let mut model = tokenizer.get_model().clone();
        if let ModelWrapper::BPE(bpe) = &mut model {
            bpe.resize_cache(0);
            tokenizer.with_model(model);
        }
        let words = Words { tokenizer, marks };
        Ok(words)
    }

    /// How many tokens there are.
    pub(super) fn vocab(&self) -> usize {
        self.tokenizer.get_vocab_size(true)
    }

    /// The tokens of a text.
    pub(super) fn tokens(&self, text: &str) -> Result<Vec<u32>, ModelError> {
        let encoded = self.tokenizer.encode_fast(text, self.marks);
        Ok(encoded.map_err(|e| ModelError::Text(e.to_string()))?.get_ids().to_vec())
    }
}
