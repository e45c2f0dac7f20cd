use super::normalise;
use super::rows::Rows;
use super::words::Words;
use crate::ModelError;
use crate::compute::Compute;
use crate::gguf::Gguf;
use crate::kv::{KvCache, KvShape, Sight};
use crate::math::{LANES, exp, mul_add};
use crate::matrix::{BLOCK, Matrix};

/// The tokens that the model was trained on at a time; what follows is not looked at.
pub(super) const MAX_TOKENS: usize = 256;

/// A BERT encoder, its tokens' last vectors averaged: all-MiniLM-L6-v2 and its like.
///
/// It runs on the calling thread alone.
pub(super) struct MiniLm {
    words: Words,
    shape: Shape,
    tokens: Rows,
    /// Position and sentence number, added: every text is one sentence.
    positions: Vec<f32>,
    norm: Norm,
    layers: Vec<Layer>,
}

#[derive(Clone, Copy)]
struct Shape {
    layers: usize,
    hidden: usize,
    inner: usize,
    heads: usize,
    eps: f32,
}

struct Layer {
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    attention_norm: Norm,
    up: Linear,
    down: Linear,
    output_norm: Norm,
}

struct Linear {
    /// Of 16 bits: eight, as the model that answers has them, would turn a short text's vector by a degree.
    matrix: Matrix<i16>,
    bias: Vec<f32>,
}

struct Norm {
    weight: Vec<f32>,
    bias: Vec<f32>,
}

impl Shape {
    fn read(gguf: &Gguf) -> Result<Self, ModelError> {
        let shape = Shape {
            layers: gguf.need_number("bert.block_count")?,
            hidden: gguf.need_number("bert.embedding_length")?,
            inner: gguf.need_number("bert.feed_forward_length")?,
            heads: gguf.need_number("bert.attention.head_count")?,
            eps: gguf.need_float("bert.attention.layer_norm_epsilon")?,
        };
        let whole = shape.heads > 0 && shape.hidden.is_multiple_of(shape.heads * LANES);
        let blocks = [shape.hidden, shape.inner].iter().all(|n| *n > 0 && n.is_multiple_of(BLOCK));
        if !whole || !blocks || gguf.need_number("bert.context_length")? < MAX_TOKENS {
            return Err(gguf.unsupported("layers of these sizes"));
        }
        Ok(shape)
    }
}

impl MiniLm {
    pub(super) fn read(gguf: &mut Gguf) -> Result<Self, ModelError> {
        let shape = Shape::read(gguf)?;
        let words = Words::read(gguf, MAX_TOKENS, true)?;
        let tokens = Rows::read(gguf, "token_embd.weight", words.vocab(), shape.hidden)?;
        let context = gguf.need_number("bert.context_length")?;
        let kind = gguf.vector("token_types.weight", 2 * shape.hidden)?;
        let mut positions = gguf.vector("position_embd.weight", context * shape.hidden)?;
        positions.truncate(MAX_TOKENS * shape.hidden);
        for row in positions.chunks_exact_mut(shape.hidden) {
            add(row, &kind[..shape.hidden]);
        }
        let norm = Norm::read(gguf, "token_embd_norm", shape.hidden)?;
        let layers = (0..shape.layers).map(|i| Layer::read(gguf, shape, i)).collect::<Result<_, _>>()?;
        Ok(MiniLm { words, shape, tokens, positions, norm, layers })
    }

    /// How long its vectors are.
    pub(super) fn dims(&self) -> usize {
        self.shape.hidden
    }

    /// The vector of a text.
    pub(super) fn embed(&self, text: &str) -> Result<Vec<f32>, ModelError> {
        let tokens = self.words.tokens(text)?;
        let hidden = self.shape.hidden;
        // Two tokens are the model's own marks: the text has none of its own.
        if tokens.len() <= 2 {
            return Ok(vec![0.0; hidden]);
        }
        let mut x = vec![0.0; tokens.len() * hidden];
        for (row, token) in x.chunks_exact_mut(hidden).zip(&tokens) {
            if !self.tokens.get(*token, row) {
                return Err(ModelError::Text(format!("its tokenizer knows token {token} and its table does not")));
            }
        }
        add(&mut x, &self.positions);
        self.norm.apply(&mut x, self.shape.eps);
        for layer in &self.layers {
            layer.apply(&mut x, self.shape);
        }
        let mut sum = vec![0.0; hidden];
        x.chunks_exact(hidden).for_each(|row| add(&mut sum, row));
        normalise(&mut sum);
        Ok(sum)
    }
}

