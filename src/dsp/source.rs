//! The harmonic-plus-noise source that excites the HiFT vocoder (neural source filter, Wang et al. 2019; HiFTNet,
//! Li et al. 2023; CosyVoice `hifigan/generator.py`).
//!
//! From one pitch value per mel frame come `hop` samples each of a fundamental and its harmonics; voiced samples
//! carry sines and a little noise, unvoiced ones noise alone; a learned weighted sum and tanh merge them. The random
//! numbers come from the caller, so a request's seed fixes the source.

use std::f64::consts::TAU;

use crate::{Error, Result};

/// How phase advances between pitch values; it differs between generations of the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PhaseRule {
    /// Generation 1 (22.05 kHz): summed sample by sample; each harmonic starts at a random phase.
    PerSample,
    /// Generation 2: summed frame by frame, linear from frame middle to frame middle, held before the first
    /// and after the last. A random start phase, which the reference draws, has no effect and is not drawn.
    Linear,
    /// Generation 3: summed frame by frame and held within the frame.
    Held,
}

/// What defines a source module.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceParams {
    /// Hertz of the audio.
    pub sample_rate: u32,
    /// Samples per pitch value.
    pub hop: usize,
    /// Harmonics above the fundamental.
    pub harmonics: usize,
    /// Amplitude of the sines.
    pub sine_amp: f32,
    /// Standard deviation of the noise in voiced samples; in unvoiced ones it is `sine_amp / 3`.
    pub noise_std: f32,
    /// Pitch above which a frame is voiced, hertz.
    pub voiced_threshold: f32,
    /// Weights of the merge layer, fundamental first: `harmonics + 1` numbers.
    pub merge_weight: Vec<f32>,
    /// Bias of the merge layer.
    pub merge_bias: f32,
    /// How phase advances.
    pub rule: PhaseRule,
}

/// A source module, ready to run.
#[derive(Debug, Clone)]
pub struct HarmonicSource {
    params: SourceParams,
}

impl HarmonicSource {
    /// Checks the parameters.
    ///
    /// # Errors
    /// [`Error::Invalid`] when rate or hop is 0, or the merge layer has not one weight per sine.
    pub fn new(params: SourceParams) -> Result<Self> {
        if params.sample_rate == 0 || params.hop == 0 {
            return Err(Error::invalid("source: sample rate and hop must be positive"));
        }
        if params.merge_weight.len() != params.harmonics + 1 {
            return Err(Error::invalid(format!(
                "source: {} merge weights for {} sines",
                params.merge_weight.len(),
                params.harmonics + 1
            )));
        }
        Ok(HarmonicSource { params })
    }

    /// The parameters it was made from.
    pub fn params(&self) -> &SourceParams {
        &self.params
    }

    /// Start phases of the sines for [`PhaseRule::PerSample`], in radians: 0 for the fundamental, `-pi..pi` for each
    /// harmonic, from draws in [0, 1). The other rules ignore start phases.
    pub fn start_phases(&self, mut uniform: impl FnMut() -> f32) -> Vec<f32> {
        let pi = std::f32::consts::PI;
        (0..=self.params.harmonics)
            .map(|h| if h == 0 { 0.0 } else { (2.0 * uniform() - 1.0) * pi })
            .collect()
    }

    /// The merged source of `f0` (hertz, one per frame; 0 or below the threshold is unvoiced): `f0.len() * hop`
    /// samples in (-1, 1).
    ///
    /// `noise` is called once per sample and sine, sine by sine within a sample (standard normal draws for
    /// generations 1 and 2). `start` holds the start phases ([`HarmonicSource::start_phases`]); missing ones are 0.
    pub fn render(&self, f0: &[f32], start: &[f32], noise: impl FnMut() -> f32) -> Vec<f32> {
        let mut out = Vec::with_capacity(f0.len() * self.params.hop);
        let (weight, bias) = (&self.params.merge_weight, self.params.merge_bias);
        self.each_sample(f0, start, noise, |sines| {
            let merged: f32 = sines.iter().zip(weight).map(|(s, w)| s * w).sum();
            out.push((merged + bias).tanh());
        });
        out
    }

    /// The sines with their noise before they are merged, sample after sample ([f0.len() * hop, harmonics + 1]).
    pub fn sines(&self, f0: &[f32], start: &[f32], noise: impl FnMut() -> f32) -> Vec<f32> {
        let mut out = Vec::with_capacity(f0.len() * self.params.hop * (self.params.harmonics + 1));
        self.each_sample(f0, start, noise, |sines| out.extend_from_slice(sines));
        out
    }

