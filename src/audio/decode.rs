//! Audio files of any common format to mono samples.

mod opus;

use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};

use symphonia::core::codecs::audio::well_known::CODEC_ID_OPUS;
use symphonia::core::codecs::audio::{AudioDecoder, AudioDecoderOptions};
use symphonia::core::errors::Error as Fault;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatOptions, FormatReader, TrackType};
use symphonia::core::io::{MediaSourceStream, MediaSourceStreamOptions};
use symphonia::core::meta::MetadataOptions;
use symphonia::core::packet::Packet;

use self::opus::OpusDecoder;
use crate::{Error, Result, limits};

/// One decoded recording.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded {
    /// Mono samples, nominally in [-1, 1]; always finite.
    pub samples: Vec<f32>,
    /// Hertz.
    pub sample_rate: u32,
}

impl Decoded {
    /// Length in seconds.
    pub fn seconds(&self) -> f32 {
        self.samples.len() as f32 / self.sample_rate.max(1) as f32
    }
}

/// Largest sample value accepted: float files may exceed 1, but sums over them must stay finite.
const LOUDEST: f32 = 1e9;
/// Corrupt packets in a row after which a file is given up.
const BAD_PACKETS: usize = 50;

/// Decodes a WAV (PCM of every width, float, A-law, mu-law, ADPCM), AIFF, FLAC, MP3, OGG (Vorbis, Opus), M4A/MP4 (AAC,
/// ALAC), ADTS/AAC or Matroska/WebM (with one of these codecs) file; the content decides, not a name. Channels are
/// averaged. A file that breaks off gives what it holds up to there.
///
/// # Errors
/// Named by `field` (for instance `prompt_audio_base64`). [`Error::TooLarge`]: over [`limits::PROMPT_FILE_BYTES`].
/// [`Error::Invalid`]: empty; no known format or codec; nothing decodable; rate outside
/// [`limits::PROMPT_MIN_RATE`]..=[`limits::PROMPT_MAX_RATE`]; more than [`limits::PROMPT_MAX_CHANNELS`] channels;
/// longer than [`limits::DECODED_MAX_SECONDS`] or [`limits::DECODED_MAX_SAMPLES`]; samples that are not numbers.
pub fn decode(bytes: Vec<u8>, field: &str) -> Result<Decoded> {
    if bytes.is_empty() {
        return Err(Error::invalid(format!("{field}: the audio file is empty")));
    }
    if bytes.len() > limits::PROMPT_FILE_BYTES {
        return Err(Error::TooLarge(format!(
            "{field}: the audio file has {} bytes, at most {} are accepted",
            bytes.len(),
            limits::PROMPT_FILE_BYTES
        )));
    }
    // A decoder that panics on a hostile file must cost one request, not the server.
    match catch_unwind(AssertUnwindSafe(|| decode_inner(bytes))) {
        Ok(Ok(decoded)) => Ok(decoded),
        Ok(Err(text)) => Err(Error::invalid(format!("{field}: {text}"))),
        Err(_) => Err(Error::invalid(format!("{field}: the audio file is corrupt"))),
    }
}

/// Samples that come without a file around them: 16 bit, little-endian, mono, at `sample_rate`.
///
/// # Errors
/// [`Error::Invalid`], named by `field`: empty, or half a sample at the end; longer than
/// [`limits::DECODED_MAX_SECONDS`].
pub fn from_l16(bytes: &[u8], sample_rate: u32, field: &str) -> Result<Decoded> {
    let invalid = |text: String| Err(Error::invalid(format!("{field}: {text}")));
    if bytes.is_empty() {
        return invalid("the recording is empty".into());
    }
    let (pairs, rest) = bytes.as_chunks::<2>();
    if !rest.is_empty() {
        let count = bytes.len();
        return invalid(format!("{count} bytes are no whole number of 16-bit samples"));
    }
    if pairs.len() as f32 > limits::DECODED_MAX_SECONDS * sample_rate as f32 {
        return invalid(format!(
            "the recording is longer than {} s",
            limits::DECODED_MAX_SECONDS
        ));
    }
    let sample = |pair: &[u8; 2]| f32::from(i16::from_le_bytes(*pair)) / 32_768.0;
    Ok(Decoded {
        samples: pairs.iter().map(sample).collect(),
        sample_rate,
    })
}

type Attempt<T> = std::result::Result<T, String>;

fn decode_inner(bytes: Vec<u8>) -> Attempt<Decoded> {
    let (mut format, track, mut decoder) = open(bytes)?;
    let mut mix = Mixdown::default();
    let mut bad = 0;
    loop {
        let packet = match format.next_packet() {
            Ok(Some(packet)) => packet,
            // The end, a file that breaks off, or a second stream chained behind the first.
            Ok(None) | Err(Fault::IoError(_) | Fault::ResetRequired) => break,
            Err(Fault::DecodeError(_)) if bad < BAD_PACKETS => {
                bad += 1;
                continue;
            }
            Err(_) => break,
        };
        if packet.track_id != track {
            continue;
        }
        match decoder.decode(&packet) {
            Ok((planes, rate)) => {
                bad = 0;
                mix.add(&planes, rate)?;
            }
            Err(Fault::DecodeError(_) | Fault::IoError(_)) if bad < BAD_PACKETS => bad += 1,
            Err(_) => break,
        }
    }
    mix.finish()
}

