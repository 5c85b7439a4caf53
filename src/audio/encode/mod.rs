//! Samples to bytes: one encoder per answer, fed chunk by chunk.

mod l16;
mod mp3;
mod wav;

pub use l16::{L16Encoder, i16_sample};
pub use mp3::Mp3Encoder;
pub use wav::{WavEncoder, wav_header};

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
}

impl AudioFormat {
    /// The media type, without parameters.
    pub fn content_type(self) -> &'static str {
        match self {
            AudioFormat::Mp3 => "audio/mpeg",
            AudioFormat::L16 => "audio/L16",
            AudioFormat::Wav => "audio/wav",
        }
    }
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
}

/// An encoder for a stream whose length is not known yet.
///
/// # Errors
/// [`crate::Error::Internal`] when the format does not know the rate (MP3: 8, 11.025, 12, 16, 22.05, 24, 32, 44.1
/// and 48 kHz).
pub fn encoder(format: AudioFormat, sample_rate: u32) -> Result<Box<dyn AudioEncoder>> {
    Ok(match format {
        AudioFormat::Mp3 => Box::new(Mp3Encoder::new(sample_rate)?),
        AudioFormat::L16 => Box::new(L16Encoder),
        AudioFormat::Wav => Box::new(WavEncoder::new(sample_rate)),
    })
}

/// Encodes a whole recording. Unlike a stream, the result says how long it is: a WAV header has its sizes, an MP3
/// carries the Info frame by which players cut the codec's own delay off.
///
/// # Errors
/// As [`encoder`].
pub fn encode_whole(format: AudioFormat, sample_rate: u32, samples: &[f32]) -> Result<Vec<u8>> {
    match format {
        AudioFormat::Mp3 => mp3::whole(sample_rate, samples),
        AudioFormat::L16 => L16Encoder.encode(samples),
        AudioFormat::Wav => Ok(wav::whole(sample_rate, samples)),
    }
}

#[cfg(test)]
mod tests;