    fn each_sample(
        &self,
        f0: &[f32],
        start: &[f32],
        mut noise: impl FnMut() -> f32,
        mut sink: impl FnMut(&[f32]),
    ) {
        let p = &self.params;
        let sines = p.harmonics + 1;
        let mut current = vec![0.0f32; sines];
        let mut phases = Phases::new(p, f0, start);
        for (frame, pitch) in f0.iter().enumerate() {
            let voiced = *pitch > p.voiced_threshold;
            let noise_amp = if voiced { p.noise_std } else { p.sine_amp / 3.0 };
            for within in 0..p.hop {
                phases.advance(frame, within);
                for (sine, out) in current.iter_mut().enumerate() {
                    let tone = if voiced {
                        phases.sine(sine) as f32 * p.sine_amp
                    } else {
                        0.0
                    };
                    *out = tone + noise_amp * noise();
                }
                sink(&current);
            }
        }
    }
}

/// Cycles one sample adds to each sine at pitch `f0`, whole cycles dropped.
///
/// Multiplied and divided in single precision as the reference does, because what is lost here adds up.
fn cycles_per_sample(f0: f32, sine: usize, p: &SourceParams) -> f64 {
    let cycles = f0 * (sine + 1) as f32 / p.sample_rate as f32;
    match p.rule {
        PhaseRule::PerSample => f64::from(cycles),
        PhaseRule::Linear | PhaseRule::Held => f64::from(cycles.rem_euclid(1.0)),
    }
}

/// The running phases of all sines, in cycles.
struct Phases<'a> {
    p: &'a SourceParams,
    f0: &'a [f32],
    start: Vec<f64>,
    /// [`PhaseRule::PerSample`]: the sum up to the current sample. Else: cycles at the middle of the current frame,
    /// of the frame before and of the frame after.
    sum: Vec<f64>,
    step: Vec<f64>,
    next: Vec<f64>,
    now: Vec<f64>,
}

impl<'a> Phases<'a> {
    fn new(p: &'a SourceParams, f0: &'a [f32], start: &[f32]) -> Self {
        let sines = p.harmonics + 1;
        let start = (0..sines)
            .map(|s| start.get(s).map_or(0.0, |x| f64::from(*x) / TAU))
            .collect();
        let zeros = vec![0.0; sines];
        Phases {
            p,
            f0,
            start,
            sum: zeros.clone(),
            step: zeros.clone(),
            next: zeros.clone(),
            now: zeros,
        }
    }

    /// Moves to sample `within` of frame `frame`.
    fn advance(&mut self, frame: usize, within: usize) {
        if within == 0 {
            self.enter(frame);
        }
        let hop = self.p.hop as f64;
        match self.p.rule {
            PhaseRule::PerSample => {
                for ((sum, step), (now, start)) in self
                    .sum
                    .iter_mut()
                    .zip(&self.step)
                    .zip(self.now.iter_mut().zip(&self.start))
                {
                    *sum += step;
                    *now = sum.fract() + start;
                }
            }
            PhaseRule::Held => {
                for (now, sum) in self.now.iter_mut().zip(&self.sum) {
                    *now = (sum * hop).fract();
                }
            }
            PhaseRule::Linear => {
                // Position relative to the middle of this frame, in frames: from -1/2 to 1/2.
                let at = (within as f64 + 0.5) / hop - 0.5;
                let first = frame == 0 && at < 0.0;
                let last = frame + 1 == self.f0.len() && at > 0.0;
                let at = if first || last { 0.0 } else { at };
                for (i, now) in self.now.iter_mut().enumerate() {
                    // Below the middle the slope is this frame's own cycles, above it the next frame's.
                    let slope = if at < 0.0 { self.step[i] } else { self.next[i] };
                    *now = ((self.sum[i] + at * slope) * hop).fract();
                }
            }
        }
    }

    /// Loads the frame's increments; for the frame rules also adds them to the sums.
    fn enter(&mut self, frame: usize) {
        let pitch = self.f0[frame];
        let following = self.f0.get(frame + 1).copied().unwrap_or(pitch);
        for i in 0..self.step.len() {
            self.step[i] = cycles_per_sample(pitch, i, self.p);
            if self.p.rule != PhaseRule::PerSample {
                self.next[i] = cycles_per_sample(following, i, self.p);
                self.sum[i] += self.step[i];
            }
        }
    }

    fn sine(&self, sine: usize) -> f64 {
        (self.now[sine] * TAU).sin()
    }
}
