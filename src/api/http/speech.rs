//! From samples to an HTTP answer.

use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse, Response},
};

use super::layers::{RequestId, X_BIT_DEPTH, X_CHANNELS, X_SAMPLE_RATE, X_SEED};
use crate::{
    api::{ApiState, encoding, error::ApiError, wire::Delivery},
    audio::encode::AudioFormat,
    engine::{Mode, SpeechRequest, SpeechStream},
};

/// Starts a synthesis and waits for its first audio. Dropping the stream cancels it.
///
/// # Errors
/// What the engine says of the request, or of its first audio.
pub async fn begin(
    state: &ApiState,
    id: &RequestId,
    text: String,
    mode: Mode,
    delivery: Delivery,
) -> Result<(SpeechStream, Vec<f32>), ApiError> {
    let Delivery { stream, speed, seed } = delivery;
    let request = SpeechRequest {
        id: id.as_str().to_owned(),
        text,
        mode,
        speed,
        seed,
        stream,
    };
    let mut speech = state.speaker().speak(request).await?;
    let first = encoding::first(&mut speech).await?;
    Ok((speech, first))
}

/// Speaks `text` and answers with the audio: chunked while it is made when `delivery.stream`, else whole.
///
/// The status is decided after the first chunk of audio, so whatever fails before it gets a status of its own. What
/// fails later ends a streamed body early, which every HTTP client reports. Dropping the answer cancels the synthesis.
///
/// # Errors
/// What the engine says of the request, or of its first audio (of all its audio when not streaming).
pub async fn answer(
    state: &ApiState,
    id: &RequestId,
    text: String,
    mode: Mode,
    delivery: Delivery,
    format: AudioFormat,
) -> Result<Response, ApiError> {
    let (speech, first) = begin(state, id, text, mode, delivery).await?;
    let sample_rate = speech.sample_rate;
    let mut response = match delivery.stream {
        true => Body::from_stream(encoding::streamed(speech, first, format).await?).into_response(),
        false => Body::from(encoding::whole(speech, first, format).await?).into_response(),
    };
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static(format.content_type()),
    );
    headers.insert(X_SEED, HeaderValue::from(delivery.seed));
    if format == AudioFormat::L16 {
        describe_samples(headers, sample_rate);
    }
    Ok(response)
}

/// Says in headers what bare samples cannot say themselves.
pub fn describe_samples(headers: &mut HeaderMap, sample_rate: u32) {
    headers.insert(X_SAMPLE_RATE, HeaderValue::from(sample_rate));
    headers.insert(X_CHANNELS, HeaderValue::from(1));
    headers.insert(X_BIT_DEPTH, HeaderValue::from(16));
}
