//! The bundle manifest (`bundle.json`): typed, checked, and the paths of the stage files. See `onnx/BUNDLE.md`.

mod flow;
mod llm;
mod vocoder;

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

pub use flow::{
    CacheConfig, CacheElement, CacheKind, FlowCaches, FlowConfig, FlowKind, NoiseConfig,
    OverlappedFlowConfig, PagedFlowConfig,
};
pub use llm::{LlmConfig, RowsConfig, SamplingConfig};
pub use vocoder::{
    CausalCaches, CausalConfig, FixedNoiseConfig, OverlappedConfig, Phase, VocoderCache, VocoderConfig,
    VocoderKind,
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

/// A special token of the text layout.
#[derive(Debug, Clone, Deserialize)]
pub struct SpecialToken {
    /// Its text.
    pub text: String,
    /// Its id; `None`: it is tokenised like other text.
    pub id: Option<i64>,
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
    /// Mel frames per speech token; `None`: no whole number, and prompts are not trimmed to it.
    pub token_mel_ratio: Option<usize>,
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

    /// Speech tokens that make `frames` mel frames at most.
    pub fn tokens_within(&self, frames: usize) -> usize {
        frames * self.token_rate as usize * self.mel.hop / self.sample_rate.max(1) as usize
    }

    /// What contradicts itself.
    fn wrong(&self) -> Option<String> {
        let weights = self.vocoder.merge_weight.len();
        if weights != self.vocoder.harmonics + 1 {
            return Some(format!(
                "vocoder.merge_weight has {weights} numbers, not harmonics + 1"
            ));
        }
        if self.generation == 1 && self.llm.rows.is_none() {
            return Some("llm: text_encoder, rows_offset or rows_width is missing or wrong".into());
        }
        None
    }

    /// All files but the voices.
    fn files(&self) -> Vec<&FileEntry> {
        let stages = [
            &self.tokenizer,
            &self.llm.graph,
            &self.flow.encoder,
            &self.flow.estimator,
            &self.vocoder.f0,
            &self.vocoder.decoder,
            &self.speaker_encoder,
            &self.speech_tokenizer,
        ];
        let text_encoder = self.llm.rows.as_ref().map(|rows| &rows.text_encoder);
        let noise = match &self.flow.kind {
            FlowKind::Paged(kind) => Some(&kind.noise.file),
            FlowKind::Overlapped(_) => None,
        };
        stages.into_iter().chain(text_encoder).chain(noise).collect()
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
            1 | 2 => vec![manifest.llm.eos],
            // There the reference masks an id that the model never gives, and speech may end at once.
            3 => manifest.llm.stop.clone(),
            other => {
                return Err(Error::Internal(format!(
                    "{}: this server speaks CosyVoice generations 1 to 3; the bundle is generation {other}",
                    path.display()
                )));
            }
        };
        if let Some(wrong) = manifest.wrong() {
            return Err(Error::Internal(format!("{}: {wrong}", path.display())));
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
        let files = m.files().into_iter().chain(m.voices.iter().map(|v| &v.file));
        let files: Vec<&FileEntry> = files.collect();
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

/// A part of the manifest whose fields depend on a field of it; `name` is what errors call it.
fn read<T: DeserializeOwned>(name: &str, fields: Map<String, Value>) -> Result<T, String> {
    serde_json::from_value(Value::Object(fields)).map_err(|e| format!("{name}: {e}"))
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

    #[test]
    fn what_does_not_fit_together_is_named() {
        let sound = parse(include_str!("../../onnx/bundled/bundle.json")).unwrap();
        assert_eq!(sound.wrong(), None);
        assert_eq!(sound.tokens_within(51), 25);
        let mut rowless = sound.clone();
        rowless.generation = 1;
        assert!(rowless.wrong().unwrap().contains("text_encoder"));
        let mut unmerged = sound;
        unmerged.vocoder.merge_weight.pop();
        assert!(unmerged.wrong().unwrap().contains("merge_weight"));
    }
}
