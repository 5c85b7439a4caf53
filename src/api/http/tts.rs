//! `/tts` and below: speech from text.

use axum::{
    extract::{Request, State},
    response::Response,
};

use super::{
    answers::{Samples, Speech, SpeechFailures},
    body::{self, Upload},
    layers::RequestId,
    speech,
};
use crate::{
    api::{
        ApiState,
        error::ApiError,
        prompt::{self, Recording},
        wire::{
            self, CrossLingualRequest, Delivery, InstructRequest, SftRequest, ZeroShotRequest, check_text,
        },
    },
    audio::encode::AudioFormat,
    engine::{Mode, PromptAudio},
    limits,
};

/// The multipart field of a recording.
pub(super) const PROMPT_WAV: &str = "prompt_wav";
/// The JSON field of a recording.
pub(super) const PROMPT_BASE64: &str = "prompt_audio_base64";

/// Speech of a known voice, built in or cloned.
#[utoipa::path(
    post, path = "/tts", tag = "speech", operation_id = "speak",
    request_body(content = SftRequest, examples(
        ("Mandarin, streamed" = (value = json!({"tts_text": "你好，很高兴认识你。", "spk_id": "中文女", "stream": true}))),
        ("English, reproducible" = (value = json!({"tts_text": "Hello there.", "spk_id": "英文男", "speed": 1.2, "seed": 7}))),
    )),
    responses(Speech, SpeechFailures)
)]
pub async fn sft(
    State(state): State<ApiState>,
    id: RequestId,
    request: Request,
) -> Result<Response, ApiError> {
    let request = body::json::<SftRequest>(request).await?;
    let (delivery, format) = request.delivery()?;
    speak_sft(&state, &id, request, delivery, format).await
}

/// Speech of a known voice as raw little-endian 16-bit samples, always streamed (`format` is ignored).
#[utoipa::path(
    post, path = "/tts/pcm", tag = "speech", operation_id = "speak_pcm",
    request_body(content = SftRequest, examples(
        ("Mandarin" = (value = json!({"tts_text": "你好，很高兴认识你。", "spk_id": "中文女"}))),
    )),
    responses(Samples, SpeechFailures)
)]
pub async fn sft_pcm(
    State(state): State<ApiState>,
    id: RequestId,
    request: Request,
) -> Result<Response, ApiError> {
    let request = body::json::<SftRequest>(request).await?;
    let (delivery, _) = request.delivery()?;
    let delivery = Delivery {
        stream: true,
        ..delivery
    };
    speak_sft(&state, &id, request, delivery, AudioFormat::L16).await
}

/// Speaks what was asked for with a known voice.
///
/// # Errors
/// 400 naming a field that is empty or too long; as [`speech::answer`].
pub(super) async fn speak_sft(
    state: &ApiState,
    id: &RequestId,
    request: SftRequest,
    delivery: Delivery,
    format: AudioFormat,
) -> Result<Response, ApiError> {
    let SftRequest { tts_text, spk_id, .. } = request;
    check_text("tts_text", &tts_text, limits::TTS_TEXT_CHARS)?;
    check_text("spk_id", &spk_id, limits::VOICE_ID_CHARS)?;
    speech::answer(state, id, tts_text, Mode::Sft { voice: spk_id }, delivery, format).await
}

/// Speech with the voice of a recording and its transcript.
#[utoipa::path(
    post, path = "/tts/zero_shot", tag = "speech", operation_id = "speak_zero_shot",
    request_body(content(
        (ZeroShotRequest = "application/json", examples(("A base64 recording, shortened" = (value = json!({
            "tts_text": "See you soon.", "prompt_text": "What I say in it.",
            "prompt_audio_base64": "data:audio/wav;base64,UklGRiQAAABXQVZF"
        }))))),
        (wire::ZeroShotForm = "multipart/form-data"),
    )),
    responses(Speech, SpeechFailures)
)]
pub async fn zero_shot(
    State(state): State<ApiState>,
    id: RequestId,
    request: Request,
) -> Result<Response, ApiError> {
    let (request, [file]) = body::json_or_form::<ZeroShotRequest, 1>(request, [PROMPT_WAV]).await?;
    let (delivery, format) = request.delivery()?;
    let ZeroShotRequest {
        tts_text,
        prompt_text,
        prompt_audio_base64,
        ..
    } = request;
    check_text("tts_text", &tts_text, limits::TTS_TEXT_CHARS)?;
    check_text("prompt_text", &prompt_text, limits::PROMPT_TEXT_CHARS)?;
    let prompt = recording(&state, file, prompt_audio_base64).await?;
    speech::answer(
        &state,
        &id,
        tts_text,
        Mode::ZeroShot { prompt, prompt_text },
        delivery,
        format,
    )
    .await
}

