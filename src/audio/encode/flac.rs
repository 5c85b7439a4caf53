//! FLAC through flacenc.

use flacenc::{
    bitsink::ByteSink,
    component::{BitRepr, StreamInfo},
    config,
    error::{Verified, Verify},
    source::{Context, Fill, FrameBuf},
};

use super::{AudioEncoder, AudioFormat, i16_sample};
use crate::{Error, Result};

/// Samples of a frame: 43 ms at 24 kHz, which is what a stream lags behind at most. Longer frames would be 1% smaller.
const BLOCK: usize = 1_024;
/// Head of a metadata block that is the last one and holds a STREAMINFO of 34 bytes.
const STREAMINFO_HEAD: [u8; 4] = [0x80, 0, 0, 34];

/// One FLAC stream of mono 16-bit samples, in frames of `BLOCK` samples.
///
/// Its STREAMINFO leaves length, frame sizes and checksum open (0), as the format has it for streams;
/// [`AudioEncoder::heading`] knows them once the stream has ended.
pub struct FlacEncoder {
    config: Verified<config::Encoder>,
    info: StreamInfo,
    /// Counts and digests all samples.
    context: Context,
    block: FrameBuf,
    /// Samples that do not fill a frame yet.
    rest: Vec<i32>,
    frames: usize,
    started: bool,
}

fn fault(error: impl std::fmt::Debug) -> Error {
    Error::Internal(format!("FLAC encoding: {error:?}"))
}

impl FlacEncoder {
    /// A stream at `sample_rate` hertz.
    ///
    /// # Errors
    /// [`Error::Internal`] when FLAC does not know the rate (96 kHz is the highest).
    pub fn new(sample_rate: u32) -> Result<Self> {
        let mut info = StreamInfo::new(sample_rate as usize, 1, 16).map_err(fault)?;
        info.set_block_sizes(BLOCK, BLOCK).map_err(fault)?;
        Ok(FlacEncoder {
            config: config::Encoder::default()
                .into_verified()
                .map_err(|(_, error)| fault(error))?,
            info,
            context: Context::new(16, 1),
            block: FrameBuf::with_size(1, BLOCK).map_err(fault)?,
            rest: Vec::new(),
            frames: 0,
            started: false,
        })
    }

    /// The magic number and the STREAMINFO.
    fn header(info: &StreamInfo) -> Result<Vec<u8>> {
        let mut out = b"fLaC".to_vec();
        out.extend(STREAMINFO_HEAD);
        out.extend(bytes(info)?);
        Ok(out)
    }

    /// The header, before anything else.
    fn start(&mut self) -> Result<Vec<u8>> {
        if std::mem::replace(&mut self.started, true) {
            return Ok(Vec::new());
        }
        let mut open = self.info.clone();
        open.set_frame_sizes(0, 0).map_err(fault)?;
        Self::header(&open)
    }

    /// One frame of the first `samples` of the rest.
    fn frame(&mut self, samples: usize) -> Result<Vec<u8>> {
        let block = &self.rest[..samples];
        self.block.fill_interleaved(block).map_err(fault)?;
        self.context.fill_interleaved(block).map_err(fault)?;
        let frame = flacenc::encode_fixed_size_frame(&self.config, &self.block, self.frames, &self.info);
        let frame = bytes(&frame.map_err(fault)?)?;
        let (least, most) = (self.info.min_frame_size(), self.info.max_frame_size());
        let (least, most) = (least.min(frame.len()), most.max(frame.len()));
        self.info.set_frame_sizes(least, most).map_err(fault)?;
        self.frames += 1;
        self.rest.drain(..samples);
        Ok(frame)
    }
}

/// A part of the stream as it is written.
fn bytes(part: &impl BitRepr) -> Result<Vec<u8>> {
    let mut sink = ByteSink::with_capacity(part.count_bits());
    part.write(&mut sink).map_err(fault)?;
    Ok(sink.into_inner())
}

impl AudioEncoder for FlacEncoder {
    fn content_type(&self) -> &'static str {
        AudioFormat::Flac.content_type()
    }

    fn encode(&mut self, samples: &[f32]) -> Result<Vec<u8>> {
        let mut out = self.start()?;
        self.rest
            .extend(samples.iter().map(|x| i32::from(i16_sample(*x))));
        while self.rest.len() >= BLOCK {
            out.extend(self.frame(BLOCK)?);
        }
        Ok(out)
    }

    fn finish(&mut self) -> Result<Vec<u8>> {
        let mut out = self.start()?;
        match self.rest.len() {
            0 => {}
            samples => out.extend(self.frame(samples)?),
        }
        Ok(out)
    }

    fn heading(&mut self) -> Result<Option<Vec<u8>>> {
        let mut whole = self.info.clone();
        if self.frames == 0 {
            whole.set_frame_sizes(0, 0).map_err(fault)?;
        }
        whole.set_total_samples(self.context.total_samples());
        whole.set_md5_digest(&self.context.md5_digest());
        Self::header(&whole).map(Some)
    }
}
