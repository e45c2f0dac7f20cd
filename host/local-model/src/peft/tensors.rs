use std::collections::{BTreeMap, HashMap};

use half::{bf16, f16};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

use super::{Floats, path, refused};
use crate::ModelError;
use crate::adapter::Projection;
use crate::train::{Change, LoraShape, Parameters};
use crate::weights::Shape;

/// Bytes of a file's header that there may be for each matrix, and beside them.
const HEADER_PER_TENSOR: usize = 512;
const HEADER: usize = 64 << 10;

/// A safetensors file that is being read.
pub(super) struct Tensors<'a> {
    file: &'static str,
    tensors: SafeTensors<'a>,
    metadata: HashMap<String, String>,
    /// Matrices that have been asked for.
    read: usize,
}

impl<'a> Tensors<'a> {
    /// Opens a file of matrices for this shape. What is much larger is not looked into.
    pub(super) fn open(
        file: &'static str,
        bytes: &'a [u8],
        model: &Shape,
        lora: &LoraShape,
    ) -> Result<Self, ModelError> {
        let (mut numbers, mut count) = (0, 0);
        for projection in Projection::ALL.into_iter().filter(|projection| lora.projections[*projection as usize]) {
            let (out, cols) = model.projection(projection);
            numbers += model.layers * lora.rank * (out + cols);
            count += 2 * model.layers;
        }
        // Twice: AdamW remembers two numbers for each.
        let most = 2 * (numbers * size_of::<f32>() + count * HEADER_PER_TENSOR) + HEADER;
        if bytes.len() > most {
            return Err(refused(
                file,
                format!("it has {} bytes, and for its rank there are {most} at most", bytes.len()),
            ));
        }
        let damaged = |error| refused(file, format!("it is not a sound safetensors file: {error}"));
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(damaged)?;
        let tensors = SafeTensors::deserialize(bytes).map_err(damaged)?;
        Ok(Tensors { file, tensors, metadata: header.metadata().clone().unwrap_or_default(), read: 0 })
    }

    pub(super) fn metadata(&self, key: &str) -> Option<&str> {
        self.metadata.get(key).map(String::as_str)
    }

    /// All matrices whose names begin with `prefix`, each of which must be there, and no others.
    pub(super) fn parameters(
        mut self,
        model: &Shape,
        lora: &LoraShape,
        prefix: &str,
        floats: Floats,
    ) -> Result<Parameters, ModelError> {
        let read = self.some(model, lora, prefix, floats)?;
        self.finish()?;
        Ok(read)
    }

    /// All matrices whose names begin with `prefix`.
    pub(super) fn some(
        &mut self,
        model: &Shape,
        lora: &LoraShape,
        prefix: &str,
        floats: Floats,
    ) -> Result<Parameters, ModelError> {
        let mut parameters = Parameters { rank: lora.rank, layers: Vec::with_capacity(model.layers) };
        for layer in 0..model.layers {
            let mut changes: [Option<Change>; 7] = Default::default();
            for projection in Projection::ALL.into_iter().filter(|projection| lora.projections[*projection as usize]) {
                let (out, cols) = model.projection(projection);
                let name = |side| format!("{prefix}{}.lora_{side}.weight", path(layer, projection));
                let a = self.matrix(&name('A'), [lora.rank, cols], floats)?;
                let b = self.matrix(&name('B'), [out, lora.rank], floats)?;
                changes[projection as usize] = Some(Change { a, b: turned(&b, lora.rank) });
            }
            parameters.layers.push(changes);
        }
        Ok(parameters)
    }

    fn matrix(&mut self, name: &str, shape: [usize; 2], floats: Floats) -> Result<Vec<f32>, ModelError> {
        let tensor = self.tensors.tensor(name).map_err(|_| refused(self.file, format!("`{name}` is missing")))?;
        if tensor.shape() != shape {
            return Err(refused(self.file, format!("`{name}` is {:?} instead of {shape:?}", tensor.shape())));
        }
        let Some(numbers) = numbers(&tensor, floats) else {
            return Err(refused(self.file, format!("`{name}` is stored as {:?}", tensor.dtype())));
        };
        if let Some(number) = numbers.iter().find(|x| !x.is_finite()) {
            return Err(refused(self.file, format!("a number in `{name}` is {number}")));
        }
        self.read += 1;
        Ok(numbers)
    }

    /// Refuses a file with matrices that nobody asked for.
    pub(super) fn finish(&self) -> Result<(), ModelError> {
        if self.read == self.tensors.len() {
            return Ok(());
        }
        Err(refused(self.file, format!("it has {} matrices instead of {}", self.tensors.len(), self.read)))
    }
}

fn numbers(tensor: &TensorView<'_>, floats: Floats) -> Option<Vec<f32>> {
    let data = tensor.data();
    Some(match tensor.dtype() {
        Dtype::F32 => data.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
        Dtype::F16 if floats == Floats::Any => {
            data.as_chunks().0.iter().map(|bytes| f16::from_le_bytes(*bytes).to_f32()).collect()
        }
        Dtype::BF16 if floats == Floats::Any => {
            data.as_chunks().0.iter().map(|bytes| bf16::from_le_bytes(*bytes).to_f32()).collect()
        }
        _ => return None,
    })
}

/// A file of these parameters under these prefixes, with one line about it.
pub(super) fn write<const N: usize>(
    parameters: [(&str, &Parameters); N],
    (key, said): (&str, String),
) -> Result<Vec<u8>, ModelError> {
    let mut all: BTreeMap<String, (Vec<usize>, Vec<u8>)> = BTreeMap::new();
    let bytes = |numbers: &[f32]| numbers.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
    for (prefix, parameters) in parameters {
        let rank = parameters.rank;
        for (layer, changes) in parameters.layers.iter().enumerate() {
            for (projection, change) in Projection::ALL.into_iter().zip(changes) {
                let Some(Change { a, b }) = change else { continue };
                if a.iter().chain(b).any(|x| !x.is_finite()) {
                    return Err(ModelError::Training("some of its numbers are not finite".to_owned()));
                }
                let name = |side| format!("{prefix}{}.lora_{side}.weight", path(layer, projection));
                all.insert(name('A'), (vec![rank, a.len() / rank], bytes(a)));
                let out = b.len() / rank;
                all.insert(name('B'), (vec![out, rank], bytes(&turned(b, out))));
            }
        }
    }
    let failed = |error| ModelError::Training(format!("it cannot be written: {error}"));
    let mut views = Vec::with_capacity(all.len());
    for (name, (shape, data)) in &all {
        views.push((name, TensorView::new(Dtype::F32, shape.clone(), data).map_err(failed)?));
    }
    // One entry alone: of several, the order would differ from time to time.
    safetensors::serialize(views, Some(HashMap::from([(key.to_owned(), said)]))).map_err(failed)
}

/// A matrix of rows of `width` numbers, turned.
fn turned(numbers: &[f32], width: usize) -> Vec<f32> {
    let rows = numbers.len() / width;
    let mut out = vec![0.0; numbers.len()];
    for (i, x) in numbers.iter().enumerate() {
        out[i % width * rows + i / width] = *x;
    }
    out
}
