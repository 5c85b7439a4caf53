//! `/inference_*`: the basic inference API, whose fields come as a form, also with GET, and whose answer is always the
//! bare samples as they are made.

use axum::{
    extract::{Request, State},
    response::Response,
};

use super::{
    body::{self, Form},
    layers::RequestId,
    speech,
    tts::{self, PROMPT_WAV},
};
use crate::{
    api::{
        ApiState,
        error::{ApiError, ErrorBody},
        prompt::{self, Recording},
        wire::{
            CrossLingualForm, Delivery, InferenceCrossLingual, InferenceInstruct2, InferenceZeroShot,
            Instruct2Form, InstructRequest, SftRequest, ZeroShotForm, check_text,
        },
    },
    audio::encode::AudioFormat,
    engine::{Mode, PromptAudio},
    limits,
};

/// Speech of a known voice, as raw little-endian 16-bit samples.
#[utoipa::path(
    post, path = "/inference_sft", tag = "basic",
    request_body(content((SftRequest = "application/x-www-form-urlencoded"), (SftRequest = "multipart/form-data"))),
    responses(
        (status = 200, description = "Mono samples, 16 bit, little-endian, chunked", content_type = "audio/L16", body = Vec<u8>,
            headers(("X-Sample-Rate" = u32, description = "Hertz"), ("X-Channels" = u32, description = "1"),
                ("X-Bit-Depth" = u32, description = "16"), ("X-Seed" = u64, description = "The seed used"))),
        (status = 400, description = "A field is missing, empty or out of range; unknown speaker", body = ErrorBody),
        (status = 415, description = "The body is no form", body = ErrorBody),
        (status = 503, description = "Overloaded or shutting down; see Retry-After", body = ErrorBody),
    )
)]
pub async fn sft(
    State(state): State<ApiState>,
    id: RequestId,
    request: Request,
) -> Result<Response, ApiError> {
    let request: SftRequest = body::any_form(request, &[]).await?.parse()?;
    let delivery = samples(request.speed, request.seed)?;
    tts::speak_sft(&state, &id, request, delivery, AudioFormat::L16).await
}

/// Speech of a known voice, as raw little-endian 16-bit samples, by GET: the fields may be in the query, or a form in the body, which hides them.
#[utoipa::path(
    get, path = "/inference_sft", tag = "basic",
    params(
        ("tts_text" = String, Query, description = "Text to speak, at most 10,000 characters"),
        ("spk_id" = String, Query, description = "Voice id, built in or saved"),
        ("speed" = Option<f64>, Query, description = "Speed factor, 0.5 to 2"),
        ("seed" = Option<u64>, Query, description = "Seed that makes the answer reproducible; 0 draws one"),
    ),
    responses(
        (status = 200, description = "Mono samples, 16 bit, little-endian, chunked", content_type = "audio/L16", body = Vec<u8>),
        (status = 400, description = "A field is missing, empty or out of range; unknown speaker", body = ErrorBody),
        (status = 415, description = "The body is no form", body = ErrorBody),
        (status = 503, description = "Overloaded or shutting down; see Retry-After", body = ErrorBody),
    )
)]
pub async fn sft_by_get(
    state: State<ApiState>,
    id: RequestId,
    request: Request,
) -> Result<Response, ApiError> {
    sft(state, id, request).await
}

/// Speech with the voice of a recording and its transcript, as raw little-endian 16-bit samples. GET takes the same.
#[utoipa::path(
    post, path = "/inference_zero_shot", tag = "basic",
    request_body(content = ZeroShotForm, content_type = "multipart/form-data"),
    responses(
        (status = 200, description = "Mono samples, 16 bit, little-endian, chunked", content_type = "audio/L16", body = Vec<u8>),
        (status = 400, description = "A field is missing, empty or out of range; undecodable recording", body = ErrorBody),
        (status = 413, description = "Body or recording too large", body = ErrorBody),
        (status = 415, description = "The body is no form", body = ErrorBody),
        (status = 503, description = "Overloaded or shutting down; see Retry-After", body = ErrorBody),
    )
)]
pub async fn zero_shot(
    State(state): State<ApiState>,
    id: RequestId,
    request: Request,
) -> Result<Response, ApiError> {
    let mut form = body::any_form(request, &[PROMPT_WAV]).await?;
    let InferenceZeroShot {
        tts_text,
        prompt_text,
        speed,
        seed,
    } = form.parse()?;
    let delivery = samples(speed, seed)?;
    check_text("tts_text", &tts_text, limits::TTS_TEXT_CHARS)?;
    check_text("prompt_text", &prompt_text, limits::PROMPT_TEXT_CHARS)?;
    let prompt = recording(&state, &mut form).await?;
    let mode = Mode::ZeroShot { prompt, prompt_text };
    speech::answer(&state, &id, tts_text, mode, delivery, AudioFormat::L16).await
}

