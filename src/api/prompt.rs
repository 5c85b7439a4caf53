//! Recordings in requests: base64 or a file, decoded off the async threads, a bounded number at once.

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use bytes::Bytes;

use super::{ApiState, codec, error::ApiError};
use crate::{Error, Result, engine::PromptAudio, limits};

/// Accepts base64 with and without padding.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A recording as it came.
#[derive(Debug)]
pub enum Recording {
    /// The content of a file.
    File(Bytes),
    /// Base64, perhaps a `data:` URL.
    Base64(String),
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
    let closed = |error| Error::internal("waiting to decode", error);
    let permit = state.decodes().clone().acquire_owned().await.map_err(closed)?;
    let decoded = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        let bytes = match recording {
            Recording::File(bytes) => bytes,
            Recording::Base64(text) => Bytes::from(decode_base64(field, &text)?),
        };
        codec::decode(field, &bytes)
    });
    Ok(decoded
        .await
        .map_err(|error| Error::internal("decoding a recording", error))??)
}

/// Decodes base64 in any common dress: standard or URL-safe alphabet, with or without padding, with line breaks, as a
/// `data:` URL.
///
/// # Errors
/// [`Error::Invalid`] naming `field`, [`Error::TooLarge`].
pub fn decode_base64(field: &str, text: &str) -> Result<Vec<u8>> {
    let text = text.trim();
    let text = match text.strip_prefix("data:") {
        Some(url) => url.split_once(',').map_or("", |(_, data)| data),
        None => text,
    };
    if text.len() / 4 * 3 > limits::PROMPT_FILE_BYTES {
        return Err(Error::TooLarge(format!(
            "{field}: more than {} bytes",
            limits::PROMPT_FILE_BYTES
        )));
    }
    let clean: Vec<u8> = text
        .bytes()
        .filter(|byte| !byte.is_ascii_whitespace())
        .map(|byte| match byte {
            b'-' => b'+',
            b'_' => b'/',
            other => other,
        })
        .collect();
    if clean.is_empty() {
        return Err(Error::Invalid(format!("{field}: must not be empty")));
    }
    LENIENT
        .decode(clean)
        .map_err(|error| Error::Invalid(format!("{field}: not base64: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_in_every_dress() {
        for text in ["/+8=", "/+8", "_-8", "data:audio/wav;base64,/+8=", " /+\r\n8=\n"] {
            assert_eq!(decode_base64("f", text).unwrap(), [0xff, 0xef], "{text:?}");
        }
    }

    #[test]
    fn what_is_not_base64_names_the_field() {
        for text in ["", "data:audio/wav;base64,", "data:nothing", "not base64!", "="] {
            let error = decode_base64("prompt_audio_base64", text).unwrap_err();
            assert!(matches!(error, Error::Invalid(_)), "{text:?}: {error:?}");
            assert!(error.to_string().starts_with("prompt_audio_base64: "), "{error}");
        }
    }
}
