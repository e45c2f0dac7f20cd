//! Adapters as files, in memory: PEFT's form, which its own tools and other engines read, and beside it what training goes
//! on from. Whoever owns the folders reads and writes them.
//!
//! A file is somebody's claim. What is not understood is refused, and so is whatever does not fit the model to the last
//! matrix; nothing is taken in part.

mod config;
mod tensors;
mod training;

use domain::Digest;

use crate::adapter::{AdapterLayer, LowRank, Projection};
use crate::model::Model;
use crate::train::{LoraShape, Parameters};
use crate::{Adapter, ModelError};
use config::Config;
use tensors::Tensors;

/// The matrices.
const ADAPTER: &str = "adapter_model.safetensors";
/// What they are.
const CONFIG: &str = "adapter_config.json";
/// What AdamW remembers.
const TRAINER: &str = "trainer.safetensors";
/// What PEFT writes beside them, for people.
const README: &str = "README.md";

/// The files of one adapter.
pub(crate) struct Files<'a> {
    adapter: &'a [u8],
    config: &'a [u8],
    trainer: Option<&'a [u8]>,
}

impl<'a> Files<'a> {
    pub(crate) fn find(files: &'a [(String, Vec<u8>)]) -> Result<Self, ModelError> {
        let (mut adapter, mut config, mut trainer, mut readme) = (None, None, None, None);
        for (name, bytes) in files {
            let place = match name.as_str() {
                ADAPTER => &mut adapter,
                CONFIG => &mut config,
                TRAINER => &mut trainer,
                README => &mut readme,
                _ => return Err(refused(name, format!("only {ADAPTER}, {CONFIG} and {TRAINER} are read"))),
            };
            if place.replace(bytes.as_slice()).is_some() {
                return Err(refused(name, "it is there twice"));
            }
        }
        let need = |file: Option<&'a [u8]>, name| file.ok_or_else(|| refused(name, "it is missing"));
        Ok(Files { adapter: need(adapter, ADAPTER)?, config: need(config, CONFIG)?, trainer })
    }

    /// The shape and the matrices, if they are this model's.
    fn read(&self, model: &Model) -> Result<(LoraShape, Parameters), ModelError> {
        let config = Config::read(self.config)?;
        let tensors = Tensors::open(ADAPTER, self.adapter, &model.shape, &config.shape)?;
        let info = model.info();
        match tensors.metadata(BASE_KEY) {
            Some(base) if base != info.sha256.to_string() => {
                return Err(refused(ADAPTER, format!("it was trained on the model {base}, not {}", info.sha256)));
            }
            Some(_) => {}
            None => config.check_base(&info.name)?,
        }
        let parameters = tensors.parameters(&model.shape, &config.shape, "base_model.model.", Floats::Any)?;
        Ok((config.shape, parameters))
    }
}

/// Where the matrices' file says which model they belong to.
const BASE_KEY: &str = "base_sha256";

/// Which numbers a file may hold.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Floats {
    /// 32 bits, or 16 of either kind.
    Any,
    /// 32 bits.
    Full,
}

impl Adapter {
    /// Reads an adapter in PEFT's form: `adapter_config.json` and `adapter_model.safetensors`. `name` is for messages and
    /// logs, such as `researcher@7`.
    ///
    /// # Errors
    /// When a file is missing, unknown or damaged, says something that is not understood, or belongs to another model.
    pub fn from_files(
        name: impl Into<String>,
        model: &Model,
        files: &[(String, Vec<u8>)],
    ) -> Result<Adapter, ModelError> {
        let (lora, parameters) = Files::find(files)?.read(model)?;
        parameters.into_adapter(name.into(), lora.scale())
    }
}

/// The two files in PEFT's form. The same numbers give the same bytes.
fn write(
    base: &str,
    digest: &Digest,
    lora: &LoraShape,
    parameters: &Parameters,
) -> Result<Vec<(String, Vec<u8>)>, ModelError> {
    let matrices = tensors::write([("base_model.model.", parameters)], (BASE_KEY, digest.to_string()))?;
    Ok(vec![(CONFIG.to_owned(), config::write(base, lora)), (ADAPTER.to_owned(), matrices)])
}

fn refused(file: impl Into<String>, reason: impl Into<String>) -> ModelError {
    ModelError::AdapterFile { file: file.into(), reason: reason.into() }
}

/// A linear layer's place in PEFT's names.
pub(crate) fn path(layer: usize, projection: Projection) -> String {
    let part = match projection {
        Projection::Gate | Projection::Up | Projection::Down => "mlp",
        _ => "self_attn",
    };
    format!("model.layers.{layer}.{part}.{}", module(projection))
}

/// A linear layer's name in PEFT.
fn module(projection: Projection) -> &'static str {
    match projection {
        Projection::Query => "q_proj",
        Projection::Key => "k_proj",
        Projection::Value => "v_proj",
        Projection::Output => "o_proj",
        Projection::Gate => "gate_proj",
        Projection::Up => "up_proj",
        Projection::Down => "down_proj",
    }
}

impl Parameters {
    /// An adapter of these numbers, to be served.
    pub(crate) fn into_adapter(self, name: String, scale: f32) -> Result<Adapter, ModelError> {
        let rank = self.rank;
        let low = |change| LowRank::from_turned(rank, scale, change);
        let mut layers = Vec::with_capacity(self.layers.len());
        for layer in self.layers {
            let mut made = AdapterLayer::default();
            for (to, change) in made.projections.iter_mut().zip(layer) {
                *to = change.map(low).transpose()?;
            }
            layers.push(made);
        }
        Ok(Adapter::new(name, layers))
    }
}
