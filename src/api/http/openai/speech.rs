//! `/v1/audio/speech`: speech from text, always while it is made.

use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};

use super::{
    events, names,
    wire::{OpenAiErrorBody, ResponseFormat, SpeechCreate, StreamFormat},
};
use crate::{
    api::{
        ApiState, encoding,
        error::ApiError,
        http::{
            body,
            layers::{RequestId, X_SEED},
            speech,
        },
        wire::{Delivery, check_text},
    },
    engine::Mode,
    limits,
};

/// Speech from text, chunked while it is made: the audio as the body, or events that carry it.
#[utoipa::path(
    post, path = "/v1/audio/speech", tag = "openai", request_body = SpeechCreate,
    responses(
        (status = 200, description = "Speech, chunked: MP3, Ogg Opus, FLAC, WAV, little-endian 16-bit samples at 24 kHz, or events (`speech.audio.delta` with `audio` in base64, `speech.audio.done`, `error`)",
            content(
                (Vec<u8> = "audio/mpeg"), (Vec<u8> = "audio/ogg"), (Vec<u8> = "audio/flac"), (Vec<u8> = "audio/wav"),
                (Vec<u8> = "audio/pcm"), (super::wire::SpeechEvent = "text/event-stream")
            ),
            headers(("X-Seed" = u64, description = "The seed used"), ("X-Request-Id" = String, description = "Id in the server's log"))),
        (status = 400, description = "A field is missing, empty or out of range; unknown voice; the model takes no instructions", body = OpenAiErrorBody),
        (status = 404, description = "No such model", body = OpenAiErrorBody),
        (status = 413, description = "Body too large", body = OpenAiErrorBody),
        (status = 415, description = "Not JSON", body = OpenAiErrorBody),
        (status = 500, description = "Synthesis failed", body = OpenAiErrorBody),
        (status = 503, description = "Overloaded or shutting down; see Retry-After", body = OpenAiErrorBody),
        (status = 504, description = "The deadline passed", body = OpenAiErrorBody),
    )
)]
pub async fn create(
    State(state): State<ApiState>,
    id: RequestId,
    request: Request,
) -> Result<Response, ApiError> {
    let request = body::json::<SpeechCreate>(request).await?;
    names::check_model(&request.model, state.speaker().model())?;
    let format = ResponseFormat::of(request.response_format.as_deref())?;
    let stream_format = StreamFormat::of(request.stream_format.as_deref())?;
    let delivery = Delivery::new(Some(true), request.speed, request.seed)?;
    check_text("input", &request.input, limits::TTS_TEXT_CHARS)?;
    check_text("voice", &request.voice, limits::VOICE_ID_CHARS)?;
    let voice = names::voice(&request.voice, &request.input, &state.speaker().voices())?;
    let mode = match request.instructions.filter(|text| !text.trim().is_empty()) {
        None => Mode::Sft { voice },
        Some(instruct_text) => {
            check_text("instructions", &instruct_text, limits::PROMPT_TEXT_CHARS)?;
            Mode::Instruct { voice, instruct_text }
        }
    };
    let (speech, first) = speech::begin(&state, &id, request.input, mode, delivery).await?;
    let rate = format.rate().unwrap_or(speech.sample_rate);
    let usage = speech.usage.clone();
    let audio = encoding::streamed_at(speech, first, format.audio(), rate).await?;
    let (body, content_type) = match stream_format {
        StreamFormat::Audio => (Body::from_stream(audio), format.content_type()),
        StreamFormat::Sse => (
            Body::from_stream(events::of(audio, usage, id)),
            events::CONTENT_TYPE,
        ),
    };
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(X_SEED, HeaderValue::from(delivery.seed));
    if format == ResponseFormat::Pcm {
        speech::describe_samples(headers, rate);
    }
    Ok(response)
}
