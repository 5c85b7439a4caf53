//! The vocoder of generation 3. Its graphs are causal but for a short look-ahead and carry their own state, so a chunk
//! costs a chunk, and any division of an utterance gives the samples that one run gives (`onnx/BUNDLE.md`).
//!
//! Frames here count from the first one that the decoder has not been given. Each run of the decoder is preceded by one
//! of the f0 predictor that reaches one frame further: the decoder's source ends some samples into the next frame.
//!
//! Where only few widths run fast (CUDA), an utterance is cut into those; its last run is filled with frames of zeros.

use super::{Caches, Decode, VocoderRun, VocoderRuns};
use crate::dsp::noise::UniformNoise;
use crate::dsp::source::{HarmonicSource, RunningPhases};
use crate::model::bundle::{CausalConfig, FixedNoiseConfig};
use crate::model::mel::{self, Mel};
use crate::{Error, Result, limits};

/// The stage without its graphs: source, reflection at its ends, delay.
#[derive(Debug, Clone)]
pub(super) struct Causal {
    source: HarmonicSource,
    /// Where every utterance's noise begins: what comes before has been drawn.
    noise: UniformNoise,
    config: CausalConfig,
    hop: usize,
    bins: usize,
}

/// What one utterance carries from chunk to chunk.
#[derive(Debug)]
pub(super) struct CausalState {
    /// Frames that the decoder has not been given.
    mel: Mel,
    /// How many of them have an f0.
    pitched: usize,
    /// Source of those, and the `delay_samples` before them; empty before the first frame.
    source: Vec<f32>,
    /// Whether the decoder has run.
    begun: bool,
    phases: RunningPhases,
    noise: UniformNoise,
    f0_caches: Caches,
    decoder_caches: Caches,
}

impl Causal {
    /// With this `source`, for mels of `bins`.
    pub fn new(source: HarmonicSource, config: CausalConfig, bins: usize) -> Result<Self> {
        let FixedNoiseConfig::Uniform { seed, skip } = config.noise;
        let hop = source.params().hop;
        if skip > limits::SOURCE_NOISE_SKIP {
            return Err(Error::Internal(format!(
                "vocoder.noise.skip: {skip} draws are more than {}",
                limits::SOURCE_NOISE_SKIP
            )));
        }
        // What a run keeps of the mel and of the source is enough for the next one.
        if config.delay_samples >= hop || config.lookahead_frames != config.f0_lookahead_frames + 1 {
            return Err(Error::Internal(
                "vocoder: this server knows a delay below a frame and a decoder that looks one frame further than f0".into(),
            ));
        }
        Ok(Self {
            noise: UniformNoise::new(seed, skip),
            source,
            config,
            hop,
            bins,
        })
    }

    /// The state before an utterance.
    pub fn begin(&self) -> CausalState {
        CausalState {
            mel: Mel::zeros(self.bins, 0),
            pitched: 0,
            source: Vec::new(),
            begun: false,
            phases: self.source.begin(),
            noise: self.noise.clone(),
            f0_caches: Caches::new(),
            decoder_caches: Caches::new(),
        }
    }

    /// The samples that follow from the next frames; `finalize`: none come after them.
    pub fn push(
        &self,
        runs: &impl VocoderRuns,
        state: &mut CausalState,
        mel: &Mel,
        finalize: bool,
    ) -> Result<Vec<f32>> {
        if mel.cols > 0 {
            state.mel = mel::join(&state.mel, mel);
        }
        let mut speech = Vec::new();
        while let Some(frames) = self.next_frames(runs.has_fixed_widths(), state.mel.cols, finalize) {
            speech.extend(self.run(runs, state, frames)?);
        }
        Ok(speech)
    }

