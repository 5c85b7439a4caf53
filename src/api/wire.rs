//! Requests and answers as they cross the wire, with their defaults and bounds.
//!
//! Unknown fields are ignored, `null` counts as absent, and every error text starts with the field's name.

mod inference;
mod voices;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use self::{inference::*, voices::*};
use super::{error::ApiError, lax};
use crate::limits;

/// Speak with a known voice.
#[derive(Debug, Clone, Deserialize, ToSchema)]
pub struct SftRequest {
    /// Text to speak, at most 10,000 characters.
    #[schema(min_length = 1, max_length = 10_000, example = "你好，很高兴认识你。")]
    pub tts_text: String,
    /// Voice id, built in or cloned (see `/available_spks`).
    #[schema(min_length = 1, max_length = 64, example = "中文女")]
    pub spk_id: String,
    /// Send audio while it is made instead of the whole at the end.
    #[serde(default, deserialize_with = "lax::flag")]
    #[schema(default = false)]
    pub stream: Option<bool>,
    /// Speed factor.
    #[serde(default, deserialize_with = "lax::number")]
    #[schema(default = 1.0, minimum = 0.5, maximum = 2.0)]
    pub speed: Option<f64>,
    /// Seed that makes the answer reproducible; 0 draws a new one, named in `X-Seed`.
    #[serde(default, deserialize_with = "lax::whole")]
    #[schema(default = 0, minimum = 0)]
    pub seed: Option<u64>,
}

/// Speak with the voice of a recording and its transcript.
#[derive(Debug, Clone, Deserialize, ToSchema)]
pub struct ZeroShotRequest {
    /// Text to speak, at most 10,000 characters.
    #[schema(min_length = 1, max_length = 10_000)]
    pub tts_text: String,
    /// What is said in the recording, at most 1,000 characters.
    #[schema(min_length = 1, max_length = 1_000)]
    pub prompt_text: String,
    /// The recording (WAV, MP3, FLAC, OGG, WebM or M4A; 0.5 to 30 s), base64; a `data:` URL works too.
    pub prompt_audio_base64: Option<String>,
    /// Send audio while it is made instead of the whole at the end.
    #[serde(default, deserialize_with = "lax::flag")]
    #[schema(default = false)]
    pub stream: Option<bool>,
    /// Speed factor.
    #[serde(default, deserialize_with = "lax::number")]
    #[schema(default = 1.0, minimum = 0.5, maximum = 2.0)]
    pub speed: Option<f64>,
    /// Seed that makes the answer reproducible; 0 draws a new one, named in `X-Seed`.
    #[serde(default, deserialize_with = "lax::whole")]
    #[schema(default = 0, minimum = 0)]
    pub seed: Option<u64>,
}

/// Speak with the voice of a recording in another language (or without its transcript).
#[derive(Debug, Clone, Deserialize, ToSchema)]
pub struct CrossLingualRequest {
    /// Text to speak, at most 10,000 characters.
    #[schema(min_length = 1, max_length = 10_000)]
    pub tts_text: String,
    /// The recording (WAV, MP3, FLAC, OGG, WebM or M4A; 0.5 to 30 s), base64; a `data:` URL works too.
    pub prompt_audio_base64: Option<String>,
    /// Send audio while it is made instead of the whole at the end.
    #[serde(default, deserialize_with = "lax::flag")]
    #[schema(default = false)]
    pub stream: Option<bool>,
    /// Speed factor.
    #[serde(default, deserialize_with = "lax::number")]
    #[schema(default = 1.0, minimum = 0.5, maximum = 2.0)]
    pub speed: Option<f64>,
    /// Seed that makes the answer reproducible; 0 draws a new one, named in `X-Seed`.
    #[serde(default, deserialize_with = "lax::whole")]
    #[schema(default = 0, minimum = 0)]
    pub seed: Option<u64>,
}

/// Speak with a known voice, following an instruction.
#[derive(Debug, Clone, Deserialize, ToSchema)]
pub struct InstructRequest {
    /// Text to speak, at most 10,000 characters.
    #[schema(min_length = 1, max_length = 10_000)]
    pub tts_text: String,
    /// Voice id, built in or cloned (see `/available_spks`).
    #[schema(min_length = 1, max_length = 64)]
    pub spk_id: String,
    /// How to speak, at most 1,000 characters.
    #[schema(min_length = 1, max_length = 1_000, example = "用四川话说这句话")]
    pub instruct_text: String,
    /// Send audio while it is made instead of the whole at the end.
    #[serde(default, deserialize_with = "lax::flag")]
    #[schema(default = false)]
    pub stream: Option<bool>,
    /// Speed factor.
    #[serde(default, deserialize_with = "lax::number")]
    #[schema(default = 1.0, minimum = 0.5, maximum = 2.0)]
    pub speed: Option<f64>,
    /// Seed that makes the answer reproducible; 0 draws a new one, named in `X-Seed`.
    #[serde(default, deserialize_with = "lax::whole")]
    #[schema(default = 0, minimum = 0)]
    pub seed: Option<u64>,
}

