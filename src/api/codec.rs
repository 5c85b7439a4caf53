//! The seam to `audio/`: which encodings the api answers with and how recordings come in.

use bytes::Bytes;

use crate::{Error, Result, engine::PromptAudio};

/// An encoding of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// MPEG layer III.
    Mp3,
    /// Raw little-endian 16-bit samples.
    L16,
    /// RIFF WAVE, 16-bit.
    Wav,
}

impl Format {
    /// Its content type.
    pub fn content_type(self) -> &'static str {
        match self {
            Format::Mp3 => "audio/mpeg",
            Format::L16 => "audio/L16",
            Format::Wav => "audio/wav",
        }
    }
}

/// Turns samples into bytes; one per answer.
pub trait Encoder: Send {
    /// Appends the bytes that `samples` complete.
    fn push(&mut self, samples: &[f32], out: &mut Vec<u8>) -> Result<()>;
    /// Appends what is left.
    fn finish(&mut self, out: &mut Vec<u8>) -> Result<()>;
}

/// An encoder for mono samples at `sample_rate` hertz.
pub fn encoder(format: Format, sample_rate: u32) -> Result<Box<dyn Encoder>> {
    match format {
        Format::L16 => Ok(Box::new(L16)),
        Format::Mp3 => Ok(Box::new(Mp3::new(sample_rate)?)),
        Format::Wav => Err(Error::Internal("WAV answers are not built yet".into())),
    }
}

/// Decodes a recording to mono. Blocks: call it off the async threads.
pub fn decode(field: &str, bytes: &Bytes) -> Result<PromptAudio> {
    let wrong = |error| Error::Invalid(format!("{field}: not audio this server can decode: {error}"));
    let mut reader = hound::WavReader::new(std::io::Cursor::new(bytes)).map_err(wrong)?;
    let samples: Vec<f32> = reader
        .samples::<i16>()
        .map(|s| Ok(f32::from(s.map_err(wrong)?) / 32768.0))
        .collect::<Result<_>>()?;
    Ok(PromptAudio {
        samples: samples.into(),
        sample_rate: reader.spec().sample_rate,
    })
}

fn to_i16(samples: &[f32]) -> impl Iterator<Item = i16> {
    samples
        .iter()
        .map(|sample| (sample.clamp(-1.0, 1.0) * 32767.0).round() as i16)
}

struct L16;

impl Encoder for L16 {
    fn push(&mut self, samples: &[f32], out: &mut Vec<u8>) -> Result<()> {
        out.extend(to_i16(samples).flat_map(i16::to_le_bytes));
        Ok(())
    }

    fn finish(&mut self, _out: &mut Vec<u8>) -> Result<()> {
        Ok(())
    }
}

struct Mp3(mp3lame_encoder::Encoder);

impl Mp3 {
    fn new(sample_rate: u32) -> Result<Self> {
        let wrong = |error| Error::internal("setting up MP3", error);
        let builder = mp3lame_encoder::Builder::new();
        let builder = builder.ok_or_else(|| Error::Internal("no memory for MP3".into()))?;
        let encoder = builder
            .with_num_channels(1)
            .and_then(|b| b.with_sample_rate(sample_rate))
            .and_then(|b| b.with_brate(mp3lame_encoder::Bitrate::Kbps64))
            .and_then(|b| b.with_to_write_vbr_tag(false))
            .and_then(|b| b.build())
            .map_err(wrong)?;
        Ok(Self(encoder))
    }
}

impl Encoder for Mp3 {
    fn push(&mut self, samples: &[f32], out: &mut Vec<u8>) -> Result<()> {
        let samples: Vec<i16> = to_i16(samples).collect();
        out.reserve(mp3lame_encoder::max_required_buffer_size(samples.len()));
        let encoded = self.0.encode_to_vec(mp3lame_encoder::MonoPcm(&samples), out);
        encoded
            .map(drop)
            .map_err(|error| Error::internal("encoding MP3", error))
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> Result<()> {
        out.reserve(mp3lame_encoder::max_required_buffer_size(0));
        let flushed = self.0.flush_to_vec::<mp3lame_encoder::FlushNoGap>(out);
        flushed
            .map(drop)
            .map_err(|error| Error::internal("ending MP3", error))
    }
}
