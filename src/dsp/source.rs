//! The harmonic-plus-noise source that excites the HiFT vocoder (neural source filter, Wang et al. 2019; HiFTNet,
//! Li et al. 2023; CosyVoice `hifigan/generator.py`).
//!
//! From one pitch value per mel frame come `hop` samples each of a fundamental and its harmonics; voiced samples
//! carry sines and a little noise, unvoiced ones noise alone; a learned weighted sum and tanh merge them. The random
//! numbers come from the caller, so a request's seed fixes the source.

use std::f64::consts::TAU;
use std::ops::Range;

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

    /// Start phases of the sines for [`PhaseRule::PerSample`], in radians: 0 for the fundamental, uniform from
    /// `-pi..=pi` for each harmonic. The other rules have none. `noise` gives standard normal numbers: the angle of a
    /// point whose two coordinates are such numbers is uniform.
    pub fn start_phases(&self, mut noise: impl FnMut() -> f32) -> Vec<f32> {
        match self.params.rule {
            PhaseRule::Linear | PhaseRule::Held => Vec::new(),
            PhaseRule::PerSample => {
                let harmonics = (0..self.params.harmonics).map(|_| noise().atan2(noise()));
                std::iter::once(0.0).chain(harmonics).collect()
            }
        }
    }

    /// Where the phases of an utterance begin that [`HarmonicSource::render_next`] makes.
    pub fn begin(&self) -> RunningPhases {
        RunningPhases(vec![0.0; self.params.harmonics + 1])
    }

    /// As [`HarmonicSource::render`] for the next frames of an utterance: however its `f0` is cut, the samples are the
    /// same. For [`PhaseRule::Held`] alone; the others look beyond a frame.
    pub fn render_next(
        &self,
        phases: &mut RunningPhases,
        f0: &[f32],
        noise: impl FnMut() -> f32,
    ) -> Vec<f32> {
        let mut running = Phases::new(&self.params, f0, &[]);
        running.sum.copy_from_slice(&phases.0);
        let mut out = Vec::with_capacity(f0.len() * self.params.hop);
        self.each_sample(&mut running, noise, |sines| out.push(self.merge(sines)));
        phases.0 = running.sum;
        out
    }

    /// The merged source of `f0` (hertz, one per frame; 0 or below the threshold is unvoiced): `f0.len() * hop`
    /// samples in (-1, 1).
    ///
    /// `noise` is called once per sample and sine, sine by sine within a sample (standard normal draws for
    /// generations 1 and 2). `start` holds the start phases ([`HarmonicSource::start_phases`]); missing ones are 0.
    pub fn render(&self, f0: &[f32], start: &[f32], noise: impl FnMut() -> f32) -> Vec<f32> {
        let mut out = Vec::with_capacity(f0.len() * self.params.hop);
        let mut phases = Phases::new(&self.params, f0, start);
        self.each_sample(&mut phases, noise, |sines| out.push(self.merge(sines)));
        out
    }

    fn merge(&self, sines: &[f32]) -> f32 {
        let merged: f32 = sines
            .iter()
            .zip(&self.params.merge_weight)
            .map(|(s, w)| s * w)
            .sum();
        (merged + self.params.merge_bias).tanh()
    }

    /// The sines with their noise before they are merged, sample after sample ([f0.len() * hop, harmonics + 1]).
    pub fn sines(&self, f0: &[f32], start: &[f32], noise: impl FnMut() -> f32) -> Vec<f32> {
        let mut out = Vec::with_capacity(f0.len() * self.params.hop * (self.params.harmonics + 1));
        let mut phases = Phases::new(&self.params, f0, start);
        self.each_sample(&mut phases, noise, |sines| out.extend_from_slice(sines));
        out
    }

    fn each_sample(
        &self,
        phases: &mut Phases<'_>,
        mut noise: impl FnMut() -> f32,
        mut sink: impl FnMut(&[f32]),
    ) {
        let p = &self.params;
        let mut current = vec![0.0f32; p.harmonics + 1];
        let f0 = phases.f0;
        for (frame, pitch) in f0.iter().enumerate() {
            let voiced = *pitch > p.voiced_threshold;
            let noise_amp = if voiced { p.noise_std } else { p.sine_amp / 3.0 };
            phases.enter(frame);
            for part in phases.ramps(frame) {
                let mut tones = phases.tones(&part);
                for _ in part.samples.clone() {
                    for (out, tone) in current.iter_mut().zip(&tones.sin) {
                        let tone = if voiced { *tone as f32 * p.sine_amp } else { 0.0 };
                        *out = tone + noise_amp * noise();
                    }
                    sink(&current);
                    if voiced {
                        tones.advance();
                    }
                }
            }
        }
    }
}

