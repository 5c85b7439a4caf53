//! Opus in an Ogg stream (RFC 6716, RFC 7845), through ropus and ogg.

use ogg::{PacketWriteEndInfo, PacketWriter};
use ropus::{Application, Bitrate, Channels, Encoder, Signal};

use super::{AudioEncoder, AudioFormat, Resampled, clipped};
use crate::{Error, Result};

/// Rates that Opus takes, hertz, ascending.
const RATES: [u32; 5] = [8_000, 12_000, 16_000, 24_000, 48_000];
/// The rate by which Ogg counts Opus samples, whatever the encoder's.
const GRANULE_RATE: u32 = 48_000;
/// Bits per second: speech at the full bandwidth is transparent from about 32,000 on.
const BITRATE: u32 = 48_000;
/// Packets per second.
const PACKETS_PER_SECOND: u32 = 50;
/// Packets of a page. A stream lags behind by one page at most, 60 ms.
const PACKETS_PER_PAGE: u64 = 3;
/// Bytes of the largest packet.
const PACKET_BYTES: usize = 1_276;
/// The number of the logical stream. There is one only, and the same speech gives the same bytes.
const SERIAL: u32 = 1;

/// One Ogg Opus stream of mono speech at a variable bit rate. It says itself where to cut the codec's delay off, and at
/// its end how long it is, so that decoders give back exactly the samples' length.
pub struct OpusEncoder {
    opus: Encoder,
    ogg: PacketWriter<'static, Vec<u8>>,
    /// Hertz of the samples, and of those that Opus was made for.
    sample_rate: u32,
    input_rate: u32,
    /// Samples that do not fill a packet yet.
    rest: Vec<f32>,
    /// Samples and packets so far.
    samples: u64,
    packets: u64,
    started: bool,
}

fn fault(error: impl std::fmt::Display) -> Error {
    Error::internal("Opus encoding", error)
}

/// A stream of samples at `sample_rate` hertz: at the next higher rate that Opus takes, if it does not take this one.
///
/// # Errors
/// [`Error::Internal`] when the rate is 0.
pub(super) fn encoder(sample_rate: u32) -> Result<Box<dyn AudioEncoder>> {
    let rate = RATES.into_iter().find(|rate| *rate >= sample_rate);
    let rate = rate.unwrap_or(GRANULE_RATE);
    if sample_rate == 0 {
        return Err(fault("the sample rate is 0"));
    }
    let opus = Box::new(OpusEncoder::new(rate, sample_rate)?);
    Ok(match rate == sample_rate {
        true => opus,
        false => Box::new(Resampled::new(sample_rate, rate, opus)),
    })
}

impl OpusEncoder {
    fn new(sample_rate: u32, input_rate: u32) -> Result<Self> {
        let opus = Encoder::builder(sample_rate, Channels::Mono, Application::Audio)
            .bitrate(Bitrate::try_bits(BITRATE).map_err(fault)?)
            .signal(Signal::Voice)
            .vbr(true)
            .build()
            .map_err(fault)?;
        Ok(OpusEncoder {
            opus,
            ogg: PacketWriter::new(Vec::new()),
            sample_rate,
            input_rate,
            rest: Vec::new(),
            samples: 0,
            packets: 0,
            started: false,
        })
    }

    /// Samples of a packet.
    fn packet_samples(&self) -> usize {
        (self.sample_rate / PACKETS_PER_SECOND) as usize
    }

    /// So many of the encoder's samples on Ogg's scale.
    fn granules(&self, samples: u64) -> u64 {
        samples * u64::from(GRANULE_RATE / self.sample_rate)
    }

    /// Samples by which the codec delays the signal, at its own rate.
    fn delay(&self) -> u64 {
        u64::from(self.opus.lookahead())
    }

    /// The two header packets, before anything else.
    fn start(&mut self) -> Result<()> {
        if std::mem::replace(&mut self.started, true) {
            return Ok(());
        }
        let pre_skip = u16::try_from(self.granules(self.delay())).map_err(fault)?;
        let mut head = b"OpusHead".to_vec();
        head.extend([1, 1]); // version, channels
        head.extend(pre_skip.to_le_bytes());
        head.extend(self.input_rate.to_le_bytes());
        head.extend(0i16.to_le_bytes()); // gain
        head.push(0); // one stream, mono
        self.write(head, PacketWriteEndInfo::EndPage, 0)?;
        let vendor = concat!("cosyserve ", env!("CARGO_PKG_VERSION"));
        let mut tags = b"OpusTags".to_vec();
        tags.extend((vendor.len() as u32).to_le_bytes());
        tags.extend(vendor.as_bytes());
        tags.extend(0u32.to_le_bytes()); // comments
        self.write(tags, PacketWriteEndInfo::EndPage, 0)
    }

    fn write(&mut self, packet: Vec<u8>, end: PacketWriteEndInfo, granule: u64) -> Result<()> {
        self.ogg.write_packet(packet, SERIAL, end, granule).map_err(fault)
    }

    /// One packet of the first samples of the rest.
    fn packet(&mut self) -> Result<Vec<u8>> {
        let samples = self.packet_samples();
        let mut packet = vec![0; PACKET_BYTES];
        let bytes = self.opus.encode_float(&self.rest[..samples], &mut packet);
        packet.truncate(bytes.map_err(fault)?);
        self.rest.drain(..samples);
        self.packets += 1;
        Ok(packet)
    }

    /// The pages that are complete.
    fn pages(&mut self) -> Vec<u8> {
        std::mem::take(self.ogg.inner_mut())
    }
}

impl AudioEncoder for OpusEncoder {
    fn content_type(&self) -> &'static str {
        AudioFormat::Opus.content_type()
    }

    fn encode(&mut self, samples: &[f32]) -> Result<Vec<u8>> {
        self.start()?;
        self.samples += samples.len() as u64;
        self.rest.extend(samples.iter().map(|x| clipped(*x)));
        while self.rest.len() >= self.packet_samples() {
            let packet = self.packet()?;
            let end = match self.packets % PACKETS_PER_PAGE {
                0 => PacketWriteEndInfo::EndPage,
                _ => PacketWriteEndInfo::NormalPacket,
            };
            let granule = self.granules(self.packets * self.packet_samples() as u64);
            self.write(packet, end, granule)?;
        }
        Ok(self.pages())
    }

    fn finish(&mut self) -> Result<Vec<u8>> {
        self.start()?;
        // Silence brings out what the codec still holds back: at least one packet, the one that ends the stream.
        let length = self.samples + self.delay();
        let packets = length.div_ceil(self.packet_samples() as u64);
        let missing = (packets - self.packets) as usize * self.packet_samples();
        self.rest.resize(missing, 0.0);
        while self.packets < packets {
            let packet = self.packet()?;
            let end = match self.packets == packets {
                true => PacketWriteEndInfo::EndStream,
                false => PacketWriteEndInfo::NormalPacket,
            };
            let granule = self.granules(length.min(self.packets * self.packet_samples() as u64));
            self.write(packet, end, granule)?;
        }
        Ok(self.pages())
    }
}
