use crate::ModelError;
use crate::adapter::Projection;
use crate::gguf::Gguf;
use crate::kv::KvShape;
use crate::math::LANES;
use crate::matrix::{BLOCK, Matrix};

/// The sizes of a Llama-family model, as its file gives them.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    pub(crate) layers: usize,
    pub(crate) hidden: usize,
    /// Width of the feed-forward part.
    pub(crate) inner: usize,
    pub(crate) heads: usize,
    pub(crate) kv_heads: usize,
    pub(crate) head_dim: usize,
    pub(crate) vocab: usize,
    pub(crate) context: usize,
    pub(crate) eps: f32,
}

/// All parameters of a model.
pub(crate) struct Weights {
    pub(crate) embedding: Matrix,
    pub(crate) layers: Vec<Layer>,
    pub(crate) norm: Vec<f32>,
    /// None when the embedding serves as head too.
    pub(crate) head: Option<Matrix>,
    /// Radians per position, for each rotated pair.
    pub(crate) frequencies: Vec<f64>,
}

/// One transformer layer.
pub(crate) struct Layer {
    pub(crate) attention_norm: Vec<f32>,
    pub(crate) feed_forward_norm: Vec<f32>,
    /// One for each of [`Projection::ALL`].
    pub(crate) projections: [Matrix; 7],
}

impl Shape {
    pub(crate) fn read(gguf: &Gguf) -> Result<Self, ModelError> {
        let architecture = gguf.need_text("general.architecture")?;
        if architecture != "llama" {
            return Err(gguf.unsupported(format!("the architecture `{architecture}`")));
        }
        if gguf.number("llama.expert_count").unwrap_or(0) > 0 {
            return Err(gguf.unsupported("a mixture of experts"));
        }
        if let Some(scaling) = gguf.text("llama.rope.scaling.type").filter(|scaling| *scaling != "none") {
            return Err(gguf.unsupported(format!("rotary scaling of type `{scaling}`")));
        }
        let hidden = gguf.need_number("llama.embedding_length")?;
        let heads = gguf.need_number("llama.attention.head_count")?;
        let kv_heads = gguf.number("llama.attention.head_count_kv").unwrap_or(heads);
        let shape = Shape {
            layers: gguf.need_number("llama.block_count")?,
            hidden,
            inner: gguf.need_number("llama.feed_forward_length")?,
            heads,
            kv_heads,
            head_dim: gguf.number("llama.attention.key_length").unwrap_or(hidden / heads.max(1)),
            vocab: gguf.need_texts("tokenizer.ggml.tokens")?.len(),
            context: gguf.need_number("llama.context_length")?,
            eps: gguf.need_float("llama.attention.layer_norm_rms_epsilon")?,
        };
        let whole_heads = kv_heads > 0 && heads.is_multiple_of(kv_heads) && shape.head_dim > 0;
        if !whole_heads || !shape.head_dim.is_multiple_of(LANES) || shape.context == 0 {
            return Err(gguf.unsupported(format!("{heads} heads of {} over {kv_heads}", shape.head_dim)));
        }
        if [hidden, shape.inner, heads * shape.head_dim].iter().any(|n| *n == 0 || !n.is_multiple_of(BLOCK)) {
            return Err(gguf.unsupported("layer widths that are not multiples of 32"));
        }
        Ok(shape)
    }

    /// Rows and columns (out, in) of a linear layer.
    pub(crate) fn projection(&self, projection: Projection) -> (usize, usize) {
        let (queries, keys) = (self.heads * self.head_dim, self.kv_heads * self.head_dim);
        match projection {
            Projection::Query => (queries, self.hidden),
            Projection::Key | Projection::Value => (keys, self.hidden),
            Projection::Output => (self.hidden, queries),
            Projection::Gate | Projection::Up => (self.inner, self.hidden),
            Projection::Down => (self.hidden, self.inner),
        }
    }

    pub(crate) fn kv(&self) -> KvShape {
        KvShape { layers: self.layers, heads: self.kv_heads, head_dim: self.head_dim }
    }
}

impl Weights {
    pub(crate) fn read(gguf: &mut Gguf, shape: &Shape) -> Result<Self, ModelError> {
        let layers = (0..shape.layers).map(|i| Layer::read(gguf, shape, i)).collect::<Result<_, _>>()?;
        let table = (shape.vocab, shape.hidden);
        let head = match gguf.has_tensor("output.weight") {
            true => Some(gguf.matrix("output.weight", table, |row| row)?),
            false => None,
        };
        Ok(Weights {
            embedding: gguf.matrix("token_embd.weight", table, |row| row)?,
            layers,
            norm: gguf.vector("output_norm.weight", shape.hidden)?,
            head,
            frequencies: frequencies(gguf, shape)?,
        })
    }
}

impl Layer {
    fn read(gguf: &mut Gguf, shape: &Shape, index: usize) -> Result<Self, ModelError> {
        let name = |part: &str| format!("blk.{index}.{part}.weight");
        if gguf.has_tensor(&format!("blk.{index}.attn_q.bias")) {
            return Err(gguf.unsupported("attention biases"));
        }
        let half = shape.head_dim / 2;
        // ggml interleaves the two halves of each head's queries and keys; adapters, and our rotation, have the halves
        // one after the other.
        let halves = |row: usize| row / shape.head_dim * shape.head_dim + row % half * 2 + row % shape.head_dim / half;
        let mut read = |projection, part, interleaved: bool| {
            let order = |row| if interleaved { halves(row) } else { row };
            gguf.matrix(&name(part), shape.projection(projection), order)
        };
        let projections = [
            read(Projection::Query, "attn_q", true)?,
            read(Projection::Key, "attn_k", true)?,
            read(Projection::Value, "attn_v", false)?,
            read(Projection::Output, "attn_output", false)?,
            read(Projection::Gate, "ffn_gate", false)?,
            read(Projection::Up, "ffn_up", false)?,
            read(Projection::Down, "ffn_down", false)?,
        ];
        Ok(Layer {
            attention_norm: gguf.vector(&name("attn_norm"), shape.hidden)?,
            feed_forward_norm: gguf.vector(&name("ffn_norm"), shape.hidden)?,
            projections,
        })
    }
}

/// Rotation speeds: `base^(-2i/d)`, slowed by the file's own factors where it has some (Llama 3.1 and later).
fn frequencies(gguf: &mut Gguf, shape: &Shape) -> Result<Vec<f64>, ModelError> {
    let rotated = gguf.number("llama.rope.dimension_count").unwrap_or(shape.head_dim);
    if rotated != shape.head_dim {
        return Err(gguf.unsupported(format!("rotation of {rotated} out of {} dimensions", shape.head_dim)));
    }
    let base = f64::from(gguf.float("llama.rope.freq_base").unwrap_or(10_000.0));
    let pairs = rotated / 2;
    let factors = match gguf.has_tensor("rope_freqs.weight") {
        true => gguf.vector("rope_freqs.weight", pairs)?,
        false => vec![1.0; pairs],
    };
    let speed = |i: usize| base.powf(-(i as f64) / pairs as f64);
    Ok(factors.iter().enumerate().map(|(i, factor)| speed(i) / f64::from(*factor)).collect())
}
