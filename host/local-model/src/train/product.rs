//! Sums of matrix products, for training: long batches, where a weight is unpacked once and used for hundreds of rows.
//!
//! Each number is summed up in one order, whatever the number of threads.

use std::ops::Range;

use wide::f32x16;

use crate::compute::Compute;
use crate::math::LANES;
use crate::matrix::Matrix;

/// Rows that the kernel works on at once, and registers' worth of columns: their sums fill the registers but a few.
const HEIGHT: usize = if cfg!(target_feature = "avx512f") { 8 } else { 4 };
const PANELS: usize = if cfg!(target_feature = "avx512f") { 2 } else { 1 };
const BAND: usize = PANELS * LANES;
/// Steps of a sum that are done for all rows before the next ones: their panel stays in the cache, and short sums that are
/// then added up are several times as exact as a long one.
const DEPTH: usize = 128;

/// Numbers row by row, each `stride` after the one before.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    numbers: &'a [f32],
    stride: usize,
}

impl<'a> View<'a> {
    pub(super) fn new(numbers: &'a [f32], stride: usize) -> Self {
        View { numbers, stride }
    }

    pub(super) fn row(&self, row: usize, columns: Range<usize>) -> &'a [f32] {
        &self.numbers[row * self.stride..][columns]
    }
}

/// The left side of products: eight rows side by side, so that the kernel reads on in a straight line.
pub(super) struct Rows {
    count: usize,
    depth: usize,
    /// For each group of rows, its columns.
    columns: Vec<[f32; HEIGHT]>,
}

impl Rows {
    /// The first `depth` columns of `count` rows.
    pub(super) fn new(x: View<'_>, count: usize, depth: usize) -> Self {
        let mut columns = Vec::with_capacity(count.div_ceil(HEIGHT) * depth);
        for first in (0..count).step_by(HEIGHT) {
            // A short group repeats its last row; what comes of that is not looked at.
            let rows: [&[f32]; HEIGHT] = std::array::from_fn(|m| x.row((first + m).min(count - 1), 0..depth));
            let (blocks, rests) =
                (rows.map(|row| row.as_chunks::<LANES>().0), rows.map(|row| row.as_chunks::<LANES>().1));
            for block in 0..depth / LANES {
                let turned: [[f32; HEIGHT]; LANES] =
                    std::array::from_fn(|k| std::array::from_fn(|m| blocks[m][block][k]));
                columns.extend(turned);
            }
            columns.extend((0..depth % LANES).map(|k| rests.map(|rest| rest[k])));
        }
        Rows { count, depth, columns }
    }

    /// The first `count` columns of `depth` rows, as rows.
    pub(super) fn turned(x: View<'_>, count: usize, depth: usize) -> Self {
        let mut columns = Vec::with_capacity(count.div_ceil(HEIGHT) * depth);
        for first in (0..count).step_by(HEIGHT) {
            let width = HEIGHT.min(count - first);
            columns.extend((0..depth).map(|k| {
                let mut column = [0.0; HEIGHT];
                column[..width].copy_from_slice(x.row(k, first..first + width));
                column
            }));
        }
        Rows { count, depth, columns }
    }
}

