//! Kaldi filter-bank features (Povey et al. 2011), which the speaker encoder takes.

use super::Matrix;
use super::mel::{FilterBank, sparse};
use super::stft::Spectrum;

/// Hertz of the audio it takes.
pub const SAMPLE_RATE: u32 = 16_000;
const FRAME: usize = 400;
const HOP: usize = 160;
const N_FFT: usize = 512;
const PREEMPHASIS: f32 = 0.97;
const LOW_HZ: f64 = 20.0;

/// Computes Kaldi log filter-bank features at 16 kHz: frames of 25 ms every 10 ms that lie wholly in the signal
/// (`snip_edges`), mean of the frame removed, pre-emphasis 0.97, Povey window, 512-point power spectrum, triangles
/// on the mel scale `1127 ln(1 + f / 700)` from 20 Hz to 8 kHz, natural logarithm. No dither, no energy column.
#[derive(Clone)]
pub struct Fbank {
    spectrum: Spectrum,
    bank: FilterBank,
}

fn mel(hz: f64) -> f64 {
    1127.0 * (hz / 700.0).ln_1p()
}

fn bank(bins: usize) -> FilterBank {
    let (low, high) = (mel(LOW_HZ), mel(f64::from(SAMPLE_RATE) / 2.0));
    let step = (high - low) / (bins + 1) as f64;
    let bin_hz = f64::from(SAMPLE_RATE) / N_FFT as f64;
    let bands = (0..bins)
        .map(|band| {
            let left = low + band as f64 * step;
            let (centre, right) = (left + step, left + 2.0 * step);
            let weight = |bin: usize| {
                let m = mel(bin as f64 * bin_hz);
                ((m - left) / (centre - left))
                    .min((right - m) / (right - centre))
                    .max(0.0) as f32
            };
            // Kaldi leaves the bin at half the rate out.
            sparse((0..N_FFT / 2).map(weight))
        })
        .collect();
    FilterBank::new(bands, N_FFT / 2 + 1)
}

/// The Povey window: a symmetric Hann window to the power of 0.85.
fn povey() -> Vec<f32> {
    let step = std::f64::consts::TAU / (FRAME - 1) as f64;
    (0..FRAME)
        .map(|i| (0.5 - 0.5 * (step * i as f64).cos()).powf(0.85) as f32)
        .collect()
}

impl Fbank {
    /// Prepares transform and filter bank; the speaker encoders use 80 bins.
    pub fn new(bins: usize) -> Self {
        Fbank {
            spectrum: Spectrum::new(N_FFT, povey(), 0),
            bank: bank(bins),
        }
    }

    /// The features of a 16 kHz signal: one row per frame, one column per bin ([T, bins],
    /// T = (samples - 400) / 160 + 1; empty for fewer than 400 samples).
    pub fn compute(&self, samples: &[f32]) -> Matrix {
        let bins = self.bank.len();
        let frames = samples.len().checked_sub(FRAME).map_or(0, |room| room / HOP + 1);
        let mut out = Matrix::zeros(frames, bins);
        let mut scratch = self.spectrum.scratch();
        let mut power = vec![0.0; self.spectrum.bins()];
        let mut bands = vec![0.0; bins];
        for (frame, row) in out.data.chunks_exact_mut(bins.max(1)).enumerate() {
            let x = &samples[frame * HOP..frame * HOP + FRAME];
            let mean = (x.iter().map(|v| f64::from(*v)).sum::<f64>() / FRAME as f64) as f32;
            let sample = |i: usize| (x[i] - mean) - PREEMPHASIS * (x[i.saturating_sub(1)] - mean);
            self.spectrum.power(sample, &mut scratch, &mut power);
            self.bank.apply(&power, &mut bands);
            for (o, b) in row.iter_mut().zip(&bands) {
                *o = b.max(f64::from(f32::EPSILON)).ln() as f32;
            }
        }
        out
    }

    /// As [`Fbank::compute`], with the mean of every bin over time removed: the speaker encoder's input.
    pub fn compute_centred(&self, samples: &[f32]) -> Matrix {
        let mut out = self.compute(samples);
        for bin in 0..out.cols {
            let column = out.data.iter().skip(bin).step_by(out.cols);
            let mean = (column.map(|v| f64::from(*v)).sum::<f64>() / out.rows.max(1) as f64) as f32;
            out.data
                .iter_mut()
                .skip(bin)
                .step_by(out.cols)
                .for_each(|v| *v -= mean);
        }
        out
    }
}
