use std::fs::File;
use std::io::BufReader;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use candle_core::Device;
use candle_core::quantized::gguf_file::{Content, Value};
use candle_core::quantized::{GgmlDType, QTensor};
use half::f16;

use crate::ModelError;
use crate::matrix::{BLOCK, BLOCK_BYTES, Matrix};

/// An open GGUF file: its metadata, and its tensors on demand.
pub(crate) struct Gguf {
    path: PathBuf,
    content: Content,
    reader: BufReader<File>,
}

impl Gguf {
    pub(crate) fn open(path: &Path) -> Result<Self, ModelError> {
        let file = File::open(path).map_err(ModelError::io("open", path))?;
        let mut reader = BufReader::new(file);
        // Candle checks most of what a broken header can say, and divides by the rest of it.
        let content = catch_unwind(AssertUnwindSafe(|| Content::read(&mut reader)));
        let content = content.unwrap_or_else(|_| Err(candle_core::Error::Msg("its header makes no sense".to_owned())));
        let content = content.map_err(|e| format_error(path, &e))?;
        Ok(Gguf { path: path.to_owned(), content, reader })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// All metadata, by key.
    pub(crate) fn metadata(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.content.metadata.iter()
    }

    /// All tensors' names and numbers of elements.
    pub(crate) fn tensors(&self) -> impl Iterator<Item = (&str, usize)> {
        self.content.tensor_infos.iter().map(|(name, info)| (name.as_str(), info.shape.elem_count()))
    }

    pub(crate) fn has_tensor(&self, name: &str) -> bool {
        self.content.tensor_infos.contains_key(name)
    }

    pub(crate) fn error(&self, reason: impl Into<String>) -> ModelError {
        ModelError::Format { path: self.path.clone(), reason: reason.into() }
    }

    pub(crate) fn unsupported(&self, what: impl Into<String>) -> ModelError {
        ModelError::Unsupported { path: self.path.clone(), what: what.into() }
    }

    fn required<T>(&self, key: &str, value: Option<T>) -> Result<T, ModelError> {
        value.ok_or_else(|| self.error(format!("its metadata has no usable `{key}`")))
    }

    pub(crate) fn number(&self, key: &str) -> Option<usize> {
        let value = self.content.metadata.get(key)?;
        let number = value.to_u64().ok().or_else(|| value.to_i32().ok().and_then(|n| n.try_into().ok()))?;
        usize::try_from(number).ok()
    }

    pub(crate) fn need_number(&self, key: &str) -> Result<usize, ModelError> {
        self.required(key, self.number(key))
    }

    pub(crate) fn float(&self, key: &str) -> Option<f32> {
        self.content.metadata.get(key)?.to_f32().ok()
    }

    pub(crate) fn need_float(&self, key: &str) -> Result<f32, ModelError> {
        self.required(key, self.float(key))
    }

    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        self.content.metadata.get(key)?.to_string().ok().map(String::as_str)
    }

    pub(crate) fn need_text(&self, key: &str) -> Result<&str, ModelError> {
        self.required(key, self.text(key))
    }

    pub(crate) fn need_texts(&self, key: &str) -> Result<Vec<&str>, ModelError> {
        let list = self.content.metadata.get(key).and_then(|value| value.to_vec().ok());
        let texts = list.and_then(|list| list.iter().map(|v| v.to_string().ok().map(String::as_str)).collect());
        self.required(key, texts)
    }

    pub(crate) fn numbers(&self, key: &str) -> Option<Vec<i64>> {
        let list = self.content.metadata.get(key)?.to_vec().ok()?;
        let number = |v: &Value| v.to_i32().map(i64::from).or_else(|_| v.to_u32().map(i64::from)).ok();
        list.iter().map(number).collect()
    }

    /// A tensor as it is stored.
    pub(crate) fn tensor(&mut self, name: &str) -> Result<QTensor, ModelError> {
        let tensor = self.content.tensor(&mut self.reader, name, &Device::Cpu);
        tensor.map_err(|e| format_error(&self.path, &e))
    }

    /// A tensor of one dimension.
    pub(crate) fn vector(&mut self, name: &str, len: usize) -> Result<Vec<f32>, ModelError> {
        let tensor = self.tensor(name)?;
        let read = tensor.dequantize(&Device::Cpu).and_then(|t| t.flatten_all()?.to_vec1::<f32>());
        let vector = read.map_err(|e| format_error(&self.path, &e))?;
        if vector.len() != len {
            return Err(self.error(format!("`{name}` has {} numbers instead of {len}", vector.len())));
        }
        Ok(vector)
    }

    /// The numbers of a tensor that is stored in 16 bits.
    pub(crate) fn numbers_f16(&self, name: &str, tensor: &QTensor) -> Result<Vec<f16>, ModelError> {
        if tensor.dtype() != GgmlDType::F16 {
            return Err(self.error(format!("`{name}` is stored as {:?} instead of F16", tensor.dtype())));
        }
        let bytes = tensor.data().map_err(|e| format_error(&self.path, &e))?;
        Ok(bytes.as_chunks().0.iter().map(|bytes| f16::from_le_bytes(*bytes)).collect())
    }

    /// A matrix, brought to Q8_0 if it is stored otherwise. Row `i` is row `order(i)` of the file.
    pub(crate) fn matrix(
        &mut self,
        name: &str,
        (rows, cols): (usize, usize),
        order: impl Fn(usize) -> usize,
    ) -> Result<Matrix, ModelError> {
        let tensor = self.tensor(name)?;
        if tensor.shape().dims() != [rows, cols] || !cols.is_multiple_of(BLOCK) {
            let found = tensor.shape().clone();
            return Err(self.error(format!("`{name}` is {found:?} instead of {rows} by {cols}")));
        }
        let tensor = to_q8_0(tensor).map_err(|e| format_error(&self.path, &e))?;
        let bytes = tensor.data().map_err(|e| format_error(&self.path, &e))?;
        // Sizes that overflow would have passed until here.
        let blocks = rows.checked_mul(cols).map(|count| count / BLOCK);
        if blocks.and_then(|blocks| blocks.checked_mul(BLOCK_BYTES)) != Some(bytes.len()) {
            return Err(self.error(format!("`{name}` is not as large as {rows} by {cols}")));
        }
        Ok(Matrix::pack(rows, cols, &bytes, order))
    }
}

/// The same numbers, rounded to Q8_0.
pub(crate) fn to_q8_0(tensor: QTensor) -> candle_core::Result<QTensor> {
    match tensor.dtype() {
        GgmlDType::Q8_0 => Ok(tensor),
        _ => QTensor::quantize(&tensor.dequantize(&Device::Cpu)?, GgmlDType::Q8_0),
    }
}

pub(crate) fn format_error(path: &Path, error: &candle_core::Error) -> ModelError {
    // The first line: what follows may be a backtrace.
    let reason = error.to_string().lines().next().unwrap_or_default().to_owned();
    ModelError::Format { path: path.to_owned(), reason }
}
