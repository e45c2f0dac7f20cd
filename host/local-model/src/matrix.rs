use std::ops::Range;

use half::f16;
use wide::f32x16;

use crate::compute::Compute;
use crate::math::{GROUP, LANES, Lanes, mul_add};

/// Columns that share a scale: ggml's Q8_0 block.
pub(crate) const BLOCK: usize = 32;
/// One Q8_0 block as ggml stores it: an f16 scale, then one byte per column.
pub(crate) const BLOCK_BYTES: usize = 2 + BLOCK;
/// Rows of activations that go through a matrix together: as many as stay in the second-level cache.
const ROWS: usize = 32;

/// A weight matrix of 8-bit numbers, 32 columns to a scale (ggml's Q8_0), multiplied with f32 activations.
///
/// Sixteen rows lie side by side, so that one register holds the same column of sixteen rows and no sum ever runs
/// across lanes. Decoding is then bound by memory alone, and the activations stay unrounded (ggml and candle round them
/// to 8 bits too).
pub(crate) struct Matrix {
    rows: usize,
    cols: usize,
    tiles: Vec<Tile>,
}

/// Sixteen rows by 32 columns. The tiles of one band of rows follow one another.
#[derive(Clone)]
#[repr(C, align(64))]
struct Tile {
    weights: [[i8; LANES]; BLOCK],
    scales: Lanes,
}

impl Matrix {
    /// Packs Q8_0 blocks, row after row. Row `i` of the result is row `order(i)` of `bytes`.
    ///
    /// `cols` is a multiple of 32 and `bytes` holds `rows * cols / 32` blocks: the caller has checked.
    pub(crate) fn pack(rows: usize, cols: usize, bytes: &[u8], order: impl Fn(usize) -> usize) -> Self {
        let row_bytes = cols / BLOCK * BLOCK_BYTES;
        let empty = Tile { weights: [[0; LANES]; BLOCK], scales: [0.0; LANES] };
        let bands = rows.div_ceil(LANES);
        let per_band = cols / BLOCK;
        let mut tiles = vec![empty; bands * per_band];
        for row in 0..rows {
            let (band, lane) = (row / LANES, row % LANES);
            let source = &bytes[order(row) * row_bytes..][..row_bytes];
            for (tile, block) in tiles[band * per_band..].iter_mut().zip(source.as_chunks::<BLOCK_BYTES>().0) {
                tile.scales[lane] = f16::from_le_bytes([block[0], block[1]]).to_f32();
                for (weights, byte) in tile.weights.iter_mut().zip(&block[2..]) {
                    weights[lane] = byte.cast_signed();
                }
            }
        }
        Matrix { rows, cols, tiles }
    }

    /// Output size.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Input size.
    pub(crate) fn cols(&self) -> usize {
        self.cols
    }

    /// `x * selfᵀ`: for each row of `cols` numbers in `x`, a row of `rows` numbers.
    pub(crate) fn multiply(&self, compute: &Compute, x: &[f32]) -> Vec<f32> {
        let mut out = vec![0.0; x.len() / self.cols * self.rows];
        for (x, out) in x.chunks(ROWS * self.cols).zip(out.chunks_mut(ROWS * self.rows)) {
            self.multiply_part(compute, x, out);
        }
        out
    }

    fn multiply_part(&self, compute: &Compute, x: &[f32], out: &mut [f32]) {
        let count = x.len() / self.cols;
        let per_band = self.cols / BLOCK;
        let fill = |band: usize, out: &mut [f32]| {
            multiply_band(&self.tiles[band * per_band..][..per_band], x, self.cols, out.as_chunks_mut().0);
        };
        if count == 1 && self.rows.is_multiple_of(LANES) {
            return compute.for_chunks(out, LANES, fill);
        }
        // Band after band, so that each thread writes a stretch of its own; then put in order.
        let mut bands = vec![0.0; self.rows.div_ceil(LANES) * count * LANES];
        compute.for_chunks(&mut bands, count * LANES, fill);
        for (band, sums) in bands.chunks_exact(count * LANES).enumerate() {
            let first = band * LANES;
            let width = LANES.min(self.rows - first);
            for (row, sums) in sums.as_chunks::<LANES>().0.iter().enumerate() {
                out[row * self.rows + first..][..width].copy_from_slice(&sums[..width]);
            }
        }
    }

    /// Columns `columns` (from and to a multiple of 32) of the 16 `N` rows from `first` on, as f32: column after column,
    /// rows side by side. Rows that there are not are zero.
    pub(crate) fn panel<const N: usize>(&self, columns: &Range<usize>, first: usize, out: &mut Vec<[f32x16; N]>) {
        let per_band = self.cols / BLOCK;
        out.clear();
        out.resize(columns.len(), [f32x16::ZERO; N]);
        for n in 0..N {
            let Some(band) = self.tiles.chunks_exact(per_band).nth(first / LANES + n) else { break };
            let tiles = &band[columns.start / BLOCK..columns.end / BLOCK];
            for (tile, out) in tiles.iter().zip(out.as_chunks_mut::<BLOCK>().0) {
                let scales = f32x16::new(tile.scales);
                for (weights, out) in tile.weights.iter().zip(out) {
                    out[n] = f32x16::new(weights.map(f32::from)) * scales;
                }
            }
        }
    }

