//! The vocoder stage of generations 1 and 2 (HiFT: harmonic source, then an inverse-STFT decoder).
//!
//! [`VocoderGraphs`] runs the two graphs over batches of equal shape; [`Vocoder`] is the rest of the stage, which works
//! on the request's own thread. The decoder is not causal, so a streamed utterance follows the reference
//! (cli/model.py `token2wav`): each chunk is vocoded together with the last mel frames of the one before, their source
//! is carried over, and the overlapping speech is cross-faded with a Hamming window.

use std::ops::RangeInclusive;
use std::path::Path;

use super::bundle::{Bundle, Manifest, VocoderConfig};
use super::mel::{self, Mel};
use crate::dsp::fade::{cross_fade, hamming};
use crate::dsp::source::{HarmonicSource, PhaseRule, SourceParams};
use crate::runtime::{Device, Engines, Graph, GraphOptions, Input, Runtime};
use crate::{Error, Result, limits};

/// The two graphs of the stage.
pub struct VocoderGraphs {
    f0: Graph,
    decoder: Graph,
    /// The decoder as TensorRT's engine, for the shapes it is built for.
    engine: Option<Graph>,
    hop: usize,
}

/// Mel frames that the engine is built for: all chunks of a stream but unusual last ones.
const ENGINE_FRAMES: RangeInclusive<usize> = 16..=128;
/// Mel frames and rows it is tuned for: a chunk of 50 with its overlap, from several streams.
const ENGINE_USUAL: (usize, usize) = (58, 8);

/// Runs of the graphs for one utterance, however they are scheduled.
pub trait VocoderRuns {
    /// Fundamental frequency of each mel frame, hertz (0 to 10 is unvoiced).
    ///
    /// # Errors
    /// Those of the run, or why it was given up.
    fn f0(&self, mel: &Mel) -> Result<Vec<f32>>;

    /// Samples [frames * hop] from a mel and its harmonic source [frames * hop].
    ///
    /// # Errors
    /// As [`VocoderRuns::f0`].
    fn decode(&self, mel: &Mel, source: &[f32]) -> Result<Vec<f32>>;
}

impl VocoderGraphs {
    /// Loads them on a device. TensorRT's engine of the decoder is kept in the directory `engines`.
    pub fn load(runtime: &Runtime, bundle: &Bundle, device: Device, engines: &Path) -> Result<Self> {
        let config = &bundle.manifest.vocoder;
        let options = GraphOptions::on(device.without_engines());
        let load =
            |name, file, options: &GraphOptions| Graph::load(runtime, name, &bundle.path(file), options);
        let engine = match device {
            Device::Cpu | Device::Cuda(_) => None,
            Device::TensorRt(_) => {
                let options = GraphOptions {
                    engines: Some(decoder_engines(&bundle.manifest, engines)?),
                    ..GraphOptions::on(device)
                };
                Some(load("vocoder decoder", &config.decoder, &options)?)
            }
        };
        Ok(Self {
            f0: load("vocoder f0", &config.f0, &options)?,
            decoder: load("vocoder decoder", &config.decoder, &options)?,
            engine,
            hop: config.hop,
        })
    }

    /// Fundamental frequencies of each of `mels`, which have one shape.
    pub fn f0(&self, mels: &[&Mel]) -> Result<Vec<Vec<f32>>> {
        let (shape, data) = stack(mels)?;
        let [f0] = self.f0.run(&[("mel", Input::F32(&shape, &data))], ["f0"])?;
        Ok(rows(&f0, mels.len()))
    }

    /// Samples of each of `mels`, which have one shape, from their sources.
    pub fn decode(&self, mels: &[&Mel], sources: &[&[f32]]) -> Result<Vec<Vec<f32>>> {
        let (shape, data) = stack(mels)?;
        let samples = shape[2] * self.hop;
        if sources.len() != mels.len() || sources.iter().any(|source| source.len() != samples) {
            return Err(Error::Internal("the harmonic source does not fit the mel".into()));
        }
        let source = sources.concat();
        let in_range = ENGINE_FRAMES.contains(&shape[2]) && mels.len() <= limits::VOCODER_BATCH;
        let engine = self.engine.as_ref().filter(|_| in_range);
        let [audio] = engine.unwrap_or(&self.decoder).run(
            &[
                ("mel", Input::F32(&shape, &data)),
                ("source", Input::F32(&[mels.len(), 1, samples], &source)),
            ],
            ["audio"],
        )?;
        Ok(rows(&audio, mels.len()))
    }
}