    /// Frames of the decoder's next run, if `known` ones are enough for it. More than those end the utterance.
    fn next_frames(&self, fixed: bool, known: usize, finalize: bool) -> Option<usize> {
        let within = known.saturating_sub(self.config.lookahead_frames);
        let widths = new_frames(&self.config);
        let full = limits::VOCODER_NEW_FRAMES;
        match (finalize && known > 0, fixed) {
            (false, false) => Some(within).filter(|&frames| frames > 0),
            (false, true) if known == 0 => None,
            (false, true) => widths.into_iter().rev().find(|&frames| frames <= within),
            (true, false) => Some(known + 1),
            (true, true) if known < full => widths.into_iter().find(|&frames| frames > known),
            (true, true) => widths.into_iter().rev().find(|&frames| frames <= within),
        }
    }

    /// Runs the decoder over the next `frames`: all of them known with the look-ahead, or more than are known, which
    /// ends the utterance.
    fn run(&self, runs: &impl VocoderRuns, state: &mut CausalState, frames: usize) -> Result<Vec<f32>> {
        let known = state.mel.cols;
        let ends = frames > known;
        self.extend_source(runs, state, frames + 1)?;
        let decode = Decode {
            source: self.source_of(state, frames, ends),
            valid: frames.min(known),
        };
        let ran = runs.run(VocoderRun {
            mel: window(&state.mel, 0, frames + self.config.lookahead_frames),
            decode: Some(decode),
            caches: std::mem::take(&mut state.decoder_caches),
        })?;
        state.decoder_caches = ran.caches;
        let mut speech = ran.values;
        if ends {
            speech.truncate(self.hop * known + self.config.delay_samples);
        }
        if !state.begun {
            // They lie before the utterance.
            speech.drain(..self.config.delay_samples.min(speech.len()));
        }
        state.begun = true;
        state.mel = mel::frames(&state.mel, frames, known);
        state.source.drain(..(self.hop * frames).min(state.source.len()));
        state.pitched = state.pitched.saturating_sub(frames);
        Ok(speech)
    }

    /// Makes f0 and source up to frame `upto`, or to the last one.
    fn extend_source(&self, runs: &impl VocoderRuns, state: &mut CausalState, upto: usize) -> Result<()> {
        let new = upto.saturating_sub(state.pitched);
        let known = state.mel.cols - state.pitched;
        if new == 0 || known == 0 {
            return Ok(());
        }
        let ran = runs.run(VocoderRun {
            mel: window(&state.mel, state.pitched, new + self.config.f0_lookahead_frames),
            decode: None,
            caches: std::mem::take(&mut state.f0_caches),
        })?;
        state.f0_caches = ran.caches;
        let f0 = &ran.values[..new.min(known).min(ran.values.len())];
        let noise = &mut state.noise;
        let made = self.source.render_next(&mut state.phases, f0, || noise.draw());
        if state.source.is_empty() {
            let reflected = (1..=self.config.delay_samples).rev().map(|i| made[i]);
            state.source.extend(reflected);
        }
        state.source.extend(made);
        state.pitched += f0.len();
        Ok(())
    }

    /// The source that the decoder needs for `frames`: behind the utterance's end its reflection, then zeros.
    fn source_of(&self, state: &CausalState, frames: usize, ends: bool) -> Vec<f32> {
        let delay = self.config.delay_samples;
        let needed = self.hop * frames + 2 * delay;
        let known = &state.source[..needed.min(state.source.len())];
        let mut source = known.to_vec();
        if ends {
            source.extend(known.iter().rev().skip(1).take(delay));
        }
        source.resize(needed, 0.0);
        source
    }
}

/// New frames of runs where few widths run fast, ascending.
pub(super) fn new_frames(config: &CausalConfig) -> Vec<usize> {
    let first = limits::VOCODER_FIRST_FRAMES.map(|frames| frames.saturating_sub(config.lookahead_frames));
    let all = first.into_iter().chain([limits::VOCODER_NEW_FRAMES]);
    all.filter(|&frames| frames > 0).collect()
}

/// `count` frames of `mel` from `from` on, zeros behind its end.
fn window(mel: &Mel, from: usize, count: usize) -> Mel {
    let known = mel::frames(mel, from, from + count);
    match count - known.cols {
        0 => known,
        missing => mel::join(&known, &Mel::zeros(mel.rows, missing)),
    }
}

#[cfg(test)]
#[path = "causal_tests.rs"]
mod tests;
