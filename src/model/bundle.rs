//! The bundle manifest (`bundle.json`): typed, checked, and the paths of the stage files. See `onnx/BUNDLE.md`.

mod vocoder;

use std::path::{Path, PathBuf};

use serde::Deserialize;
use sha2::{Digest, Sha256};

pub use vocoder::{
    CausalCaches, CausalConfig, FixedNoiseConfig, OverlappedConfig, VocoderCache, VocoderConfig, VocoderKind,
};

use crate::{Error, Result, limits};

/// The manifest format this server reads.
const FORMAT: u32 = 2;

/// A graph or table file of the bundle.
#[derive(Debug, Clone, Deserialize)]
pub struct FileEntry {
    /// Path relative to the bundle.
    pub file: String,
    /// SHA-256 of the file, lower-case hexadecimal.
    pub sha256: String,
    /// External weights beside the graph, if any.
    #[serde(default)]
    pub data: Option<String>,
}

/// Log-mel parameters of the prompt feature, in samples, hertz and bins.
#[derive(Debug, Clone, Deserialize)]
pub struct MelConfig {
    /// Sample rate the mel is computed at, hertz.
    pub sample_rate: u32,
    /// FFT size, samples.
    pub n_fft: usize,
    /// Hop, samples.
    pub hop: usize,
    /// Window, samples.
    pub window: usize,
    /// Mel bins.
    pub bins: usize,
    /// Lowest filter edge, hertz.
    pub fmin: f32,
    /// Highest filter edge, hertz.
    pub fmax: f32,
}

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
    /// Speech id that asks for more text where text streams in; null: text does not stream in.
    #[serde(default)]
    pub fill: Option<usize>,
    /// Text and speech tokens that take turns there; null as above.
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

/// The flow stage.
#[derive(Debug, Clone, Deserialize)]
pub struct FlowConfig {
    /// Encoder graph.
    pub encoder: FileEntry,
    /// Estimator graph.
    pub estimator: FileEntry,
    /// Fixed noise.
    pub noise: NoiseConfig,
    /// Euler steps.
    pub steps: usize,
    /// Classifier-free guidance rate.
    pub cfg_rate: f32,
    /// Time schedule: `cosine` or `linear`.
    pub schedule: String,
    /// Attention chunk, tokens.
    pub chunk_tokens: usize,
    /// Look-ahead, tokens.
    pub lookahead_tokens: usize,
    /// Speaker embedding width.
    pub spk_dim: usize,
    /// Chunks of left context a chunk sees unless the command line says otherwise; absent: all.
    #[serde(default)]
    pub left_chunks: Option<usize>,
    /// What the graphs keep from chunk to chunk.
    pub caches: FlowCaches,
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

/// A special token of the text layout.
#[derive(Debug, Clone, Deserialize)]
pub struct SpecialToken {
    /// Its text.
    pub text: String,
    /// Its id.
    pub id: i64,
    /// Whether the model must find it in its text.
    #[serde(default)]
    pub required: bool,
}

/// A built-in voice.
#[derive(Debug, Clone, Deserialize)]
pub struct VoiceEntry {
    /// Id as clients name it.
    pub id: String,
    /// Name to show.
    pub name: String,
    /// File.
    #[serde(flatten)]
    pub file: FileEntry,
}

/// Where the bundle came from.
#[derive(Debug, Clone, Deserialize)]
pub struct SourceInfo {
    /// Checkpoint name.
    pub checkpoint: String,
    /// Licence of the weights.
    #[serde(default)]
    pub licence: String,
}

/// `bundle.json`.
#[derive(Debug, Clone, Deserialize)]
pub struct Manifest {
    /// Format version.
    pub format: u32,
    /// Model name.
    pub name: String,
    /// CosyVoice generation.
    pub generation: u32,
    /// Weight precision.
    pub precision: String,
    /// Origin.
    pub source: SourceInfo,
    /// Output sample rate, hertz.
    pub sample_rate: u32,
    /// Speech tokens per second.
    pub token_rate: u32,
    /// Mel frames per speech token.
    pub token_mel_ratio: usize,
    /// Prompt mel.
    pub mel: MelConfig,
    /// Text tokenizer.
    pub tokenizer: FileEntry,
    /// Language model.
    pub llm: LlmConfig,
    /// Flow.
    pub flow: FlowConfig,
    /// Vocoder.
    pub vocoder: VocoderConfig,
    /// Speaker encoder.
    pub speaker_encoder: FileEntry,
    /// Speech tokenizer.
    pub speech_tokenizer: FileEntry,
    /// Silent speech tokens whose runs are capped.
    #[serde(default)]
    pub silent_tokens: Vec<usize>,
    /// Silent tokens of a run that are spoken.
    #[serde(default = "max_silent_run")]
    pub max_silent_run: usize,
    /// End-of-prompt marker.
    #[serde(default)]
    pub end_of_prompt: Option<SpecialToken>,
    /// What the model was trained for, where that is not everything.
    #[serde(default)]
    pub modes: Option<Vec<String>>,
    /// Whether text may be streamed in; absent: as usual for the generation.
    #[serde(default)]
    pub bistream: Option<bool>,
    /// Built-in voices.
    #[serde(default)]
    pub voices: Vec<VoiceEntry>,
}

/// What generation 3 says; generation 2 has no silent tokens.
fn max_silent_run() -> usize {
    5
}

/// A bundle on disk whose manifest has been read.
#[derive(Debug, Clone)]
pub struct Bundle {
    /// Its directory.
    pub dir: PathBuf,
    /// Its manifest.
    pub manifest: Manifest,
}

impl Manifest {
    /// A name for what saved voices depend on: text ids, speech tokens and speaker embeddings mean the same to every
    /// bundle with this name, whatever its precision.
    pub fn voice_space(&self) -> String {
        let mut hash = Sha256::new();
        for file in [&self.tokenizer, &self.speech_tokenizer, &self.speaker_encoder] {
            hash.update(file.sha256.to_lowercase());
        }
        hex(&hash.finalize()[..16])
    }
}

impl Bundle {
    /// Reads and checks `dir/bundle.json`.
    pub fn open(dir: &Path) -> Result<Self> {
        let path = dir.join("bundle.json");
        let text = std::fs::read_to_string(&path)
            .map_err(|e| Error::internal(&format!("reading {}", path.display()), e))?;
        let mut manifest =
            parse(&text).map_err(|e| Error::internal(&format!("reading {}", path.display()), e))?;
        manifest.llm.withheld = match manifest.generation {
            // As the reference, whose samples depend on it.
            2 => vec![manifest.llm.eos],
            // There the reference masks an id that the model never gives, and speech may end at once.
            3 => manifest.llm.stop.clone(),
            other => {
                return Err(Error::Internal(format!(
                    "{}: this server speaks CosyVoice generations 2 and 3; the bundle is generation {other}",
                    path.display()
                )));
            }
        };
        if manifest.vocoder.merge_weight.len() != manifest.vocoder.harmonics + 1 {
            return Err(Error::Internal(format!(
                "{}: vocoder.merge_weight has {} numbers, not harmonics + 1",
                path.display(),
                manifest.vocoder.merge_weight.len()
            )));
        }
        Ok(Self {
            dir: dir.to_path_buf(),
            manifest,
        })
    }

