//! Bare 16-bit samples.

use super::{AudioEncoder, AudioFormat};
use crate::Result;

/// One sample as 16 bits: `x * 32768` cut towards zero, as the reference's `(x * 2**15).astype(int16)`, except that
/// what does not fit is clipped instead of wrapped. What is no number becomes 0.
pub fn i16_sample(x: f32) -> i16 {
    // A float-to-integer cast in Rust saturates and maps NaN to 0.
    (x * 32_768.0) as i16
}

/// Little-endian signed 16-bit samples without a header.
///
/// RFC 2586 has `audio/L16` in network order; CosyVoice's services send little-endian and their clients read that.
#[derive(Debug, Clone, Copy, Default)]
pub struct L16Encoder;

impl AudioEncoder for L16Encoder {
    fn content_type(&self) -> &'static str {
        AudioFormat::L16.content_type()
    }

    fn encode(&mut self, samples: &[f32]) -> Result<Vec<u8>> {
        Ok(samples
            .iter()
            .flat_map(|x| i16_sample(*x).to_le_bytes())
            .collect())
    }

    fn finish(&mut self) -> Result<Vec<u8>> {
        Ok(Vec::new())
    }
}
