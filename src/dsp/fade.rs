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
    let overlap = (window.len() / 2).min(fade_in.len()).min(fade_out.len());
    let tail = &fade_out[fade_out.len() - overlap..];
    // A shorter signal meets the windows' ends that face away from the join's outside.
    let (rise, fall) = (&window[..overlap], &window[window.len() - overlap..]);
    for ((new, old), (up, down)) in fade_in.iter_mut().zip(tail).zip(rise.iter().zip(fall)) {
        *new = *new * up + old * down;
    }
}

/// As [`cross_fade`], for bins-major mels ([bins, T]), bin by bin. Nothing happens when the numbers of bins differ.
pub fn cross_fade_mel(fade_in: &mut Matrix, fade_out: &Matrix, window: &[f32]) {
    if fade_in.rows == fade_out.rows {
        let frames = fade_in.cols.max(1);
        for (bin, row) in fade_in.data.chunks_exact_mut(frames).enumerate() {
            cross_fade(row, fade_out.row(bin), window);
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
    fn a_mel_fades_bin_by_bin_and_short_signals_do_not_panic() {
        let w = hamming(4);
        let mel = |cols: usize, data: Vec<f32>| Matrix { rows: 2, cols, data };
        let mut new = mel(3, vec![1.0, 1.0, 1.0, 5.0, 5.0, 5.0]);
        cross_fade_mel(&mut new, &mel(2, vec![2.0, 3.0, 4.0, 6.0]), &w);
        let faded = |new: f32, old: [f32; 2]| [0, 1].map(|i| new * w[i] + old[i] * w[2 + i]);
        assert_eq!(new.row(0), [&faded(1.0, [2.0, 3.0])[..], &[1.0]].concat());
        assert_eq!(new.row(1), [&faded(5.0, [4.0, 6.0])[..], &[5.0]].concat());
        let mut short = vec![1.0];
        cross_fade(&mut short, &[2.0, 4.0], &w);
        assert_eq!(short, [w[0] + 4.0 * w[3]]);
        cross_fade(&mut [], &[], &w);
    }
}
