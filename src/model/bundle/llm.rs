//! The language model's part of the manifest.

use serde::Deserialize;

use super::FileEntry;

/// Sampler defaults (repetition-aware sampling).
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct SamplingConfig {
    /// Nucleus mass.
    pub top_p: f32,
    /// Nucleus size.
    pub top_k: usize,
    /// Window in which repeats are counted, tokens.
    pub win_size: usize,
    /// Share of the window that counts as repetition.
    pub tau_r: f32,
}

/// The language model stage.
#[derive(Debug, Clone, Deserialize)]
pub struct LlmConfig {
    /// Graph.
    #[serde(flatten)]
    pub graph: FileEntry,
    /// Transformer layers.
    pub layers: usize,
    /// Key/value heads.
    pub kv_heads: usize,
    /// Head width.
    pub head_dim: usize,
    /// Element type of the KV cache: `f32` or `f16`.
    pub kv_dtype: String,
    /// Rows of the rotary caches: the longest sequence.
    pub max_positions: usize,
    /// Text ids are below this.
    pub text_vocab: i64,
    /// Id of speech token 0.
    pub speech_offset: i64,
    /// Width of the logits.
    pub speech_vocab: usize,
    /// Start-of-sequence id.
    pub sos_id: i64,
    /// Task id (end of text, start of speech).
    pub task_id: i64,
    /// Speech id that ends the speech.
    pub eos: usize,
    /// Speech ids that stop decoding.
    pub stop: Vec<usize>,
    /// Those of them that are not sampled before the least length; they follow from the generation.
    #[serde(skip)]
    pub withheld: Vec<usize>,
    /// Speech id that asks for more text where text streams in; `None`: text does not stream in.
    #[serde(default)]
    pub fill: Option<usize>,
    /// Text and speech tokens that take turns there; `None` as above.
    #[serde(default)]
    pub mix_ratio: Option<[usize; 2]>,
    /// Real speech tokens are below this.
    pub speech_tokens: usize,
    /// Sampler defaults.
    pub sampling: SamplingConfig,
    /// Least speech tokens per text token.
    pub min_ratio: f32,
    /// Most speech tokens per text token.
    pub max_ratio: f32,
    /// Present where the model reads text and speaker as rows that another graph makes.
    #[serde(flatten)]
    pub rows: Option<RowsConfig>,
}

/// Prompt rows: what the language model reads in the place of text ids.
#[derive(Debug, Clone, Deserialize)]
pub struct RowsConfig {
    /// The graph that makes them.
    pub text_encoder: FileEntry,
    /// Id of row 0.
    pub rows_offset: i64,
    /// Numbers in a row.
    pub rows_width: usize,
}
