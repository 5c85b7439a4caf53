//! `/tts` and below: speech from text.

use axum::{
    extract::{Request, State},
    response::Response,
};

use super::{
    body::{self, Upload},
    layers::RequestId,
    speech,
};
use crate::{
    api::{
        ApiState,
        error::{ApiError, ErrorBody},
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

/// Speech of a known voice, as MP3.
#[utoipa::path(
    post, path = "/tts", tag = "speech", request_body = SftRequest,
    responses(
        (status = 200, description = "Speech; chunked when `stream`", content_type = "audio/mpeg", body = Vec<u8>,
            headers(("X-Seed" = u64, description = "The seed used"), ("X-Request-Id" = String, description = "Id in the server's log"))),
        (status = 400, description = "A field is missing, empty or out of range; unknown speaker", body = ErrorBody),
        (status = 413, description = "Body too large", body = ErrorBody),
        (status = 415, description = "Not JSON", body = ErrorBody),
        (status = 500, description = "Synthesis failed", body = ErrorBody),
        (status = 503, description = "Overloaded or shutting down; see Retry-After", body = ErrorBody),
        (status = 504, description = "The deadline passed", body = ErrorBody),
    )
)]
pub async fn sft(
    State(state): State<ApiState>,
    id: RequestId,
    request: Request,
) -> Result<Response, ApiError> {
    let request = body::json::<SftRequest>(request).await?;
    let delivery = Delivery::new(request.stream, request.speed, request.seed)?;
    speak_sft(&state, &id, request, delivery, AudioFormat::Mp3).await
}

/// Speech of a known voice, as raw little-endian 16-bit samples, always streamed.
#[utoipa::path(
    post, path = "/tts/pcm", tag = "speech", request_body = SftRequest,
    responses(
        (status = 200, description = "Mono samples, 16 bit, little-endian, chunked", content_type = "audio/L16", body = Vec<u8>,
            headers(("X-Sample-Rate" = u32, description = "Hertz"), ("X-Channels" = u32, description = "1"),
                ("X-Bit-Depth" = u32, description = "16"), ("X-Seed" = u64, description = "The seed used"))),
        (status = 400, description = "A field is missing, empty or out of range; unknown speaker", body = ErrorBody),
        (status = 503, description = "Overloaded or shutting down; see Retry-After", body = ErrorBody),
    )
)]
pub async fn sft_pcm(
    State(state): State<ApiState>,
    id: RequestId,
    request: Request,
) -> Result<Response, ApiError> {
    let request = body::json::<SftRequest>(request).await?;
    let delivery = Delivery {
        stream: true,
        ..Delivery::new(request.stream, request.speed, request.seed)?
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

/// Speech with the voice of a recording and its transcript, as MP3.
#[utoipa::path(
    post, path = "/tts/zero_shot", tag = "speech",
    request_body(content((ZeroShotRequest = "application/json"), (wire::ZeroShotForm = "multipart/form-data"))),
    responses(
        (status = 200, description = "Speech; chunked when `stream`", content_type = "audio/mpeg", body = Vec<u8>),
        (status = 400, description = "A field is missing, empty or out of range; undecodable recording", body = ErrorBody),
        (status = 413, description = "Body or recording too large", body = ErrorBody),
        (status = 415, description = "Neither JSON nor a multipart form", body = ErrorBody),
    )
)]
pub async fn zero_shot(
    State(state): State<ApiState>,
    id: RequestId,
    request: Request,
) -> Result<Response, ApiError> {
    let (request, [file]) = body::json_or_form::<ZeroShotRequest, 1>(request, [PROMPT_WAV]).await?;
    let ZeroShotRequest {
        tts_text,
        prompt_text,
        prompt_audio_base64,
        stream,
        speed,
        seed,
    } = request;
    let delivery = Delivery::new(stream, speed, seed)?;
    check_text("tts_text", &tts_text, limits::TTS_TEXT_CHARS)?;
    check_text("prompt_text", &prompt_text, limits::PROMPT_TEXT_CHARS)?;
    let prompt = recording(&state, file, prompt_audio_base64).await?;
    speech::answer(
        &state,
        &id,
        tts_text,
        Mode::ZeroShot { prompt, prompt_text },
        delivery,
        AudioFormat::Mp3,
    )
    .await
}

/// Speech with the voice of a recording, in another language or without its transcript, as MP3.
#[utoipa::path(
    post, path = "/tts/cross_lingual", tag = "speech",
    request_body(content((CrossLingualRequest = "application/json"), (wire::CrossLingualForm = "multipart/form-data"))),
    responses(
        (status = 200, description = "Speech; chunked when `stream`", content_type = "audio/mpeg", body = Vec<u8>),
        (status = 400, description = "A field is missing, empty or out of range; undecodable recording", body = ErrorBody),
        (status = 413, description = "Body or recording too large", body = ErrorBody),
        (status = 415, description = "Neither JSON nor a multipart form", body = ErrorBody),
    )
)]
pub async fn cross_lingual(
    State(state): State<ApiState>,
    id: RequestId,
    request: Request,
) -> Result<Response, ApiError> {
    let (request, [file]) = body::json_or_form::<CrossLingualRequest, 1>(request, [PROMPT_WAV]).await?;
    let CrossLingualRequest {
        tts_text,
        prompt_audio_base64,
        stream,
        speed,
        seed,
    } = request;
    let delivery = Delivery::new(stream, speed, seed)?;
    check_text("tts_text", &tts_text, limits::TTS_TEXT_CHARS)?;
    let prompt = recording(&state, file, prompt_audio_base64).await?;
    speech::answer(
        &state,
        &id,
        tts_text,
        Mode::CrossLingual { prompt },
        delivery,
        AudioFormat::Mp3,
    )
    .await
}

/// Speech of a known voice that follows an instruction, as MP3.
#[utoipa::path(
    post, path = "/tts/instruct", tag = "speech", request_body = InstructRequest,
    responses(
        (status = 200, description = "Speech; chunked when `stream`", content_type = "audio/mpeg", body = Vec<u8>),
        (status = 400, description = "A field is missing, empty or out of range; unknown speaker; the model takes no instructions", body = ErrorBody),
        (status = 415, description = "Not JSON", body = ErrorBody),
    )
)]
pub async fn instruct(
    State(state): State<ApiState>,
    id: RequestId,
    request: Request,
) -> Result<Response, ApiError> {
    let request = body::json::<InstructRequest>(request).await?;
    let delivery = Delivery::new(request.stream, request.speed, request.seed)?;
    speak_instruct(&state, &id, request, delivery, AudioFormat::Mp3).await
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
