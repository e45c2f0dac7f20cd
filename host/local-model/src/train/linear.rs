use super::parameters::Change;
use super::product::{Factor, Rows, View, add_products};
use crate::compute::Compute;
use crate::matrix::Matrix;

/// A linear layer with its change: `y = W x + scale · B (A x)`.
pub(super) struct Linear<'a> {
    pub(super) weights: &'a Matrix,
    pub(super) change: Option<&'a Change>,
    pub(super) rank: usize,
    pub(super) scale: f32,
}

impl Linear<'_> {
    /// `scale · A x`, for each row of `x`: what goes through the bottleneck.
    fn inner(&self, compute: &Compute, x: &Rows, change: &Change, count: usize) -> Vec<f32> {
        let mut inner = vec![0.0; count * self.rank];
        add_products(compute, &[(x, Factor::Turned(View::new(&change.a, self.weights.cols())))], self.rank, &mut inner);
        inner.iter_mut().for_each(|u| *u *= self.scale);
        inner
    }

    /// Adds its output for `count` rows to `y`. Returns what went through the bottleneck, which [`Self::backward`] wants.
    pub(super) fn forward(&self, compute: &Compute, x: &Rows, count: usize, y: &mut [f32]) -> Vec<f32> {
        let width = self.weights.rows();
        let Some(change) = self.change else {
            add_products(compute, &[(x, Factor::Weights(self.weights))], width, y);
            return Vec::new();
        };
        let inner = self.inner(compute, x, change, count);
        let rows = Rows::new(View::new(&inner, self.rank), count, self.rank);
        let terms = [(x, Factor::Weights(self.weights)), (&rows, Factor::Plain(View::new(&change.b, width)))];
        add_products(compute, &terms, width, y);
        inner
    }

    /// What comes before it: given the gradient `dy` of its output, the gradient of what went through the bottleneck.
    /// Adds to the gradients of A and B.
    pub(super) fn backward(
        &self,
        compute: &Compute,
        x: View<'_>,
        inner: &[f32],
        dy: (&Rows, &[f32]),
        gradient: Option<&mut Change>,
    ) -> Vec<f32> {
        let (Some(change), Some(gradient)) = (self.change, gradient) else { return Vec::new() };
        let (width, cols, rank) = (self.weights.rows(), self.weights.cols(), self.rank);
        let (dy_rows, dy) = dy;
        let count = dy.len() / width;
        let mut d_inner = vec![0.0; count * rank];
        add_products(compute, &[(dy_rows, Factor::Turned(View::new(&change.b, width)))], rank, &mut d_inner);
        d_inner.iter_mut().for_each(|u| *u *= self.scale);
        let of_b = Rows::turned(View::new(inner, rank), rank, count);
        add_products(compute, &[(&of_b, Factor::Plain(View::new(dy, width)))], width, &mut gradient.b);
        let of_a = Rows::turned(View::new(&d_inner, rank), rank, count);
        add_products(compute, &[(&of_a, Factor::Plain(x))], cols, &mut gradient.a);
        d_inner
    }
}

/// Adds the gradient of the common input of some linear layers: each with the gradient of its output, and what
/// [`Linear::backward`] returned.
pub(super) fn add_input_gradient(
    compute: &Compute,
    layers: &[(&Linear<'_>, &Rows, &[f32])],
    count: usize,
    width: usize,
    dx: &mut [f32],
) {
    let bottlenecks: Vec<Option<Rows>> = layers
        .iter()
        .map(|(linear, _, inner)| linear.change.map(|_| Rows::new(View::new(inner, linear.rank), count, linear.rank)))
        .collect();
    let mut terms = Vec::with_capacity(2 * layers.len());
    for ((linear, dy, _), bottleneck) in layers.iter().zip(&bottlenecks) {
        terms.push((*dy, Factor::Backwards(linear.weights)));
        if let (Some(change), Some(bottleneck)) = (linear.change, bottleneck) {
            terms.push((bottleneck, Factor::Plain(View::new(&change.a, width))));
        }
    }
    add_products(compute, &terms, width, dx);
}
