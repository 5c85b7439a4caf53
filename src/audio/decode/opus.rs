//! Opus packets to samples, through ropus; symphonia reads their containers (Ogg, WebM, MP4).

use ropus::{Channels, DecodeMode, Decoder};

use super::{Attempt, UNKNOWN};

/// Hertz of what comes out; Opus itself decodes to any rate, whatever the encoder was given.
pub(super) const RATE: u32 = 48_000;

/// A decoder of one stream, to one channel: of two, the codec itself takes the mean.
pub(super) struct OpusDecoder {
    decoder: Decoder,
    /// Samples still to be dropped: the encoder's delay.
    skip: usize,
    samples: Vec<f32>,
}

impl OpusDecoder {
    /// For the stream that this identification header (OpusHead) begins.
    pub fn new(head: &[u8]) -> Attempt<Self> {
        let fields = head.strip_prefix(b"OpusHead");
        let Some(&[version, _channels, s0, s1, _, _, _, _, g0, g1, family, ..]) = fields else {
            return Err("the Opus stream has no identification header".into());
        };
        if family != 0 {
            return Err("Opus of more than two channels is not read".into());
        }
        // In MP4 the header has version 0, and its numbers the other byte order.
        let (skip, gain) = match version {
            0 => (u16::from_be_bytes([s0, s1]), i16::from_be_bytes([g0, g1])),
            _ => (u16::from_le_bytes([s0, s1]), i16::from_le_bytes([g0, g1])),
        };
        let mut decoder = Decoder::new(RATE, Channels::Mono).map_err(|_| UNKNOWN)?;
        decoder.set_gain(gain.into()).map_err(|_| UNKNOWN)?;
        Ok(Self {
            samples: vec![0.0; decoder.max_frame_samples_per_channel()],
            skip: skip.into(),
            decoder,
        })
    }

    /// The samples of the next packet, without `trim` samples at their end; `None`: it is corrupt.
    pub fn decode(&mut self, packet: &[u8], trim: usize) -> Option<&[f32]> {
        // To the codec an empty packet is a lost one, to be guessed from those before.
        if packet.is_empty() {
            return None;
        }
        let decoded = self
            .decoder
            .decode_float(packet, &mut self.samples, DecodeMode::Normal);
        let samples = self.samples.get(..decoded.ok()?)?;
        let skip = self.skip.min(samples.len());
        self.skip -= skip;
        let samples = &samples[skip..];
        Some(&samples[..samples.len().saturating_sub(trim)])
    }
}
