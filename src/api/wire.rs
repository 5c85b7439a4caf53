//! Requests and answers as they cross the wire, with their defaults and bounds.
//!
//! Unknown fields are ignored, `null` counts as absent, and every error text starts with the field's name.

mod forms;
mod inference;
mod options;
mod voices;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub(crate) use self::options::{basic_request, request, with_pace};
pub use self::{
    forms::*,
    inference::*,
    options::{Delivery, Format, draw_seed},
    voices::*,
};
use super::error::ApiError;
use crate::limits;

request! {
    /// Speak with a known voice.
    pub SftRequest(nullable = true) {
        /// Text to speak, at most 10,000 characters.
        #[schema(min_length = 1, max_length = 10_000, example = "你好，很高兴认识你。")]
        pub tts_text: String,
        /// Voice id, built in or cloned (see `/available_spks`).
        #[schema(min_length = 1, max_length = 64, example = "中文女")]
        pub spk_id: String,
    }
}

request! {
    /// Speak with the voice of a recording and its transcript.
    pub ZeroShotRequest(nullable = true) {
        /// Text to speak, at most 10,000 characters.
        #[schema(min_length = 1, max_length = 10_000, example = "See you soon.")]
        pub tts_text: String,
        /// What is said in the recording, at most 1,000 characters.
        #[schema(min_length = 1, max_length = 1_000, example = "What I say in it.")]
        pub prompt_text: String,
        /// The recording (WAV, MP3, FLAC, OGG, WebM or M4A; 0.5 to 30 s), base64; a `data:` URL works too. Required here; a
        /// form may send the file `prompt_wav` instead.
        pub prompt_audio_base64: Option<String>,
    }
}

request! {
    /// Speak with the voice of a recording in another language (or without its transcript).
    pub CrossLingualRequest(nullable = true) {
        /// Text to speak, at most 10,000 characters.
        #[schema(min_length = 1, max_length = 10_000, example = "你好，很高兴认识你。")]
        pub tts_text: String,
        /// The recording (WAV, MP3, FLAC, OGG, WebM or M4A; 0.5 to 30 s), base64; a `data:` URL works too. Required here; a
        /// form may send the file `prompt_wav` instead.
        pub prompt_audio_base64: Option<String>,
    }
}

request! {
    /// Speak with a known voice, following an instruction.
    pub InstructRequest(nullable = true) {
        /// Text to speak, at most 10,000 characters.
        #[schema(min_length = 1, max_length = 10_000, example = "你好，很高兴认识你。")]
        pub tts_text: String,
        /// Voice id, built in or cloned (see `/available_spks`).
        #[schema(min_length = 1, max_length = 64, example = "中文女")]
        pub spk_id: String,
        /// How to speak, at most 1,000 characters.
        #[schema(min_length = 1, max_length = 1_000, example = "用开心的语气说")]
        pub instruct_text: String,
    }
}

request! {
    /// Say what a recording says in another voice: that of a recording, or a known one.
    pub ConvertRequest(nullable = true) {
        /// What to say: a recording (WAV, MP3, FLAC, OGG, WebM or M4A; 0.5 to 300 s), base64; a `data:` URL works too. Required
        /// here; a form may send the file `source_wav` instead.
        pub source_audio_base64: Option<String>,
        /// The voice to say it with: a recording (0.5 to 30 s), base64; or `spk_id`.
        pub prompt_audio_base64: Option<String>,
        /// The voice to say it with, built in or cloned (see `/available_spks`); or a recording, not both.
        #[schema(min_length = 1, max_length = 64, example = "英文女")]
        pub spk_id: Option<String>,
    }
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
