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

#[test]
fn empty_and_odd_input_is_harmless() {
    for format in [AudioFormat::Mp3, AudioFormat::L16, AudioFormat::Wav] {
        stream(format, 24_000, &[], 1);
        encode_whole(format, 24_000, &[]).unwrap();
        stream(format, 24_000, &[f32::NAN, f32::INFINITY, -9.0, 0.0], 1);
    }
    assert!(encoder(AudioFormat::Mp3, 12_345).is_err());
}
