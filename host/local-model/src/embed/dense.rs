use crate::ModelError;
use crate::gguf::Gguf;
use crate::math::{GROUP, LANES, Lanes, mul_add};

/// A weight matrix of 16-bit numbers, one scale to a row, multiplied with f32 activations.
///
/// Eight bits, as the model that answers has them, would turn a short text's vector by a degree. Sixteen rows lie side by side, so
/// that one register holds the same column of sixteen rows and no sum runs across lanes.
pub(super) struct Dense {
    rows: usize,
    cols: usize,
    /// Bands of sixteen rows, one after the other; in each, column after column.
    weights: Vec<[i16; LANES]>,
    scales: Vec<Lanes>,
}

impl Dense {
    /// Reads the tensor `name`; both sizes are multiples of sixteen.
    pub(super) fn read(gguf: &mut Gguf, name: &str, (rows, cols): (usize, usize)) -> Result<Self, ModelError> {
        let numbers = gguf.vector(name, rows * cols)?;
        if !rows.is_multiple_of(LANES) || !cols.is_multiple_of(LANES) || numbers.is_empty() {
            return Err(gguf.unsupported(format!("`{name}` of {rows} by {cols}")));
        }
        let bands = rows / LANES;
        let mut dense =
            Dense { rows, cols, weights: vec![[0; LANES]; bands * cols], scales: vec![[0.0; LANES]; bands] };
        for (row, numbers) in numbers.chunks_exact(cols).enumerate() {
            let (band, lane) = (row / LANES, row % LANES);
            let scale = numbers.iter().fold(0.0f32, |most, x| most.max(x.abs())) / f32::from(i16::MAX);
            dense.scales[band][lane] = scale;
            for (weights, x) in dense.weights[band * cols..].iter_mut().zip(numbers) {
                weights[lane] = rounded(if scale > 0.0 { x / scale } else { 0.0 });
            }
        }
        Ok(dense)
    }

    /// `x * selfᵀ`: for each row of `cols` numbers in `x`, a row of `rows` numbers.
    pub(super) fn multiply(&self, x: &[f32]) -> Vec<f32> {
        let mut out = vec![0.0; x.len() / self.cols * self.rows];
        let bands = self.weights.chunks_exact(self.cols).zip(&self.scales);
        for (band, (weights, scales)) in bands.enumerate() {
            let mut put = |row: usize, sums: &[Lanes]| {
                for (row, sums) in (row..).zip(sums) {
                    let out = &mut out[row * self.rows + band * LANES..][..LANES];
                    out.iter_mut().zip(sums).zip(scales).for_each(|((out, sum), scale)| *out = sum * scale);
                }
            };
            for (group, x) in x.chunks(GROUP * self.cols).enumerate() {
                let row = group * GROUP;
                match x.len() / self.cols {
                    4 => put(row, &multiply_rows::<4>(weights, x)),
                    3 => put(row, &multiply_rows::<3>(weights, x)),
                    2 => put(row, &multiply_rows::<2>(weights, x)),
                    _ => put(row, &multiply_rows::<1>(weights, x)),
                }
            }
        }
        out
    }
}

#[expect(clippy::cast_possible_truncation, reason = "within the range of i16 by the scale")]
fn rounded(x: f32) -> i16 {
    x.round() as i16
}

/// Not inlined: among other code the compiler keeps the sums in memory, which is many times slower.
#[inline(never)]
fn multiply_rows<const M: usize>(weights: &[[i16; LANES]], x: &[f32]) -> [Lanes; M] {
    let cols = weights.len();
    let blocks = weights.as_chunks::<LANES>().0;
    let x: [&[[f32; LANES]]; M] = std::array::from_fn(|m| &x[m * cols..][..cols].as_chunks().0[..blocks.len()]);
    let mut total = [[0.0; LANES]; M];
    for (i, block) in blocks.iter().enumerate() {
        let x: [&[f32; LANES]; M] = std::array::from_fn(|m| &x[m][i]);
        // Even and odd columns apart: one sum alone would wait for its own last addition.
        let mut sums = [[[0.0; LANES]; 2]; M];
        for k in 0..LANES {
            let weights = block[k].map(f32::from);
            for m in 0..M {
                for lane in 0..LANES {
                    sums[m][k % 2][lane] = mul_add(weights[lane], x[m][k], sums[m][k % 2][lane]);
                }
            }
        }
        for m in 0..M {
            for lane in 0..LANES {
                total[m][lane] += sums[m][0][lane] + sums[m][1][lane];
            }
        }
    }
    total
}
