//! Recordings in requests, decoded off the async threads, a bounded number at once.

use bytes::Bytes;

use super::{ApiState, error::ApiError};
use crate::{
    Error,
    audio::{base64, decode, prompt::RATE_16K},
    engine::{PromptAudio, SourceAudio},
};

/// A recording as it came.
#[derive(Debug)]
pub enum Recording {
    /// The content of a file.
    File(Vec<u8>),
    /// Base64, perhaps a `data:` URL.
    Base64(String),
    /// Samples at 16 kHz: 16 bit, little-endian, mono.
    Samples(Bytes),
}

/// Decodes the recording of `field`.
///
/// # Errors
/// 400 when base64 or audio cannot be decoded, 413 when it is too large; texts name `field`.
pub async fn decode(
    state: &ApiState,
    field: &'static str,
    recording: Recording,
) -> Result<PromptAudio, ApiError> {
    Ok(heard(state, field, recording).await?)
}

/// Likewise, for protocols that have other statuses.
///
/// # Errors
/// [`Error::Invalid`], [`Error::TooLarge`]; texts name `field`.
pub async fn heard(
    state: &ApiState,
    field: &'static str,
    recording: Recording,
) -> crate::Result<PromptAudio> {
    prepared(state, field, recording, PromptAudio::prepare).await
}

/// Likewise one that is to be converted.
///
/// # Errors
/// As [`decode()`].
pub async fn decode_source(
    state: &ApiState,
    field: &'static str,
    recording: Recording,
) -> Result<SourceAudio, ApiError> {
    Ok(prepared(state, field, recording, SourceAudio::prepare).await?)
}

async fn prepared<T: Send + 'static>(
    state: &ApiState,
    field: &'static str,
    recording: Recording,
    prepare: fn(&[f32], u32, &str) -> crate::Result<T>,
) -> crate::Result<T> {
    let closed = |error| Error::internal("waiting to decode", error);
    let permit = state.decodes().clone().acquire_owned().await.map_err(closed)?;
    let decoded = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        let decoded = match recording {
            Recording::File(bytes) => decode::decode(bytes, field)?,
            Recording::Base64(text) => decode::decode(base64::decode(&text, field)?, field)?,
            Recording::Samples(bytes) => decode::from_l16(&bytes, RATE_16K, field)?,
        };
        // Prepared here too: a request that waits for its turn holds what the model takes, whatever was uploaded.
        prepare(&decoded.samples, decoded.sample_rate, field)
    });
    decoded
        .await
        .map_err(|error| Error::internal("decoding a recording", error))?
}