fn decoder_engines(manifest: &Manifest, cache: &Path) -> Result<Engines> {
    std::fs::create_dir_all(cache).map_err(|e| Error::internal(&format!("making {}", cache.display()), e))?;
    let (bins, hop) = (manifest.mel.bins, manifest.vocoder.hop);
    let shapes =
        |rows: usize, frames: usize| format!("mel:{rows}x{bins}x{frames},source:{rows}x1x{}", frames * hop);
    Ok(Engines {
        cache: cache.to_path_buf(),
        fp16: manifest.precision != "fp32",
        min_shapes: shapes(1, *ENGINE_FRAMES.start()),
        opt_shapes: shapes(ENGINE_USUAL.1, ENGINE_USUAL.0),
        max_shapes: shapes(limits::VOCODER_BATCH, *ENGINE_FRAMES.end()),
    })
}

impl VocoderRuns for VocoderGraphs {
    fn f0(&self, mel: &Mel) -> Result<Vec<f32>> {
        self.f0(&[mel]).map(|mut rows| rows.swap_remove(0))
    }

    fn decode(&self, mel: &Mel, source: &[f32]) -> Result<Vec<f32>> {
        self.decode(&[mel], &[source]).map(|mut rows| rows.swap_remove(0))
    }
}

/// Mels of one shape as a tensor [count, bins, frames].
fn stack(mels: &[&Mel]) -> Result<([usize; 3], Vec<f32>)> {
    let (bins, frames) = mels.first().map_or((0, 0), |mel| (mel.rows, mel.cols));
    if frames == 0 || mels.iter().any(|mel| (mel.rows, mel.cols) != (bins, frames)) {
        return Err(Error::Internal("the vocoder runs mels of one shape".into()));
    }
    let mut data = Vec::with_capacity(mels.len() * bins * frames);
    mels.iter().for_each(|mel| data.extend_from_slice(&mel.data));
    Ok(([mels.len(), bins, frames], data))
}

fn rows(data: &[f32], count: usize) -> Vec<Vec<f32>> {
    data.chunks_exact((data.len() / count).max(1))
        .map(<[f32]>::to_vec)
        .collect()
}

/// The stage without its graphs: source, overlap, cross-fade.
#[derive(Debug, Clone)]
pub struct Vocoder {
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
    /// As the bundle describes it.
    pub fn new(bundle: &Bundle) -> Result<Self> {
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
        Ok(Self {
            source: HarmonicSource::new(params)?,
            window: hamming(2 * config.cache_mel_frames * config.hop),
            config,
        })
    }

    /// The next chunk of an utterance: `mel` are its new frames; the last `cache_mel_frames` of each chunk are held
    /// back for the next one until `finalize`. `noise` gives standard normal numbers.
    pub fn push(
        &self,
        runs: &impl VocoderRuns,
        state: &mut VocoderState,
        mel: &Mel,
        finalize: bool,
        noise: impl FnMut() -> f32,
    ) -> Result<Vec<f32>> {
        let carried = state.carried.take();
        let (mel, cached) = match &carried {
            Some(c) => (mel::join(&c.mel, mel), c.source.as_slice()),
            None => (mel.clone(), &[][..]),
        };
        if mel.cols == 0 {
            return Ok(Vec::new());
        }
        let (mut speech, source) = self.vocode(runs, &mel, cached, noise)?;
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
        runs: &impl VocoderRuns,
        mel: &Mel,
        cached: &[f32],
        noise: impl FnMut() -> f32,
    ) -> Result<(Vec<f32>, Vec<f32>)> {
        let f0 = runs.f0(mel)?;
        let mut source = self.source.render(&f0, &[], noise);
        let carried = cached.len().min(source.len());
        source[..carried].copy_from_slice(&cached[..carried]);
        let audio = runs.decode(mel, &source)?;
        Ok((audio, source))
    }
}
