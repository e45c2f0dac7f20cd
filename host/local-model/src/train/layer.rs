use super::attention::{Attention, Mixed};
use super::linear::{Linear, add_input_gradient};
use super::parameters::Parameters;
use super::pass::Pass;
use super::product::{Rows, View};
use crate::adapter::Projection;
use crate::forward::rotate;
use crate::math::{dot, exp, rms_norm, swiglu};
use crate::weights::{Layer, Shape};

/// What a layer's way back needs of its way there.
pub(super) struct Kept {
    input: Vec<f32>,
    queries: Vec<f32>,
    keys: Vec<f32>,
    values: Vec<f32>,
    attention: Mixed,
    /// Between attention and the feed-forward part.
    middle: Vec<f32>,
    gate: Vec<f32>,
    up: Vec<f32>,
    /// What went through each bottleneck.
    inner: [Vec<f32>; 7],
}

impl Kept {
    /// Bytes that it takes for each row.
    pub(super) fn bytes_per_row(shape: &Shape, rank: usize) -> usize {
        let attention = 2 * (shape.heads + shape.kv_heads) * shape.head_dim + shape.heads;
        (2 * shape.hidden + attention + 2 * shape.inner + 7 * rank) * size_of::<f32>()
    }
}

impl Pass<'_> {
    fn linear<'a>(&'a self, index: usize, layer: &'a Layer, projection: Projection) -> Linear<'a> {
        Linear {
            weights: &layer.projections[projection as usize],
            change: self.parameters.get(index, projection),
            rank: self.parameters.rank,
            scale: self.scale,
        }
    }

    /// The layer's output for `input`, and what its way back needs.
    pub(super) fn layer(&self, index: usize, input: Vec<f32>) -> (Kept, Vec<f32>) {
        let (shape, layer) = (&self.model.shape, &self.model.weights.layers[index]);
        let mut inner: [Vec<f32>; 7] = Default::default();
        let mut apply = |projection: Projection, x: &Rows, y: &mut [f32]| {
            let linear = self.linear(index, layer, projection);
            inner[projection as usize] = linear.forward(self.compute, x, self.rows, y);
        };
        let zero = |width: usize| vec![0.0; self.rows * width];
        let rows = |x: &[f32]| Rows::new(View::new(x, x.len() / self.rows), self.rows, x.len() / self.rows);

        let normed = rows(&rms_norm(&input, &layer.attention_norm, shape.eps));
        let (width, kv_width) = (shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim);
        let (mut queries, mut keys, mut values) = (zero(width), zero(kv_width), zero(kv_width));
        apply(Projection::Query, &normed, &mut queries);
        apply(Projection::Key, &normed, &mut keys);
        apply(Projection::Value, &normed, &mut values);
        rotate(&mut queries, shape.heads, shape.head_dim, &self.rotation);
        rotate(&mut keys, shape.kv_heads, shape.head_dim, &self.rotation);
        let attention = self.attention(&queries, &keys, &values).forward();
        let mut middle = input.clone();
        apply(Projection::Output, &rows(&attention.mixed), &mut middle);

        let normed = rows(&rms_norm(&middle, &layer.feed_forward_norm, shape.eps));
        let (mut gate, mut up) = (zero(shape.inner), zero(shape.inner));
        apply(Projection::Gate, &normed, &mut gate);
        apply(Projection::Up, &normed, &mut up);
        let mut product = gate.clone();
        swiglu(&mut product, &up);
        let mut output = middle.clone();
        apply(Projection::Down, &rows(&product), &mut output);
        (Kept { input, queries, keys, values, attention, middle, gate, up, inner }, output)
    }

    fn attention<'a>(&'a self, queries: &'a [f32], keys: &'a [f32], values: &'a [f32]) -> Attention<'a> {
        Attention { shape: &self.model.shape, compute: self.compute, segments: &self.segments, queries, keys, values }
    }

    /// The gradient of the layer's input, given that of its output. Adds to the gradients of its changes. The first
    /// layer's input is nobody's output: empty.
    pub(super) fn layer_back(&self, index: usize, kept: &Kept, d_out: Vec<f32>, to: &mut Parameters) -> Vec<f32> {
        let (shape, layer) = (&self.model.shape, &self.model.weights.layers[index]);
        let d_middle = self.feed_forward_back(index, kept, d_out, to);

        let d_rows = self.rows_of(&d_middle);
        let output = self.linear(index, layer, Projection::Output);
        let mixed = &kept.attention.mixed;
        let d_inner = self.change_back(&output, Projection::Output, index, mixed, kept, (&d_rows, &d_middle), to);
        let mut d_mixed = vec![0.0; mixed.len()];
        add_input_gradient(
            self.compute,
            &[(&output, &d_rows, &d_inner)],
            self.rows,
            output.weights.cols(),
            &mut d_mixed,
        );
        let attention = self.attention(&kept.queries, &kept.keys, &kept.values);
        let mut d = attention.backward(&d_mixed, mixed, &kept.attention.norms);
        let back: Vec<(f32, f32)> = self.rotation.iter().map(|(cos, sin)| (*cos, -sin)).collect();
        rotate(&mut d.queries, shape.heads, shape.head_dim, &back);
        rotate(&mut d.keys, shape.kv_heads, shape.head_dim, &back);

        let normed = rms_norm(&kept.input, &layer.attention_norm, shape.eps);
        let outputs = [(Projection::Query, &d.queries), (Projection::Key, &d.keys), (Projection::Value, &d.values)];
        let d_normed = self.side_by_side_back(index, &outputs, &normed, kept, to, index > 0);
        if index == 0 {
            return Vec::new();
        }
        let mut d_input = d_middle;
        add_norm_back(&kept.input, &layer.attention_norm, shape.eps, &d_normed, &mut d_input);
        d_input
    }

    fn feed_forward_back(&self, index: usize, kept: &Kept, d_out: Vec<f32>, to: &mut Parameters) -> Vec<f32> {
        let (shape, layer) = (&self.model.shape, &self.model.weights.layers[index]);
        let mut product = kept.gate.clone();
        swiglu(&mut product, &kept.up);
        let d_rows = self.rows_of(&d_out);
        let down = self.linear(index, layer, Projection::Down);
        let d_inner = self.change_back(&down, Projection::Down, index, &product, kept, (&d_rows, &d_out), to);
        let mut d_product = product;
        d_product.fill(0.0);
        add_input_gradient(self.compute, &[(&down, &d_rows, &d_inner)], self.rows, shape.inner, &mut d_product);
        drop(d_rows);
        let (mut d_gate, mut d_up) = (d_product, Vec::with_capacity(kept.up.len()));
        for ((d, gate), up) in d_gate.iter_mut().zip(&kept.gate).zip(&kept.up) {
            let sigmoid = 1.0 / (1.0 + exp(-gate));
            d_up.push(*d * gate * sigmoid);
            *d *= up * sigmoid * (1.0 + gate * (1.0 - sigmoid));
        }
        let normed = rms_norm(&kept.middle, &layer.feed_forward_norm, shape.eps);
        let outputs = [(Projection::Gate, &d_gate), (Projection::Up, &d_up)];
        let d_normed = self.side_by_side_back(index, &outputs, &normed, kept, to, true);
        let mut d_middle = d_out;
        add_norm_back(&kept.middle, &layer.feed_forward_norm, shape.eps, &d_normed, &mut d_middle);
        d_middle
    }

    fn rows_of(&self, x: &[f32]) -> Rows {
        let width = x.len() / self.rows;
        Rows::new(View::new(x, width), self.rows, width)
    }

    /// The way back of the change to one linear layer, whose input was `x`.
    #[expect(clippy::too_many_arguments, reason = "each is one thing, and a struct would be made for this alone")]
    fn change_back(
        &self,
        linear: &Linear<'_>,
        projection: Projection,
        index: usize,
        x: &[f32],
        kept: &Kept,
        dy: (&Rows, &[f32]),
        to: &mut Parameters,
    ) -> Vec<f32> {
        let x = View::new(x, linear.weights.cols());
        let inner = &kept.inner[projection as usize];
        linear.backward(self.compute, x, inner, dy, to.get_mut(index, projection))
    }

    /// The way back of linear layers that have the same input: its gradient, if it is wanted.
    fn side_by_side_back(
        &self,
        index: usize,
        outputs: &[(Projection, &Vec<f32>)],
        x: &[f32],
        kept: &Kept,
        to: &mut Parameters,
        wanted: bool,
    ) -> Vec<f32> {
        let layer = &self.model.weights.layers[index];
        let mut parts = Vec::with_capacity(outputs.len());
        for (projection, dy) in outputs {
            let linear = self.linear(index, layer, *projection);
            let rows = self.rows_of(dy);
            let d_inner = self.change_back(&linear, *projection, index, x, kept, (&rows, dy), to);
            parts.push((linear, rows, d_inner));
        }
        if !wanted {
            return Vec::new();
        }
        let terms: Vec<_> = parts.iter().map(|(linear, rows, d_inner)| (linear, rows, d_inner.as_slice())).collect();
        let mut dx = vec![0.0; x.len()];
        add_input_gradient(self.compute, &terms, self.rows, x.len() / self.rows, &mut dx);
        dx
    }
}

/// Adds the gradient of `x`, given that of `rms_norm(x)`.
pub(super) fn add_norm_back(x: &[f32], weight: &[f32], eps: f32, d_normed: &[f32], dx: &mut [f32]) {
    let width = weight.len();
    let mut weighted = vec![0.0; width];
    for ((x, d), dx) in x.chunks_exact(width).zip(d_normed.chunks_exact(width)).zip(dx.chunks_exact_mut(width)) {
        let scale = 1.0 / (dot(x, x) / width as f32 + eps).sqrt();
        weighted.iter_mut().zip(d).zip(weight).for_each(|((to, d), weight)| *to = d * weight);
        let along = dot(x, &weighted) * scale * scale / width as f32;
        for ((dx, d), x) in dx.iter_mut().zip(&weighted).zip(x) {
            *dx += scale * (d - along * x);
        }
    }
}
