//! Mel filter banks (Slaney) and the log-mel spectrogram that flow and vocoder work on.

use crate::{Error, Result};

use super::Matrix;
use super::stft::{Scratch, Spectrum, hann_periodic, reflect};

/// What defines a log-mel spectrogram. Rates and frequencies in hertz, sizes in samples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MelParams {
    /// Rate the filter bank is laid out for. (CosyVoice 1 uses its 22.05 kHz bank on 24 kHz audio.)
    pub sample_rate: u32,
    /// Points of the transform.
    pub n_fft: usize,
    /// Samples from one frame to the next.
    pub hop: usize,
    /// Length of the Hann window, at most `n_fft`.
    pub window: usize,
    /// Mel bands.
    pub bins: usize,
    /// Lower edge of the first band.
    pub fmin: f32,
    /// Upper edge of the last band; at most half of `sample_rate`.
    pub fmax: f32,
}

/// Triangular filters over the bins of a spectrum, kept without their zeros.
#[derive(Debug, Clone)]
pub struct FilterBank {
    bands: Vec<(usize, Vec<f32>)>,
    spectrum_bins: usize,
}

impl FilterBank {
    /// A bank of the given bands; each is its first spectrum bin and its weights from there on.
    pub(super) fn new(bands: Vec<(usize, Vec<f32>)>, spectrum_bins: usize) -> Self {
        FilterBank { bands, spectrum_bins }
    }

    /// The bank of librosa's `filters.mel(htk=False, norm="slaney")`: `bins` triangles between `fmin` and `fmax`,
    /// equally spaced on Slaney's mel scale (linear to 1 kHz, logarithmic above; Auditory Toolbox, 1998), each
    /// divided by half its width in hertz, so that all have the same area.
    pub fn slaney(sample_rate: u32, n_fft: usize, bins: usize, fmin: f32, fmax: f32) -> Self {
        let (low, high) = (hz_to_mel(f64::from(fmin)), hz_to_mel(f64::from(fmax)));
        let step = (high - low) / (bins + 1) as f64;
        let edge = |i: usize| mel_to_hz(low + step * i as f64);
        let spectrum_bins = n_fft / 2 + 1;
        let bin_hz = f64::from(sample_rate) / n_fft.max(1) as f64;
        let bands = (0..bins)
            .map(|band| {
                let (left, centre, right) = (edge(band), edge(band + 1), edge(band + 2));
                let norm = 2.0 / (right - left);
                let weight = |bin: usize| {
                    let f = bin as f64 * bin_hz;
                    ((f - left) / (centre - left))
                        .min((right - f) / (right - centre))
                        .max(0.0)
                        * norm
                };
                sparse((0..spectrum_bins).map(|bin| weight(bin) as f32))
            })
            .collect();
        FilterBank { bands, spectrum_bins }
    }

    /// Number of bands.
    pub fn len(&self) -> usize {
        self.bands.len()
    }

    /// True when the bank has no band.
    pub fn is_empty(&self) -> bool {
        self.bands.is_empty()
    }

    /// Writes the weighted sum of `spectrum` under each band into `out` (one element per band).
    pub fn apply(&self, spectrum: &[f64], out: &mut [f64]) {
        for (o, (start, weights)) in out.iter_mut().zip(&self.bands) {
            *o = weights
                .iter()
                .zip(&spectrum[*start..])
                .map(|(w, s)| f64::from(*w) * s)
                .sum();
        }
    }

    /// The bank with its zeros: rows are bands, columns the bins of the spectrum.
    pub fn dense(&self) -> Matrix {
        let mut m = Matrix::zeros(self.bands.len(), self.spectrum_bins);
        for (row, (start, weights)) in self.bands.iter().enumerate() {
            let at = row * self.spectrum_bins + start;
            m.data[at..at + weights.len()].copy_from_slice(weights);
        }
        m
    }
}

/// The first non-zero position of a row of weights, and the weights from there to the last non-zero one.
pub(super) fn sparse(row: impl Iterator<Item = f32>) -> (usize, Vec<f32>) {
    let row: Vec<f32> = row.collect();
    let Some(first) = row.iter().position(|w| *w != 0.0) else {
        return (0, Vec::new());
    };
    let end = row.iter().rposition(|w| *w != 0.0).map_or(first, |last| last + 1);
    (first, row[first..end].to_vec())
}