/// What is said of bytes that nobody here can read.
const UNKNOWN: &str =
    "not a known audio format (WAV, MP3, FLAC, OGG or WebM with Vorbis or Opus, M4A/AAC, AIFF are read)";

/// A decoder of packets: symphonia's, or of what it has none for.
enum Decoder {
    Symphonia(Box<dyn AudioDecoder>),
    Opus(Box<OpusDecoder>),
}

impl Decoder {
    /// The samples of each channel, and their rate in hertz.
    fn decode(&mut self, packet: &Packet) -> std::result::Result<(Vec<Vec<f32>>, u32), Fault> {
        match self {
            Decoder::Symphonia(decoder) => {
                let buffer = decoder.decode(packet)?;
                let mut planes = Vec::new();
                buffer.copy_to_vecs_planar(&mut planes);
                Ok((planes, buffer.spec().rate()))
            }
            Decoder::Opus(decoder) => {
                let samples = decoder.decode(&packet.data, packet.trim_end.get() as usize);
                let samples = samples.ok_or(Fault::DecodeError("opus: corrupt packet"))?;
                Ok((vec![samples.to_vec()], opus::RATE))
            }
        }
    }
}

type Opened = (Box<dyn FormatReader>, u32, Decoder);

/// Finds the container, its first audio track and a decoder for it.
fn open(bytes: Vec<u8>) -> Attempt<Opened> {
    let stream = MediaSourceStream::new(Box::new(Cursor::new(bytes)), MediaSourceStreamOptions::default());
    let format = symphonia::default::get_probe()
        .probe(
            &Hint::new(),
            stream,
            FormatOptions::default(),
            MetadataOptions::default(),
        )
        .map_err(|_| UNKNOWN.to_string())?;
    let track = format
        .default_track(TrackType::Audio)
        .ok_or("the file holds no audio track")?;
    let id = track.id;
    let params = track.codec_params.as_ref().and_then(|p| p.audio());
    let params = params.ok_or("the file does not say how its audio is coded")?;
    if let Some(rate) = params.sample_rate {
        check_rate(rate)?;
    }
    if let Some(channels) = &params.channels {
        check_channels(channels.count())?;
    }
    let decoder = match params.codec {
        CODEC_ID_OPUS => {
            let head = params.extra_data.as_deref().unwrap_or_default();
            Decoder::Opus(Box::new(OpusDecoder::new(head)?))
        }
        _ => {
            let decoders = symphonia::default::get_codecs();
            let decoder = decoders.make_audio_decoder(params, &AudioDecoderOptions::default());
            Decoder::Symphonia(decoder.map_err(|_| UNKNOWN.to_string())?)
        }
    };
    Ok((format, id, decoder))
}

fn check_rate(rate: u32) -> Attempt<()> {
    let (low, high) = (limits::PROMPT_MIN_RATE, limits::PROMPT_MAX_RATE);
    if (low..=high).contains(&rate) {
        return Ok(());
    }
    Err(format!("sample rate {rate} Hz is outside {low} to {high} Hz"))
}

fn check_channels(channels: usize) -> Attempt<()> {
    let most = limits::PROMPT_MAX_CHANNELS;
    if (1..=most).contains(&channels) {
        return Ok(());
    }
    Err(format!("{channels} channels; 1 to {most} are accepted"))
}

/// Gathers decoded packets as one channel, within the limits.
#[derive(Default)]
struct Mixdown {
    samples: Vec<f32>,
    rate: u32,
}

impl Mixdown {
    fn add(&mut self, planes: &[Vec<f32>], rate: u32) -> Attempt<()> {
        let frames = planes.iter().map(Vec::len).min().unwrap_or(0);
        if frames == 0 {
            return Ok(());
        }
        check_channels(planes.len())?;
        if self.samples.is_empty() {
            check_rate(rate)?;
            self.rate = rate;
        } else if self.rate != rate {
            return Err("the sample rate changes within the file".into());
        }
        let room = (limits::DECODED_MAX_SECONDS as usize * rate as usize).min(limits::DECODED_MAX_SAMPLES);
        if self.samples.len() + frames > room {
            let most = room / rate as usize;
            return Err(format!("the recording is longer than {most} s at {rate} Hz"));
        }
        let scale = 1.0 / planes.len() as f32;
        let mean = |i: usize| planes.iter().map(|plane| plane[i]).sum::<f32>() * scale;
        self.samples.extend((0..frames).map(mean));
        Ok(())
    }

    fn finish(self) -> Attempt<Decoded> {
        if self.samples.is_empty() {
            return Err("no audio could be decoded".into());
        }
        if !self.samples.iter().all(|x| x.abs() <= LOUDEST) {
            return Err("the file holds samples that are no sound (not numbers, or far out of range)".into());
        }
        Ok(Decoded {
            samples: self.samples,
            sample_rate: self.rate,
        })
    }
}

#[cfg(test)]
#[path = "decode_tests.rs"]
mod tests;
