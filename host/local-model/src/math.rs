//! The arithmetic of the forward pass: plain loops over lanes, which the compiler turns into SIMD.
//!
//! Every result is computed in one fixed order that does not depend on what else is in the batch. So a token's logits
//! depend on the tokens before it and on the adapter, and on nothing else, to the last bit: a warm cache, a neighbour
//! in the batch or another chunk size changes nothing.

use wide::f32x16;

/// How many numbers are worked on side by side: one AVX-512 register, two AVX2 ones, four NEON ones.
pub(crate) const LANES: usize = 16;

/// Rows worked on at once: what is loaded is used for so many of them, and their sums still fit the registers.
pub(crate) const GROUP: usize = if cfg!(target_feature = "avx512f") { 4 } else { 2 };

/// One number per lane.
pub(crate) type Lanes = [f32; LANES];

/// `a * b + c`, fused where the machine can. (Without the instruction, the fused form is a slow library call.)
#[inline(always)]
pub(crate) fn mul_add(a: f32, b: f32, c: f32) -> f32 {
    if cfg!(any(target_feature = "fma", target_arch = "aarch64")) { f32::mul_add(a, b, c) } else { a * b + c }
}

/// The nearest f32.
#[expect(clippy::cast_possible_truncation, reason = "rounding is what it is for")]
pub(crate) fn narrow(x: f64) -> f32 {
    x as f32
}

/// Adds `panel[i] * x[m][i]` to each lane of `sums[m]`, for every `i`, sixteen at a time. All are multiples of that
/// long.
///
/// Not inlined: among other code the compiler keeps the sums in memory, which is many times slower.
#[inline(never)]
pub(crate) fn accumulate<const M: usize>(panel: &[Lanes], x: [&[f32]; M], sums: &mut [Lanes; M]) {
    let panel = panel.as_chunks::<LANES>().0;
    let x: [&[[f32; LANES]]; M] = x.map(|x| &x.as_chunks().0[..panel.len()]);
    let mut total = sums.map(f32x16::new);
    for (i, lanes) in panel.iter().enumerate() {
        let x: [&[f32; LANES]; M] = x.map(|x| &x[i]);
        // Even and odd ones apart: one sum alone would wait for its own last addition.
        let mut parts = [[f32x16::ZERO; 2]; M];
        for k in 0..LANES {
            let lanes = f32x16::new(lanes[k]);
            for m in 0..M {
                parts[m][k % 2] = lanes.mul_add(f32x16::splat(x[m][k]), parts[m][k % 2]);
            }
        }
        for m in 0..M {
            total[m] += parts[m][0] + parts[m][1];
        }
    }
    *sums = total.map(f32x16::to_array);
}

/// The sum of products of two rows of the same length.
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let (a_lanes, a_rest) = a.as_chunks::<LANES>();
    let (b_lanes, b_rest) = b.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for (a, b) in a_lanes.iter().zip(b_lanes) {
        for lane in 0..LANES {
            sums[lane] = mul_add(a[lane], b[lane], sums[lane]);
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}

/// `out = x / rms(x) * weight`, for each row of `x`.
pub(crate) fn rms_norm(x: &[f32], weight: &[f32], eps: f32) -> Vec<f32> {
    let mut out = Vec::with_capacity(x.len());
    for row in x.chunks_exact(weight.len()) {
        let scale = 1.0 / (dot(row, row) / weight.len() as f32 + eps).sqrt();
        out.extend(row.iter().zip(weight).map(|(x, w)| x * scale * w));
    }
    out
}

/// `e^x` to about one unit in the last place, without branches, so that whole rows are computed at once. Clamped to
/// what f32 can hold.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    // Adding 1.5 * 2^23 leaves the rounded whole number in the low bits.
    const ROUND: f32 = 12_582_912.0;
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let x = x.clamp(-87.0, 88.0);
    let shifted = mul_add(x, std::f32::consts::LOG2_E, ROUND);
    let whole = shifted - ROUND;
    let f = mul_add(whole, -LN_2_LOW, mul_add(whole, -LN_2_HIGH, x));
    let mut p = 1.987_569_1e-4;
    for coefficient in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 0.166_666_65, 0.5] {
        p = mul_add(p, f, coefficient);
    }
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23));
    (mul_add(p * f, f, f) + 1.0) * power
}

/// `gate = silu(gate) * up`.
pub(crate) fn swiglu(gate: &mut [f32], up: &[f32]) {
    for (g, u) in gate.iter_mut().zip(up) {
        *g = *g / (1.0 + exp(-*g)) * u;
    }
}

/// Turns scores into `e^(score - max)` and returns one over their sum.
pub(crate) fn softmax(scores: &mut [f32]) -> f32 {
    let max = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let (lanes, rest) = scores.as_chunks_mut::<LANES>();
    let mut sums = [0.0f32; LANES];
    for chunk in lanes {
        for lane in 0..LANES {
            chunk[lane] = exp(chunk[lane] - max);
            sums[lane] += chunk[lane];
        }
    }
    let mut sum: f32 = sums.iter().sum();
    for score in rest {
        *score = exp(*score - max);
        sum += *score;
    }
    1.0 / sum
}

/// Natural log of the sum of `e^logit`, accumulated in f64: in f32 the tail of a large vocabulary is lost.
pub(crate) fn log_sum_exp(logits: &[f32]) -> f64 {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let (lanes, rest) = logits.as_chunks::<LANES>();
    let mut sums = [0.0f64; LANES];
    for chunk in lanes {
        for lane in 0..LANES {
            sums[lane] += f64::from(exp(chunk[lane] - max));
        }
    }
    let rest: f64 = rest.iter().map(|x| f64::from(exp(x - max))).sum();
    f64::from(max) + (sums.iter().sum::<f64>() + rest).ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_accurate_over_its_whole_range() {
        for i in -8700..8800 {
            let x = i as f32 / 100.0;
            let want = f64::from(x).exp();
            let error = (f64::from(exp(x)) - want).abs() / want;
            assert!(error < 3e-7, "exp({x}) is off by {error:e}");
        }
        assert!(exp(f32::NEG_INFINITY) < 1e-37 && exp(1000.0).is_finite());
    }

    #[test]
    fn softmax_and_log_sum_exp_agree_with_f64() {
        let logits: Vec<f32> = (0..1003).map(|i| (i as f32 * 0.37).sin() * 20.0).collect();
        let exact: f64 = logits.iter().map(|x| f64::from(*x).exp()).sum();
        assert!((log_sum_exp(&logits) - exact.ln()).abs() < 1e-6);
        let mut p = logits.clone();
        let inverse = softmax(&mut p);
        for (p, x) in p.iter().zip(&logits) {
            assert!((f64::from(p * inverse) - f64::from(*x).exp() / exact).abs() < 1e-6);
        }
    }
}