/// How far the sines of an utterance have come.
#[derive(Debug, Clone)]
pub struct RunningPhases(Vec<f64>);

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
    /// The sums of the increments: [`PhaseRule::PerSample`]: before the current frame; else up to its middle.
    sum: Vec<f64>,
    step: Vec<f64>,
    next: Vec<f64>,
}

/// Samples of a frame over which every phase advances evenly.
struct Ramp {
    samples: Range<usize>,
    slope: Slope,
}

/// What a sine's phase gains from sample to sample.
#[derive(Clone, Copy)]
enum Slope {
    /// Nothing.
    Flat,
    /// The current frame's increment.
    Own,
    /// The following frame's increment.
    Next,
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
            next: zeros,
        }
    }

    /// Loads the frame's increments, and adds to the sums what lies before its samples (or its middle).
    fn enter(&mut self, frame: usize) {
        let pitch = self.f0[frame];
        let following = self.f0.get(frame + 1).copied().unwrap_or(pitch);
        let hop = self.p.hop as f64;
        for i in 0..self.step.len() {
            let before = self.step[i];
            self.step[i] = cycles_per_sample(pitch, i, self.p);
            self.next[i] = cycles_per_sample(following, i, self.p);
            self.sum[i] += match self.p.rule {
                PhaseRule::PerSample => before * hop,
                PhaseRule::Linear | PhaseRule::Held => self.step[i],
            };
        }
    }

    /// The parts of a frame, in order.
    fn ramps(&self, frame: usize) -> impl Iterator<Item = Ramp> + use<> {
        let hop = self.p.hop;
        let (middle, slopes) = match self.p.rule {
            PhaseRule::PerSample => (hop, [Slope::Own, Slope::Flat]),
            PhaseRule::Held => (hop, [Slope::Flat, Slope::Flat]),
            // Below the middle the slope is this frame's own cycles, above it the next frame's.
            PhaseRule::Linear => {
                let first = if frame == 0 { Slope::Flat } else { Slope::Own };
                let last = frame + 1 == self.f0.len();
                (hop / 2, [first, if last { Slope::Flat } else { Slope::Next }])
            }
        };
        [0..middle, middle..hop]
            .into_iter()
            .zip(slopes)
            .map(|(samples, slope)| Ramp { samples, slope })
    }

    /// All sines at the first sample of a ramp of the current frame.
    fn tones(&self, ramp: &Ramp) -> Tones {
        let hop = self.p.hop as f64;
        let mut tones = Tones::default();
        for i in 0..self.sum.len() {
            let slope = match ramp.slope {
                Slope::Flat => 0.0,
                Slope::Own => self.step[i],
                Slope::Next => self.next[i],
            };
            let first = ramp.samples.start as f64;
            let phase = match self.p.rule {
                PhaseRule::PerSample => self.sum[i] + (first + 1.0) * slope + self.start[i],
                PhaseRule::Held => self.sum[i] * hop,
                PhaseRule::Linear => self.sum[i] * hop + (first + 0.5 - hop / 2.0) * slope,
            };
            tones.push(phase, slope);
        }
        tones
    }
}

/// Sines that advance by a turn of their phasors: one sine function a ramp instead of one a sample. In double
/// precision the error after a frame is far below a sample's rounding.
#[derive(Default)]
struct Tones {
    sin: Vec<f64>,
    cos: Vec<f64>,
    turn_sin: Vec<f64>,
    turn_cos: Vec<f64>,
}

impl Tones {
    fn push(&mut self, phase: f64, slope: f64) {
        let (sin, cos) = (phase.fract() * TAU).sin_cos();
        let (turn_sin, turn_cos) = (slope * TAU).sin_cos();
        self.sin.push(sin);
        self.cos.push(cos);
        self.turn_sin.push(turn_sin);
        self.turn_cos.push(turn_cos);
    }

    fn advance(&mut self) {
        let turns = self.turn_sin.iter().zip(&self.turn_cos);
        for ((sin, cos), (turn_sin, turn_cos)) in self.sin.iter_mut().zip(&mut self.cos).zip(turns) {
            (*sin, *cos) = (
                *sin * turn_cos + *cos * turn_sin,
                *cos * turn_cos - *sin * turn_sin,
            );
        }
    }
}
