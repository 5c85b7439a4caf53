//! The vocoder stage (HiFT: harmonic source, then an inverse-STFT decoder).
//!
//! [`VocoderGraphs`] runs the two graphs over batches of equal shape; [`Vocoder`] is the rest of the stage, which works
//! on the request's own thread: `overlapped` that of generations 1 and 2, `causal` that of generation 3.

mod causal;
mod graphs;
mod overlapped;

pub use graphs::VocoderGraphs;

use self::causal::{Causal, CausalState};
use self::overlapped::{Overlapped, OverlappedState};
use super::bundle::{Bundle, Phase, VocoderConfig, VocoderKind};
use super::mel::Mel;
use crate::Result;
use crate::dsp::source::{HarmonicSource, PhaseRule, SourceParams};

/// Runs of the graphs for one utterance, however they are scheduled.
pub trait VocoderRuns {
    /// Whether runs of streamed chunks should have the widths of `limits`, because every other is slow.
    fn has_fixed_widths(&self) -> bool;

    /// Runs one of the graphs.
    ///
    /// # Errors
    /// Those of the run, or why it was given up.
    fn run(&self, run: VocoderRun) -> Result<Ran>;
}

/// What a causal graph keeps of an utterance, one tensor each; empty before its first run, and always for other graphs.
pub type Caches = Vec<Vec<f32>>;

/// A run of one of the graphs for one utterance.
#[derive(Debug, Clone)]
pub struct VocoderRun {
    /// Its mel frames, with those that the graph looks ahead.
    pub mel: Mel,
    /// What the decoder needs besides; `None`: it is the f0 predictor that runs.
    pub decode: Option<Decode>,
    /// What the graph's run before this one left.
    pub caches: Caches,
}

/// What the decoder needs beside the mel.
#[derive(Debug, Clone)]
pub struct Decode {
    /// Samples of the harmonic source.
    pub source: Vec<f32>,
    /// How many of its frames are before the utterance's end.
    pub valid: usize,
}

/// What a run gave.
#[derive(Debug, Clone)]
pub struct Ran {
    /// The f0 of each frame in hertz (0 to 10 is unvoiced), or samples.
    pub values: Vec<f32>,
    /// What the graph's next run needs.
    pub caches: Caches,
}

impl VocoderRun {
    /// The fundamental frequency of each frame, by a graph without caches.
    pub fn f0(mel: Mel) -> Self {
        Self {
            mel,
            decode: None,
            caches: Caches::new(),
        }
    }

    /// Samples [frames * hop] from a mel and its source [frames * hop], by a graph without caches.
    pub fn decode(mel: Mel, source: Vec<f32>) -> Self {
        let valid = mel.cols;
        Self {
            mel,
            decode: Some(Decode { source, valid }),
            caches: Caches::new(),
        }
    }

    /// The samples of its source; none for the f0 predictor.
    pub fn source(&self) -> &[f32] {
        self.decode.as_ref().map_or(&[], |decode| &decode.source)
    }
}

/// The stage without its graphs.
#[derive(Debug, Clone)]
pub struct Vocoder(Kind);

#[derive(Debug, Clone)]
enum Kind {
    Overlapped(Overlapped),
    Causal(Causal),
}

/// What one streamed utterance carries from chunk to chunk.
#[derive(Debug)]
pub struct VocoderState(State);

#[derive(Debug)]
enum State {
    Overlapped(OverlappedState),
    Causal(Box<CausalState>),
}

impl Vocoder {
    /// As the bundle describes it.
    pub fn new(bundle: &Bundle) -> Result<Self> {
        let config = &bundle.manifest.vocoder;
        let source = |rule| HarmonicSource::new(source_params(bundle.manifest.sample_rate, config, rule));
        Ok(Self(match &config.kind {
            VocoderKind::Overlapped(kind) => {
                let rule = match kind.phase {
                    Phase::Frames => PhaseRule::Linear,
                    Phase::Samples => PhaseRule::PerSample,
                };
                Kind::Overlapped(Overlapped::new(source(rule)?, kind.cache_mel_frames))
            }
            VocoderKind::Causal(kind) => {
                let bins = bundle.manifest.mel.bins;
                Kind::Causal(Causal::new(source(PhaseRule::Held)?, kind.clone(), bins)?)
            }
        }))
    }

    /// The state before an utterance.
    pub fn begin(&self) -> VocoderState {
        VocoderState(match &self.0 {
            Kind::Overlapped(_) => State::Overlapped(OverlappedState::default()),
            Kind::Causal(vocoder) => State::Causal(Box::new(vocoder.begin())),
        })
    }

    /// The next chunk of an utterance that [`Vocoder::begin`] began: `mel` are its new frames; what the vocoder cannot
    /// speak yet it keeps for the next chunk, until `finalize`. `noise` gives standard normal numbers; a vocoder whose
    /// noise is fixed does not ask for them.
    pub fn push(
        &self,
        runs: &impl VocoderRuns,
        state: &mut VocoderState,
        mel: &Mel,
        finalize: bool,
        noise: impl FnMut() -> f32,
    ) -> Result<Vec<f32>> {
        match (&self.0, &mut state.0) {
            (Kind::Overlapped(vocoder), State::Overlapped(state)) => {
                vocoder.push(runs, state, mel, finalize, noise)
            }
            (Kind::Causal(vocoder), State::Causal(state)) => vocoder.push(runs, state, mel, finalize),
            _ => Err(crate::Error::Internal("a vocoder's state of another kind".into())),
        }
    }
}

fn source_params(sample_rate: u32, config: &VocoderConfig, rule: PhaseRule) -> SourceParams {
    SourceParams {
        sample_rate,
        hop: config.hop,
        harmonics: config.harmonics,
        sine_amp: config.sine_amp,
        noise_std: config.noise_std,
        voiced_threshold: config.voiced_threshold,
        merge_weight: config.merge_weight.clone(),
        merge_bias: config.merge_bias,
        rule,
    }
}
