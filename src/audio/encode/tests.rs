use super::*;
use crate::audio::decode::{Decoded, decode};

fn tone(samples: usize, rate: u32) -> Vec<f32> {
    (0..samples)
        .map(|i| 0.5 * (std::f32::consts::TAU * 440.0 * i as f32 / rate as f32).sin())
        .collect()
}

fn stream(format: AudioFormat, rate: u32, samples: &[f32], chunk: usize) -> Vec<u8> {
    let mut encoder = encoder(format, rate).unwrap();
    assert_eq!(encoder.content_type(), format.content_type());
    let mut out: Vec<u8> = samples
        .chunks(chunk)
        .flat_map(|c| encoder.encode(c).unwrap())
        .collect();
    out.extend(encoder.finish().unwrap());
    out
}

/// Largest difference to the wanted samples at LAME's level, away from the ends, when `got` starts `delay` samples
/// late.
fn worst(got: &Decoded, want: &[f32], delay: usize) -> f32 {
    (2_000..want.len() - 2_000)
        .map(|i| (got.samples[i + delay] - 0.95 * want[i]).abs())
        .fold(0.0, f32::max)
}

#[test]
fn samples_become_16_bits_as_in_the_reference() {
    let cases = [
        (0.0, 0),
        (0.5, 16_384),
        (-0.5, -16_384),
        (1.9 / 32_768.0, 1),
        (-1.9 / 32_768.0, -1),
        (0.99, 32_440),
        (1.0, 32_767),
        (-1.0, -32_768),
        (7.0, 32_767),
        (f32::NEG_INFINITY, -32_768),
        (f32::NAN, 0),
    ];
    for (x, want) in cases {
        assert_eq!(i16_sample(x), want, "{x}");
    }
    assert_eq!(L16Encoder.encode(&[0.5, -1.0]).unwrap(), [0x00, 0x40, 0x00, 0x80]);
}

#[test]
fn a_streamed_mp3_is_one_stream_that_decodes_to_its_samples() {
    for rate in [24_000, 22_050, 16_000] {
        let samples = tone(2 * rate as usize, rate);
        let bytes = stream(AudioFormat::Mp3, rate, &samples, 5_000);
        assert_eq!(
            bytes,
            stream(AudioFormat::Mp3, rate, &samples, 48_000),
            "chunks must not matter"
        );
        assert_eq!(bytes[0], 0xff, "starts with a frame");
        assert!(!bytes.windows(4).any(|w| w == b"Xing" || w == b"Info"));
        // 128 kbit/s, and the codec's delay and padding.
        assert!(
            (32_000..34_000).contains(&bytes.len()),
            "{rate}: {} bytes",
            bytes.len()
        );
        let got = decode(bytes, "f").unwrap();
        assert_eq!(got.sample_rate, rate);
        let extra = got.samples.len() - samples.len();
        assert!(extra < 3 * 1_152, "{rate}: {extra} samples of delay and padding");
        let best = (0..extra.min(2_400))
            .map(|delay| worst(&got, &samples, delay))
            .fold(9.0, f32::min);
        assert!(best < 0.01, "{rate}: off by {best}");
    }
}

#[test]
fn every_prefix_of_a_streamed_mp3_plays() {
    let bytes = stream(AudioFormat::Mp3, 24_000, &tone(48_000, 24_000), 12_000);
    for part in [3, 10, 20, 29] {
        let bytes = bytes[..part * 1_000].to_vec();
        let got = decode(bytes, "f").unwrap();
        let seconds = part as f32 * 1_000.0 / 16_000.0;
        assert!(
            (got.seconds() - seconds).abs() < 0.12,
            "{} s of {seconds}",
            got.seconds()
        );
    }
}

#[test]
fn an_mp3_stream_does_not_lag_behind() {
    let mut mp3 = encoder(AudioFormat::Mp3, 24_000).unwrap();
    let first = mp3.encode(&tone(12_000, 24_000)).unwrap();
    // Half a second is 8000 bytes; LAME holds back about three frames of 24 ms.
    assert!(first.len() > 6_000, "{} bytes", first.len());
}

