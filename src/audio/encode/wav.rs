//! RIFF/WAVE with 16-bit samples, as a stream or as a file.

use super::{AudioEncoder, AudioFormat, L16Encoder};
use crate::Result;

/// Bytes of the header: RIFF, fmt and the head of data.
const HEADER: u32 = 44;

/// A header for `data` bytes of mono 16-bit samples; [`None`] for a stream of unknown length, whose size fields then
/// hold the largest number, which players take for "until it ends".
fn header(sample_rate: u32, data: Option<u32>) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER as usize);
    let riff = data.map_or(u32::MAX, |bytes| bytes + HEADER - 8);
    out.extend(b"RIFF");
    out.extend(riff.to_le_bytes());
    out.extend(b"WAVEfmt ");
    out.extend(16u32.to_le_bytes());
    out.extend(1u16.to_le_bytes()); // PCM
    out.extend(1u16.to_le_bytes()); // channels
    out.extend(sample_rate.to_le_bytes());
    out.extend((sample_rate * 2).to_le_bytes()); // bytes per second
    out.extend(2u16.to_le_bytes()); // bytes per frame
    out.extend(16u16.to_le_bytes()); // bits per sample
    out.extend(b"data");
    out.extend(data.unwrap_or(u32::MAX).to_le_bytes());
    out
}

/// Bytes of so many samples, where a header can name them.
fn data_bytes(samples: usize) -> Option<u32> {
    u32::try_from(samples * 2)
        .ok()
        .filter(|b| *b <= u32::MAX - HEADER)
}

/// A WAV stream: one header, then samples.
#[derive(Debug, Clone)]
pub struct WavEncoder {
    sample_rate: u32,
    samples: usize,
    started: bool,
}

impl WavEncoder {
    /// A stream at `sample_rate` hertz.
    pub fn new(sample_rate: u32) -> Self {
        WavEncoder {
            sample_rate,
            samples: 0,
            started: false,
        }
    }

    fn start(&mut self) -> Vec<u8> {
        if std::mem::replace(&mut self.started, true) {
            Vec::new()
        } else {
            header(self.sample_rate, None)
        }
    }
}

impl AudioEncoder for WavEncoder {
    fn content_type(&self) -> &'static str {
        AudioFormat::Wav.content_type()
    }

    fn encode(&mut self, samples: &[f32]) -> Result<Vec<u8>> {
        let mut out = self.start();
        self.samples += samples.len();
        out.extend(L16Encoder.encode(samples)?);
        Ok(out)
    }

    fn finish(&mut self) -> Result<Vec<u8>> {
        Ok(self.start())
    }

    fn heading(&mut self) -> Result<Option<Vec<u8>>> {
        Ok(Some(header(self.sample_rate, data_bytes(self.samples))))
    }
}
