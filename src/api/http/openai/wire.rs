//! Requests, answers and events as OpenAI writes them (its API reference of 2026).

use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use crate::{
    api::{error::ApiError, lax},
    audio::encode::AudioFormat,
};

/// Speech from text.
#[derive(Debug, Clone, Deserialize, ToSchema)]
pub struct SpeechCreate {
    /// The loaded model by its name, or one of OpenAI's names for it (see `/v1/models`).
    #[schema(min_length = 1, example = "tts-1")]
    pub model: String,
    /// Text to speak, at most 10,000 characters.
    #[schema(min_length = 1, max_length = 10_000, example = "Hello from a small machine.")]
    pub input: String,
    /// Voice id, built in or cloned (see `/v1/audio/voices`), or one of OpenAI's names: `alloy`, `ash`, `ballad`, `cedar`,
    /// `coral`, `echo`, `fable`, `marin`, `nova`, `onyx`, `sage`, `shimmer`, `verse`. An object with the id works too.
    #[serde(deserialize_with = "voice")]
    #[schema(value_type = VoiceParam)]
    pub voice: String,
    /// How to speak, at most 1,000 characters; refused where the model takes no instructions.
    #[schema(max_length = 1_000, example = "用开心的语气说")]
    pub instructions: Option<String>,
    /// How the audio is coded.
    #[serde(default)]
    #[schema(value_type = Option<ResponseFormat>, default = "mp3")]
    pub response_format: Option<String>,
    /// Speed factor.
    #[serde(default, deserialize_with = "lax::number")]
    #[schema(default = 1.0, minimum = 0.5, maximum = 2.0)]
    pub speed: Option<f64>,
    /// The audio itself, or server-sent events that carry it.
    #[serde(default)]
    #[schema(value_type = Option<StreamFormat>, default = "audio")]
    pub stream_format: Option<String>,
    /// Seed that makes the answer reproducible; 0 draws a new one, named in `X-Seed`. (An addition to OpenAI's fields.)
    #[serde(default, deserialize_with = "lax::whole")]
    #[schema(default = 0, minimum = 0)]
    pub seed: Option<u64>,
}

/// A voice by its id.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(untagged)]
#[allow(dead_code, reason = "the string is read in place")]
pub enum VoiceParam {
    /// The id itself.
    Id(String),
    /// An object with the id.
    Object {
        /// The id.
        id: String,
    },
}

fn voice<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let wrong = |_| serde::de::Error::custom("must be a string or an object with an id");
    Ok(match VoiceParam::deserialize(deserializer).map_err(wrong)? {
        VoiceParam::Id(id) | VoiceParam::Object { id } => id,
    })
}

/// How the audio of an answer is coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ToSchema)]
#[schema(rename_all = "lowercase")]
pub enum ResponseFormat {
    /// MPEG Layer III.
    Mp3,
    /// Opus in an Ogg stream.
    Opus,
    /// FLAC.
    Flac,
    /// RIFF/WAVE.
    Wav,
    /// Bare little-endian 16-bit samples at 24 kHz.
    Pcm,
}

impl ResponseFormat {
    /// By its name.
    ///
    /// # Errors
    /// 400 that names the formats there are.
    pub fn of(name: Option<&str>) -> Result<Self, ApiError> {
        const KNOWN: &str = "mp3, opus, flac, wav or pcm";
        match name.unwrap_or("mp3").to_ascii_lowercase().as_str() {
            "mp3" => Ok(Self::Mp3),
            "opus" => Ok(Self::Opus),
            "flac" => Ok(Self::Flac),
            "wav" => Ok(Self::Wav),
            "pcm" => Ok(Self::Pcm),
            "aac" => Err(ApiError::field(
                "response_format",
                format!("aac is not made here (there is no freely licensed encoder); ask for {KNOWN}"),
            )),
            _ => Err(ApiError::field("response_format", format!("must be {KNOWN}"))),
        }
    }

    /// The encoder's format.
    pub fn audio(self) -> AudioFormat {
        match self {
            Self::Mp3 => AudioFormat::Mp3,
            Self::Opus => AudioFormat::Opus,
            Self::Flac => AudioFormat::Flac,
            Self::Wav => AudioFormat::Wav,
            Self::Pcm => AudioFormat::L16,
        }
    }