/// Say what a recording says in another voice: that of a recording, or a known one.
#[derive(Debug, Clone, Deserialize, ToSchema)]
pub struct ConvertRequest {
    /// What to say: a recording (WAV, MP3, FLAC, OGG, WebM or M4A; 0.5 to 300 s), base64; a `data:` URL works too.
    pub source_audio_base64: Option<String>,
    /// The voice to say it with: a recording (0.5 to 30 s), base64; or `spk_id`.
    pub prompt_audio_base64: Option<String>,
    /// The voice to say it with, built in or cloned (see `/available_spks`).
    #[schema(min_length = 1, max_length = 64)]
    pub spk_id: Option<String>,
    /// Send audio while it is made instead of the whole at the end.
    #[serde(default, deserialize_with = "lax::flag")]
    #[schema(default = false)]
    pub stream: Option<bool>,
    /// Speed factor.
    #[serde(default, deserialize_with = "lax::number")]
    #[schema(default = 1.0, minimum = 0.5, maximum = 2.0)]
    pub speed: Option<f64>,
    /// Seed that makes the answer reproducible; 0 draws a new one, named in `X-Seed`.
    #[serde(default, deserialize_with = "lax::whole")]
    #[schema(default = 0, minimum = 0)]
    pub seed: Option<u64>,
}

/// The text fields of `/clone`; the recording comes beside them as the file `prompt_audio`.
#[derive(Debug, Clone, Deserialize)]
pub struct CloneRequest {
    /// What is said in the recording.
    pub prompt_text: String,
    /// Id of the new voice.
    pub spk_id: String,
    /// Name to show; the id when absent.
    pub spk_name: Option<String>,
}

/// [`ZeroShotRequest`] as a form.
#[derive(ToSchema)]
#[allow(dead_code, reason = "only its schema is used")]
pub struct ZeroShotForm {
    tts_text: String,
    prompt_text: String,
    /// WAV, MP3, FLAC, OGG, WebM or M4A; 0.5 to 30 s.
    #[schema(value_type = String, format = Binary, content_media_type = "application/octet-stream")]
    prompt_wav: Vec<u8>,
    #[schema(default = false)]
    stream: Option<bool>,
    #[schema(default = 1.0, minimum = 0.5, maximum = 2.0)]
    speed: Option<f64>,
    #[schema(default = 0, minimum = 0)]
    seed: Option<u64>,
}

/// [`CrossLingualRequest`] as a form.
#[derive(ToSchema)]
#[allow(dead_code, reason = "only its schema is used")]
pub struct CrossLingualForm {
    tts_text: String,
    /// WAV, MP3, FLAC, OGG, WebM or M4A; 0.5 to 30 s.
    #[schema(value_type = String, format = Binary, content_media_type = "application/octet-stream")]
    prompt_wav: Vec<u8>,
    #[schema(default = false)]
    stream: Option<bool>,
    #[schema(default = 1.0, minimum = 0.5, maximum = 2.0)]
    speed: Option<f64>,
    #[schema(default = 0, minimum = 0)]
    seed: Option<u64>,
}

/// [`ConvertRequest`] as a form.
#[derive(ToSchema)]
#[allow(dead_code, reason = "only its schema is used")]
pub struct ConvertForm {
    /// What to say: WAV, MP3, FLAC, OGG, WebM or M4A; 0.5 to 300 s.
    #[schema(value_type = String, format = Binary, content_media_type = "application/octet-stream")]
    source_wav: Vec<u8>,
    /// The voice to say it with, 0.5 to 30 s; or `spk_id`.
    #[schema(value_type = Option<String>, format = Binary, content_media_type = "application/octet-stream")]
    prompt_wav: Option<Vec<u8>>,
    spk_id: Option<String>,
    #[schema(default = false)]
    stream: Option<bool>,
    #[schema(default = 1.0, minimum = 0.5, maximum = 2.0)]
    speed: Option<f64>,
    #[schema(default = 0, minimum = 0)]
    seed: Option<u64>,
}

