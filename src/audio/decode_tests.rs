use std::io::Cursor;
use std::sync::OnceLock;

use proptest::prelude::*;

use super::*;
use crate::audio::encode::{AudioFormat, encode_whole};

fn tone(samples: usize) -> Vec<f32> {
    (0..samples).map(|i| 0.5 * (i as f32 * 0.1).sin()).collect()
}

/// A WAV file through hound; samples are scaled to the width.
fn wav(rate: u32, channels: u16, bits: u16, float: bool, frames: usize) -> Vec<u8> {
    let sample_format = if float {
        hound::SampleFormat::Float
    } else {
        hound::SampleFormat::Int
    };
    let spec = hound::WavSpec {
        channels,
        sample_rate: rate,
        bits_per_sample: bits,
        sample_format,
    };
    let mut bytes = Cursor::new(Vec::new());
    let mut writer = hound::WavWriter::new(&mut bytes, spec).unwrap();
    for x in tone(frames) {
        for channel in 0..channels {
            // The mean over the channels is the tone.
            let x = if channels == 1 {
                x
            } else {
                x * 2.0 * f32::from(channel) / f32::from(channels - 1)
            };
            match float {
                true => writer.write_sample(x).unwrap(),
                false => writer
                    .write_sample((f64::from(x) * f64::from(1u32 << (bits - 1)) * 0.999) as i32)
                    .unwrap(),
            }
        }
    }
    writer.finalize().unwrap();
    bytes.into_inner()
}

#[test]
fn wav_files_of_every_width_are_read() {
    for (bits, float, tolerance) in [
        (8, false, 2e-2),
        (16, false, 1e-3),
        (24, false, 1e-3),
        (32, false, 1e-3),
        (32, true, 0.0),
    ] {
        let got = decode(wav(44_100, 1, bits, float, 5_000), "f").unwrap();
        assert_eq!((got.sample_rate, got.samples.len()), (44_100, 5_000));
        let worst = got
            .samples
            .iter()
            .zip(tone(5_000))
            .map(|(g, w)| (g - w).abs())
            .fold(0.0, f32::max);
        assert!(worst <= tolerance, "{bits} bits: {worst}");
    }
}

#[test]
fn channels_are_averaged() {
    for channels in [2, 3, 6, 8] {
        let got = decode(wav(48_000, channels, 16, false, 2_000), "f").unwrap();
        assert_eq!(got.samples.len(), 2_000, "{channels} channels");
        let worst = got
            .samples
            .iter()
            .zip(tone(2_000))
            .map(|(g, w)| (g - w).abs())
            .fold(0.0, f32::max);
        assert!(worst < 2e-3, "{channels} channels: {worst}");
    }
}

/// Small files made by other encoders, in `tests/audio`.
fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/tests/audio/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

const FIXTURES: [&str; 12] = [
    "tone-opus.ogg",
    "tone-opus-stereo.ogg",
    "tone-opus.webm",
    "tone.webm",
    "tone.flac",
    "tone.ogg",
    "tone.m4a",
    "tone.mp3",
    "tone.aac",
    "tone.aiff",
    "tone-alac.m4a",
    "tone-mulaw.wav",
];

#[test]
fn files_of_every_promised_format_are_read() {
    for name in FIXTURES {
        let got = decode(fixture(name), "f").unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!((got.seconds() - 0.5).abs() < 0.15, "{name}: {} s", got.seconds());
        let power: f32 = got.samples.iter().map(|x| x * x).sum();
        let mean = power / got.samples.len() as f32;
        assert!((0.02..0.2).contains(&mean), "{name}: mean power {mean}");
        let share = share_at(440.0, &got) / power;
        assert!(
            (0.7..1.01).contains(&share),
            "{name}: {share} of the power is at 440 Hz"
        );
    }
}

/// Guarantees that the encoder's delay and the padding of the last packet are cut off.
#[test]
fn opus_in_ogg_is_as_long_as_what_was_encoded() {
    for name in ["tone-opus.ogg", "tone-opus-stereo.ogg"] {
        let got = decode(fixture(name), "f").unwrap();
        assert_eq!((got.sample_rate, got.samples.len()), (48_000, 24_000), "{name}");
        // The sine begins at once, so there is no delay either.
        let peak = got.samples[..480].iter().fold(0.0f32, |m, x| m.max(x.abs()));
        assert!((0.35..0.65).contains(&peak), "{name}: {peak}");
    }
}

