//! What the engine is asked for and what it gives: no HTTP, no serde.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tokio::sync::mpsc;

use crate::Result;
use crate::audio::prompt::{self, PreparedPrompt, RATE_16K};
use crate::audio::source;

/// A prompt recording ready for the model: resampled, trimmed, levelled. At most 30 s, so that requests that wait
/// hold little.
#[derive(Debug, Clone)]
pub struct PromptAudio(Arc<PreparedPrompt>);

impl PromptAudio {
    /// Prepares decoded mono `samples` in [-1, 1]. Takes milliseconds of computation: call it where blocking is allowed.
    ///
    /// # Errors
    /// [`crate::Error::Invalid`], named by `field`: too short, too long, silent, or of a rate out of range.
    pub fn prepare(samples: &[f32], sample_rate: u32, field: &str) -> Result<Self> {
        prompt::prepare(samples, sample_rate, field).map(|p| Self(Arc::new(p)))
    }

    /// Its length after trimming, seconds.
    pub fn seconds(&self) -> f32 {
        self.0.seconds
    }

    /// The prepared samples.
    pub(super) fn prepared(&self) -> &PreparedPrompt {
        &self.0
    }
}

/// A recording to be spoken by another voice, at 16 kHz, [`limits::SOURCE_MAX_SECONDS`](crate::limits) at most.
#[derive(Debug, Clone)]
pub struct SourceAudio(Arc<Vec<f32>>);

impl SourceAudio {
    /// Prepares decoded mono `samples` in [-1, 1]; nothing is trimmed. Call it where blocking is allowed.
    ///
    /// # Errors
    /// [`crate::Error::Invalid`], named by `field`: too short, too long, silent, or of a rate out of range.
    pub fn prepare(samples: &[f32], sample_rate: u32, field: &str) -> Result<Self> {
        source::prepare(samples, sample_rate, field).map(|at_16k| Self(Arc::new(at_16k)))
    }

    /// Its length, seconds.
    pub fn seconds(&self) -> f32 {
        self.0.len() as f32 / RATE_16K as f32
    }

    /// Its samples in pieces of at most so many seconds, cut where it is quiet.
    pub(super) fn pieces(&self, seconds: f32) -> impl Iterator<Item = &[f32]> {
        let pieces = source::pieces(&self.0, (seconds * RATE_16K as f32) as usize);
        pieces.into_iter().map(|piece| &self.0[piece])
    }
}

/// The voice that a recording is converted to.
#[derive(Debug, Clone)]
pub enum Target {
    /// A known one, by its id.
    Voice(String),
    /// That of a recording.
    Prompt(PromptAudio),
}

/// Whose voice, and how it is prompted.
#[derive(Debug, Clone)]
pub enum Mode {
    /// A known voice: a built-in speaker (by embedding), or a saved clone (zero-shot).
    Sft {
        /// Voice id.
        voice: String,
    },
    /// The voice of the prompt, continuing it.
    ZeroShot {
        /// Prompt recording.
        prompt: PromptAudio,
        /// What is said in it.
        prompt_text: String,
    },
    /// The voice of the prompt without its words.
    CrossLingual {
        /// Prompt recording.
        prompt: PromptAudio,
    },
    /// A known voice and an instruction (instruct2 where the voice has a prompt).
    Instruct {
        /// Voice id.
        voice: String,
        /// The instruction.
        instruct_text: String,
    },
    /// The voice of the prompt and an instruction.
    InstructPrompt {
        /// Prompt recording.
        prompt: PromptAudio,
        /// The instruction.
        instruct_text: String,
    },
    /// Voice conversion: what the source says, as it says it, in another voice. Needs no text.
    Convert {
        /// Recording to convert.
        source: SourceAudio,
        /// The voice to speak with.
        target: Target,
    },
}

impl Mode {
    /// The mode's name in logs.
    pub fn name(&self) -> &'static str {
        match self {
            Mode::Sft { .. } => "sft",
            Mode::ZeroShot { .. } => "zero_shot",
            Mode::CrossLingual { .. } => "cross_lingual",
            Mode::Instruct { .. } => "instruct",
            Mode::InstructPrompt { .. } => "instruct2",
            Mode::Convert { .. } => "vc",
        }
    }
}

/// One synthesis.
#[derive(Debug, Clone)]
pub struct SpeechRequest {
    /// Id in logs and in error answers.
    pub id: String,
    /// What to say; not read in voice conversion.
    pub text: String,
    /// Voice and prompting.
    pub mode: Mode,
    /// Speed factor, 0.5 to 2.
    pub speed: f32,
    /// Seed of every random part; never 0 here (the caller draws one).
    pub seed: u64,
    /// Chunked synthesis for low latency (true), or whole segments (false).
    pub stream: bool,
}

/// Audio as it is made. Dropping it cancels the synthesis.
#[derive(Debug)]
pub struct SpeechStream {
    /// Hertz.
    pub sample_rate: u32,
    /// Chunks of mono samples in [-1, 1]; an error is the last item.
    pub chunks: mpsc::Receiver<Result<Vec<f32>>>,
    /// What it costs, known when the chunks have ended.
    pub usage: Arc<Usage>,
}

/// Tokens of one synthesis; 0 until its audio has ended.
#[derive(Debug, Default)]
pub struct Usage {
    text: AtomicU64,
    speech: AtomicU64,
}

impl Usage {
    /// Text tokens that were read to be spoken: neither a voice's transcript nor an instruction, and nothing of a text
    /// whose words the model reads one by one as they stream in.
    pub fn text_tokens(&self) -> u64 {
        self.text.load(Ordering::Acquire)
    }

    /// Speech tokens that were made.
    pub fn speech_tokens(&self) -> u64 {
        self.speech.load(Ordering::Acquire)
    }

    /// Writes the cost down; before the chunks end.
    pub(crate) fn settle(&self, text: u64, speech: u64) {
        self.text.store(text, Ordering::Release);
        self.speech.store(speech, Ordering::Release);
    }
}

/// A voice as listed.
#[derive(Debug, Clone, PartialEq)]
pub struct VoiceInfo {
    /// Id as clients name it.
    pub id: String,
    /// Name to show.
    pub name: String,
    /// Comes with the model (true) or was saved (false).
    pub built_in: bool,
    /// The recording it was made from; `None`: it is known by its speaker embedding alone.
    pub prompt: Option<VoicePromptInfo>,
    /// Changes whenever the id sounds another way, within one run of the engine.
    pub revision: u64,
}

/// The recording a voice was made from.
#[derive(Debug, Clone, PartialEq)]
pub struct VoicePromptInfo {
    /// What is said in it; empty where nobody told.
    pub text: String,
    /// Its length, seconds.
    pub seconds: f32,
}

/// What became of a file of voices.
#[derive(Debug, Clone, PartialEq)]
pub struct Imported {
    /// Those that were saved.
    pub voices: Vec<VoiceInfo>,
    /// Ids of those that were not, with the reason.
    pub skipped: Vec<(String, String)>,
}