#[test]
fn a_whole_mp3_states_its_length() {
    for length in [1usize, 1_000, 24_000, 50_001] {
        let samples = tone(length, 24_000);
        let bytes = encode_whole(AudioFormat::Mp3, 24_000, &samples).unwrap();
        assert!(bytes.windows(4).any(|w| w == b"Info"));
        let got = decode(bytes, "f").unwrap();
        assert_eq!(got.samples.len(), length);
        if length > 4_000 {
            let off = worst(&got, &samples, 0);
            assert!(off < 0.01, "whole: off by {off}");
        }
    }
}

#[test]
fn wav_streams_and_files_hold_the_same_samples() {
    let samples = tone(10_001, 24_000);
    let streamed = stream(AudioFormat::Wav, 24_000, &samples, 777);
    let file = encode_whole(AudioFormat::Wav, 24_000, &samples).unwrap();
    assert_eq!(streamed.len(), file.len());
    assert_eq!(streamed[44..], file[44..], "one header only");
    for bytes in [streamed, file.clone()] {
        let got = decode(bytes, "f").unwrap();
        assert_eq!((got.sample_rate, got.samples.len()), (24_000, 10_001));
        assert!(
            got.samples
                .iter()
                .zip(&samples)
                .all(|(g, w)| (g - w).abs() < 1.0 / 32_000.0)
        );
    }
    let read = hound::WavReader::new(&file[..]).unwrap();
    assert_eq!((read.len(), read.spec().channels), (10_001, 1));
}

/// Guarantees that a FLAC stream, whatever it was cut into, holds the 16-bit samples themselves.
#[test]
fn flac_is_lossless() {
    for length in [1usize, 31, 1_024, 1_025, 10_001] {
        for rate in [24_000, 22_050] {
            let samples = tone(length, rate);
            let streamed = stream(AudioFormat::Flac, rate, &samples, 777);
            assert!(
                streamed == stream(AudioFormat::Flac, rate, &samples, 20_000),
                "chunks must not matter"
            );
            let file = encode_whole(AudioFormat::Flac, rate, &samples).unwrap();
            assert!(streamed[42..] == file[42..], "only the header differs");
            for bytes in [streamed, file] {
                let got = decode(bytes, "f").unwrap();
                assert_eq!((got.sample_rate, got.samples.len()), (rate, length));
                let same = |(g, w): (&f32, &f32)| g * 32_768.0 == f32::from(i16_sample(*w));
                assert!(
                    got.samples.iter().zip(&samples).all(same),
                    "{length} samples at {rate} Hz"
                );
            }
        }
    }
    let (flac, l16) = [AudioFormat::Flac, AudioFormat::L16]
        .map(|format| encode_whole(format, 24_000, &tone(24_000, 24_000)).unwrap().len())
        .into();
    assert!(flac < l16 / 2, "{flac} bytes of {l16}");
}

/// Guarantees that the header of a FLAC file has the length and the checksum of its samples, and that of a stream neither.
#[test]
fn a_whole_flac_describes_itself_and_a_stream_leaves_it_open() {
    use symphonia::core::{
        codecs::audio::AudioDecoderOptions,
        formats::{FormatOptions, TrackType, probe::Hint},
        io::{MediaSourceStream, MediaSourceStreamOptions},
    };
    let samples = tone(10_001, 24_000);
    // (samples by the header, whether the checksum holds)
    let described = |bytes: Vec<u8>| {
        let source = Box::new(std::io::Cursor::new(bytes));
        let source = MediaSourceStream::new(source, MediaSourceStreamOptions::default());
        let probe = symphonia::default::get_probe();
        let mut format = probe
            .probe(&Hint::new(), source, FormatOptions::default(), Default::default())
            .unwrap();
        let track = format.default_track(TrackType::Audio).unwrap();
        let frames = track.num_frames;
        let params = track.codec_params.as_ref().unwrap().audio().unwrap();
        let options = AudioDecoderOptions::default().verify(true);
        let mut decoder = symphonia::default::get_codecs()
            .make_audio_decoder(params, &options)
            .unwrap();
        while let Some(packet) = format.next_packet().unwrap() {
            decoder.decode(&packet).unwrap();
        }
        (frames, decoder.finalize().verify_ok)
    };
    let file = encode_whole(AudioFormat::Flac, 24_000, &samples).unwrap();
    assert_eq!(described(file), (Some(10_001), Some(true)));
    let streamed = stream(AudioFormat::Flac, 24_000, &samples, 500);
    assert_eq!(described(streamed), (None, None));
}