const LINEAR_HZ_PER_MEL: f64 = 200.0 / 3.0;
const BREAK_HZ: f64 = 1000.0;
const BREAK_MEL: f64 = BREAK_HZ / LINEAR_HZ_PER_MEL;

/// ln(6.4) / 27: the step of Slaney's scale above the break.
fn log_step() -> f64 {
    6.4f64.ln() / 27.0
}

fn hz_to_mel(hz: f64) -> f64 {
    if hz < BREAK_HZ {
        hz / LINEAR_HZ_PER_MEL
    } else {
        BREAK_MEL + (hz / BREAK_HZ).ln() / log_step()
    }
}

fn mel_to_hz(mel: f64) -> f64 {
    if mel < BREAK_MEL {
        mel * LINEAR_HZ_PER_MEL
    } else {
        BREAK_HZ * ((mel - BREAK_MEL) * log_step()).exp()
    }
}

/// Computes the log-mel spectrogram of HiFi-GAN (Kong et al. 2020, `meldataset`), as Matcha-TTS and CosyVoice use
/// it: reflection by (n_fft - hop) / 2 at both ends, Hann window, magnitude `sqrt(re^2 + im^2 + 1e-9)`, Slaney
/// bank, `ln(max(x, 1e-5))`.
#[derive(Clone)]
pub struct LogMel {
    params: MelParams,
    spectrum: Spectrum,
    bank: FilterBank,
}

impl LogMel {
    /// Prepares transform and filter bank.
    ///
    /// # Errors
    /// [`Error::Invalid`] when a size is 0 or over 65536, the window or hop is longer than the transform, or the
    /// band edges are not `0 <= fmin < fmax <= sample_rate / 2`.
    pub fn new(params: MelParams) -> Result<Self> {
        let p = params;
        let sizes = [p.n_fft, p.hop, p.window, p.bins, p.sample_rate as usize];
        if sizes.contains(&0) || p.n_fft > 65_536 || p.bins > p.n_fft || p.window > p.n_fft || p.hop > p.n_fft
        {
            return Err(Error::invalid(format!("mel sizes out of range: {p:?}")));
        }
        if !(0.0 <= p.fmin && p.fmin < p.fmax && p.fmax <= p.sample_rate as f32 / 2.0) {
            return Err(Error::invalid(format!("mel band edges out of range: {p:?}")));
        }
        Ok(LogMel {
            params,
            spectrum: Spectrum::new(p.n_fft, hann_periodic(p.window), (p.n_fft - p.window) / 2),
            bank: FilterBank::slaney(p.sample_rate, p.n_fft, p.bins, p.fmin, p.fmax),
        })
    }

    /// The parameters it was made from.
    pub fn params(&self) -> &MelParams {
        &self.params
    }

    /// Frames that [`LogMel::compute`] gives for `samples` samples: samples / hop, rounded down (for hop and n_fft
    /// of the same parity).
    pub fn frames(&self, samples: usize) -> usize {
        let pad = (self.params.n_fft - self.params.hop) / 2;
        match (samples, (samples + 2 * pad).checked_sub(self.params.n_fft)) {
            (0, _) | (_, None) => 0,
            (_, Some(room)) => room / self.params.hop + 1,
        }
    }

    /// The log-mel of a signal: one row per frame, one column per band ([T, bins]). Empty for a signal shorter
    /// than a hop.
    pub fn compute(&self, samples: &[f32]) -> Matrix {
        let (hop, bins) = (self.params.hop, self.params.bins);
        let pad = ((self.params.n_fft - hop) / 2) as isize;
        let frames = self.frames(samples.len());
        let mut out = Matrix::zeros(frames, bins);
        let mut scratch: Scratch = self.spectrum.scratch();
        let mut power = vec![0.0; self.spectrum.bins()];
        let mut bands = vec![0.0; bins];
        for (frame, row) in out.data.chunks_exact_mut(bins).enumerate() {
            let start = (frame * hop) as isize - pad;
            let sample = |i: usize| samples[reflect(start + i as isize, samples.len())];
            self.spectrum.power(sample, &mut scratch, &mut power);
            power.iter_mut().for_each(|p| *p = (*p + 1e-9).sqrt());
            self.bank.apply(&power, &mut bands);
            for (o, b) in row.iter_mut().zip(&bands) {
                *o = b.max(1e-5).ln() as f32;
            }
        }
        out
    }
}
