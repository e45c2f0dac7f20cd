use std::ops::Range;

use super::product::{Factor, Rows, View, add_products};
use crate::compute::Compute;
use crate::math::{dot, exp, narrow};
use crate::weights::Shape;

/// Queries that are worked on together.
const BLOCK: usize = 64;

/// Causal attention of several sequences, whose rows follow one another. Query heads share key heads evenly.
pub(super) struct Attention<'a> {
    pub(super) shape: &'a Shape,
    pub(super) compute: &'a Compute,
    /// The rows of each sequence.
    pub(super) segments: &'a [Range<usize>],
    pub(super) queries: &'a [f32],
    pub(super) keys: &'a [f32],
    pub(super) values: &'a [f32],
}

/// What attention gives.
pub(super) struct Mixed {
    /// For each row, all query heads.
    pub(super) mixed: Vec<f32>,
    /// For each key head and each of its query heads, each row's log of the sum of `e^score`.
    pub(super) norms: Vec<f32>,
}

/// The gradients of what goes in.
pub(super) struct Gradients {
    pub(super) queries: Vec<f32>,
    pub(super) keys: Vec<f32>,
    pub(super) values: Vec<f32>,
}

/// One block of queries of one head, and what it sees.
struct Block {
    /// Rows of the block, from the first of the sequence.
    rows: Range<usize>,
    /// Scores, then weights: a row for each query, for all that its last one sees.
    weights: Vec<f32>,
}

