//! What a model needs to know of a prompt recording: speech tokens, speaker embedding, mel
//! (`_extract_speech_token`, `_extract_spk_embedding`, `_extract_speech_feat` of cli/frontend.py).

use super::bundle::Bundle;
use crate::dsp::fbank::Fbank;
use crate::dsp::mel::{LogMel, MelParams};
use crate::dsp::whisper::WhisperMel;
use crate::runtime::{Device, Graph, GraphOptions, Input, Positional, Runtime};
use crate::{Error, Result};

/// Bins of the speaker encoder's fbank.
const FBANK_BINS: usize = 80;
/// Bins of the speech tokenizer's log-mel.
const WHISPER_BINS: usize = 128;

/// The loaded encoders of a model's prompts.
pub struct PromptEncoder {
    speech_tokenizer: Graph,
    speaker_encoder: Graph,
    mel: LogMel,
    whisper: WhisperMel,
    fbank: Fbank,
    ratio: Option<usize>,
}

/// Features of one prompt.
#[derive(Debug, Clone, PartialEq)]
pub struct PromptFeatures {
    /// Speech tokens.
    pub speech_tokens: Vec<i64>,
    /// Mel [frames, bins] row-major; frames = ratio * tokens, where the model has such a ratio.
    pub speech_feat: Vec<f32>,
    /// Speaker embedding.
    pub embedding: Vec<f32>,
}

impl PromptEncoder {
    /// Loads the encoders on a device.
    pub fn load(runtime: &Runtime, bundle: &Bundle, device: Device) -> Result<Self> {
        let manifest = &bundle.manifest;
        let options = GraphOptions {
            arena: device != Device::Cpu,
            ..GraphOptions::on(device)
        };
        let mel = MelParams {
            sample_rate: manifest.mel.sample_rate,
            n_fft: manifest.mel.n_fft,
            hop: manifest.mel.hop,
            window: manifest.mel.window,
            bins: manifest.mel.bins,
            fmin: manifest.mel.fmin,
            fmax: manifest.mel.fmax,
        };
        Ok(Self {
            speech_tokenizer: Graph::load(
                runtime,
                "speech tokenizer",
                &bundle.path(&manifest.speech_tokenizer),
                &options,
            )?,
            speaker_encoder: Graph::load(
                runtime,
                "speaker encoder",
                &bundle.path(&manifest.speaker_encoder),
                &options,
            )?,
            mel: LogMel::new(mel)?,
            whisper: WhisperMel::new(WHISPER_BINS),
            fbank: Fbank::new(FBANK_BINS),
            ratio: manifest.token_mel_ratio,
        })
    }

    /// Everything of a prompt given at 16 kHz and at the mel's rate. Where a token has a whole number of mel frames,
    /// tokens and mel are cut to the same length.
    pub fn encode(&self, at_16k: &[f32], at_mel_rate: &[f32]) -> Result<PromptFeatures> {
        let mut speech_tokens = self.speech_tokens(at_16k)?;
        let mel = self.mel.compute(at_mel_rate);
        let mut speech_feat = mel.data;
        if let Some(ratio) = self.ratio {
            let tokens = speech_tokens.len().min(mel.rows / ratio);
            speech_tokens.truncate(tokens);
            speech_feat.truncate(tokens * ratio * mel.cols);
        }
        if speech_tokens.is_empty() || speech_feat.is_empty() {
            return Err(Error::invalid("prompt audio: too short to hold any speech token"));
        }
        Ok(PromptFeatures {
            speech_tokens,
            speech_feat,
            embedding: self.embedding(at_16k)?,
        })
    }

    /// Speech tokens of 16 kHz samples (30 s at most).
    pub fn speech_tokens(&self, at_16k: &[f32]) -> Result<Vec<i64>> {
        let mel = self.whisper.compute(at_16k);
        let frames = i32::try_from(mel.cols).map_err(|_| Error::invalid("prompt audio: too long"))?;
        let output = self.speech_tokenizer.run_positional(&[
            Input::F32(&[1, mel.rows, mel.cols], &mel.data),
            Input::I32(&[1], &[frames]),
        ])?;
        match output {
            Positional::Ints(tokens) => Ok(tokens),
            Positional::Floats(_) => Err(Error::Internal(
                "the speech tokenizer gave floats, not tokens".into(),
            )),
        }
    }

    /// Speaker embedding of 16 kHz samples.
    pub fn embedding(&self, at_16k: &[f32]) -> Result<Vec<f32>> {
        let fbank = self.fbank.compute_centred(at_16k);
        match self
            .speaker_encoder
            .run_positional(&[Input::F32(&[1, fbank.rows, fbank.cols], &fbank.data)])?
        {
            Positional::Floats(embedding) => Ok(embedding),
            Positional::Ints(_) => Err(Error::Internal("the speaker encoder gave integers".into())),
        }
    }
}
