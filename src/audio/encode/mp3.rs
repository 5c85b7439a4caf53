//! MP3 through LAME.

use std::num::NonZeroU32;

use mp3lame_encoder::{
    Bitrate, Builder, Encoder, FlushGap, Mode, MonoPcm, Quality, max_required_buffer_size,
};

use super::{AudioEncoder, AudioFormat, clipped};
use crate::{Error, Result};

/// Samples given to LAME at a time: bounds its output buffer.
const BLOCK: usize = 16_384;
/// Bytes that ending a stream may take, as LAME's documentation says.
const FLUSH_BYTES: usize = 7_200;

/// One continuous mono MP3 stream at a constant 128 kbit/s (MPEG-2 Layer III at 24 and 22.05 kHz, where that is
/// transparent for speech at the full bandwidth).
///
/// LAME lowers the level to 95% (-0.45 dB), headroom for the overshoots of its quantisation; every service that encodes
/// with LAME sounds so.
///
/// A stream has no Info/Xing frame: such a frame stands first and states the length, which is not known while
/// streaming. So it starts with the codec's own delay, about 1105 samples (46 ms at 24 kHz) of near silence.
pub struct Mp3Encoder {
    lame: Encoder,
    info_frame: bool,
}

impl Mp3Encoder {
    /// A stream at `sample_rate` hertz.
    ///
    /// # Errors
    /// [`Error::Internal`] when MP3 does not know the rate, or memory is short.
    pub fn new(sample_rate: u32) -> Result<Self> {
        Self::build(sample_rate, false)
    }

    /// A file at `sample_rate` hertz: it begins with room for an Info frame, which is the [`AudioEncoder::heading`] and
    /// by which decoders give back exactly the samples' length.
    ///
    /// # Errors
    /// As [`Mp3Encoder::new`].
    pub fn of_file(sample_rate: u32) -> Result<Self> {
        Self::build(sample_rate, true)
    }

    fn build(sample_rate: u32, info_frame: bool) -> Result<Self> {
        let fault = |e| Error::internal("MP3 encoder set-up", e);
        let mut lame = Builder::new().ok_or_else(|| Error::internal("MP3 encoder set-up", "no memory"))?;
        lame.set_num_channels(1).map_err(fault)?;
        lame.set_mode(Mode::Mono).map_err(fault)?;
        lame.set_sample_rate(sample_rate).map_err(fault)?;
        // Without this LAME may choose another rate for the stream.
        lame.set_output_sample_rate(NonZeroU32::new(sample_rate))
            .map_err(fault)?;
        lame.set_brate(Bitrate::Kbps128).map_err(fault)?;
        lame.set_quality(Quality::NearBest).map_err(fault)?;
        lame.set_to_write_vbr_tag(info_frame).map_err(fault)?;
        Ok(Mp3Encoder {
            lame: lame.build().map_err(fault)?,
            info_frame,
        })
    }
}

impl AudioEncoder for Mp3Encoder {
    fn content_type(&self) -> &'static str {
        AudioFormat::Mp3.content_type()
    }

    fn encode(&mut self, samples: &[f32]) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        let mut pcm = Vec::with_capacity(samples.len().min(BLOCK));
        for block in samples.chunks(BLOCK) {
            pcm.clear();
            pcm.extend(block.iter().map(|x| clipped(*x)));
            out.reserve(max_required_buffer_size(block.len()));
            let taken = self.lame.encode_to_vec(MonoPcm(&pcm[..]), &mut out);
            taken.map_err(|e| Error::internal("MP3 encoding", e))?;
        }
        Ok(out)
    }

    fn finish(&mut self) -> Result<Vec<u8>> {
        let mut out = Vec::with_capacity(FLUSH_BYTES);
        let taken = self.lame.flush_to_vec::<FlushGap>(&mut out);
        taken.map_err(|e| Error::internal("ending the MP3 stream", e))?;
        Ok(out)
    }

    fn heading(&mut self) -> Result<Option<Vec<u8>>> {
        if !self.info_frame {
            return Ok(None);
        }
        let mut info = Vec::with_capacity(self.lame.lame_tag_size());
        Ok(self.lame.lame_tag_encode_to_vec(&mut info).map(|_| info))
    }
}