#[test]
fn opus_that_cannot_be_read_is_refused_in_words() {
    let damaged = |at: &[u8], offset: usize, value: u8| {
        let mut bytes = fixture("tone-opus.webm");
        let head = bytes.windows(8).position(|w| w == at).unwrap();
        bytes[head + offset] = value;
        decode(bytes, "f").unwrap_err().to_string()
    };
    assert_eq!(
        damaged(b"OpusHead", 0, b'X'),
        "f: the Opus stream has no identification header"
    );
    assert_eq!(
        damaged(b"OpusHead", 18, 1),
        "f: Opus of more than two channels is not read"
    );
}

/// The part of the power that a sine of this frequency explains.
fn share_at(hz: f64, audio: &Decoded) -> f32 {
    let step = std::f64::consts::TAU * hz / f64::from(audio.sample_rate);
    let sum = |f: fn(f64) -> f64| -> f64 {
        audio
            .samples
            .iter()
            .enumerate()
            .map(|(i, x)| f64::from(*x) * f(step * i as f64))
            .sum()
    };
    let norm = audio.samples.len() as f64 / 2.0;
    ((sum(f64::sin).powi(2) + sum(f64::cos).powi(2)) / norm) as f32
}

#[test]
fn limits_and_faults_are_named() {
    let text = |bytes: Vec<u8>| decode(bytes, "prompt_wav").unwrap_err().to_string();
    assert_eq!(text(Vec::new()), "prompt_wav: the audio file is empty");
    assert!(text(b"<html>not audio</html>".to_vec()).starts_with("prompt_wav: not a known audio format"));
    assert!(text(wav(4_000, 1, 16, false, 100)).contains("4000 Hz"));
    assert!(text(wav(8_000, 1, 16, false, 301 * 8_000)).contains("longer than 300 s"));
    assert!(text(wav(16_000, 1, 16, false, 0)).starts_with("prompt_wav: "));
    let mut loud = wav(16_000, 1, 32, true, 100);
    let end = loud.len();
    loud[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    assert!(text(loud).contains("not numbers"));
    let large = vec![0; limits::PROMPT_FILE_BYTES + 1];
    assert!(matches!(decode(large, "f"), Err(Error::TooLarge(_))));
}

#[test]
fn bare_samples_are_little_endian_and_whole() {
    let bytes = [0, 0x40, 0xff, 0x7f, 0, 0x80];
    let decoded = from_l16(&bytes, 16_000, "f").unwrap();
    assert_eq!(decoded.samples, [0.5, 32_767.0 / 32_768.0, -1.0]);
    assert_eq!(decoded.sample_rate, 16_000);
    let text = |bytes: &[u8]| from_l16(bytes, 100, "prompt_audio").unwrap_err().to_string();
    assert_eq!(text(&[]), "prompt_audio: the recording is empty");
    assert_eq!(
        text(&[1; 5]),
        "prompt_audio: 5 bytes are no whole number of 16-bit samples"
    );
    assert!(text(&[1; 60_002]).contains("longer than 300 s"));
    assert!(from_l16(&[1; 60_000], 100, "f").is_ok());
}

/// One valid file of each kind, to be damaged.
fn seeds() -> &'static [Vec<u8>] {
    static SEEDS: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    SEEDS.get_or_init(|| {
        let mp3 = encode_whole(AudioFormat::Mp3, 24_000, &tone(6_000)).unwrap();
        let mut seeds = vec![
            mp3,
            wav(16_000, 2, 16, false, 1_000),
            wav(16_000, 1, 32, true, 500),
        ];
        seeds.extend(FIXTURES.map(fixture));
        seeds
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn damaged_files_give_an_answer(
        seed in 0usize..seeds().len(),
        keep in 0.0f64..=1.0,
        damage in proptest::collection::vec((0.0f64..1.0, any::<u8>()), 0..12),
        header in any::<bool>(),
    ) {
        let mut bytes = seeds()[seed].clone();
        // Half of the cases damage the header, where the format keeps its sizes.
        let span = if header { bytes.len().min(200) } else { bytes.len() };
        for (at, value) in damage {
            bytes[(at * span as f64) as usize] = value;
        }
        bytes.truncate((bytes.len() as f64 * keep) as usize);
        if let Ok(got) = decode(bytes, "f") {
            prop_assert!(got.samples.iter().all(|x| x.is_finite()));
            prop_assert!(got.samples.len() <= limits::DECODED_MAX_SAMPLES);
        }
    }

    #[test]
    fn noise_gives_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..2_000)) {
        let _ = decode(bytes, "f");
    }
}
