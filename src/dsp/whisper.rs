//! The log-mel spectrogram of Whisper (Radford et al. 2022), which the speech tokenizers take.

use super::Matrix;
use super::mel::FilterBank;
use super::stft::{Spectrum, hann_periodic, reflect};

/// Hertz of the audio it takes.
pub const SAMPLE_RATE: u32 = 16_000;
/// Samples from one frame to the next.
pub const HOP: usize = 160;
const N_FFT: usize = 400;

/// Computes Whisper log-mels with a given number of bins.
#[derive(Clone)]
pub struct WhisperMel {
    spectrum: Spectrum,
    bank: FilterBank,
}

impl WhisperMel {
    /// Prepares transform and filter bank; the CosyVoice tokenizers use 128 bins.
    pub fn new(bins: usize) -> Self {
        WhisperMel {
            spectrum: Spectrum::new(N_FFT, hann_periodic(N_FFT), 0),
            bank: FilterBank::slaney(SAMPLE_RATE, N_FFT, bins, 0.0, SAMPLE_RATE as f32 / 2.0),
        }
    }

    /// The log-mel of a 16 kHz signal: one row per bin, one column per frame ([bins, T], T = samples / 160 rounded
    /// down), as the tokenizer graph takes it.
    ///
    /// Frames are centred with reflection, the last one is dropped; values are
    /// `(max(log10(max(mel, 1e-10)), peak - 8) + 4) / 4`, where peak is the largest logarithm in the signal. Nothing
    /// is padded to 30 s.
    pub fn compute(&self, samples: &[f32]) -> Matrix {
        let bins = self.bank.len();
        let frames = samples.len() / HOP;
        let mut out = Matrix::zeros(bins, frames);
        let mut scratch = self.spectrum.scratch();
        let mut power = vec![0.0; self.spectrum.bins()];
        let mut bands = vec![0.0; bins];
        for frame in 0..frames {
            let start = (frame * HOP) as isize - (N_FFT / 2) as isize;
            let sample = |i: usize| samples[reflect(start + i as isize, samples.len())];
            self.spectrum.power(sample, &mut scratch, &mut power);
            self.bank.apply(&power, &mut bands);
            for (bin, b) in bands.iter().enumerate() {
                out.data[bin * frames + frame] = b.max(1e-10).log10() as f32;
            }
        }
        let peak = out.data.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        for x in &mut out.data {
            *x = (x.max(peak - 8.0) + 4.0) / 4.0;
        }
        out
    }
}
