use std::ops::Range;

use half::f16;
use wide::{f32x16, i8x16, i16x16, i32x16};

use crate::compute::Compute;
use crate::math::{LANES, Lanes};

/// Columns that share a scale: ggml's Q8_0 block.
pub(crate) const BLOCK: usize = 32;
/// One Q8_0 block as ggml stores it: an f16 scale, then one byte per column.
pub(crate) const BLOCK_BYTES: usize = 2 + BLOCK;
/// Rows of activations that go through a matrix together: as many as stay in the second-level cache.
const ROWS: usize = 32;
/// Bands of a matrix that are worked on together. For one token the memory decides, and it is kept busier by several
/// streams of weights than by one: two thirds faster than band after band.
const BANDS: usize = 4;
/// Whether one register holds sixteen numbers; if not, half as many sums fit into the registers.
const LONG: bool = cfg!(target_feature = "avx512f");

/// A weight matrix of small whole numbers, 32 columns to a scale, multiplied with f32 activations: of 8 bits as ggml's
/// Q8_0, or of 16.
///
/// Sixteen rows lie side by side, so that one register holds the same column of sixteen rows and no sum ever runs
/// across lanes. The activations stay unrounded (ggml and candle round them to 8 bits too). Each number is summed up in
/// one order, whatever the number of rows and threads.
pub(crate) struct Matrix<W = i8> {
    rows: usize,
    cols: usize,
    tiles: Vec<Tile<W>>,
}

/// Sixteen rows by 32 columns. The tiles of one band of rows follow one another.
#[derive(Clone)]
#[repr(C, align(64))]
struct Tile<W> {
    weights: [[W; LANES]; BLOCK],
    scales: Lanes,
}

/// What a weight is stored as.
pub(crate) trait Weight: Copy + Default + Sync {
    fn lanes(weights: &[Self; LANES]) -> f32x16;
}

impl Weight for i8 {
    #[inline(always)]
    fn lanes(weights: &[Self; LANES]) -> f32x16 {
        f32x16::from_i32x16(i32x16::from_i16x16(i16x16::from_i8x16(i8x16::new(*weights))))
    }
}

impl Weight for i16 {
    #[inline(always)]
    fn lanes(weights: &[Self; LANES]) -> f32x16 {
        f32x16::from_i32x16(i32x16::from_i16x16(i16x16::new(*weights)))
    }
}

impl<W: Weight> Matrix<W> {
    fn empty(rows: usize, cols: usize) -> Self {
        let tile = Tile { weights: [[W::default(); LANES]; BLOCK], scales: [0.0; LANES] };
        Matrix { rows, cols, tiles: vec![tile; rows.div_ceil(LANES) * (cols / BLOCK)] }
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
        let (count, per_band) = (x.len() / self.cols, self.cols / BLOCK);
        let width = BANDS * LANES;
        let fill = |group: usize, out: &mut [f32]| {
            let first = group * BANDS * per_band;
            let tiles = &self.tiles[first..self.tiles.len().min(first + BANDS * per_band)];
            multiply_bands(tiles, per_band, x, out);
        };
        if count == 1 && self.rows.is_multiple_of(LANES) {
            return compute.for_chunks(out, width, fill);
        }
        // Group of bands after group, so that each thread writes a stretch of its own; then put in order.
        let mut groups = vec![0.0; self.rows.next_multiple_of(LANES) * count];
        compute.for_chunks(&mut groups, count * width, fill);
        for (group, sums) in groups.chunks(count * width).enumerate() {
            let first = group * width;
            let here = width.min(self.rows - first);
            for (sums, out) in sums.chunks_exact(sums.len() / count).zip(out.chunks_exact_mut(self.rows)) {
                out[first..][..here].copy_from_slice(&sums[..here]);
            }
        }
    }
}

impl Matrix<i16> {
    /// Packs numbers, row after row, `cols` (a multiple of 32) to a row: each is rounded by 1/65,534 of its block's largest at
    /// most.
    pub(crate) fn round(rows: usize, cols: usize, numbers: &[f32]) -> Self {
        let mut matrix = Self::empty(rows, cols);
        let per_band = cols / BLOCK;
        for (row, numbers) in numbers.chunks_exact(cols).enumerate() {
            let lane = row % LANES;
            for (tile, block) in matrix.tiles[row / LANES * per_band..].iter_mut().zip(numbers.as_chunks::<BLOCK>().0) {
                let scale = block.iter().fold(0.0f32, |most, x| most.max(x.abs())) / f32::from(i16::MAX);
                tile.scales[lane] = scale;
                for (weights, x) in tile.weights.iter_mut().zip(block) {
                    weights[lane] = rounded(if scale > 0.0 { x / scale } else { 0.0 });
                }
            }
        }
        matrix
    }
}

#[expect(clippy::cast_possible_truncation, reason = "within the range of i16 by the scale")]
fn rounded(x: f32) -> i16 {
    x.round() as i16
}

