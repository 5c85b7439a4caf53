//! The vocoder's part of the manifest. What differs between its kinds is in [`VocoderKind`].

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{CacheElement, FileEntry, read};

/// The vocoder stage.
#[derive(Debug, Clone, Deserialize)]
pub struct VocoderConfig {
    /// f0 predictor graph.
    pub f0: FileEntry,
    /// Decoder graph.
    pub decoder: FileEntry,
    /// Samples per mel frame.
    pub hop: usize,
    /// Overtones beside the fundamental.
    pub harmonics: usize,
    /// Amplitude of the sines.
    pub sine_amp: f32,
    /// Standard deviation of the noise in voiced parts.
    pub noise_std: f32,
    /// f0 above this is voiced, hertz.
    pub voiced_threshold: f32,
    /// Weights of the harmonics merge layer, `harmonics + 1`.
    pub merge_weight: Vec<f32>,
    /// Bias of the merge layer.
    pub merge_bias: f32,
    /// How it goes from chunk to chunk.
    #[serde(flatten)]
    pub kind: VocoderKind,
}

/// How the vocoder goes from chunk to chunk.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "Map<String, Value>")]
pub enum VocoderKind {
    /// Generations 1 and 2: chunks overlap and are cross-faded.
    Overlapped(OverlappedConfig),
    /// Generation 3: the graphs carry their state, and any division gives the same samples.
    Causal(CausalConfig),
}

/// A vocoder whose chunks overlap.
#[derive(Debug, Clone, Deserialize)]
pub struct OverlappedConfig {
    /// Mel frames carried between chunks.
    pub cache_mel_frames: usize,
    /// How the source's phase runs.
    #[serde(default)]
    pub phase: Phase,
}

/// How the source's phase runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Generation 2: by frames.
    #[default]
    Frames,
    /// Generation 1: by samples, from a random start in every run.
    Samples,
}

/// A causal vocoder.
#[derive(Debug, Clone, Deserialize)]
pub struct CausalConfig {
    /// State of the graphs.
    pub caches: CausalCaches,
    /// Mel frames the f0 predictor looks ahead.
    pub f0_lookahead_frames: usize,
    /// Mel frames the decoder looks ahead.
    pub lookahead_frames: usize,
    /// Samples by which the decoder's output lags behind its frames.
    pub delay_samples: usize,
    /// Noise of the source, the same for every utterance.
    pub noise: FixedNoiseConfig,
}

/// The caches of both graphs, in the order of their inputs.
#[derive(Debug, Clone, Deserialize)]
pub struct CausalCaches {
    /// Those of the f0 predictor.
    pub f0: Vec<VocoderCache>,
    /// Those of the decoder.
    pub decoder: Vec<VocoderCache>,
}

/// One cache: an input that takes what the run before gave as output, `[rows, shape...]`.
#[derive(Debug, Clone, Deserialize)]
pub struct VocoderCache {
    /// Input name.
    pub name: String,
    /// Output name.
    pub output: String,
    /// Shape of a row.
    pub shape: Vec<usize>,
    /// Element type.
    pub element: CacheElement,
}

/// Noise that is drawn from a fixed generator.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum FixedNoiseConfig {
    /// Uniform numbers from MT19937.
    Uniform {
        /// Its seed.
        seed: u32,
        /// Draws before the first that is used.
        skip: u64,
    },
}

impl TryFrom<Map<String, Value>> for VocoderKind {
    type Error = String;

    /// The manifest names no kind where there was only one.
    fn try_from(mut fields: Map<String, Value>) -> Result<Self, String> {
        match fields.remove("kind") {
            None => read("vocoder", fields).map(Self::Overlapped),
            Some(kind) if kind == "causal" => match fields.remove("phase") {
                Some(phase) if phase == "held" => read("vocoder", fields).map(Self::Causal),
                phase => Err(format!("vocoder.phase: {phase:?} is not known to this server")),
            },
            Some(kind) => Err(format!("vocoder.kind: {kind} is not known to this server")),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn kind(fields: Value) -> Result<VocoderKind, String> {
        serde_json::from_value(fields).map_err(|e| e.to_string())
    }

    #[test]
    fn the_kind_says_which_fields_there_are() {
        let overlapped = kind(json!({"cache_mel_frames": 8}));
        assert!(matches!(overlapped, Ok(VocoderKind::Overlapped(c)) if c.cache_mel_frames == 8));
        let samples = kind(json!({"cache_mel_frames": 20, "phase": "samples"}));
        assert!(matches!(samples, Ok(VocoderKind::Overlapped(c)) if c.phase == Phase::Samples));
        let causal = kind(json!({
            "kind": "causal", "phase": "held", "caches": {"f0": [], "decoder": []}, "f0_lookahead_frames": 3,
            "lookahead_frames": 4, "delay_samples": 8, "noise": {"kind": "uniform", "seed": 0, "skip": 7},
        }));
        assert!(matches!(causal, Ok(VocoderKind::Causal(c)) if c.lookahead_frames == 4));
        for (fields, named) in [
            (json!({}), "cache_mel_frames"),
            (json!({"cache_mel_frames": 8, "phase": "linear"}), "linear"),
            (json!({"kind": "other"}), "vocoder.kind"),
            (json!({"kind": "causal", "phase": "linear"}), "vocoder.phase"),
            (json!({"kind": "causal", "phase": "held"}), "missing field"),
        ] {
            let error = kind(fields).unwrap_err();
            assert!(error.contains(named), "{error}");
        }
    }
}
