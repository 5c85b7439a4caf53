//! The flow stage: speech tokens -> mel, by conditional flow matching with classifier-free guidance.
//!
//! Mirrors `CausalMaskedDiffWithXvec.inference` and `CausalConditionalCFM` (flow/flow.py, flow/flow_matching.py):
//! the encoder graph gives mu and the speaker vector, the estimator graph the velocity, and this file the noise, the
//! time schedule, the guidance and the Euler steps.

use super::bundle::{Bundle, FlowConfig};
use super::mel::{self, Mel};
use crate::runtime::{Device, Graph, GraphOptions, Input, Runtime};
use crate::{Error, Result};

/// Attention chunk that no sequence reaches: full attention.
const FULL_ATTENTION: i64 = 1 << 30;

/// A loaded flow.
pub struct Flow {
    encoder: Graph,
    estimator: Graph,
    noise: Mel,
    config: FlowConfig,
    bins: usize,
    ratio: usize,
}

/// What one synthesis gives the flow.
#[derive(Debug, Clone, Copy)]
pub struct FlowInput<'a> {
    /// Speech tokens of the prompt; may be empty.
    pub prompt_tokens: &'a [i64],
    /// Mel of the prompt, [frames, bins] row-major; frames = ratio * prompt tokens.
    pub prompt_feat: &'a [f32],
    /// Speaker embedding, `spk_dim` numbers.
    pub embedding: &'a [f32],
    /// Speech tokens to turn into mel, all so far.
    pub tokens: &'a [i64],
    /// Chunk-masked attention, as in training for streaming.
    pub streaming: bool,
    /// No more tokens follow; when false the last look-ahead tokens are context only.
    pub finalize: bool,
}

impl Flow {
    /// Loads the stage.
    pub fn load(runtime: &Runtime, bundle: &Bundle) -> Result<Self> {
        let config = bundle.manifest.flow.clone();
        let bins = bundle.manifest.mel.bins;
        let noise = read_noise(bundle, &config, bins)?;
        let options = GraphOptions::on(Device::Cpu);
        let frugal = GraphOptions {
            arena: false,
            ..options.clone()
        };
        Ok(Self {
            encoder: Graph::load(runtime, "flow encoder", &bundle.path(&config.encoder), &frugal)?,
            estimator: Graph::load(
                runtime,
                "flow estimator",
                &bundle.path(&config.estimator),
                &options,
            )?,
            noise,
            config,
            bins,
            ratio: bundle.manifest.token_mel_ratio,
        })
    }

    /// Its configuration.
    pub fn config(&self) -> &FlowConfig {
        &self.config
    }

    /// Mel frames it can make in one synthesis, prompt included.
    pub fn max_frames(&self) -> usize {
        self.noise.cols
    }

    /// The mel of `input.tokens` (the prompt's part cut off). `keep_going` is asked before every Euler step and
    /// ends the work with its error.
    pub fn infer(&self, input: &FlowInput<'_>, keep_going: &dyn Fn() -> Result<()>) -> Result<Mel> {
        let (mu, spks) = self.encode(input)?;
        let prompt_frames = input.prompt_feat.len() / self.bins;
        if mu.cols > self.noise.cols {
            return Err(Error::Invalid(format!(
                "tts_text: prompt and speech of one sentence are {} mel frames; the model's limit is {}",
                mu.cols, self.noise.cols
            )));
        }
        let mut cond = vec![0.0; self.bins * mu.cols];
        for frame in 0..prompt_frames.min(mu.cols) {
            for bin in 0..self.bins {
                cond[bin * mu.cols + frame] = input.prompt_feat[frame * self.bins + bin];
            }
        }
        let chunk = match input.streaming {
            true => (self.config.chunk_tokens * self.ratio) as i64,
            false => FULL_ATTENTION,
        };
        let mel = self.solve(&mu, &spks, &cond, chunk, keep_going)?;
        Ok(mel::frames(&mel, prompt_frames, mel.cols))
    }