/// Speech with the voice of a recording, in another language or without its transcript.
#[utoipa::path(
    post, path = "/tts/cross_lingual", tag = "speech", operation_id = "speak_cross_lingual",
    request_body(content(
        (CrossLingualRequest = "application/json", examples(("A base64 recording, shortened" = (value = json!({
            "tts_text": "你好，很高兴认识你。", "prompt_audio_base64": "data:audio/wav;base64,UklGRiQAAABXQVZF"
        }))))),
        (wire::CrossLingualForm = "multipart/form-data"),
    )),
    responses(Speech, SpeechFailures)
)]
pub async fn cross_lingual(
    State(state): State<ApiState>,
    id: RequestId,
    request: Request,
) -> Result<Response, ApiError> {
    let (request, [file]) = body::json_or_form::<CrossLingualRequest, 1>(request, [PROMPT_WAV]).await?;
    let (delivery, format) = request.delivery()?;
    let CrossLingualRequest {
        tts_text,
        prompt_audio_base64,
        ..
    } = request;
    check_text("tts_text", &tts_text, limits::TTS_TEXT_CHARS)?;
    let prompt = recording(&state, file, prompt_audio_base64).await?;
    speech::answer(
        &state,
        &id,
        tts_text,
        Mode::CrossLingual { prompt },
        delivery,
        format,
    )
    .await
}

/// Speech of a known voice that follows an instruction.
#[utoipa::path(
    post, path = "/tts/instruct", tag = "speech", operation_id = "speak_instruct",
    request_body(content = InstructRequest, examples(
        ("Quickly" = (value = json!({"tts_text": "你好，很高兴认识你。", "spk_id": "中文女", "instruct_text": "说得快一点"}))),
    )),
    responses(Speech, SpeechFailures)
)]
pub async fn instruct(
    State(state): State<ApiState>,
    id: RequestId,
    request: Request,
) -> Result<Response, ApiError> {
    let request = body::json::<InstructRequest>(request).await?;
    let (delivery, format) = request.delivery()?;
    speak_instruct(&state, &id, request, delivery, format).await
}

/// Speaks what was asked for with a known voice and an instruction.
///
/// # Errors
/// As [`speak_sft`].
pub(super) async fn speak_instruct(
    state: &ApiState,
    id: &RequestId,
    request: InstructRequest,
    delivery: Delivery,
    format: AudioFormat,
) -> Result<Response, ApiError> {
    let InstructRequest {
        tts_text,
        spk_id,
        instruct_text,
        ..
    } = request;
    check_text("tts_text", &tts_text, limits::TTS_TEXT_CHARS)?;
    check_text("spk_id", &spk_id, limits::VOICE_ID_CHARS)?;
    check_text("instruct_text", &instruct_text, limits::PROMPT_TEXT_CHARS)?;
    let mode = Mode::Instruct {
        voice: spk_id,
        instruct_text,
    };
    speech::answer(state, id, tts_text, mode, delivery, format).await
}

/// The request's recording: the file where one came, else the base64 field.
async fn recording(
    state: &ApiState,
    file: Option<Upload>,
    base64: Option<String>,
) -> Result<PromptAudio, ApiError> {
    let (field, recording) = required((PROMPT_WAV, file), (PROMPT_BASE64, base64))?;
    prompt::decode(state, field, recording).await
}

/// The recording that came as a file, else as base64, and the field it came in.
///
/// # Errors
/// 400 when there is none.
pub(super) fn required(
    (file_field, file): (&'static str, Option<Upload>),
    (base64_field, base64): (&'static str, Option<String>),
) -> Result<(&'static str, Recording), ApiError> {
    match (file, base64) {
        (Some(file), _) => Ok((file_field, Recording::File(file.bytes))),
        (None, Some(text)) => Ok((base64_field, Recording::Base64(text))),
        (None, None) => {
            let what =
                format!("a recording is required (or send it as the file {file_field} of a multipart form)");
            Err(ApiError::field(base64_field, what))
        }
    }
}
