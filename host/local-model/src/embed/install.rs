use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::quantized::gguf_file::Value;
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};

use super::static_vectors::{TABLE, WIDTH_KEY};
use super::words::TOKENIZER_KEY;
use crate::ModelError;
use crate::gguf::{Gguf, format_error};
use crate::install::{InstalledModel, ModelKind, Source, save};

/// What an embedder is made of: files as they come from elsewhere.
#[derive(Clone, Debug)]
pub struct EmbedderFiles {
    /// Which kind of model they are.
    pub kind: ModelKind,
    /// The numbers: a safetensors file.
    pub weights: PathBuf,
    /// The `tokenizer.json`.
    pub tokenizer: PathBuf,
    /// Under which licence they may be used.
    pub license: String,
}

/// Metadata and tensors of a GGUF file.
type Content = (Vec<(String, Value)>, Vec<(String, QTensor)>);

/// Installs an embedder under `name` as one GGUF file, matrices and tables in 16 bits. An installed embedder of that name is replaced.
///
/// # Errors
/// When the name cannot be used, the files are not such a model, or the result cannot be written.
pub fn install_embedder(
    files: &EmbedderFiles,
    source: Source,
    models_dir: &Path,
    name: &str,
) -> Result<InstalledModel, ModelError> {
    let tensors = candle_core::safetensors::load(&files.weights, &Device::Cpu);
    let tensors = tensors.map_err(|e| format_error(&files.weights, &e))?;
    let tokenizer = std::fs::read_to_string(&files.tokenizer).map_err(ModelError::io("read", &files.tokenizer))?;
    let params = tensors.values().map(|tensor| tensor.elem_count() as u64).sum();
    let content = match files.kind {
        ModelKind::MiniLm => bert(&tensors),
        ModelKind::StaticVectors => table(&tensors),
        ModelKind::Chat => Err(candle_core::Error::Msg("a chat model makes no vectors".to_owned())),
    };
    let (mut metadata, tensors) = content.map_err(|e| format_error(&files.weights, &e))?;
    metadata.push((TOKENIZER_KEY.to_owned(), Value::String(tokenizer)));
    metadata.push(("general.license".to_owned(), Value::String(files.license.clone())));
    metadata.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    let context = if files.kind == ModelKind::MiniLm { super::minilm::MAX_TOKENS } else { 0 };
    let about = InstalledModel::about(name, files.kind, source, params, context, Some(files.license.clone()));
    // What loading would refuse is refused before anything is in its place.
    save(about, models_dir, &metadata, &tensors, |path| super::TextEmbedder::load(path).map(|_| ()))
}

/// Which kind of model the file holds.
pub(crate) fn kind_of(gguf: &Gguf) -> Result<ModelKind, ModelError> {
    match gguf.need_text("general.architecture")? {
        "bert" => Ok(ModelKind::MiniLm),
        "static-vectors" => Ok(ModelKind::StaticVectors),
        _ => Ok(ModelKind::Chat),
    }
}

fn text(key: &str, value: &str) -> (String, Value) {
    (key.to_owned(), Value::String(value.to_owned()))
}

fn number(key: &str, value: usize) -> (String, Value) {
    (key.to_owned(), Value::U32(u32::try_from(value).unwrap_or(u32::MAX)))
}

fn named<'a>(tensors: &'a HashMap<String, Tensor>, name: &str) -> candle_core::Result<&'a Tensor> {
    tensors.get(name).ok_or_else(|| candle_core::Error::Msg(format!("it has no tensor `{name}`")))
}

/// One table, whatever its tensor is called.
fn table(tensors: &HashMap<String, Tensor>) -> candle_core::Result<Content> {
    let table = named(tensors, "embedding.weight")?;
    let (_, width) = table.dims2()?;
    let metadata = vec![text("general.architecture", "static-vectors"), number(WIDTH_KEY, width)];
    Ok((metadata, vec![(TABLE.to_owned(), QTensor::quantize(&to_f32(table)?, GgmlDType::F16)?)]))
}

/// Sizes and tensors under the names that other programs give them in GGUF files of BERT.
fn bert(tensors: &HashMap<String, Tensor>) -> candle_core::Result<Content> {
    let (_, hidden) = named(tensors, "embeddings.word_embeddings.weight")?.dims2()?;
    let (context, _) = named(tensors, "embeddings.position_embeddings.weight")?.dims2()?;
    let (inner, _) = named(tensors, "encoder.layer.0.intermediate.dense.weight")?.dims2()?;
    let layers = (0..).take_while(|i| tensors.contains_key(&format!("encoder.layer.{i}.output.dense.weight"))).count();
    let metadata = vec![
        text("general.architecture", "bert"),
        number("bert.block_count", layers),
        number("bert.embedding_length", hidden),
        number("bert.feed_forward_length", inner),
        number("bert.context_length", context),
        // The files say nothing of these two; all small BERTs that make vectors have heads 32 wide and this epsilon.
        number("bert.attention.head_count", hidden / 32),
        ("bert.attention.layer_norm_epsilon".to_owned(), Value::F32(1e-12)),
    ];
    let mut content = Vec::new();
    let mut put = |from: &str, to: &str, kind: GgmlDType| -> candle_core::Result<()> {
        content.push((to.to_owned(), QTensor::quantize(&to_f32(named(tensors, from)?)?, kind)?));
        Ok(())
    };
    put("embeddings.word_embeddings.weight", "token_embd.weight", GgmlDType::F16)?;
    put("embeddings.position_embeddings.weight", "position_embd.weight", GgmlDType::F32)?;
    put("embeddings.token_type_embeddings.weight", "token_types.weight", GgmlDType::F32)?;
    put("embeddings.LayerNorm.weight", "token_embd_norm.weight", GgmlDType::F32)?;
    put("embeddings.LayerNorm.bias", "token_embd_norm.bias", GgmlDType::F32)?;
    let parts = [
        ("attention.self.query", "attn_q", GgmlDType::F16),
        ("attention.self.key", "attn_k", GgmlDType::F16),
        ("attention.self.value", "attn_v", GgmlDType::F16),
        ("attention.output.dense", "attn_output", GgmlDType::F16),
        ("attention.output.LayerNorm", "attn_output_norm", GgmlDType::F32),
        ("intermediate.dense", "ffn_up", GgmlDType::F16),
        ("output.dense", "ffn_down", GgmlDType::F16),
        ("output.LayerNorm", "layer_output_norm", GgmlDType::F32),
    ];
    for layer in 0..layers {
        for (from, to, kind) in parts {
            put(&format!("encoder.layer.{layer}.{from}.weight"), &format!("blk.{layer}.{to}.weight"), kind)?;
            put(&format!("encoder.layer.{layer}.{from}.bias"), &format!("blk.{layer}.{to}.bias"), GgmlDType::F32)?;
        }
    }
    Ok((metadata, content))
}

fn to_f32(tensor: &Tensor) -> candle_core::Result<Tensor> {
    tensor.to_dtype(candle_core::DType::F32)
}
