//! The cross-fade that joins overlapping chunks.

use super::Matrix;

/// The symmetric Hamming window of `n` samples, `0.54 - 0.46 cos(2 pi i / (n - 1))`, as `numpy.hamming` gives.
pub fn hamming(n: usize) -> Vec<f32> {
    if n == 1 {
        return vec![1.0];
    }
    let step = std::f64::consts::TAU / n.saturating_sub(1).max(1) as f64;
    (0..n)
        .map(|i| (0.54 - 0.46 * (step * i as f64).cos()) as f32)
        .collect()
}

/// Fades the start of `fade_in` in over the end of `fade_out`, in place.
///
/// With a window of 2n samples (`hamming(2 * n)` for CosyVoice) the first n samples of `fade_in` become
/// `fade_in[i] * window[i] + fade_out[len - n + i] * window[n + i]`. The two halves of a Hamming window do not sum to
/// one (at most 8% off); the models' reference does it so and parity needs it. When either signal is shorter
/// than n, the fade covers what both have.
pub fn cross_fade(fade_in: &mut [f32], fade_out: &[f32], window: &[f32]) {
    cross_fade_rows(fade_in, fade_out, window, 1);
}

/// As [`cross_fade`], for frames-major mels ([T, bins]): row i of `fade_in` counts as sample i. Nothing happens
/// when the numbers of columns differ.
pub fn cross_fade_mel(fade_in: &mut Matrix, fade_out: &Matrix, window: &[f32]) {
    if fade_in.cols == fade_out.cols {
        let cols = fade_in.cols;
        cross_fade_rows(&mut fade_in.data, &fade_out.data, window, cols);
    }
}

fn cross_fade_rows(fade_in: &mut [f32], fade_out: &[f32], window: &[f32], cols: usize) {
    let cols = cols.max(1);
    let half = window.len() / 2;
    let overlap = half.min(fade_in.len() / cols).min(fade_out.len() / cols);
    let tail = &fade_out[fade_out.len() - overlap * cols..];
    // A shorter signal meets the windows' ends that face away from the join's outside.
    let (rise, fall) = (&window[..overlap], &window[window.len() - overlap..]);
    let rows = fade_in.chunks_exact_mut(cols).zip(tail.chunks_exact(cols));
    for ((new, old), (up, down)) in rows.zip(rise.iter().zip(fall)) {
        for (n, o) in new.iter_mut().zip(old) {
            *n = *n * up + o * down;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_is_numpys() {
        let w = hamming(4);
        for (got, want) in w.iter().zip([0.08, 0.77, 0.77, 0.08]) {
            assert!((got - want).abs() < 1e-7);
        }
        assert_eq!(hamming(1), [1.0]);
        assert!(hamming(0).is_empty());
    }

    #[test]
    fn the_head_fades_in_over_the_tail() {
        let w = hamming(4);
        let mut new = vec![1.0, 2.0, 3.0];
        cross_fade(&mut new, &[9.0, 10.0, 20.0], &w);
        let want = [w[0] + 10.0 * w[2], 2.0 * w[1] + 20.0 * w[3], 3.0];
        assert_eq!(new, want);
    }

    #[test]
    fn a_mel_fades_row_by_row_and_short_signals_do_not_panic() {
        let w = hamming(4);
        let mut new = Matrix {
            rows: 2,
            cols: 2,
            data: vec![1.0; 4],
        };
        let old = Matrix {
            rows: 2,
            cols: 2,
            data: vec![2.0; 4],
        };
        cross_fade_mel(&mut new, &old, &w);
        assert_eq!(new.data[0], w[0] + 2.0 * w[2]);
        assert_eq!(new.data[3], w[1] + 2.0 * w[3]);
        let mut short = vec![1.0];
        cross_fade(&mut short, &[2.0, 4.0], &w);
        assert_eq!(short, [w[0] + 4.0 * w[3]]);
        cross_fade(&mut [], &[], &w);
    }
}