    /// Hertz that the format has whatever the model's rate; `None`: the model's, which the audio names itself.
    pub fn rate(self) -> Option<u32> {
        (self == Self::Pcm).then_some(PCM_RATE)
    }

    /// The media type.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Pcm => "audio/pcm",
            other => other.audio().content_type(),
        }
    }
}

/// Hertz of `pcm`, which clients take for granted.
const PCM_RATE: u32 = 24_000;

/// How an answer's audio travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ToSchema)]
#[schema(rename_all = "lowercase")]
pub enum StreamFormat {
    /// As the body.
    Audio,
    /// As server-sent events.
    Sse,
}

impl StreamFormat {
    /// By its name.
    ///
    /// # Errors
    /// 400 that names both.
    pub fn of(name: Option<&str>) -> Result<Self, ApiError> {
        match name.unwrap_or("audio").to_ascii_lowercase().as_str() {
            "audio" => Ok(Self::Audio),
            "sse" => Ok(Self::Sse),
            _ => Err(ApiError::field("stream_format", "must be audio or sse")),
        }
    }
}

/// An event of a streamed answer.
#[derive(Debug, Serialize, ToSchema)]
#[serde(tag = "type")]
pub enum SpeechEvent {
    /// The next audio.
    #[serde(rename = "speech.audio.delta")]
    Delta {
        /// Bytes of the encoded audio, base64; those of all events, joined, are the file.
        audio: String,
    },
    /// All audio was sent.
    #[serde(rename = "speech.audio.done")]
    Done {
        /// What it cost.
        usage: SpeechUsage,
    },
    /// The speech broke off.
    #[serde(rename = "error")]
    Error {
        /// Why.
        error: OpenAiError,
    },
}

/// Tokens of a synthesis.
#[derive(Debug, Serialize, ToSchema)]
pub struct SpeechUsage {
    /// Text tokens read.
    pub input_tokens: u64,
    /// Speech tokens made, 25 or 50 a second.
    pub output_tokens: u64,
    /// Both.
    pub total_tokens: u64,
}

/// What went wrong, in the words of OpenAI's API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct OpenAiError {
    /// What is wrong, in which field, and which limit applies.
    #[schema(example = "speed: must be between 0.5 and 2, not 3")]
    pub message: String,
    /// Whose fault it is: `invalid_request_error` or `server_error`.
    #[schema(example = "invalid_request_error")]
    pub r#type: &'static str,
    /// The field that is wrong.
    #[schema(example = "speed")]
    pub param: Option<String>,
    /// What programs may act on: `model_not_found`, `invalid_api_key`, `overloaded`, `timeout`.
    pub code: Option<&'static str>,
}

/// The body of every answer below `/v1` that is not a success.
#[derive(Debug, Serialize, ToSchema)]
pub struct OpenAiErrorBody {
    /// What OpenAI's clients read.
    pub error: OpenAiError,
    /// The same text, where this server's other routes have it.
    pub detail: String,
}

/// A model.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Model {
    /// Name to send as `model`.
    pub id: String,
    /// Always `model`.
    pub object: &'static str,
    /// When this server loaded it, seconds since 1970.
    pub created: u64,
    /// Always `cosyserve`.
    pub owned_by: &'static str,
}

/// Answer of `/v1/models`.
#[derive(Debug, Serialize, ToSchema)]
pub struct Models {
    /// Always `list`.
    pub object: &'static str,
    /// The loaded model, then OpenAI's names for it.
    pub data: Vec<Model>,
}

/// A voice.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Voice {
    /// Id to send as `voice`.
    pub id: String,
    /// Name to show.
    pub name: String,
    /// Always `audio.voice`.
    pub object: &'static str,
}

/// Answer of `/v1/audio/voices`: one list under the two names that clients look for.
#[derive(Debug, Serialize, ToSchema)]
pub struct Voices {
    /// Built-in voices, then saved ones.
    pub voices: Vec<Voice>,
    /// Always `list`.
    pub object: &'static str,
    /// The same again.
    pub data: Vec<Voice>,
}
