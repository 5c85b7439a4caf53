//! The flow of generation 1: speech tokens -> mel, a whole chunk at a time.
//!
//! Nothing in its graphs is causal, so a chunk is computed with the prompt before it, all of it, and the chunks of a
//! stream overlap (`MaskedDiffWithXvec.inference` and `ConditionalCFM.forward` of the reference). What begins a chunk
//! begins with the noise and the mean that ended the one before, so that the two ends say nearly the same; the caller
//! cross-fades them.

use super::bundle::{Bundle, FlowKind, OverlappedFlowConfig};
use super::flow::FlowVoice;
use super::mel::{self, Mel};
use crate::runtime::{Device, Graph, GraphOptions, Input, Runtime};
use crate::{Error, Result};

/// A loaded flow.
pub struct OverlappedFlow {
    encoder: Graph,
    estimator: Graph,
    config: OverlappedFlowConfig,
    steps: usize,
    spk_dim: usize,
    bins: usize,
    /// Mel frames per token, as a fraction.
    ratio: (usize, usize),
    max_frames: usize,
}

/// What a chunk leaves for the next one: columns of the prompt, then of the overlap.
#[derive(Debug)]
pub struct Carried {
    noise: Mel,
    mu: Mel,
}

/// A chunk that is being computed.
pub struct Solving {
    x: Mel,
    mu: Mel,
    spks: Vec<f32>,
    cond: Mel,
    /// Frames of the prompt.
    known: usize,
    /// Euler steps made.
    steps: usize,
}

impl OverlappedFlow {
    /// Loads the stage.
    pub fn load(runtime: &Runtime, bundle: &Bundle, device: Device) -> Result<Self> {
        let manifest = &bundle.manifest;
        let FlowKind::Overlapped(config) = manifest.flow.kind else {
            return Err(Error::Internal("the bundle's flow has no overlap".into()));
        };
        let options = |arena| GraphOptions {
            arena,
            ..GraphOptions::on(device.without_engines())
        };
        let load = |name, file, arena| Graph::load(runtime, name, &bundle.path(file), &options(arena));
        Ok(Self {
            // It runs once per chunk, but the attention of a whole utterance may need much memory at once.
            encoder: load("flow encoder", &manifest.flow.encoder, device != Device::Cpu)?,
            estimator: load("flow estimator", &manifest.flow.estimator, true)?,
            config,
            steps: manifest.flow.steps,
            spk_dim: manifest.flow.spk_dim,
            bins: manifest.mel.bins,
            ratio: (
                manifest.sample_rate as usize,
                (manifest.token_rate as usize * manifest.mel.hop).max(1),
            ),
            max_frames: manifest.flow.max_frames(),
        })
    }

    /// How chunks overlap.
    pub fn config(&self) -> &OverlappedFlowConfig {
        &self.config
    }

    /// Mel bins.
    pub fn bins(&self) -> usize {
        self.bins
    }

    /// Mel frames of so many new tokens.
    pub fn frames(&self, tokens: usize) -> usize {
        tokens * self.ratio.0 / self.ratio.1
    }

    /// Begins a chunk of `tokens` after the voice's prompt: mean and speaker vector, and the noise that the Euler steps
    /// begin with. `carried` is what the chunk before left; it becomes what this one leaves. `noise` gives standard
    /// normal numbers, frame by frame; only frames that nothing was carried for draw any.
    pub fn begin(
        &self,
        voice: &FlowVoice,
        tokens: &[i64],
        carried: &mut Option<Carried>,
        noise: &mut dyn FnMut() -> f32,
    ) -> Result<Solving> {
        let known = voice.feat.len() / self.bins.max(1);
        let frames = known + self.frames(tokens.len());
        self.check(voice, frames)?;
        let (mut mu, spks) = self.encode(voice, tokens, known, frames)?;
        let mut x = Mel::zeros(self.bins, frames);
        let mut given = 0;
        if let Some(Carried { noise, mu: before }) = carried {
            given = before.cols.min(frames);
            replace(&mut mu, before);
            replace(&mut x, noise);
        }
        for frame in given..frames {
            for bin in 0..self.bins {
                x.data[bin * frames + frame] = noise();
            }
        }
        let overlap = frames.saturating_sub(self.config.mel_overlap_frames).max(known);
        let ends = |of: &Mel| mel::join(&mel::frames(of, 0, known), &mel::frames(of, overlap, frames));
        *carried = Some(Carried {
            noise: ends(&x),
            mu: ends(&mu),
        });
        Ok(Solving {
            cond: self.condition(voice, frames),
            x,
            mu,
            spks,
            known,
            steps: 0,
        })
    }

