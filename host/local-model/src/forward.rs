use std::ops::Range;

use crate::adapter::{Adapter, Projection};
use crate::compute::Compute;
use crate::kv::{KvCache, Sight};
use crate::math::{narrow, rms_norm, swiglu};
use crate::weights::{Layer, Shape, Weights};

/// Rows of one sequence that a thread attends to at a time.
const ATTENTION_ROWS: usize = 4;

/// New tokens of one sequence: a piece of its prompt, or the token it just sampled.
pub(crate) struct Segment<'a> {
    pub(crate) tokens: &'a [u32],
    /// What stands before them; grows by them.
    pub(crate) cache: &'a mut KvCache,
    pub(crate) adapter: Option<&'a Adapter>,
    /// For how many of the last tokens the logits are wanted.
    pub(crate) outputs: usize,
}

/// One forward pass over several sequences at once.
struct Pass<'a, 'b> {
    shape: &'a Shape,
    compute: &'a Compute,
    segments: &'a mut [Segment<'b>],
    /// The rows of the batch that each segment has.
    rows: Vec<Range<usize>>,
}

impl Weights {
    /// Logits for the wanted tokens, segment after segment, each a row as long as the vocabulary.
    pub(crate) fn forward(&self, shape: &Shape, compute: &Compute, segments: &mut [Segment<'_>]) -> Vec<f32> {
        compute.enter(|| Pass::new(shape, compute, segments).run(self))
    }
}

impl<'a, 'b> Pass<'a, 'b> {
    fn new(shape: &'a Shape, compute: &'a Compute, segments: &'a mut [Segment<'b>]) -> Self {
        let mut rows = Vec::with_capacity(segments.len());
        let mut next = 0;
        for segment in segments.iter_mut() {
            segment.cache.reserve(segment.tokens.len());
            rows.push(next..next + segment.tokens.len());
            next += segment.tokens.len();
        }
        Pass { shape, compute, segments, rows }
    }

    fn run(mut self, weights: &Weights) -> Vec<f32> {
        let rotation = self.rotation(&weights.frequencies);
        let mut x = Vec::new();
        for token in self.segments.iter().flat_map(|segment| segment.tokens) {
            weights.embedding.row(*token as usize, &mut x);
        }
        for (index, layer) in weights.layers.iter().enumerate() {
            self.attention(index, layer, &rotation, &mut x);
            self.feed_forward(index, layer, &mut x);
        }
        for segment in self.segments.iter_mut() {
            segment.cache.commit(segment.tokens.len());
        }
        let hidden = self.shape.hidden;
        let mut wanted = Vec::new();
        for (segment, rows) in self.segments.iter().zip(&self.rows) {
            wanted.extend_from_slice(&x[(rows.end - segment.outputs) * hidden..rows.end * hidden]);
        }
        let wanted = rms_norm(&wanted, &weights.norm, self.shape.eps);
        weights.head.as_ref().unwrap_or(&weights.embedding).multiply(self.compute, &wanted)
    }

    /// Cosine and sine of each pair's angle, for each row.
    fn rotation(&self, frequencies: &[f64]) -> Vec<(f32, f32)> {
        let mut rotation = Vec::new();
        for segment in self.segments.iter() {
            for position in segment.cache.len()..segment.cache.len() + segment.tokens.len() {
                rotation.extend(frequencies.iter().map(|frequency| {
                    let (sin, cos) = (position as f64 * frequency).sin_cos();
                    (narrow(cos), narrow(sin))
                }));
            }
        }
        rotation
    }

    fn attention(&mut self, index: usize, layer: &Layer, rotation: &[(f32, f32)], x: &mut [f32]) {
        let (shape, compute) = (self.shape, self.compute);
        let normed = rms_norm(x, &layer.attention_norm, shape.eps);
        let mut queries = self.project(index, layer, Projection::Query, &normed);
        let mut keys = self.project(index, layer, Projection::Key, &normed);
        let values = self.project(index, layer, Projection::Value, &normed);
        rotate(&mut queries, shape.heads, shape.head_dim, rotation);
        rotate(&mut keys, shape.kv_heads, shape.head_dim, rotation);

        let (width, kv_width) = (shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim);
        let mut mixed = vec![0.0; queries.len()];
        for (segment, rows) in self.segments.iter_mut().zip(&self.rows) {
            let first = segment.cache.len();
            for (i, row) in rows.clone().enumerate() {
                let (key, value) = (&keys[row * kv_width..][..kv_width], &values[row * kv_width..][..kv_width]);
                segment.cache.store(index, first + i, key, value);
            }
            let (cache, queries) = (&*segment.cache, &queries[rows.start * width..rows.end * width]);
            let out = &mut mixed[rows.start * width..rows.end * width];
            compute.for_chunks(out, ATTENTION_ROWS * width, |i, out| {
                let start = i * ATTENTION_ROWS;
                let sight = Sight::Before { first: first + start };
                cache.attend(index, sight, &queries[start * width..][..out.len()], shape.heads, out);
            });
        }
        add(x, &self.project(index, layer, Projection::Output, &mixed));
    }

    fn feed_forward(&self, index: usize, layer: &Layer, x: &mut [f32]) {
        let normed = rms_norm(x, &layer.feed_forward_norm, self.shape.eps);
        let mut gate = self.project(index, layer, Projection::Gate, &normed);
        let up = self.project(index, layer, Projection::Up, &normed);
        swiglu(&mut gate, &up);
        add(x, &self.project(index, layer, Projection::Down, &gate));
    }

    /// A linear layer, with each segment's adapter applied to that segment's rows.
    fn project(&self, index: usize, layer: &Layer, projection: Projection, x: &[f32]) -> Vec<f32> {
        let matrix = &layer.projections[projection as usize];
        let mut y = matrix.multiply(self.compute, x);
        for (segment, rows) in self.segments.iter().zip(&self.rows) {
            if let Some(change) = segment.adapter.and_then(|adapter| adapter.get(index, projection)) {
                let of = |width: usize| rows.start * width..rows.end * width;
                change.add(&x[of(matrix.cols())], &mut y[of(matrix.rows())]);
            }
        }
        y
    }
}

/// Rotates each head of each row by its position: the first half of the head with the second.
pub(crate) fn rotate(rows: &mut [f32], heads: usize, head_dim: usize, rotation: &[(f32, f32)]) {
    let angles = rotation.chunks_exact(head_dim / 2);
    for (row, angles) in rows.chunks_exact_mut(heads * head_dim).zip(angles) {
        for head in row.chunks_exact_mut(head_dim) {
            let (low, high) = head.split_at_mut(head_dim / 2);
            for ((low, high), (cos, sin)) in low.iter_mut().zip(high).zip(angles) {
                (*low, *high) = (*low * cos - *high * sin, *high * cos + *low * sin);
            }
        }
    }
}

fn add(x: &mut [f32], y: &[f32]) {
    x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
}
