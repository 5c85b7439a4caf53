//! Requests of the basic inference API. Where a route takes what one of the general API takes, the two share a type.

use serde::Deserialize;
use utoipa::ToSchema;

use crate::api::lax;

/// Text fields of `/inference_zero_shot`; the recording comes beside them as the file `prompt_wav`.
#[derive(Debug, Clone, Deserialize)]
pub struct InferenceZeroShot {
    /// Text to speak.
    pub tts_text: String,
    /// What is said in the recording.
    pub prompt_text: String,
    /// Speed factor.
    #[serde(default, deserialize_with = "lax::number")]
    pub speed: Option<f64>,
    /// Seed; 0 draws one.
    #[serde(default, deserialize_with = "lax::whole")]
    pub seed: Option<u64>,
}

/// Text fields of `/inference_cross_lingual`; the recording comes beside them.
#[derive(Debug, Clone, Deserialize)]
pub struct InferenceCrossLingual {
    /// Text to speak.
    pub tts_text: String,
    /// Speed factor.
    #[serde(default, deserialize_with = "lax::number")]
    pub speed: Option<f64>,
    /// Seed; 0 draws one.
    #[serde(default, deserialize_with = "lax::whole")]
    pub seed: Option<u64>,
}

/// Text fields of `/inference_instruct2`; the recording comes beside them.
#[derive(Debug, Clone, Deserialize)]
pub struct InferenceInstruct2 {
    /// Text to speak.
    pub tts_text: String,
    /// How to speak.
    pub instruct_text: String,
    /// Speed factor.
    #[serde(default, deserialize_with = "lax::number")]
    pub speed: Option<f64>,
    /// Seed; 0 draws one.
    #[serde(default, deserialize_with = "lax::whole")]
    pub seed: Option<u64>,
}

/// The form of `/inference_instruct2`.
#[derive(ToSchema)]
#[allow(dead_code, reason = "only its schema is used")]
pub struct Instruct2Form {
    /// Text to speak, at most 10,000 characters.
    #[schema(min_length = 1, max_length = 10_000)]
    tts_text: String,
    /// How to speak, at most 1,000 characters.
    #[schema(min_length = 1, max_length = 1_000, example = "用四川话说这句话")]
    instruct_text: String,
    /// The voice: WAV, MP3, FLAC, OGG, WebM or M4A; 0.5 to 30 s.
    #[schema(value_type = String, format = Binary, content_media_type = "application/octet-stream")]
    prompt_wav: Vec<u8>,
    #[schema(default = 1.0, minimum = 0.5, maximum = 2.0)]
    speed: Option<f64>,
    #[schema(default = 0, minimum = 0)]
    seed: Option<u64>,
}