impl Attention<'_> {
    fn rows(&self) -> usize {
        self.segments.last().map_or(0, |segment| segment.end)
    }

    fn shared(&self) -> usize {
        self.shape.heads / self.shape.kv_heads
    }

    fn width(&self) -> usize {
        self.shape.heads * self.shape.head_dim
    }

    fn kv_width(&self) -> usize {
        self.shape.kv_heads * self.shape.head_dim
    }

    /// One head of a sequence's keys or values.
    fn kv<'b>(&self, of: &'b [f32], segment: &Range<usize>, head: usize) -> View<'b> {
        View::new(&of[segment.start * self.kv_width() + head * self.shape.head_dim..], self.kv_width())
    }

    /// One head of some rows of the queries, or what is as wide.
    fn query<'b>(&self, of: &'b [f32], row: usize, head: usize) -> View<'b> {
        View::new(&of[row * self.width() + head * self.shape.head_dim..], self.width())
    }

    pub(super) fn forward(&self) -> Mixed {
        let (count, shared, dim) = (self.rows(), self.shared(), self.shape.head_dim);
        let mut parts = vec![0.0; self.shape.kv_heads * shared * count * (dim + 1)];
        self.compute.for_chunks(&mut parts, shared * count * (dim + 1), |kv_head, out| {
            let (mixed, norms) = out.split_at_mut(shared * count * dim);
            for segment in self.segments {
                let keys = turned(self.kv(self.keys, segment, kv_head), segment.len(), dim);
                let values = self.kv(self.values, segment, kv_head);
                for head in 0..shared {
                    for block in blocks(segment.len()) {
                        let first = head * count + segment.start + block.start;
                        let norms = &mut norms[first..][..block.len()];
                        let block = self.weigh(segment, kv_head * shared + head, block, &keys, Some(norms), &[]);
                        let weights = Rows::new(block.view(), block.rows.len(), block.rows.end);
                        let out = &mut mixed[first * dim..][..block.rows.len() * dim];
                        add_products(&Compute::inline(), &[(&weights, Factor::Plain(values))], dim, out);
                    }
                }
            }
        });
        let mut mixed = vec![0.0; count * self.width()];
        let mut norms = Vec::with_capacity(self.shape.heads * count);
        for (kv_head, part) in parts.chunks_exact(shared * count * (dim + 1)).enumerate() {
            let (part, part_norms) = part.split_at(shared * count * dim);
            norms.extend_from_slice(part_norms);
            for (head, part) in part.chunks_exact(count * dim).enumerate() {
                put(part, dim, &mut mixed, kv_head * shared + head, self.width());
            }
        }
        Mixed { mixed, norms }
    }

    /// The gradients, given that of the output, the output and the norms.
    pub(super) fn backward(&self, d_mixed: &[f32], mixed: &[f32], norms: &[f32]) -> Gradients {
        let (count, shared, dim) = (self.rows(), self.shared(), self.shape.head_dim);
        let per_head = count * dim;
        let mut parts = vec![0.0; self.shape.kv_heads * (shared + 2) * per_head];
        self.compute.for_chunks(&mut parts, (shared + 2) * per_head, |kv_head, out| {
            let (d_queries, rest) = out.split_at_mut(shared * per_head);
            let (d_keys, d_values) = rest.split_at_mut(per_head);
            for segment in self.segments {
                let of = segment.start * dim..segment.end * dim;
                let (d_keys, d_values) = (&mut d_keys[of.clone()], &mut d_values[of]);
                let keys = self.kv(self.keys, segment, kv_head);
                let turned_keys = turned(keys, segment.len(), dim);
                let turned_values = turned(self.kv(self.values, segment, kv_head), segment.len(), dim);
                for head in 0..shared {
                    let index = kv_head * shared + head;
                    for block in blocks(segment.len()) {
                        let (row, first) = (segment.start + block.start, head * count + segment.start + block.start);
                        let (visible, len) = (block.end, block.len());
                        let norms = &norms[(kv_head * shared * count) + first..][..len];
                        let block = self.weigh(segment, index, block, &turned_keys, None, norms);
                        let (query, d_out) = (self.query(self.queries, row, index), self.query(d_mixed, row, index));
                        let inline = Compute::inline();

                        let of_values = Rows::turned(block.view(), visible, len);
                        add_products(
                            &inline,
                            &[(&of_values, Factor::Plain(d_out))],
                            dim,
                            &mut d_values[..visible * dim],
                        );
                        let mut d_scores = vec![0.0; len * visible];
                        let rows = Rows::new(d_out, len, dim);
                        let terms = [(&rows, Factor::Plain(View::new(&turned_values, segment.len())))];
                        add_products(&inline, &terms, visible, &mut d_scores);
                        self.through_softmax(&block, (d_mixed, mixed), (row, index), &mut d_scores);

                        let d_scores = View::new(&d_scores, visible);
                        let rows = Rows::new(d_scores, len, visible);
                        let out = &mut d_queries[first * dim..][..len * dim];
                        add_products(&inline, &[(&rows, Factor::Plain(keys))], dim, out);
                        let of_keys = Rows::turned(d_scores, visible, len);
                        add_products(&inline, &[(&of_keys, Factor::Plain(query))], dim, &mut d_keys[..visible * dim]);
                    }
                }
            }
        });
        self.gathered(&parts)
    }

    fn gathered(&self, parts: &[f32]) -> Gradients {
        let (count, shared, dim) = (self.rows(), self.shared(), self.shape.head_dim);
        let zero = |width: usize| vec![0.0; count * width];
        let mut all =
            Gradients { queries: zero(self.width()), keys: zero(self.kv_width()), values: zero(self.kv_width()) };
        for (kv_head, part) in parts.chunks_exact((shared + 2) * count * dim).enumerate() {
            let mut heads = part.chunks_exact(count * dim);
            for (head, part) in heads.by_ref().take(shared).enumerate() {
                put(part, dim, &mut all.queries, kv_head * shared + head, self.width());
            }
            for (part, to) in heads.zip([&mut all.keys, &mut all.values]) {
                put(part, dim, to, kv_head, self.kv_width());
            }
        }
        all
    }

    /// The weights with which a block of queries of one head sees its keys. Either writes the rows' norms, or goes by
    /// the `known` ones.
    fn weigh(
        &self,
        segment: &Range<usize>,
        head: usize,
        rows: Range<usize>,
        turned_keys: &[f32],
        mut norms: Option<&mut [f32]>,
        known: &[f32],
    ) -> Block {
        let (dim, visible) = (self.shape.head_dim, rows.end);
        let queries = Rows::new(self.query(self.queries, segment.start + rows.start, head), rows.len(), dim);
        let mut weights = vec![0.0; rows.len() * visible];
        let terms = [(&queries, Factor::Plain(View::new(turned_keys, segment.len())))];
        add_products(&Compute::inline(), &terms, visible, &mut weights);
        let scale = 1.0 / (dim as f32).sqrt();
        for (i, row) in weights.chunks_exact_mut(visible).enumerate() {
            let (seen, unseen) = row.split_at_mut(rows.start + i + 1);
            unseen.fill(0.0);
            seen.iter_mut().for_each(|score| *score *= scale);
            let norm = match &mut norms {
                Some(norms) => {
                    norms[i] = log_sum_exp(seen);
                    norms[i]
                }
                None => known[i],
            };
            seen.iter_mut().for_each(|score| *score = exp(*score - norm));
        }
        Block { rows, weights }
    }

    /// Turns the gradient of a block's weights into that of its scores' products.
    fn through_softmax(&self, block: &Block, out: (&[f32], &[f32]), (row, head): (usize, usize), d: &mut [f32]) {
        let (dim, visible) = (self.shape.head_dim, block.rows.end);
        let scale = 1.0 / (dim as f32).sqrt();
        let start = |i: usize| (row + i) * self.width() + head * dim;
        for (i, (d, weights)) in d.chunks_exact_mut(visible).zip(block.weights.chunks_exact(visible)).enumerate() {
            // The weights' mean gradient: they always add up to one.
            let mean = dot(&out.0[start(i)..][..dim], &out.1[start(i)..][..dim]);
            d.iter_mut().zip(weights).for_each(|(d, weight)| *d = weight * (*d - mean) * scale);
        }
    }
}

impl Block {
    fn view(&self) -> View<'_> {
        View::new(&self.weights, self.rows.end)
    }
}

fn blocks(count: usize) -> impl Iterator<Item = Range<usize>> {
    (0..count).step_by(BLOCK).map(move |start| start..count.min(start + BLOCK))
}

fn log_sum_exp(scores: &[f32]) -> f32 {
    let max = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = scores.iter().map(|score| f64::from(exp(score - max))).sum();
    max + narrow(sum.ln())
}

/// `count` rows of `dim` numbers, turned.
fn turned(view: View<'_>, count: usize, dim: usize) -> Vec<f32> {
    let mut out = vec![0.0; dim * count];
    for row in 0..count {
        for (d, x) in view.row(row, 0..dim).iter().enumerate() {
            out[d * count + row] = *x;
        }
    }
    out
}

/// Writes one head's rows to where they belong.
fn put(part: &[f32], dim: usize, to: &mut [f32], head: usize, width: usize) {
    for (part, to) in part.chunks_exact(dim).zip(to.chunks_exact_mut(width)) {
        to[head * dim..][..dim].copy_from_slice(part);
    }
}