    /// Compares every file with the hash in the manifest, so that a half-copied model is named, not spoken.
    /// Bundles over [`limits::VERIFY_BYTES`] are taken as they are (`cosyserve_onnx check` reads them whole).
    pub fn verify(&self) -> Result<()> {
        let m = &self.manifest;
        let stages = [
            &m.tokenizer,
            &m.llm.graph,
            &m.flow.encoder,
            &m.flow.estimator,
            &m.flow.noise.file,
        ];
        let others = [
            &m.vocoder.f0,
            &m.vocoder.decoder,
            &m.speaker_encoder,
            &m.speech_tokenizer,
        ];
        let voices = m.voices.iter().map(|v| &v.file);
        let files: Vec<&FileEntry> = stages.into_iter().chain(others).chain(voices).collect();
        let size = |f: &&FileEntry| std::fs::metadata(self.path(f)).map_or(0, |m| m.len());
        if files.iter().map(size).sum::<u64>() > limits::VERIFY_BYTES {
            return Ok(());
        }
        for entry in files {
            let path = self.path(entry);
            let bytes = std::fs::read(&path)
                .map_err(|e| Error::internal(&format!("reading {}", path.display()), e))?;
            if hex(&Sha256::digest(&bytes)) != entry.sha256.to_lowercase() {
                return Err(Error::Internal(format!(
                    "{} is not the file the bundle was made with (SHA-256 differs); copy or export it again",
                    path.display()
                )));
            }
        }
        Ok(())
    }

    /// The path of one of its files.
    pub fn path(&self, entry: &FileEntry) -> PathBuf {
        self.dir.join(&entry.file)
    }
}

/// The manifest in `text`. Its format is looked at first, so that another one is named and not a missing field of it.
fn parse(text: &str) -> Result<Manifest> {
    #[derive(Deserialize)]
    struct Format {
        format: u32,
    }
    let failed = |e: serde_json::Error| Error::Internal(e.to_string());
    let Format { format } = serde_json::from_str(text).map_err(failed)?;
    if format != FORMAT {
        return Err(Error::Internal(format!(
            "format {format} is not known to this server (it reads {FORMAT}); export the model again"
        )));
    }
    serde_json::from_str(text).map_err(failed)
}

/// Bytes in lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn another_format_is_named_before_its_fields_are_missed() {
        let error = parse(r#"{"format": 1, "name": "old"}"#).unwrap_err().to_string();
        assert!(
            error.contains("format 1") && error.contains("export the model again"),
            "{error}"
        );
        let error = parse(r#"{"format": 2}"#).unwrap_err().to_string();
        assert!(error.contains("missing field"), "{error}");
    }
}
