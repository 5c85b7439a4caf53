//! Samples to bytes: one encoder per answer, fed chunk by chunk.

mod flac;
mod l16;
mod mp3;
mod opus;
mod resampled;
mod wav;

pub use flac::FlacEncoder;
pub use l16::{L16Encoder, i16_sample};
pub use mp3::Mp3Encoder;
pub use opus::OpusEncoder;
pub use resampled::Resampled;
pub use wav::WavEncoder;

use crate::Result;

/// How an answer's audio is coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AudioFormat {
    /// MPEG Layer III, constant bit rate.
    Mp3,
    /// Bare little-endian 16-bit samples.
    L16,
    /// RIFF/WAVE with 16-bit samples.
    Wav,
    /// FLAC with 16-bit samples.
    Flac,
    /// Opus in an Ogg stream.
    Opus,
}

impl AudioFormat {
    /// The media type, without parameters.
    pub fn content_type(self) -> &'static str {
        match self {
            AudioFormat::Mp3 => "audio/mpeg",
            AudioFormat::L16 => "audio/L16",
            AudioFormat::Wav => "audio/wav",
            AudioFormat::Flac => "audio/flac",
            // What RFC 7845 calls Opus in Ogg; audio/opus is Opus in RTP.
            AudioFormat::Opus => "audio/ogg",
        }
    }
}

/// A sample within [-1, 1]; what is no number becomes 0.
fn clipped(x: f32) -> f32 {
    if x.is_nan() { 0.0 } else { x.clamp(-1.0, 1.0) }
}

/// Turns one answer's samples into bytes as they come. What all calls gave, joined, is one valid stream, and every
/// prefix of it plays.
pub trait AudioEncoder: Send {
    /// The media type of the bytes.
    fn content_type(&self) -> &'static str;

    /// Takes the next mono samples (nominally in [-1, 1]; what lies beyond is clipped, what is no number counts as
    /// silence) and gives the bytes that are ready, possibly none.
    ///
    /// # Errors
    /// [`crate::Error::Internal`] when the codec library fails.
    fn encode(&mut self, samples: &[f32]) -> Result<Vec<u8>>;

    /// Ends the stream and gives the remaining bytes. Nothing may be encoded afterwards.
    ///
    /// # Errors
    /// [`crate::Error::Internal`] when the codec library fails.
    fn finish(&mut self) -> Result<Vec<u8>>;

    /// After the end: what a file has in the place of the stream's first bytes, so that it says how long it is. `None`
    /// where the format has no place for that, or says it at its end.
    ///
    /// # Errors
    /// [`crate::Error::Internal`] when the codec library fails.
    fn heading(&mut self) -> Result<Option<Vec<u8>>> {
        Ok(None)
    }
}

/// An encoder for a stream whose length is not known yet.
///
/// # Errors
/// [`crate::Error::Internal`] when the format does not know the rate (MP3: 8, 11.025, 12, 16, 22.05, 24, 32, 44.1
/// and 48 kHz; FLAC: up to 96 kHz).
pub fn encoder(format: AudioFormat, sample_rate: u32) -> Result<Box<dyn AudioEncoder>> {
    Ok(match format {
        AudioFormat::Mp3 => Box::new(Mp3Encoder::new(sample_rate)?),
        AudioFormat::L16 => Box::new(L16Encoder),
        AudioFormat::Wav => Box::new(WavEncoder::new(sample_rate)),
        AudioFormat::Flac => Box::new(FlacEncoder::new(sample_rate)?),
        AudioFormat::Opus => opus::encoder(sample_rate)?,
    })
}

/// As [`encoder`], of samples at `sample_rate` hertz for a stream at `out_rate` hertz.
///
/// # Errors
/// As [`encoder`], of `out_rate`.
pub fn encoder_at(format: AudioFormat, sample_rate: u32, out_rate: u32) -> Result<Box<dyn AudioEncoder>> {
    let encoder = encoder(format, out_rate)?;
    Ok(match sample_rate == out_rate {
        true => encoder,
        false => Box::new(Resampled::new(sample_rate, out_rate, encoder)),
    })
}

/// Encodes a whole recording. Unlike a stream, the result says how long it is: a WAV header has its sizes, a FLAC header
/// its length and checksum, an MP3 carries the Info frame by which players cut the codec's own delay off. (Ogg Opus
/// says it at the end, streamed or not.)
///
/// # Errors
/// As [`encoder`].
pub fn encode_whole(format: AudioFormat, sample_rate: u32, samples: &[f32]) -> Result<Vec<u8>> {
    let mut encoder: Box<dyn AudioEncoder> = match format {
        AudioFormat::Mp3 => Box::new(Mp3Encoder::of_file(sample_rate)?),
        _ => encoder(format, sample_rate)?,
    };
    let mut out = encoder.encode(samples)?;
    out.extend(encoder.finish()?);
    if let Some(heading) = encoder.heading()?
        && heading.len() <= out.len()
    {
        out[..heading.len()].copy_from_slice(&heading);
    }
    Ok(out)
}

#[cfg(test)]
mod tests;
