//! Softmax over the speech vocabulary, in vector registers as wide as the processor has.
//!
//! The same bits on every processor: only widths differ, and nothing is fused. `exp` is a polynomial of degree 7 on
//! the reduced argument (the method and coefficients of Cephes' `expf`), within one unit in the last place.

use multiversion::multiversion;

/// Numbers worked on side by side, so that the compiler can use vector registers.
pub(super) const LANES: usize = 16;

/// The greatest of `values`; those that are not numbers do not count.
#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
pub(super) fn greatest(values: &[f32]) -> f32 {
    let greater = |a: f32, b: f32| if b > a { b } else { a };
    let (blocks, rest) = values.as_chunks::<LANES>();
    let mut lanes = [f32::NEG_INFINITY; LANES];
    for block in blocks {
        for (lane, &value) in lanes.iter_mut().zip(block) {
            *lane = greater(*lane, value);
        }
    }
    lanes.iter().chain(rest).copied().fold(f32::NEG_INFINITY, greater)
}

/// Turns logits into probabilities.
pub(super) fn softmax(logits: &mut [f32]) {
    let max = greatest(logits);
    let sum = exps(logits, max);
    let scale = (1.0 / sum) as f32;
    logits.iter_mut().for_each(|v| *v *= scale);
}

/// Each of `values`, `max` taken off, becomes its exponential; returns their sum.
#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
fn exps(values: &mut [f32], max: f32) -> f64 {
    let mut sums = [0.0f64; LANES];
    let (blocks, rest) = values.as_chunks_mut::<LANES>();
    for block in blocks {
        for v in block.iter_mut() {
            *v = exp(*v - max);
        }
        for (sum, v) in sums.iter_mut().zip(block) {
            *sum += f64::from(*v);
        }
    }
    for (sum, v) in sums.iter_mut().zip(rest) {
        *v = exp(*v - max);
        *sum += f64::from(*v);
    }
    sums.iter().sum()
}

/// e to the power of `x`, not greater than 0; 0 where that would not be a normal number.
#[inline(always)]
fn exp(x: f32) -> f32 {
    /// Below this the result is not a normal number.
    const LEAST: f32 = -87.0;
    /// Adding this rounds to an integer and leaves it in the low bits.
    const SHIFT: f32 = 12_582_912.0;
    /// ln 2 in two parts; the first has few bits, so that its products are exact.
    const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
    const C: [f32; 6] = [
        1.987_569_1e-4,
        1.398_199_9e-3,
        8.333_452e-3,
        4.166_579_6e-2,
        1.666_666_5e-1,
        5.0e-1,
    ];
    let shifted = x.max(LEAST) * std::f32::consts::LOG2_E + SHIFT;
    let n = shifted - SHIFT;
    let r = (x.max(LEAST) - n * LN_2[0]) - n * LN_2[1];
    let tail = C[1..].iter().fold(C[0], |p, c| p * r + c);
    let y = (tail * (r * r) + r) + 1.0;
    let scaled = f32::from_bits(y.to_bits().wrapping_add(shifted.to_bits() << 23));
    // Not a number stays so: `max` above would hide it.
    if x >= LEAST {
        scaled
    } else if x.is_nan() {
        x
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_the_platforms_to_the_last_bit_or_one_off() {
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(-87.1), 0.0);
        assert!(exp(f32::NAN).is_nan());
        let (mut checked, mut different) = (0u32, 0u32);
        for bits in (0..87.0f32.to_bits()).step_by(997) {
            let x = -f32::from_bits(bits);
            let off = exp(x).to_bits().abs_diff(x.exp().to_bits());
            assert!(off <= 1, "{x}");
            checked += 1;
            different += u32::from(off != 0);
        }
        assert!(different <= checked / 50, "{different} of {checked} differ");
    }

    #[test]
    fn every_width_gives_the_same_bits() {
        let logits: Vec<f32> = (0..1000u32).map(|i| (i * 7919 % 1000) as f32 / -13.0).collect();
        for len in [0, 1, 15, 16, 17, 500, 1000] {
            let (mut wide, mut narrow) = (logits[..len].to_vec(), logits[..len].to_vec());
            let sum = exps(&mut wide, 0.5);
            narrow.iter_mut().for_each(|v| *v = exp(*v - 0.5));
            assert_eq!(wide, narrow);
            let exact: f64 = narrow.iter().copied().map(f64::from).sum();
            assert!((sum - exact).abs() <= 1e-12 * exact);
        }
    }
}
