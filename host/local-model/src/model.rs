use std::path::Path;

use domain::Digest;
use serde_json::Value;

use crate::adapter::Adapter;
use crate::chat::ChatMessage;
use crate::compute::Compute;
use crate::forward::Segment;
use crate::gguf::Gguf;
use crate::install;
use crate::kv::KvCache;
use crate::math::{log_sum_exp, narrow};
use crate::template::ChatTemplate;
use crate::tokenizer::Tokenizer;
use crate::weights::{Shape, Weights};
use crate::{ModelError, PREFILL_CHUNK};

/// A model in memory: its parameters, tokenizer and chat template. Shared and never changed.
pub struct Model {
    pub(crate) shape: Shape,
    pub(crate) weights: Weights,
    pub(crate) tokenizer: Tokenizer,
    pub(crate) template: ChatTemplate,
    info: ModelInfo,
}

/// What a model is.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelInfo {
    /// The name it was installed under, or its file's name.
    pub name: String,
    /// Tokens that fit, prompt and answer together.
    pub context: usize,
    /// Tokens it knows.
    pub vocab: usize,
    /// Number of parameters.
    pub params: u64,
    /// Of its file.
    pub sha256: Digest,
    /// Whether its chat template shows tools to it. Tools are left out of the prompt otherwise.
    pub tools: bool,
    /// Bytes of memory that each token of a conversation takes while it is remembered.
    pub bytes_per_token: usize,
}

impl Model {
    /// Loads a GGUF file. Weights in another format than Q8_0 are brought to it, which is slow: install the file first.
    ///
    /// The file of an installed model is compared with what was installed: by its size and date if those are unchanged,
    /// by its digest otherwise. Reading takes a fraction of a second; do not call this on the async runtime.
    ///
    /// # Errors
    /// When the file cannot be read, is damaged, has changed since it was installed, or is of an unsupported kind.
    pub fn load(path: &Path) -> Result<Self, ModelError> {
        let sha256 = install::check_file(path)?;
        let mut gguf = Gguf::open(path)?;
        let shape = Shape::read(&gguf)?;
        let tokenizer = Tokenizer::read(&gguf)?;
        let source =
            gguf.text("tokenizer.chat_template").ok_or_else(|| gguf.unsupported("a chat template of your own"))?;
        let template = ChatTemplate::compile(source)?;
        let weights = Weights::read(&mut gguf, &shape)?;
        let info = ModelInfo {
            name: install::name_of(path),
            context: shape.context,
            vocab: shape.vocab,
            params: gguf.tensors().map(|(_, count)| count as u64).sum(),
            sha256,
            tools: template.takes_tools,
            bytes_per_token: shape.kv().token_bytes(),
        };
        Ok(Model { shape, weights, tokenizer, template, info })
    }

    /// What it is.
    pub fn info(&self) -> &ModelInfo {
        &self.info
    }

    /// The tokens of a conversation, up to where the answer begins.
    ///
    /// # Errors
    /// When the template refuses the messages, or they leave no room for an answer.
    pub fn encode(&self, messages: &[ChatMessage], tools: Option<&Value>) -> Result<Vec<u32>, ModelError> {
        self.template.encode(&self.tokenizer, messages, tools, self.shape.context - 1)
    }

    /// The text of some tokens, without control tokens; broken characters become U+FFFD.
    pub fn decode(&self, tokens: &[u32]) -> String {
        let bytes: Vec<u8> = tokens.iter().flat_map(|token| self.tokenizer.bytes(*token)).copied().collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Refuses tokens that are none of the model's, too many, or none at all.
    pub(crate) fn check_tokens(&self, tokens: &[u32], context: usize) -> Result<(), ModelError> {
        if tokens.is_empty() {
            return Err(ModelError::Tokens("there are none".to_owned()));
        }
        if tokens.len() > context {
            return Err(ModelError::TooLong { tokens: tokens.len(), context });
        }
        match tokens.iter().find(|token| **token as usize >= self.shape.vocab) {
            Some(token) => Err(ModelError::Tokens(format!("{token} is not one of the {} there are", self.shape.vocab))),
            None => Ok(()),
        }
    }

    /// The log-probability (natural, temperature 1) of each token of `completion` after `prompt` and those before it.
    ///
    /// Computed from nothing on the calling thread: for a few hundred tokens that takes about a second.
    ///
    /// # Errors
    /// When the adapter is another model's, a token is not of the vocabulary, the prompt is empty, or all does not fit
    /// the context.
    pub fn logprobs(
        &self,
        prompt: &[u32],
        completion: &[u32],
        adapter: Option<&Adapter>,
    ) -> Result<Vec<f32>, ModelError> {
        if let Some(adapter) = adapter {
            adapter.check(&self.shape)?;
        }
        let tokens: Vec<u32> = prompt.iter().chain(completion).copied().collect();
        self.check_tokens(&tokens, self.shape.context)?;
        if prompt.is_empty() {
            return Err(ModelError::Tokens("nothing stands before the first".to_owned()));
        }
        let mut cache = KvCache::new(self.shape.kv());
        let mut logprobs = Vec::with_capacity(completion.len());
        // The last token predicts nothing that is asked for.
        for chunk in tokens[..tokens.len() - 1].chunks(PREFILL_CHUNK) {
            let end = cache.len() + chunk.len();
            let outputs = (end + 1).saturating_sub(prompt.len()).min(chunk.len());
            let mut segments = [Segment { tokens: chunk, cache: &mut cache, adapter, outputs }];
            let logits = self.weights.forward(&self.shape, &Compute::inline(), &mut segments);
            for (row, token) in logits.chunks_exact(self.shape.vocab).zip(&tokens[end + 1 - outputs..]) {
                logprobs.push(narrow(f64::from(row[*token as usize]) - log_sum_exp(row)));
            }
        }
        Ok(logprobs)
    }
}
