use std::sync::Arc;

use domain::Digest;
use serde::{Deserialize, Serialize};

use super::tensors::{self, Tensors};
use super::{Files, Floats, TRAINER, refused, write};
use crate::ModelError;
use crate::model::Model;
use crate::train::{Moments, Parameters, Trainee};

/// Where `trainer.safetensors` says what it is.
const KEY: &str = "trainer";

/// What it says there.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct About {
    /// Steps taken.
    steps: u64,
    /// Of the matrices' file that it belongs to, in hexadecimal.
    adapter_sha256: String,
}

impl Trainee {
    /// Goes on from files that [`Trainee::to_files`] made, or from any adapter in PEFT's form: without
    /// `trainer.safetensors`, AdamW remembers nothing.
    ///
    /// # Errors
    /// When a file is missing, unknown or damaged, says something that is not understood, or belongs to another model or
    /// adapter.
    pub fn from_files(model: Arc<Model>, files: &[(String, Vec<u8>)]) -> Result<Self, ModelError> {
        let files = Files::find(files)?;
        let (lora, parameters) = files.read(&model)?;
        let moments = match files.trainer {
            Some(trainer) => {
                let mut tensors = Tensors::open(TRAINER, trainer, &model.shape, &lora)?;
                let about = tensors.metadata(KEY).and_then(|said| serde_json::from_str::<About>(said).ok());
                let about = about.ok_or_else(|| refused(TRAINER, "it does not say what it belongs to"))?;
                let digest = Digest::of(files.adapter).to_string();
                if about.adapter_sha256 != digest {
                    let reason = format!("it belongs to the adapter {}, not {digest}", about.adapter_sha256);
                    return Err(refused(TRAINER, reason));
                }
                let first = tensors.some(&model.shape, &lora, FIRST, Floats::Full)?;
                let second = tensors.some(&model.shape, &lora, SECOND, Floats::Full)?;
                tensors.finish()?;
                if second.matrices().flatten().any(|x| *x < 0.0) {
                    return Err(refused(TRAINER, "a mean of squares in it is negative"));
                }
                Moments { first, second, steps: about.steps }
            }
            None => {
                let zero = Parameters::zero(&model.shape, &lora);
                Moments { first: zero.clone(), second: zero, steps: 0 }
            }
        };
        Ok(Trainee::new(model, lora, parameters, moments))
    }

    /// The adapter in PEFT's form, and `trainer.safetensors`, with which [`Trainee::from_files`] goes on as if nothing had
    /// happened. `base_name` is what PEFT will take for the model's name. The same numbers give the same bytes.
    ///
    /// # Errors
    /// When a number is not finite.
    pub fn to_files(&self, base_name: &str) -> Result<Vec<(String, Vec<u8>)>, ModelError> {
        let mut files = write(base_name, &self.model.info().sha256, &self.lora, &self.parameters)?;
        let adapter = files.last().map(|(_, bytes)| Digest::of(bytes)).unwrap_or_else(|| Digest::of(b""));
        let about = About { steps: self.moments.steps, adapter_sha256: adapter.to_string() };
        let about = serde_json::to_string(&about).map_err(|e| ModelError::Training(e.to_string()))?;
        let moments = [(FIRST, &self.moments.first), (SECOND, &self.moments.second)];
        files.push((TRAINER.to_owned(), tensors::write(moments, (KEY, about))?));
        Ok(files)
    }
}

/// Prefixes of what AdamW remembers: the means of the gradients and of their squares, by PyTorch's names.
const FIRST: &str = "exp_avg.";
const SECOND: &str = "exp_avg_sq.";