/// Speech with the voice of a recording, without its transcript, as raw little-endian 16-bit samples. GET takes the same.
#[utoipa::path(
    post, path = "/inference_cross_lingual", tag = "basic",
    request_body(content = CrossLingualForm, content_type = "multipart/form-data"),
    responses(
        (status = 200, description = "Mono samples, 16 bit, little-endian, chunked", content_type = "audio/L16", body = Vec<u8>),
        (status = 400, description = "A field is missing, empty or out of range; undecodable recording", body = ErrorBody),
        (status = 413, description = "Body or recording too large", body = ErrorBody),
        (status = 415, description = "The body is no form", body = ErrorBody),
        (status = 503, description = "Overloaded or shutting down; see Retry-After", body = ErrorBody),
    )
)]
pub async fn cross_lingual(
    State(state): State<ApiState>,
    id: RequestId,
    request: Request,
) -> Result<Response, ApiError> {
    let mut form = body::any_form(request, &[PROMPT_WAV]).await?;
    let InferenceCrossLingual {
        tts_text,
        speed,
        seed,
    } = form.parse()?;
    let delivery = samples(speed, seed)?;
    check_text("tts_text", &tts_text, limits::TTS_TEXT_CHARS)?;
    let prompt = recording(&state, &mut form).await?;
    let mode = Mode::CrossLingual { prompt };
    speech::answer(&state, &id, tts_text, mode, delivery, AudioFormat::L16).await
}

/// Speech of a known voice that follows an instruction, as raw little-endian 16-bit samples.
#[utoipa::path(
    post, path = "/inference_instruct", tag = "basic",
    request_body(content(
        (InstructRequest = "application/x-www-form-urlencoded"), (InstructRequest = "multipart/form-data")
    )),
    responses(
        (status = 200, description = "Mono samples, 16 bit, little-endian, chunked", content_type = "audio/L16", body = Vec<u8>),
        (status = 400, description = "A field is missing, empty or out of range; unknown speaker; the model takes no instructions", body = ErrorBody),
        (status = 415, description = "The body is no form", body = ErrorBody),
        (status = 503, description = "Overloaded or shutting down; see Retry-After", body = ErrorBody),
    )
)]
pub async fn instruct(
    State(state): State<ApiState>,
    id: RequestId,
    request: Request,
) -> Result<Response, ApiError> {
    let request: InstructRequest = body::any_form(request, &[]).await?.parse()?;
    let delivery = samples(request.speed, request.seed)?;
    tts::speak_instruct(&state, &id, request, delivery, AudioFormat::L16).await
}

/// Speech of a known voice that follows an instruction, as raw little-endian 16-bit samples, by GET: the fields may be in the query, or a form in the body, which hides them.
#[utoipa::path(
    get, path = "/inference_instruct", tag = "basic",
    params(
        ("tts_text" = String, Query, description = "Text to speak, at most 10,000 characters"),
        ("spk_id" = String, Query, description = "Voice id, built in or saved"),
        ("instruct_text" = String, Query, description = "How to speak, at most 1,000 characters"),
        ("speed" = Option<f64>, Query, description = "Speed factor, 0.5 to 2"),
        ("seed" = Option<u64>, Query, description = "Seed that makes the answer reproducible; 0 draws one"),
    ),
    responses(
        (status = 200, description = "Mono samples, 16 bit, little-endian, chunked", content_type = "audio/L16", body = Vec<u8>),
        (status = 400, description = "A field is missing, empty or out of range; unknown speaker; the model takes no instructions", body = ErrorBody),
        (status = 415, description = "The body is no form", body = ErrorBody),
        (status = 503, description = "Overloaded or shutting down; see Retry-After", body = ErrorBody),
    )
)]
pub async fn instruct_by_get(
    state: State<ApiState>,
    id: RequestId,
    request: Request,
) -> Result<Response, ApiError> {
    instruct(state, id, request).await
}

/// Speech with the voice of a recording that follows an instruction, as raw little-endian 16-bit samples. GET takes the
/// same.
#[utoipa::path(
    post, path = "/inference_instruct2", tag = "basic",
    request_body(content = Instruct2Form, content_type = "multipart/form-data"),
    responses(
        (status = 200, description = "Mono samples, 16 bit, little-endian, chunked", content_type = "audio/L16", body = Vec<u8>),
        (status = 400, description = "A field is missing, empty or out of range; undecodable recording; the model takes no instructions", body = ErrorBody),
        (status = 413, description = "Body or recording too large", body = ErrorBody),
        (status = 415, description = "The body is no form", body = ErrorBody),
        (status = 503, description = "Overloaded or shutting down; see Retry-After", body = ErrorBody),
    )
)]
pub async fn instruct2(
    State(state): State<ApiState>,
    id: RequestId,
    request: Request,
) -> Result<Response, ApiError> {
    let mut form = body::any_form(request, &[PROMPT_WAV]).await?;
    let InferenceInstruct2 {
        tts_text,
        instruct_text,
        speed,
        seed,
    } = form.parse()?;
    let delivery = samples(speed, seed)?;
    check_text("tts_text", &tts_text, limits::TTS_TEXT_CHARS)?;
    check_text("instruct_text", &instruct_text, limits::PROMPT_TEXT_CHARS)?;
    let prompt = recording(&state, &mut form).await?;
    let mode = Mode::InstructPrompt {
        prompt,
        instruct_text,
    };
    speech::answer(&state, &id, tts_text, mode, delivery, AudioFormat::L16).await
}

/// Samples are sent as they are made.
fn samples(speed: Option<f64>, seed: Option<u64>) -> Result<Delivery, ApiError> {
    Delivery::new(Some(true), speed, seed)
}

async fn recording(state: &ApiState, form: &mut Form) -> Result<PromptAudio, ApiError> {
    let file = form.require(PROMPT_WAV)?;
    prompt::decode(state, PROMPT_WAV, Recording::File(file.bytes)).await
}