impl Layer {
    fn read(gguf: &mut Gguf, shape: Shape, index: usize) -> Result<Self, ModelError> {
        let (hidden, inner) = (shape.hidden, shape.inner);
        let name = |part: &str| format!("blk.{index}.{part}");
        Ok(Layer {
            query: Linear::read(gguf, &name("attn_q"), hidden, hidden)?,
            key: Linear::read(gguf, &name("attn_k"), hidden, hidden)?,
            value: Linear::read(gguf, &name("attn_v"), hidden, hidden)?,
            output: Linear::read(gguf, &name("attn_output"), hidden, hidden)?,
            attention_norm: Norm::read(gguf, &name("attn_output_norm"), hidden)?,
            up: Linear::read(gguf, &name("ffn_up"), inner, hidden)?,
            down: Linear::read(gguf, &name("ffn_down"), hidden, inner)?,
            output_norm: Norm::read(gguf, &name("layer_output_norm"), hidden)?,
        })
    }

    fn apply(&self, x: &mut [f32], shape: Shape) {
        let (query, key, value) = (self.query.apply(x), self.key.apply(x), self.value.apply(x));
        let mixed = attend(&query, &key, &value, shape);
        add(x, &self.output.apply(&mixed));
        self.attention_norm.apply(x, shape.eps);
        let mut inner = self.up.apply(x);
        gelu(&mut inner);
        add(x, &self.down.apply(&inner));
        self.output_norm.apply(x, shape.eps);
    }
}

impl Linear {
    fn read(gguf: &mut Gguf, name: &str, rows: usize, cols: usize) -> Result<Self, ModelError> {
        let numbers = gguf.vector(&format!("{name}.weight"), rows * cols)?;
        Ok(Linear { matrix: Matrix::round(rows, cols, &numbers), bias: gguf.vector(&format!("{name}.bias"), rows)? })
    }

    fn apply(&self, x: &[f32]) -> Vec<f32> {
        let mut y = self.matrix.multiply(&Compute::inline(), x);
        y.chunks_exact_mut(self.bias.len()).for_each(|row| add(row, &self.bias));
        y
    }
}

impl Norm {
    fn read(gguf: &mut Gguf, name: &str, width: usize) -> Result<Self, ModelError> {
        let weight = gguf.vector(&format!("{name}.weight"), width)?;
        Ok(Norm { weight, bias: gguf.vector(&format!("{name}.bias"), width)? })
    }

    /// Each row to mean 0 and variance 1, then scaled and shifted.
    fn apply(&self, x: &mut [f32], eps: f32) {
        let width = self.weight.len();
        for row in x.chunks_exact_mut(width) {
            let mean = row.iter().sum::<f32>() / width as f32;
            row.iter_mut().for_each(|x| *x -= mean);
            let scale = 1.0 / (crate::math::dot(row, row) / width as f32 + eps).sqrt();
            for ((x, weight), bias) in row.iter_mut().zip(&self.weight).zip(&self.bias) {
                *x = mul_add(*x * scale, *weight, *bias);
            }
        }
    }
}

/// Every token looks at every other one, head by head.
fn attend(query: &[f32], key: &[f32], value: &[f32], shape: Shape) -> Vec<f32> {
    let hidden = shape.hidden;
    let mut cache = KvCache::new(KvShape { layers: 1, heads: shape.heads, head_dim: hidden / shape.heads });
    let count = query.len() / hidden;
    cache.reserve(count);
    for (token, (key, value)) in key.chunks_exact(hidden).zip(value.chunks_exact(hidden)).enumerate() {
        cache.store(0, token, key, value);
    }
    cache.commit(count);
    let mut mixed = vec![0.0; query.len()];
    cache.attend(0, Sight::All, query, shape.heads, &mut mixed);
    mixed
}

/// `x * Φ(x)`, with Φ the normal distribution. The error function is Abramowitz and Stegun's 7.1.26, off by 1.5e-7 at most.
fn gelu(x: &mut [f32]) {
    for x in x {
        let z = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
        let t = 1.0 / mul_add(0.327_591_1, z, 1.0);
        let mut p = 1.061_405_4;
        for coefficient in [-1.453_152_1, 1.421_413_8, -0.284_496_72, 0.254_829_6] {
            p = mul_add(p, t, coefficient);
        }
        let tail = 0.5 * p * t * exp(-z * z);
        *x *= if *x < 0.0 { tail } else { 1.0 - tail };
    }
}

fn add(x: &mut [f32], y: &[f32]) {
    x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
}
