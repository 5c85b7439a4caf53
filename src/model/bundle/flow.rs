//! The flow's part of the manifest. What differs between its kinds is in [`FlowKind`].

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{FileEntry, read};
use crate::limits;

/// The flow stage.
#[derive(Debug, Clone, Deserialize)]
pub struct FlowConfig {
    /// Encoder graph.
    pub encoder: FileEntry,
    /// Estimator graph.
    pub estimator: FileEntry,
    /// Euler steps.
    pub steps: usize,
    /// Classifier-free guidance rate.
    pub cfg_rate: f32,
    /// Time schedule: `cosine` or `linear`.
    pub schedule: String,
    /// Speaker embedding width.
    pub spk_dim: usize,
    /// How it goes from chunk to chunk.
    #[serde(flatten)]
    pub kind: FlowKind,
}

/// How the flow goes from chunk to chunk.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "Map<String, Value>")]
pub enum FlowKind {
    /// Generations 2 and 3: a chunk sees the pages of those before it.
    Paged(PagedFlowConfig),
    /// Generation 1: chunks overlap and are cross-faded.
    Overlapped(OverlappedFlowConfig),
}

/// A flow whose chunks see the pages of those before them.
#[derive(Debug, Clone, Deserialize)]
pub struct PagedFlowConfig {
    /// Fixed noise.
    pub noise: NoiseConfig,
    /// Attention chunk, tokens.
    pub chunk_tokens: usize,
    /// Look-ahead, tokens.
    pub lookahead_tokens: usize,
    /// Chunks of left context a chunk sees unless the command line says otherwise; absent: all.
    #[serde(default)]
    pub left_chunks: Option<usize>,
    /// What the graphs keep from chunk to chunk.
    pub caches: FlowCaches,
}

/// A flow whose chunks overlap. Its noise is drawn per request.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct OverlappedFlowConfig {
    /// Tokens by which a chunk goes on.
    pub hop_tokens: usize,
    /// Tokens that a chunk shares with the next one.
    pub overlap_tokens: usize,
    /// Mel frames that are mixed where two chunks meet.
    pub mel_overlap_frames: usize,
}

/// Fixed noise of the flow.
#[derive(Debug, Clone, Deserialize)]
pub struct NoiseConfig {
    /// File.
    #[serde(flatten)]
    pub file: FileEntry,
    /// Mel frames in it.
    pub frames: usize,
}

/// The caches of the flow's graphs.
#[derive(Debug, Clone, Deserialize)]
pub struct FlowCaches {
    /// Those of the encoder.
    pub encoder: Vec<CacheConfig>,
    /// Those of the estimator.
    pub estimator: Vec<CacheConfig>,
}

/// One cache: an input and an output of a graph over the same memory, `[rows, shape...]`.
#[derive(Debug, Clone, Deserialize)]
pub struct CacheConfig {
    /// Input name.
    pub name: String,
    /// Output name.
    pub output: String,
    /// What a row is.
    pub kind: CacheKind,
    /// Shape of a row.
    pub shape: Vec<usize>,
    /// Element type.
    pub element: CacheElement,
}

/// What one row of a cache belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CacheKind {
    /// A speech token.
    Token,
    /// A mel frame.
    Frame,
    /// The end of a chunk.
    Tail,
}

/// Element type of a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CacheElement {
    /// 32-bit floats.
    F32,
    /// 16-bit floats.
    F16,
}

impl FlowConfig {
    /// Mel frames of one utterance at most, prompt included.
    pub fn max_frames(&self) -> usize {
        match &self.kind {
            FlowKind::Paged(kind) => kind.noise.frames,
            FlowKind::Overlapped(_) => limits::FLOW_FRAMES,
        }
    }
}

impl TryFrom<Map<String, Value>> for FlowKind {
    type Error = String;

    /// The manifest says how chunks overlap where they do.
    fn try_from(mut fields: Map<String, Value>) -> Result<Self, String> {
        match fields.remove("stream") {
            None => read("flow", fields).map(Self::Paged),
            Some(Value::Object(stream)) => {
                let kind: OverlappedFlowConfig = read("flow.stream", stream)?;
                match kind.hop_tokens {
                    0 => Err("flow.stream.hop_tokens: 0".into()),
                    _ => Ok(Self::Overlapped(kind)),
                }
            }
            Some(stream) => Err(format!("flow.stream: {stream} is not known to this server")),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn kind(fields: Value) -> Result<FlowKind, String> {
        serde_json::from_value(fields).map_err(|e| e.to_string())
    }

    #[test]
    fn the_stream_says_which_kind_it_is() {
        let stream = json!({"hop_tokens": 100, "overlap_tokens": 20, "mel_overlap_frames": 34});
        let overlapped =
            kind(json!({"stream": stream, "noise": null, "caches": {"encoder": [], "estimator": []}}));
        assert!(matches!(overlapped, Ok(FlowKind::Overlapped(c)) if c.hop_tokens == 100));
        let noise = json!({"file": "noise.bin", "sha256": "", "frames": 7});
        let caches = json!({"encoder": [], "estimator": []});
        let paged =
            kind(json!({"noise": noise, "caches": caches, "chunk_tokens": 25, "lookahead_tokens": 3}));
        assert!(matches!(paged, Ok(FlowKind::Paged(c)) if c.noise.frames == 7 && c.left_chunks.is_none()));
        for (fields, named) in [
            (json!({"noise": null}), "flow"),
            (json!({"stream": 5}), "flow.stream"),
            (json!({"stream": {"hop_tokens": 1}}), "overlap_tokens"),
            (
                json!({"stream": {"hop_tokens": 0, "overlap_tokens": 0, "mel_overlap_frames": 0}}),
                "hop_tokens",
            ),
        ] {
            let error = kind(fields).unwrap_err();
            assert!(error.contains(named), "{error}");
        }
    }
}