/// Decibels of the wanted tone over what differs from it, away from the ends. Of `early` samples and less, that is: in
/// libopus too, the part of Opus that codes low frequencies comes 3 samples at 48 kHz early.
fn tone_over_error(got: &Decoded, early: usize) -> f32 {
    let want = tone(got.samples.len(), got.sample_rate);
    let inside = 2_000..want.len() - 2_000;
    let power: f32 = inside.clone().map(|i| want[i].powi(2)).sum();
    let error = |early: usize| -> f32 {
        let inside = inside.clone();
        inside.map(|i| (want[i] - got.samples[i - early]).powi(2)).sum()
    };
    let least = (0..=early).map(error).fold(f32::MAX, f32::min);
    10.0 * (power / least).log10()
}

#[test]
fn an_opus_stream_decodes_to_its_samples_without_the_codecs_delay() {
    for rate in [24_000, 22_050, 16_000, 48_000] {
        for length in [1usize, 480, 961, 2 * rate as usize + 7] {
            let samples = tone(length, rate);
            let bytes = stream(AudioFormat::Opus, rate, &samples, 5_000);
            assert!(
                bytes == stream(AudioFormat::Opus, rate, &samples, 333),
                "chunks must not matter"
            );
            assert!(bytes == encode_whole(AudioFormat::Opus, rate, &samples).unwrap());
            let got = decode(bytes.clone(), "f").unwrap();
            let want = length as f64 * 48_000.0 / f64::from(rate);
            let off = got.samples.len() as f64 - want;
            assert!(
                (-0.5..3.0).contains(&off),
                "{length} at {rate} Hz: {off} samples too long"
            );
            if length > rate as usize {
                let decibels = tone_over_error(&got, 3);
                assert!(decibels > 25.0, "{rate} Hz: {decibels} dB");
                let bits = bytes.len() as f64 * 8.0 * f64::from(rate) / length as f64;
                assert!((20e3..70e3).contains(&bits), "{bits} bits per second");
            }
        }
    }
}

/// Guarantees what players rely on: headers on pages of their own, pages that come soon, positions that say where each
/// ends, and an end that says how many samples there are.
#[test]
fn the_pages_of_an_opus_stream_are_short_and_know_where_they_are() {
    let bytes = stream(AudioFormat::Opus, 24_000, &tone(24_000, 24_000), 6_000);
    let mut reader = ogg::PacketReader::new(std::io::Cursor::new(bytes));
    let mut packets = Vec::new();
    while let Some(packet) = reader.read_packet().unwrap() {
        packets.push(packet);
    }
    let (head, tags) = (&packets[0], &packets[1]);
    assert!(head.first_in_stream() && head.last_in_page() && tags.last_in_page());
    assert_eq!(head.data[..10], *b"OpusHead\x01\x01");
    let skip = u64::from(u16::from_le_bytes([head.data[10], head.data[11]]));
    assert_eq!((skip, &head.data[12..16]), (312, &24_000u32.to_le_bytes()[..]));
    assert!(tags.data.starts_with(b"OpusTags"));
    // A second, and the codec's delay, in packets of 20 ms.
    let audio = &packets[2..];
    assert_eq!(audio.len(), 51);
    for (i, packet) in audio.iter().enumerate() {
        let last = i + 1 == audio.len();
        assert_eq!(packet.last_in_page(), (i + 1) % 3 == 0 || last, "packet {i}");
        assert_eq!(packet.last_in_stream(), last, "packet {i}");
        let end = ((i as u64 / 3 + 1) * 3 * 960).min(48_000 + skip);
        assert_eq!(packet.absgp_page(), end, "packet {i}");
    }
}

