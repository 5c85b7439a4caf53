//! `/voices/{id}/preview`: what a voice sounds like.

use axum::{
    extract::{Path, Request, State, rejection::PathRejection},
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;

use super::{
    body,
    layers::{RequestId, X_SEED},
    voices::{path_id, unknown_is_404},
};
use crate::{
    api::{
        ApiState, encoding,
        error::{ApiError, ErrorBody},
        preview::{Language, PREVIEW_SEED, PreviewKey},
        wire::{PreviewQuery, check_text},
    },
    audio::encode::AudioFormat,
    engine::{Mode, SpeechRequest},
    limits,
};

/// A short sample of a voice, as MP3: a sentence in its language, or `text`. The same each time; kept for whoever asks
/// next.
#[utoipa::path(
    get, path = "/voices/{id}/preview", tag = "voices",
    params(
        ("id" = String, Path, description = "Voice id, built in or saved, percent-encoded"),
        ("text" = Option<String>, Query, description = "What to say, at most 200 characters", max_length = 200),
    ),
    responses(
        (status = 200, description = "Speech", content_type = "audio/mpeg", body = Vec<u8>,
            headers(("X-Seed" = u64, description = "The seed used"))),
        (status = 400, description = "The text is empty or too long; the model does not speak with such voices", body = ErrorBody),
        (status = 404, description = "Unknown voice", body = ErrorBody),
        (status = 503, description = "Overloaded or shutting down; see Retry-After", body = ErrorBody),
        (status = 504, description = "The deadline passed", body = ErrorBody),
    )
)]
pub async fn preview(
    State(state): State<ApiState>,
    id: RequestId,
    path: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, ApiError> {
    let spk_id = path_id(path)?;
    let PreviewQuery { text } = body::query(request.uri())?;
    if let Some(text) = &text {
        check_text("text", text, limits::PREVIEW_TEXT_CHARS)?;
    }
    let voice = state.speaker().voice(&spk_id).map_err(unknown_is_404)?;
    let text = text.unwrap_or_else(|| Language::of(&voice).sample().to_owned());
    let key = PreviewKey {
        spk_id,
        revision: voice.revision,
        text,
    };
    let kept = state.previews().get(&key);
    let mp3 = match kept {
        Some(mp3) => mp3,
        None => {
            let mp3 = spoken(&state, &id, &key).await?;
            state.previews().put(key, mp3.clone());
            mp3
        }
    };
    let mut response = mp3.into_response();
    let headers = response.headers_mut();
    let mime = HeaderValue::from_static(AudioFormat::Mp3.content_type());
    headers.insert(header::CONTENT_TYPE, mime);
    // A voice may be replaced: whoever keeps its preview asks again.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(X_SEED, HeaderValue::from(PREVIEW_SEED));
    Ok(response)
}

async fn spoken(state: &ApiState, id: &RequestId, key: &PreviewKey) -> Result<Bytes, ApiError> {
    let request = SpeechRequest {
        id: id.as_str().to_owned(),
        text: key.text.clone(),
        mode: Mode::Sft {
            voice: key.spk_id.clone(),
        },
        speed: 1.0,
        seed: PREVIEW_SEED,
        stream: false,
    };
    let mut speech = state.speaker().speak(request).await.map_err(unknown_is_404)?;
    let first = encoding::first(&mut speech).await?;
    Ok(encoding::whole(speech, first, AudioFormat::Mp3).await?)
}