    /// One Euler step. After the last one, the mel `[bins, frames]` behind the prompt.
    pub fn advance(&self, solving: &mut Solving) -> Result<Option<Mel>> {
        let (bins, frames) = (self.bins, solving.x.cols);
        let mel = [1, bins, frames];
        let inputs = [
            ("x", Input::F32(&mel, &solving.x.data)),
            ("mu", Input::F32(&mel, &solving.mu.data)),
            ("spks", Input::F32(&[1, bins], &solving.spks)),
            ("cond", Input::F32(&mel, &solving.cond.data)),
            ("step", Input::I64(&[], &[solving.steps as i64])),
            ("valid", Input::I64(&[1], &[frames as i64])),
        ];
        let [x] = self.estimator.run(&inputs, ["x_next"])?;
        solving.x.data = x;
        solving.steps += 1;
        Ok((solving.steps >= self.steps).then(|| mel::frames(&solving.x, solving.known, frames)))
    }

    fn encode(
        &self,
        voice: &FlowVoice,
        tokens: &[i64],
        known: usize,
        frames: usize,
    ) -> Result<(Mel, Vec<f32>)> {
        let all = [&voice.tokens, tokens].concat();
        let one = |n: usize| [n as i64];
        let (prompt, new) = (one(voice.tokens.len()), one(tokens.len()));
        let (prompt_frames, new_frames) = (one(known), one(frames - known));
        let inputs = [
            ("token", Input::I64(&[1, all.len()], &all)),
            ("prompt_tokens", Input::I64(&[1], &prompt)),
            ("tokens", Input::I64(&[1], &new)),
            ("prompt_frames", Input::I64(&[1], &prompt_frames)),
            ("frames", Input::I64(&[1], &new_frames)),
            ("embedding", Input::F32(&[1, self.spk_dim], &voice.embedding)),
        ];
        let [data, spks] = self.encoder.run(&inputs, ["mu", "spks"])?;
        if data.len() != self.bins * frames {
            return Err(Error::Internal("the flow encoder gave another length".into()));
        }
        let mu = Mel {
            rows: self.bins,
            cols: frames,
            data,
        };
        Ok((mu, spks))
    }

    /// The prompt's mel, then zeros.
    fn condition(&self, voice: &FlowVoice, frames: usize) -> Mel {
        let mut cond = Mel::zeros(self.bins, frames);
        for (frame, values) in voice.feat.chunks_exact(self.bins).enumerate() {
            for (bin, &value) in values.iter().enumerate() {
                cond.data[bin * frames + frame] = value;
            }
        }
        cond
    }

    fn check(&self, voice: &FlowVoice, frames: usize) -> Result<()> {
        if voice.embedding.len() != self.spk_dim || !voice.feat.len().is_multiple_of(self.bins) {
            return Err(Error::Internal(format!(
                "the voice has {} mel values and an embedding of {}; the model wants {} bins and {}",
                voice.feat.len(),
                voice.embedding.len(),
                self.bins,
                self.spk_dim,
            )));
        }
        if frames > self.max_frames {
            return Err(Error::Invalid(format!(
                "tts_text: prompt and speech of one sentence are {frames} mel frames; the model's limit is {}",
                self.max_frames
            )));
        }
        Ok(())
    }
}

/// Writes the columns of `by` over the first ones of `mel`.
fn replace(mel: &mut Mel, by: &Mel) {
    let (cols, count) = (mel.cols, by.cols.min(mel.cols));
    for (bin, row) in mel.data.chunks_exact_mut(cols.max(1)).enumerate() {
        row[..count].copy_from_slice(&by.row(bin)[..count]);
    }
}