    /// Encoder outputs of `input`: mu `[bins, frames]` and the projected speaker vector `[bins]`.
    pub fn encode(&self, input: &FlowInput<'_>) -> Result<(Mel, Vec<f32>)> {
        if input.embedding.len() != self.config.spk_dim {
            return Err(Error::Internal(format!(
                "the voice's embedding has {} numbers, the model wants {}",
                input.embedding.len(),
                self.config.spk_dim
            )));
        }
        let lookahead = if input.finalize {
            0
        } else {
            self.config.lookahead_tokens
        };
        if input.tokens.len() <= lookahead {
            return Err(Error::Internal(
                "a flow chunk needs more tokens than its look-ahead".into(),
            ));
        }
        let (now, context) = input.tokens.split_at(input.tokens.len() - lookahead);
        let tokens: Vec<i64> = input.prompt_tokens.iter().chain(now).copied().collect();
        let chunk = if input.streaming {
            self.config.chunk_tokens as i64
        } else {
            FULL_ATTENTION
        };
        let [mu, spks] = self.encoder.run(
            &[
                ("token", Input::I64(&[1, tokens.len()], &tokens)),
                ("context", Input::I64(&[1, context.len()], context)),
                (
                    "embedding",
                    Input::F32(&[1, input.embedding.len()], input.embedding),
                ),
                ("chunk", Input::I64(&[], &[chunk])),
            ],
            ["mu", "spks"],
        )?;
        let frames = mu.len() / self.bins;
        Ok((
            Mel {
                rows: self.bins,
                cols: frames,
                data: mu,
            },
            spks,
        ))
    }

    fn solve(
        &self,
        mu: &Mel,
        spks: &[f32],
        cond: &[f32],
        chunk: i64,
        keep_going: &dyn Fn() -> Result<()>,
    ) -> Result<Mel> {
        let frames = mu.cols;
        let size = self.bins * frames;
        let shape = [2, self.bins, frames];
        // Row 0 is conditional; row 1, unconditional, keeps its zeros.
        let pair = |first: &[f32]| {
            let mut both = vec![0.0; 2 * first.len()];
            both[..first.len()].copy_from_slice(first);
            both
        };
        let (mu, spks, cond) = (pair(&mu.data), pair(spks), pair(cond));
        let mut x = mel::frames(&self.noise, 0, frames).data;
        let times = schedule(self.config.steps, &self.config.schedule);
        let mut t = times[0];
        let mut both = vec![0.0; 2 * size];
        for &next in &times[1..] {
            keep_going()?;
            // The reference advances t by dt and takes the next dt from the advanced t: keep its rounding.
            let dt = next - t;
            both[..size].copy_from_slice(&x);
            both[size..].copy_from_slice(&x);
            let [velocity] = self.estimator.run(
                &[
                    ("x", Input::F32(&shape, &both)),
                    ("mu", Input::F32(&shape, &mu)),
                    ("t", Input::F32(&[2], &[t, t])),
                    ("spks", Input::F32(&[2, self.bins], &spks)),
                    ("cond", Input::F32(&shape, &cond)),
                    ("chunk", Input::I64(&[], &[chunk])),
                ],
                ["velocity"],
            )?;
            let (with, without) = velocity.split_at(size);
            for ((x, &c), &u) in x.iter_mut().zip(with).zip(without) {
                *x += dt * ((1.0 + self.config.cfg_rate) * c - self.config.cfg_rate * u);
            }
            t += dt;
        }
        Ok(Mel {
            rows: self.bins,
            cols: frames,
            data: x,
        })
    }
}

/// `steps + 1` times from 0 to 1: linear, or `1 - cos(pi t / 2)`, which takes small steps first.
fn schedule(steps: usize, kind: &str) -> Vec<f32> {
    let linear = (0..=steps).map(|i| i as f32 / steps as f32);
    match kind {
        "cosine" => linear
            .map(|t| 1.0 - (t * 0.5 * std::f32::consts::PI).cos())
            .collect(),
        _ => linear.collect(),
    }
}

fn read_noise(bundle: &Bundle, config: &FlowConfig, bins: usize) -> Result<Mel> {
    let path = bundle.path(&config.noise.file);
    let bytes =
        std::fs::read(&path).map_err(|e| Error::internal(&format!("reading {}", path.display()), e))?;
    let data: Vec<f32> = bytes
        .as_chunks::<4>()
        .0
        .iter()
        .map(|&b| f32::from_le_bytes(b))
        .collect();
    if data.len() != bins * config.noise.frames {
        return Err(Error::Internal(format!(
            "{} holds {} numbers, not {bins} x {}",
            path.display(),
            data.len(),
            config.noise.frames
        )));
    }
    Ok(Mel {
        rows: bins,
        cols: config.noise.frames,
        data,
    })
}

#[cfg(test)]
mod tests {
    use super::schedule;

    #[test]
    fn the_schedule_runs_from_zero_to_one() {
        let cosine = schedule(10, "cosine");
        assert_eq!(cosine.len(), 11);
        assert_eq!(cosine[0], 0.0);
        assert!((cosine[10] - 1.0).abs() < 1e-6);
        assert!(cosine[1] < 0.1 / 4.0);
        assert_eq!(schedule(4, "linear"), vec![0.0, 0.25, 0.5, 0.75, 1.0]);
    }
}