impl Matrix {
    /// Packs Q8_0 blocks, row after row. Row `i` of the result is row `order(i)` of `bytes`.
    ///
    /// `cols` is a multiple of 32 and `bytes` holds `rows * cols / 32` blocks: the caller has checked.
    pub(crate) fn pack(rows: usize, cols: usize, bytes: &[u8], order: impl Fn(usize) -> usize) -> Self {
        let row_bytes = cols / BLOCK * BLOCK_BYTES;
        let per_band = cols / BLOCK;
        let mut matrix = Self::empty(rows, cols);
        for row in 0..rows {
            let (band, lane) = (row / LANES, row % LANES);
            let source = &bytes[order(row) * row_bytes..][..row_bytes];
            for (tile, block) in matrix.tiles[band * per_band..].iter_mut().zip(source.as_chunks::<BLOCK_BYTES>().0) {
                tile.scales[lane] = f16::from_le_bytes([block[0], block[1]]).to_f32();
                for (weights, byte) in tile.weights.iter_mut().zip(&block[2..]) {
                    weights[lane] = byte.cast_signed();
                }
            }
        }
        matrix
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
                    out[n] = i8::lanes(weights) * scales;
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
                    out[n] = i8::lanes(weights) * f32x16::splat(scale);
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

/// Each row of `x` by the rows of the bands `tiles`: as many numbers as the bands have rows, for each row of `x`.
fn multiply_bands<W: Weight>(tiles: &[Tile<W>], per_band: usize, mut x: &[f32], mut out: &mut [f32]) {
    let (cols, width) = (per_band * BLOCK, tiles.len() / per_band * LANES);
    while !x.is_empty() {
        let count = match x.len() / cols {
            8.. if LONG => 8,
            4.. => 4,
            2.. => 2,
            _ => 1,
        };
        let (rows, sums);
        (rows, x) = x.split_at(count * cols);
        (sums, out) = out.split_at_mut(count * width);
        match count {
            8 => multiply_rows::<W, 8, 2>(tiles, per_band, rows, sums),
            4 => multiply_rows::<W, 4, { if LONG { BANDS } else { 1 } }>(tiles, per_band, rows, sums),
            2 => multiply_rows::<W, 2, { if LONG { BANDS } else { 2 } }>(tiles, per_band, rows, sums),
            _ => multiply_rows::<W, 1, BANDS>(tiles, per_band, rows, sums),
        }
    }
}

/// The same for `M` rows, `N` bands at a time.
fn multiply_rows<W: Weight, const M: usize, const N: usize>(
    tiles: &[Tile<W>],
    per_band: usize,
    x: &[f32],
    out: &mut [f32],
) {
    let width = out.len() / M;
    let blocks = x.as_chunks::<BLOCK>().0;
    let x: [&[[f32; BLOCK]]; M] = std::array::from_fn(|m| &blocks[m * per_band..][..per_band]);
    let mut put = |band: usize, sums: &[[Lanes; M]]| {
        for (n, sums) in sums.iter().enumerate() {
            for (m, sums) in sums.iter().enumerate() {
                out[m * width + (band + n) * LANES..][..LANES].copy_from_slice(sums);
            }
        }
    };
    let (mut band, mut left) = (0, tiles);
    while left.len() >= N * per_band {
        let (some, rest) = left.split_at(N * per_band);
        let mut sums = [[[0.0; LANES]; M]; N];
        multiply_tiles(std::array::from_fn(|n| &some[n * per_band..][..per_band]), x, &mut sums);
        put(band, &sums);
        (band, left) = (band + N, rest);
    }
    for (n, tiles) in left.chunks_exact(per_band).enumerate() {
        let mut sums = [[[0.0; LANES]; M]];
        multiply_tiles([tiles], x, &mut sums);
        put(band + n, &sums);
    }
}

/// The kernel: adds the products of `M` rows with `N` bands. Not inlined: among other code the compiler keeps the sums in
/// memory, which is many times slower.
#[inline(never)]
#[allow(clippy::needless_range_loop, reason = "the two indices of the sums are what it is about")]
fn multiply_tiles<W: Weight, const M: usize, const N: usize>(
    tiles: [&[Tile<W>]; N],
    x: [&[[f32; BLOCK]]; M],
    out: &mut [[Lanes; M]; N],
) {
    let blocks = x[0].len();
    let (tiles, x) = (tiles.map(|tiles| &tiles[..blocks]), x.map(|x| &x[..blocks]));
    for block in 0..blocks {
        let (tiles, x) = (tiles.map(|tiles| &tiles[block]), x.map(|x| &x[block]));
        let mut sums = [[f32x16::ZERO; M]; N];
        for k in 0..BLOCK {
            let weights = tiles.map(|tile| W::lanes(&tile.weights[k]));
            for m in 0..M {
                let x = f32x16::splat(x[m][k]);
                for n in 0..N {
                    sums[n][m] = weights[n].mul_add(x, sums[n][m]);
                }
            }
        }
        for n in 0..N {
            let scales = f32x16::new(tiles[n].scales);
            for m in 0..M {
                out[n][m] = sums[n][m].mul_add(scales, f32x16::new(out[n][m])).to_array();
            }
        }
    }
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
