//! Audio inside JSON fields: base64 as clients really send it.

use ::base64::Engine;
use ::base64::alphabet;
use ::base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::{Error, Result, limits};

const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Decodes base64 text (RFC 4648): standard or URL-safe alphabet, padded or not, with any white space in it, with or
/// without a `data:` URL prefix (RFC 2397).
///
/// # Errors
/// Named by `field`: [`Error::Invalid`] for an empty text or characters that are not base64, or a `data:` prefix
/// without `;base64`; [`Error::TooLarge`] when the content is over [`limits::PROMPT_FILE_BYTES`].
pub fn decode(text: &str, field: &str) -> Result<Vec<u8>> {
    let text = content(text.trim(), field)?;
    let mut clean = Vec::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'-' => clean.push(b'+'),
            b'_' => clean.push(b'/'),
            _ if byte.is_ascii_whitespace() => {}
            _ => clean.push(byte),
        }
    }
    if clean.is_empty() {
        return Err(Error::invalid(format!("{field}: empty")));
    }
    if clean.len() / 4 * 3 > limits::PROMPT_FILE_BYTES + 3 {
        return Err(Error::TooLarge(format!(
            "{field}: the audio file is over {} MiB",
            limits::PROMPT_FILE_BYTES >> 20
        )));
    }
    LENIENT
        .decode(&clean)
        .map_err(|e| Error::invalid(format!("{field}: not valid base64 ({e})")))
}

/// Encodes bytes with the standard alphabet and padding.
pub fn encode(bytes: &[u8]) -> String {
    ::base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// What follows the prefix of a `data:` URL, or the whole text when it is none.
fn content<'a>(text: &'a str, field: &str) -> Result<&'a str> {
    let is_url = text
        .get(..5)
        .is_some_and(|head| head.eq_ignore_ascii_case("data:"));
    if !is_url {
        return Ok(text);
    }
    match text.split_once(',') {
        Some((head, body)) if head.to_ascii_lowercase().trim_end().ends_with(";base64") => Ok(body),
        _ => Err(Error::invalid(format!("{field}: a data: URL without ;base64"))),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_common_spelling_is_read() {
        let bytes = [0xfb, 0xff, 0xbe, 0x01];
        for text in [
            "+/++AQ==",
            "+/++AQ",
            "-_--AQ",
            " +/+\n+A\tQ== ",
            "data:audio/wav;base64,+/++AQ==",
            "DATA:;BASE64,-_--AQ",
            "data:audio/webm;codecs=opus;base64,+/++AQ==",
        ] {
            assert_eq!(decode(text, "f").unwrap(), bytes, "{text}");
        }
    }

    #[test]
    fn errors_name_the_field() {
        for text in [
            "",
            "  ",
            "data:audio/wav;base64,",
            "data:audio/wav,abcd",
            "a*b=",
            "AAAAA",
            "====",
            "声音",
        ] {
            let error = decode(text, "prompt_audio_base64").unwrap_err();
            assert!(matches!(error, Error::Invalid(_)), "{text}: {error:?}");
            assert!(error.to_string().starts_with("prompt_audio_base64: "), "{error}");
        }
        let long = "A".repeat(limits::PROMPT_FILE_BYTES / 3 * 4 + 64);
        assert!(matches!(decode(&long, "f"), Err(Error::TooLarge(_))));
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_decoded(bytes in proptest::collection::vec(any::<u8>(), 1..200)) {
            prop_assert_eq!(decode(&encode(&bytes), "f").unwrap(), bytes);
        }

        #[test]
        fn nothing_panics(text in ".{0,80}") {
            let _ = decode(&text, "f");
        }
    }
}