#[test]
fn every_prefix_of_a_stream_plays() {
    let samples = tone(48_000, 24_000);
    for (format, lag) in [
        (AudioFormat::Flac, 0.09),
        (AudioFormat::Opus, 0.15),
        (AudioFormat::Wav, 0.01),
    ] {
        let mut encoder = encoder(format, 24_000).unwrap();
        let mut bytes = Vec::new();
        for (i, chunk) in samples.chunks(6_000).enumerate() {
            bytes.extend(encoder.encode(chunk).unwrap());
            let seconds = (i + 1) as f32 * 0.25;
            let cut = bytes[..bytes.len() - 10 * i].to_vec();
            for bytes in [bytes.clone(), cut] {
                let got = decode(bytes, "f").unwrap().seconds();
                assert!(
                    (seconds - lag..=seconds).contains(&got),
                    "{format:?}: {got} s of {seconds}"
                );
            }
        }
    }
}

#[test]
fn speech_can_leave_at_another_rate_than_the_models() {
    let samples = tone(22_050, 22_050);
    for format in [
        AudioFormat::L16,
        AudioFormat::Wav,
        AudioFormat::Flac,
        AudioFormat::Mp3,
        AudioFormat::Opus,
    ] {
        let mut encoder = encoder_at(format, 22_050, 24_000).unwrap();
        assert_eq!(encoder.content_type(), format.content_type());
        let mut bytes: Vec<u8> = samples
            .chunks(1_000)
            .flat_map(|c| encoder.encode(c).unwrap())
            .collect();
        bytes.extend(encoder.finish().unwrap());
        if format == AudioFormat::L16 {
            let mut wav = encode_whole(AudioFormat::Wav, 24_000, &[0.0; 24_000]).unwrap();
            wav.truncate(44);
            bytes.splice(..0, wav);
        }
        let got = decode(bytes, "f").unwrap();
        match format {
            AudioFormat::Mp3 => assert_eq!(got.sample_rate, 24_000),
            AudioFormat::Opus => assert_eq!(got.samples.len(), 48_000),
            _ => assert_eq!(
                (got.sample_rate, got.samples.len()),
                (24_000, 24_000),
                "{format:?}"
            ),
        }
        if format != AudioFormat::Mp3 {
            let (early, least) = match format {
                AudioFormat::Opus => (3, 25.0),
                _ => (0, 70.0),
            };
            let decibels = tone_over_error(&got, early);
            assert!(decibels > least, "{format:?}: {decibels} dB");
        }
    }
    // The model's own rate passes through unchanged.
    let mut same = encoder_at(AudioFormat::L16, 24_000, 24_000).unwrap();
    assert_eq!(same.encode(&[0.5]).unwrap(), [0x00, 0x40]);
}

#[test]
fn empty_and_odd_input_is_harmless() {
    for format in [
        AudioFormat::Mp3,
        AudioFormat::L16,
        AudioFormat::Wav,
        AudioFormat::Flac,
        AudioFormat::Opus,
    ] {
        stream(format, 24_000, &[], 1);
        encode_whole(format, 24_000, &[]).unwrap();
        stream(format, 24_000, &[f32::NAN, f32::INFINITY, -9.0, 0.0], 1);
        stream(format, 22_050, &[f32::NAN, f32::INFINITY, -9.0, 0.0], 1);
    }
    assert!(encoder(AudioFormat::Mp3, 12_345).is_err());
    assert!(encoder(AudioFormat::Flac, 1_000_000).is_err());
    assert!(encoder(AudioFormat::Opus, 0).is_err());
}
