//! The vocoder stage of generations 1 and 2 (HiFT: harmonic source, then an inverse-STFT decoder).
//!
//! The decoder is not causal, so a streamed utterance follows the reference (cli/model.py `token2wav`): each chunk is
//! vocoded together with the last mel frames of the one before, their source is carried over, and the overlapping
//! speech is cross-faded with a Hamming window.

use super::bundle::{Bundle, VocoderConfig};
use super::mel::{self, Mel};
use crate::dsp::fade::{cross_fade, hamming};
use crate::dsp::source::{HarmonicSource, PhaseRule, SourceParams};
use crate::runtime::{Device, Graph, GraphOptions, Input, Runtime};
use crate::{Error, Result};

/// A loaded vocoder.
pub struct Vocoder {
    f0: Graph,
    decoder: Graph,
    source: HarmonicSource,
    config: VocoderConfig,
    window: Vec<f32>,
}

/// What one streamed utterance carries from chunk to chunk.
#[derive(Debug, Default)]
pub struct VocoderState {
    carried: Option<Carried>,
}

#[derive(Debug)]
struct Carried {
    mel: Mel,
    source: Vec<f32>,
    speech: Vec<f32>,
}

impl Vocoder {
    /// Loads the stage.
    pub fn load(runtime: &Runtime, bundle: &Bundle) -> Result<Self> {
        let config = bundle.manifest.vocoder.clone();
        let params = SourceParams {
            sample_rate: bundle.manifest.sample_rate,
            hop: config.hop,
            harmonics: config.harmonics,
            sine_amp: config.sine_amp,
            noise_std: config.noise_std,
            voiced_threshold: config.voiced_threshold,
            merge_weight: config.merge_weight.clone(),
            merge_bias: config.merge_bias,
            rule: PhaseRule::Linear,
        };
        let options = GraphOptions::on(Device::Cpu);
        let window = hamming(2 * config.cache_mel_frames * config.hop);
        Ok(Self {
            f0: Graph::load(runtime, "vocoder f0", &bundle.path(&config.f0), &options)?,
            decoder: Graph::load(
                runtime,
                "vocoder decoder",
                &bundle.path(&config.decoder),
                &options,
            )?,
            source: HarmonicSource::new(params)?,
            config,
            window,
        })
    }

    /// Fundamental frequency of each mel frame, hertz (0 to 10 is unvoiced).
    pub fn f0(&self, mel: &Mel) -> Result<Vec<f32>> {
        let [f0] = self.f0.run(
            &[("mel", Input::F32(&[1, mel.rows, mel.cols], &mel.data))],
            ["f0"],
        )?;
        Ok(f0)
    }

    /// Samples [frames * hop] from a mel and its harmonic source [frames * hop].
    pub fn decode(&self, mel: &Mel, source: &[f32]) -> Result<Vec<f32>> {
        if source.len() != mel.cols * self.config.hop {
            return Err(Error::Internal("the harmonic source does not fit the mel".into()));
        }
        let [audio] = self.decoder.run(
            &[
                ("mel", Input::F32(&[1, mel.rows, mel.cols], &mel.data)),
                ("source", Input::F32(&[1, 1, source.len()], source)),
            ],
            ["audio"],
        )?;
        Ok(audio)
    }

    /// A whole utterance. `noise` gives standard normal numbers.
    pub fn synthesize(&self, mel: &Mel, noise: &mut dyn FnMut() -> f32) -> Result<Vec<f32>> {
        self.vocode(mel, &[], noise).map(|(audio, _)| audio)
    }

    /// The next chunk of a streamed utterance: `mel` are its new frames; the last `cache_mel_frames` of each chunk
    /// are held back for the next one until `finalize`.
    pub fn push(
        &self,
        state: &mut VocoderState,
        mel: &Mel,
        finalize: bool,
        noise: &mut dyn FnMut() -> f32,
    ) -> Result<Vec<f32>> {
        let carried = state.carried.take();
        let (mel, cached) = match &carried {
            Some(c) => (mel::join(&c.mel, mel), c.source.as_slice()),
            None => (mel.clone(), &[][..]),
        };
        if mel.cols == 0 {
            return Ok(Vec::new());
        }
        let (mut speech, source) = self.vocode(&mel, cached, noise)?;
        if let Some(c) = &carried {
            cross_fade(&mut speech, &c.speech, &self.window);
        }
        if finalize {
            return Ok(speech);
        }
        let frames = self.config.cache_mel_frames.min(mel.cols);
        let samples = frames * self.config.hop;
        let held = speech.split_off(speech.len() - samples);
        state.carried = Some(Carried {
            mel: mel::frames(&mel, mel.cols - frames, mel.cols),
            source: source[source.len() - samples..].to_vec(),
            speech: held,
        });
        Ok(speech)
    }

    fn vocode(
        &self,
        mel: &Mel,
        cached: &[f32],
        noise: &mut dyn FnMut() -> f32,
    ) -> Result<(Vec<f32>, Vec<f32>)> {
        let f0 = self.f0(mel)?;
        let mut source = self.source.render(&f0, &[], noise);
        let carried = cached.len().min(source.len());
        source[..carried].copy_from_slice(&cached[..carried]);
        let audio = self.decode(mel, &source)?;
        Ok((audio, source))
    }
}
