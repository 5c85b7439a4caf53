//! `/v1/audio/speech`: speech from text, always while it is made.

use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};

use super::{
    events, names,
    wire::{self, SpeechCreate, StreamFormat},
};
use crate::{
    api::{
        ApiState, encoding,
        error::ApiError,
        http::{
            answers::{OpenAiSpeech, OpenAiSpeechFailures},
            body,
            layers::{RequestId, X_SEED},
            speech,
        },
        wire::{Delivery, Format, check_text},
    },
    engine::Mode,
    limits,
};

/// Speech from text, chunked while it is made: the audio as the body, or events that carry it.
#[utoipa::path(
    post, path = "/v1/audio/speech", tag = "openai", operation_id = "create_speech",
    request_body(content = SpeechCreate, examples(
        ("OpenAI's names" = (value = json!({"model": "tts-1", "input": "Hello from a small machine.", "voice": "nova"}))),
        ("A voice of this server, FLAC" = (value = json!({
            "model": "tts-1", "input": "你好，很高兴认识你。", "voice": "中文女", "response_format": "flac", "seed": 7
        }))),
    )),
    responses(OpenAiSpeech, OpenAiSpeechFailures)
)]
pub async fn create(
    State(state): State<ApiState>,
    id: RequestId,
    request: Request,
) -> Result<Response, ApiError> {
    let request = body::json::<SpeechCreate>(request).await?;
    names::check_model(&request.model, state.speaker().model())?;
    let format = wire::response_format(request.response_format.as_deref())?;
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
    let rate = wire::rate(format).unwrap_or(speech.sample_rate);
    let usage = speech.usage.clone();
    let audio = encoding::streamed_at(speech, first, format.into(), rate).await?;
    let (body, content_type) = match stream_format {
        StreamFormat::Audio => (Body::from_stream(audio), wire::content_type(format)),
        StreamFormat::Sse => (
            Body::from_stream(events::of(audio, usage, id)),
            events::CONTENT_TYPE,
        ),
    };
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(X_SEED, HeaderValue::from(delivery.seed));
    if format == Format::Pcm {
        speech::describe_samples(headers, rate);
    }
    Ok(response)
}
