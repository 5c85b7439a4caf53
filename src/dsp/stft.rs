//! Short-time spectra: windows, reflection at the edges, and the power spectrum of single frames.

use std::sync::Arc;

use realfft::{RealFftPlanner, RealToComplex, num_complex::Complex};

/// The periodic Hann window of `n` samples: `0.5 - 0.5 cos(2 pi i / n)`, as `torch.hann_window` gives by default.
pub fn hann_periodic(n: usize) -> Vec<f32> {
    let step = std::f64::consts::TAU / n.max(1) as f64;
    (0..n)
        .map(|i| (0.5 - 0.5 * (step * i as f64).cos()) as f32)
        .collect()
}

/// The index in `0..len` that position `i` (which may lie outside) shows when a signal is reflected at its edges
/// without repeating them: `-1 -> 1`, `len -> len - 2`. Signals shorter than the overhang reflect repeatedly.
///
/// `len` must not be 0.
pub fn reflect(i: isize, len: usize) -> usize {
    if len <= 1 {
        return 0;
    }
    let period = 2 * (len as isize - 1);
    let m = i.rem_euclid(period);
    m.min(period - m) as usize
}

/// Computes spectra of frames of one size with one window. Cheap to clone, shareable between threads.
#[derive(Clone)]
pub struct Spectrum {
    fft: Arc<dyn RealToComplex<f64>>,
    window: Vec<f32>,
    offset: usize,
}

/// Working memory of [`Spectrum`], to be kept over the frames of one signal.
pub struct Scratch {
    frame: Vec<f64>,
    spectrum: Vec<Complex<f64>>,
    fft: Vec<Complex<f64>>,
}

impl Spectrum {
    /// A transform of `n_fft` points. A `window` shorter than `n_fft` sits at `offset` in the frame
    /// ((n_fft - window) / 2 for `torch.stft`, 0 for Kaldi); what would stick out of the frame is cut off.
    pub fn new(n_fft: usize, mut window: Vec<f32>, offset: usize) -> Self {
        let n_fft = n_fft.max(1);
        window.truncate(n_fft.saturating_sub(offset));
        Spectrum {
            fft: RealFftPlanner::new().plan_fft_forward(n_fft),
            window,
            offset,
        }
    }

    /// Points of the transform.
    pub fn n_fft(&self) -> usize {
        self.fft.len()
    }

    /// Bins of a spectrum: `n_fft / 2 + 1`.
    pub fn bins(&self) -> usize {
        self.fft.len() / 2 + 1
    }

    /// Working memory for [`Spectrum::power`].
    pub fn scratch(&self) -> Scratch {
        Scratch {
            frame: self.fft.make_input_vec(),
            spectrum: self.fft.make_output_vec(),
            fft: self.fft.make_scratch_vec(),
        }
    }

    /// Writes `re^2 + im^2` of one windowed frame into `out` (of [`Spectrum::bins`] elements).
    ///
    /// `sample(i)` gives the unwindowed sample i of the frame, for i in `offset..offset + window`.
    pub fn power(&self, sample: impl Fn(usize) -> f32, scratch: &mut Scratch, out: &mut [f64]) {
        scratch.frame.fill(0.0);
        for (i, w) in self.window.iter().enumerate() {
            let at = self.offset + i;
            // The reference multiplies in single precision.
            scratch.frame[at] = f64::from(sample(at) * w);
        }
        let done = self
            .fft
            .process_with_scratch(&mut scratch.frame, &mut scratch.spectrum, &mut scratch.fft);
        debug_assert!(done.is_ok(), "the buffers have the plan's own sizes");
        for (o, c) in out.iter_mut().zip(&scratch.spectrum) {
            *o = c.norm_sqr();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reflection_does_not_repeat_the_edge() {
        let shown: Vec<usize> = (-4..9).map(|i| reflect(i, 5)).collect();
        assert_eq!(shown, [4, 3, 2, 1, 0, 1, 2, 3, 4, 3, 2, 1, 0]);
        assert_eq!(reflect(-100, 1), 0);
        assert_eq!(
            (-3..5).map(|i| reflect(i, 2)).collect::<Vec<_>>(),
            [1, 0, 1, 0, 1, 0, 1, 0]
        );
    }

    #[test]
    fn a_sine_lands_in_its_bin() {
        let spectrum = Spectrum::new(64, hann_periodic(64), 0);
        let mut out = vec![0.0; spectrum.bins()];
        let mut scratch = spectrum.scratch();
        let tone = |i: usize| (std::f32::consts::TAU * 5.0 * i as f32 / 64.0).cos();
        spectrum.power(tone, &mut scratch, &mut out);
        let peak = (0..out.len()).max_by(|a, b| out[*a].total_cmp(&out[*b]));
        assert_eq!(peak, Some(5));
        // Amplitude 1 under a Hann window (mean 1/2): |X| = 64 / 2 * 1/2.
        assert!((out[5].sqrt() - 16.0).abs() < 1e-5);
        assert!(out[9] < 1e-9);
    }

    #[test]
    fn a_short_window_sits_where_it_was_put() {
        let spectrum = Spectrum::new(8, vec![1.0; 4], 2);
        let mut out = vec![0.0; 5];
        spectrum.power(|i| i as f32, &mut spectrum.scratch(), &mut out);
        assert!((out[0].sqrt() - (2.0 + 3.0 + 4.0 + 5.0)).abs() < 1e-9);
    }
}