/// The right side of products: what makes `width` columns of a row's `depth` numbers.
#[derive(Clone, Copy)]
pub(super) enum Factor<'a> {
    /// A linear layer: `W x`.
    Weights(&'a Matrix),
    /// A linear layer backwards: `Wᵀ y`.
    Backwards(&'a Matrix),
    /// `depth` rows of `width` numbers.
    Plain(View<'a>),
    /// `width` rows of `depth` numbers.
    Turned(View<'a>),
}

impl Factor<'_> {
    /// The panel of steps `steps`, for `N` registers' worth of columns from `first` on, of which `width` there are.
    fn panel<const N: usize>(&self, steps: Range<usize>, first: usize, width: usize, out: &mut Vec<[f32x16; N]>) {
        match self {
            Factor::Weights(matrix) => matrix.panel(&steps, first, out),
            Factor::Backwards(matrix) => matrix.turned_panel(&steps, first, out),
            Factor::Plain(view) => {
                out.clear();
                out.extend(steps.map(|k| {
                    let row = view.row(k, first..width.min(first + N * LANES));
                    std::array::from_fn(|n| lanes(row, n * LANES))
                }));
            }
            Factor::Turned(view) => {
                let mut panel = vec![[[0.0; LANES]; N]; steps.len()];
                for column in first..width.min(first + N * LANES) {
                    let (n, lane) = ((column - first) / LANES, (column - first) % LANES);
                    for (panel, x) in panel.iter_mut().zip(view.row(column, steps.clone())) {
                        panel[n][lane] = *x;
                    }
                }
                out.clear();
                out.extend(panel.iter().map(|lanes| lanes.map(f32x16::new)));
            }
        }
    }
}

/// Sixteen numbers from `first` on, zero where there are none.
fn lanes(row: &[f32], first: usize) -> f32x16 {
    let rest = row.get(first..).unwrap_or_default();
    match rest.first_chunk() {
        Some(whole) => f32x16::new(*whole),
        None => {
            let mut some = [0.0; LANES];
            some[..rest.len()].copy_from_slice(rest);
            f32x16::new(some)
        }
    }
}

/// Adds `rows * factor`, of each term, to `out`: rows of `width` numbers. All terms have as many rows.
pub(super) fn add_products(compute: &Compute, terms: &[(&Rows, Factor<'_>)], width: usize, out: &mut [f32]) {
    let Some(count) = terms.first().map(|(rows, _)| rows.count).filter(|count| *count > 0) else { return };
    let groups = count.div_ceil(HEIGHT);
    // Band after band, so that each thread writes a stretch of its own; then put in order.
    let mut bands = vec![0.0; width.div_ceil(BAND) * groups * HEIGHT * BAND];
    compute.for_chunks(&mut bands, groups * HEIGHT * BAND, |band, sums| {
        let first = band * BAND;
        if PANELS == 2 && width - first > LANES {
            multiply_band::<2>(terms, first, width, sums);
        } else {
            multiply_band::<1>(terms, first, width, sums);
        }
    });
    for (band, sums) in bands.chunks_exact(groups * HEIGHT * BAND).enumerate() {
        let first = band * BAND;
        let here = BAND.min(width - first);
        let stride = if here > LANES { BAND } else { LANES };
        for (row, out) in out.chunks_exact_mut(width).enumerate() {
            out[first..][..here].iter_mut().zip(&sums[row * stride..]).for_each(|(out, sum)| *out += sum);
        }
    }
}

fn multiply_band<const N: usize>(terms: &[(&Rows, Factor<'_>)], first: usize, width: usize, out: &mut [f32]) {
    let mut panel: Vec<[f32x16; N]> = Vec::with_capacity(DEPTH);
    let (tiles, _) = out.as_chunks_mut::<LANES>().0.as_chunks_mut::<N>().0.as_chunks_mut::<HEIGHT>();
    for (rows, factor) in terms {
        for start in (0..rows.depth).step_by(DEPTH) {
            let steps = start..rows.depth.min(start + DEPTH);
            factor.panel(steps.clone(), first, width, &mut panel);
            for (columns, tile) in rows.columns.chunks_exact(rows.depth).zip(tiles.iter_mut()) {
                multiply_tile(&columns[steps.clone()], &panel, tile);
            }
        }
    }
}

/// The kernel. Not inlined: among other code the compiler keeps the sums in memory, which is many times slower.
#[inline(never)]
#[allow(clippy::needless_range_loop, reason = "the two indices of the sums are what it is about")]
fn multiply_tile<const N: usize>(
    columns: &[[f32; HEIGHT]],
    panel: &[[f32x16; N]],
    out: &mut [[[f32; LANES]; N]; HEIGHT],
) {
    let mut sums = [[f32x16::ZERO; N]; HEIGHT];
    for (column, panel) in columns.iter().zip(panel) {
        for m in 0..HEIGHT {
            let x = f32x16::splat(column[m]);
            for n in 0..N {
                sums[m][n] = x.mul_add(panel[n], sums[m][n]);
            }
        }
    }
    for (out, sums) in out.iter_mut().zip(sums) {
        for (out, sum) in out.iter_mut().zip(sums) {
            *out = (f32x16::new(*out) + sum).to_array();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(seed: usize, len: usize) -> Vec<f32> {
        (0..len).map(|i| ((i * 7919 + seed * 104_729) as f32 * 0.123).sin()).collect()
    }

    /// A matrix in Q8_0, and the numbers that it stands for.
    fn matrix(rows: usize, cols: usize) -> (Matrix, Vec<f32>) {
        let mut bytes = Vec::new();
        for block in 0..rows * cols / 32 {
            bytes.extend(half::f16::from_f32(0.01 + block as f32 * 1e-5).to_le_bytes());
            bytes.extend((0..32u8).map(|k| k.wrapping_mul(37).wrapping_add(u8::try_from(block % 251).unwrap())));
        }
        let matrix = Matrix::pack(rows, cols, &bytes, |row| row);
        let mut dense = Vec::new();
        (0..rows).for_each(|row| matrix.row(row, &mut dense));
        (matrix, dense)
    }

    #[test]
    fn products_add_up_for_every_kind_of_factor_and_every_size() {
        // Widths and depths that fill registers and bands, and some that do not.
        for (count, depth, width) in [(1, 32, 32), (7, 96, 50), (8, 64, 16), (13, 544, 64), (70, 1056, 36), (3, 5, 1)] {
            let (x, z) = (noise(1, count * depth), noise(2, count * 9));
            let (plain, second) = (noise(3, depth * width), noise(4, 9 * width));
            let across: Vec<f32> = (0..width * depth).map(|i| plain[i % depth * width + i / depth]).collect();
            let turned_x: Vec<f32> = (0..depth * count).map(|i| x[i % count * depth + i / count]).collect();
            let want = |i: usize, factor: &dyn Fn(usize, usize) -> f32| {
                let (row, column) = (i / width, i % width);
                let first: f64 = (0..depth).map(|k| f64::from(x[row * depth + k]) * f64::from(factor(k, column))).sum();
                let rest: f64 = (0..9).map(|k| f64::from(z[row * 9 + k]) * f64::from(second[k * width + column])).sum();
                0.5 + first + rest
            };
            let check = |rows: &Rows, factor: Factor<'_>, dense: &dyn Fn(usize, usize) -> f32, what: &str| {
                let rest = Rows::new(View::new(&z, 9), count, 9);
                let terms = [(rows, factor), (&rest, Factor::Plain(View::new(&second, width)))];
                let mut alone = vec![0.5; count * width];
                add_products(&Compute::inline(), &terms, width, &mut alone);
                for (i, got) in alone.iter().enumerate() {
                    let want = want(i, dense);
                    assert!(
                        (f64::from(*got) - want).abs() < 2e-3 * want.abs().max(1.0),
                        "{what} {i}: {got}, not {want}"
                    );
                }
                let mut threads = vec![0.5; count * width];
                add_products(&Compute::new(3), &terms, width, &mut threads);
                assert_eq!(alone, threads, "{what}");
            };
            let rows = Rows::new(View::new(&x, depth), count, depth);
            let dense = |k: usize, column: usize| plain[k * width + column];
            check(&rows, Factor::Plain(View::new(&plain, width)), &dense, "plain");
            check(&rows, Factor::Turned(View::new(&across, depth)), &dense, "turned");
            let turned = Rows::turned(View::new(&turned_x, count), count, depth);
            check(&turned, Factor::Plain(View::new(&plain, width)), &dense, "turned rows");
            if depth % 32 == 0 {
                let (matrix, numbers) = matrix(width, depth);
                check(&rows, Factor::Weights(&matrix), &|k, column| numbers[column * depth + k], "weights");
            }
            if width % 32 == 0 {
                let (matrix, numbers) = matrix(depth, width);
                check(&rows, Factor::Backwards(&matrix), &|k, column| numbers[k * width + column], "backwards");
            }
        }
    }
}
