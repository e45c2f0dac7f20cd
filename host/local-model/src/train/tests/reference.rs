//! The model once more, in 64 bits and as plainly as can be.

use crate::Model;
use crate::adapter::Projection;
use crate::matrix::Matrix;
use crate::train::{Parameters, Trainee};

/// Its numbers, unpacked.
pub(super) struct Reference<'a> {
    model: &'a Model,
    embedding: Vec<Vec<f64>>,
    layers: Vec<[Vec<Vec<f64>>; 7]>,
    scale: f64,
}

fn dense(matrix: &Matrix) -> Vec<Vec<f64>> {
    let row = |row| {
        let mut out = Vec::new();
        matrix.row(row, &mut out);
        out.into_iter().map(f64::from).collect()
    };
    (0..matrix.rows()).map(row).collect()
}

fn normed(x: &[f64], weight: &[f32], eps: f32) -> Vec<f64> {
    let scale = 1.0 / (x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64 + f64::from(eps)).sqrt();
    x.iter().zip(weight).map(|(x, w)| x * scale * f64::from(*w)).collect()
}

fn product(rows: &[Vec<f64>], x: &[f64]) -> Vec<f64> {
    rows.iter().map(|row| row.iter().zip(x).map(|(a, b)| a * b).sum()).collect()
}

impl<'a> Reference<'a> {
    pub(super) fn new(trainee: &'a Trainee) -> Self {
        let weights = &trainee.model.weights;
        Reference {
            model: &trainee.model,
            embedding: dense(&weights.embedding),
            layers: weights.layers.iter().map(|layer| layer.projections.each_ref().map(dense)).collect(),
            scale: f64::from(trainee.lora.scale()),
        }
    }

    /// Of each token from `from` on. One parameter is moved: its matrix and place in [`Parameters::matrices`], by how
    /// much.
    pub(super) fn logprobs(
        &self,
        parameters: &Parameters,
        moved: (usize, usize, f64),
        tokens: &[u32],
        from: usize,
    ) -> Vec<f64> {
        let mut all: Vec<Vec<f64>> =
            parameters.matrices().map(|matrix| matrix.iter().copied().map(f64::from).collect()).collect();
        all[moved.0][moved.1] += moved.2;
        let shape = &self.model.shape;
        let (dim, shared) = (shape.head_dim, shape.heads / shape.kv_heads);
        let rank = parameters.rank;
        let linear = |layer: usize, projection: Projection, x: &[f64]| {
            let mut y = product(&self.layers[layer][projection as usize], x);
            let (a, b) = (&all[2 * (layer * 7 + projection as usize)], &all[2 * (layer * 7 + projection as usize) + 1]);
            let width = y.len();
            for r in 0..rank {
                let inner: f64 = a[r * x.len()..][..x.len()].iter().zip(x).map(|(a, x)| a * x).sum();
                y.iter_mut().zip(&b[r * width..]).for_each(|(y, b)| *y += self.scale * inner * b);
            }
            y
        };
        let rotated = |x: &mut [f64], position: usize| {
            for head in x.chunks_exact_mut(dim) {
                for (i, frequency) in self.model.weights.frequencies.iter().enumerate() {
                    let (sin, cos) = (position as f64 * frequency).sin_cos();
                    let (low, high) = (head[i], head[i + dim / 2]);
                    (head[i], head[i + dim / 2]) = (low * cos - high * sin, high * cos + low * sin);
                }
            }
        };
        let mut xs: Vec<Vec<f64>> =
            tokens[..tokens.len() - 1].iter().map(|token| self.embedding[*token as usize].clone()).collect();
        for (index, layer) in self.model.weights.layers.iter().enumerate() {
            let (mut keys, mut values): (Vec<Vec<f64>>, Vec<Vec<f64>>) = Default::default();
            for (position, x) in xs.iter_mut().enumerate() {
                let input = normed(x, &layer.attention_norm, shape.eps);
                let mut query = linear(index, Projection::Query, &input);
                let mut key = linear(index, Projection::Key, &input);
                rotated(&mut query, position);
                rotated(&mut key, position);
                keys.push(key);
                values.push(linear(index, Projection::Value, &input));
                let mut mixed = vec![0.0; query.len()];
                for head in 0..shape.heads {
                    let kv = head / shared * dim;
                    let score = |key: &Vec<f64>| {
                        let pairs = query[head * dim..][..dim].iter().zip(&key[kv..][..dim]);
                        (pairs.map(|(q, k)| q * k).sum::<f64>() / (dim as f64).sqrt()).exp()
                    };
                    let weights: Vec<f64> = keys.iter().map(score).collect();
                    let sum: f64 = weights.iter().sum();
                    for (weight, value) in weights.iter().zip(&values) {
                        for d in 0..dim {
                            mixed[head * dim + d] += weight / sum * value[kv + d];
                        }
                    }
                }
                let added = linear(index, Projection::Output, &mixed);
                x.iter_mut().zip(added).for_each(|(x, y)| *x += y);
                let input = normed(x, &layer.feed_forward_norm, shape.eps);
                let gate = linear(index, Projection::Gate, &input);
                let up = linear(index, Projection::Up, &input);
                let product: Vec<f64> = gate.iter().zip(up).map(|(g, u)| g / (1.0 + (-g).exp()) * u).collect();
                let added = linear(index, Projection::Down, &product);
                x.iter_mut().zip(added).for_each(|(x, y)| *x += y);
            }
        }
        let score = |(x, token): (&Vec<f64>, &u32)| {
            let logits = product(&self.embedding, &normed(x, &self.model.weights.norm, shape.eps));
            logits[*token as usize] - logits.iter().map(|x| x.exp()).sum::<f64>().ln()
        };
        xs[from - 1..].iter().zip(&tokens[from..]).map(score).collect()
    }
}