    /// The same, turned: rows `rows` (from a multiple of 16) of the 16 `N` columns from `first` on, row after row,
    /// columns side by side.
    pub(crate) fn turned_panel<const N: usize>(&self, rows: &Range<usize>, first: usize, out: &mut Vec<[f32x16; N]>) {
        let per_band = self.cols / BLOCK;
        out.clear();
        out.resize(rows.len(), [f32x16::ZERO; N]);
        for (band, out) in (rows.start / LANES..).zip(out.chunks_mut(LANES)) {
            for n in 0..N {
                let column = first + n * LANES;
                let Some(tile) = (column < self.cols).then(|| &self.tiles[band * per_band + column / BLOCK]) else {
                    break;
                };
                let columns = &tile.weights.as_chunks::<LANES>().0[column % BLOCK / LANES];
                let turned: [[i8; LANES]; LANES] = std::array::from_fn(|r| std::array::from_fn(|c| columns[c][r]));
                for ((weights, scale), out) in turned.iter().zip(tile.scales).zip(out.iter_mut()) {
                    out[n] = f32x16::new(weights.map(f32::from)) * f32x16::splat(scale);
                }
            }
        }
    }

    /// Row `row` as f32: a token's embedding.
    pub(crate) fn row(&self, row: usize, out: &mut Vec<f32>) {
        let per_band = self.cols / BLOCK;
        for tile in &self.tiles[row / LANES * per_band..][..per_band] {
            let scale = tile.scales[row % LANES];
            out.extend(tile.weights.iter().map(|weights| f32::from(weights[row % LANES]) * scale));
        }
    }
}

fn multiply_band(tiles: &[Tile], x: &[f32], cols: usize, out: &mut [Lanes]) {
    let mut x = x;
    for out in out.chunks_mut(GROUP) {
        let (rows, rest) = x.split_at(out.len() * cols);
        x = rest;
        match out {
            [a, b, c, d] => [*a, *b, *c, *d] = multiply_rows::<4>(tiles, rows, cols),
            [a, b, c] => [*a, *b, *c] = multiply_rows::<3>(tiles, rows, cols),
            [a, b] => [*a, *b] = multiply_rows::<2>(tiles, rows, cols),
            [a] => [*a] = multiply_rows::<1>(tiles, rows, cols),
            _ => {}
        }
    }
}

/// Not inlined: among other code the compiler keeps the sums in memory, which is many times slower.
#[inline(never)]
fn multiply_rows<const M: usize>(tiles: &[Tile], x: &[f32], cols: usize) -> [Lanes; M] {
    let x: [&[[f32; BLOCK]]; M] = std::array::from_fn(|m| &x[m * cols..][..cols].as_chunks().0[..tiles.len()]);
    let mut total = [[0.0; LANES]; M];
    for (block, tile) in tiles.iter().enumerate() {
        let x: [&[f32; BLOCK]; M] = std::array::from_fn(|m| &x[m][block]);
        // Even and odd columns apart: one sum alone would wait for its own last addition.
        let mut sums = [[[0.0; LANES]; 2]; M];
        for k in 0..BLOCK {
            let weights = tile.weights[k].map(f32::from);
            for m in 0..M {
                for lane in 0..LANES {
                    sums[m][k % 2][lane] = mul_add(weights[lane], x[m][k], sums[m][k % 2][lane]);
                }
            }
        }
        for m in 0..M {
            for lane in 0..LANES {
                let sum = sums[m][0][lane] + sums[m][1][lane];
                total[m][lane] = mul_add(sum, tile.scales[lane], total[m][lane]);
            }
        }
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Q8_0 bytes of a matrix, and the numbers they stand for.
    fn example(rows: usize, cols: usize) -> (Vec<u8>, Vec<f32>) {
        let mut bytes = Vec::new();
        let mut dense = Vec::new();
        for block in 0..rows * cols / BLOCK {
            let scale = f16::from_f32(0.01 + block as f32 * 1e-4);
            bytes.extend(scale.to_le_bytes());
            for k in 0..BLOCK {
                let weight = i8::try_from((block * 31 + k * 17) % 255).map_or(-7, |w| 63 - w);
                bytes.push(weight.cast_unsigned());
                dense.push(f32::from(weight) * scale.to_f32());
            }
        }
        (bytes, dense)
    }

    #[test]
    fn products_equal_the_dense_ones_for_every_batch_size_and_thread_count() {
        let (rows, cols) = (50, 96);
        let (bytes, dense) = example(rows, cols);
        let matrix = Matrix::pack(rows, cols, &bytes, |row| row);
        let x: Vec<f32> = (0..70 * cols).map(|i| (i as f32 * 0.7).sin()).collect();
        let alone: Vec<f32> = x.chunks(cols).flat_map(|x| matrix.multiply(&Compute::inline(), x)).collect();
        for (i, got) in alone.iter().enumerate() {
            let (w, x) = (&dense[i % rows * cols..][..cols], &x[i / rows * cols..][..cols]);
            let want: f64 = w.iter().zip(x).map(|(w, x)| f64::from(*w) * f64::from(*x)).sum();
            assert!((f64::from(*got) - want).abs() < 1e-4, "{i}: {got} instead of {want}");
        }
        for count in (0..=9).chain([32, 33, 70]) {
            for compute in [Compute::inline(), Compute::new(3)] {
                assert_eq!(matrix.multiply(&compute, &x[..count * cols]), alone[..count * rows], "{count} rows");
            }
        }
    }

    #[test]
    fn rows_can_be_reordered_and_read_back() {
        let (rows, cols) = (20, 32);
        let (bytes, dense) = example(rows, cols);
        let matrix = Matrix::pack(rows, cols, &bytes, |row| rows - 1 - row);
        for row in 0..rows {
            let mut got = Vec::new();
            matrix.row(row, &mut got);
            assert_eq!(got, dense[(rows - 1 - row) * cols..][..cols]);
        }
    }
}