/// The form of `/clone`.
#[derive(ToSchema)]
#[allow(dead_code, reason = "only its schema is used")]
pub struct CloneForm {
    /// What is said in the recording.
    prompt_text: String,
    /// Id of the new voice: 1 to 64 characters, no path separators.
    spk_id: String,
    /// Name to show; the id when absent.
    spk_name: Option<String>,
    /// WAV, MP3, FLAC, OGG, WebM or M4A; 0.5 to 30 s.
    #[schema(value_type = String, format = Binary, content_media_type = "application/octet-stream")]
    prompt_audio: Vec<u8>,
}

/// The form of `/upload_audio`.
#[derive(ToSchema)]
#[allow(dead_code, reason = "only its schema is used")]
pub struct UploadForm {
    /// Any file, at most 32 MiB.
    #[schema(value_type = String, format = Binary, content_media_type = "application/octet-stream")]
    file: Vec<u8>,
}

/// How an answer is delivered: the three options every synthesis takes, checked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Delivery {
    /// Audio while it is made.
    pub stream: bool,
    /// Speed factor, 0.5 to 2.
    pub speed: f32,
    /// Seed, never 0: drawn when the client left it open.
    pub seed: u64,
}

impl Delivery {
    /// Fills in the defaults and checks the ranges.
    ///
    /// # Errors
    /// 400 when `speed` is out of range.
    pub fn new(stream: Option<bool>, speed: Option<f64>, seed: Option<u64>) -> Result<Self, ApiError> {
        let speed = speed.unwrap_or(1.0) as f32;
        if !(limits::SPEED_MIN..=limits::SPEED_MAX).contains(&speed) {
            let (min, max) = (limits::SPEED_MIN, limits::SPEED_MAX);
            return Err(ApiError::field(
                "speed",
                format!("must be between {min} and {max}, not {speed}"),
            ));
        }
        let seed = match seed.unwrap_or(0) {
            0 => draw_seed(),
            seed => seed,
        };
        Ok(Self {
            stream: stream.unwrap_or(false),
            speed,
            seed,
        })
    }
}

/// A new seed, 1 to 2^32 - 1: exact in every client's number type, so that `X-Seed` can be sent back.
pub fn draw_seed() -> u64 {
    rand::random_range(1..=u64::from(u32::MAX))
}

/// Checks a text field: not blank, at most `limit` characters.
///
/// # Errors
/// 400 naming the field.
pub fn check_text(field: &str, text: &str, limit: usize) -> Result<(), ApiError> {
    if text.trim().is_empty() {
        return Err(ApiError::field(field, "must not be empty"));
    }
    // Bytes bound characters from above, so the common case needs no count.
    if text.len() > limit && text.chars().count() > limit {
        return Err(ApiError::field(field, format!("more than {limit} characters")));
    }
    Ok(())
}

/// Checks the name of a new voice: 1 to 64 characters, no control characters. (Its id is the voice store's matter.)
///
/// # Errors
/// 400 naming the field.
pub fn check_voice_name(field: &str, name: &str) -> Result<(), ApiError> {
    check_text(field, name, limits::VOICE_ID_CHARS)?;
    if name.chars().any(char::is_control) {
        return Err(ApiError::field(field, "must not hold control characters"));
    }
    Ok(())
}

/// Answer of `/`.
#[derive(Debug, Serialize, ToSchema)]
pub struct Welcome {
    /// Greeting.
    #[schema(example = "欢迎使用CosyVoice API服务")]
    pub message: &'static str,
    /// Server version.
    pub version: &'static str,
}

/// One voice.
#[derive(Debug, Serialize, ToSchema)]
pub struct SpeakerEntry {
    /// Id to send as `spk_id`.
    pub spk_id: String,
    /// Name to show.
    pub spk_name: String,
}

/// Answer of `/available_spks`.
#[derive(Debug, Serialize, ToSchema)]
pub struct Speakers {
    /// Built-in voices, then saved ones.
    pub speakers: Vec<SpeakerEntry>,
}

/// Answer of `/clone`.
#[derive(Debug, Serialize, ToSchema)]
pub struct Cloned {
    /// Always `success`.
    pub status: &'static str,
    /// What happened, for people.
    pub message: String,
    /// Id of the voice.
    pub spk_id: String,
    /// Its name.
    pub spk_name: String,
}

/// Answer of `/upload_audio`.
#[derive(Debug, Serialize, ToSchema)]
pub struct Uploaded {
    /// The file's name as sent.
    pub filename: String,
    /// The file, base64, ready for `prompt_audio_base64`.
    pub audio_base64: String,
}

/// Answer of `/health` and `/ready`.
#[derive(Debug, Serialize, ToSchema)]
pub struct Health {
    /// `ok`, or `ready`.
    pub status: &'static str,
    /// Loaded model.
    pub model: String,
    /// Output rate, hertz.
    pub sample_rate: u32,
}

#[cfg(test)]
#[path = "tests/wire.rs"]
mod tests;
