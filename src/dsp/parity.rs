//! Parity of every stage with arrays that the reference implementations computed (`tests/goldens`).

use std::fs::File;
use std::path::PathBuf;

use ndarray::{ArrayD, OwnedRepr};
use ndarray_npy::NpzReader;

use super::fbank::Fbank;
use super::mel::{FilterBank, LogMel, MelParams};
use super::resample::resample;
use super::source::{HarmonicSource, PhaseRule, SourceParams};
use super::stretch::stretch;
use super::whisper::WhisperMel;
use super::*;

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/goldens")
        .join(name)
}

/// The arrays of one golden file.
struct Goldens(NpzReader<File>);

impl Goldens {
    fn open(name: &str) -> Self {
        Goldens(NpzReader::new(File::open(path(name)).unwrap()).unwrap())
    }

    /// An array as a matrix: its last axis makes the columns, all others the rows.
    fn get(&mut self, name: &str) -> Matrix {
        let array: ArrayD<f32> = self
            .0
            .by_name::<OwnedRepr<f32>, _>(&format!("{name}.npy"))
            .unwrap();
        let cols = array.shape().last().copied().unwrap_or(1);
        let data: Vec<f32> = array.iter().copied().collect();
        Matrix {
            rows: data.len() / cols,
            cols,
            data,
        }
    }
}

/// Asserts equal sizes and a largest difference of at most `part` of the wanted values' range.
#[track_caller]
fn close(what: &str, got: &Matrix, want: &Matrix, part: f32) {
    assert_eq!((got.rows, got.cols), (want.rows, want.cols), "{what}: size");
    let (low, high) = want
        .data
        .iter()
        .fold((f32::MAX, f32::MIN), |(low, high), x| (low.min(*x), high.max(*x)));
    let worst = got
        .data
        .iter()
        .zip(&want.data)
        .map(|(g, w)| (g - w).abs())
        .fold(0.0f32, f32::max);
    let relative = worst / (high - low);
    println!("{what}: largest difference {worst:.2e}, {relative:.2e} of the range");
    assert!(
        relative <= part,
        "{what}: {worst} is {relative} of the range, over {part}"
    );
}

fn row(data: Vec<f32>) -> Matrix {
    Matrix {
        rows: 1,
        cols: data.len(),
        data,
    }
}

fn prompt() -> (Vec<f32>, Goldens) {
    let mut wav = hound::WavReader::open(path("common/zero_shot_prompt.wav")).unwrap();
    assert_eq!(wav.spec().sample_rate, 24_000);
    (
        wav.samples::<f32>().map(Result::unwrap).collect(),
        Goldens::open("common/features.npz"),
    )
}

#[test]
fn resampling_is_torchaudios() {
    let (wav, mut want) = prompt();
    close(
        "24 kHz",
        &row(wav.clone()),
        &want.get("zero_shot_prompt/wav24k"),
        0.0,
    );
    close(
        "16 kHz",
        &row(resample(&wav, 24_000, 16_000)),
        &want.get("zero_shot_prompt/wav16k"),
        1e-6,
    );
}

#[test]
fn mel_banks_are_librosas() {
    let mut want = Goldens::open("common/features.npz");
    let bank = |rate, n_fft, fmax| FilterBank::slaney(rate, n_fft, 80, 0.0, fmax).dense();
    close(
        "bank, generation 2",
        &bank(24_000, 1920, 8_000.0),
        &want.get("melbank/v2"),
        1e-6,
    );
    close(
        "bank, generation 3",
        &bank(24_000, 1920, 12_000.0),
        &want.get("melbank/v3"),
        1e-6,
    );
    close(
        "bank, generation 1",
        &bank(22_050, 1024, 8_000.0),
        &want.get("melbank/v1"),
        1e-6,
    );
}

#[test]
fn log_mels_are_matchas() {
    let (wav, mut want) = prompt();
    let mut check = |what: &str, sample_rate, n_fft, hop, fmax, name: &str| {
        let params = MelParams {
            sample_rate,
            n_fft,
            hop,
            window: n_fft,
            bins: 80,
            fmin: 0.0,
            fmax,
        };
        let got = LogMel::new(params).unwrap().compute(&wav);
        close(
            what,
            &got.transposed(),
            &want.get(&format!("zero_shot_prompt/{name}")),
            1e-4,
        );
    };
    check(
        "mel, generation 2",
        24_000,
        1920,
        480,
        8_000.0,
        "mel24k_v2_fmax8000",
    );
    check(
        "mel, generation 3",
        24_000,
        1920,
        480,
        12_000.0,
        "mel24k_v3_fmaxNone",
    );
    check(
        "mel, generation 1",
        22_050,
        1024,
        256,
        8_000.0,
        "mel_v1_22050bank_on_24k",
    );
}

#[test]
fn the_tokenizer_input_is_whispers() {
    let (wav, mut want) = prompt();
    let got = WhisperMel::new(128).compute(&resample(&wav, 24_000, 16_000));
    close(
        "whisper",
        &got,
        &want.get("zero_shot_prompt/whisper_logmel128"),
        1e-4,
    );
}

#[test]
fn the_speaker_encoder_input_is_kaldis() {
    let (wav, mut want) = prompt();
    let wav = resample(&wav, 24_000, 16_000);
    let fbank = Fbank::new(80);
    close(
        "fbank",
        &fbank.compute(&wav),
        &want.get("zero_shot_prompt/fbank80_raw"),
        1e-4,
    );
    let want = want.get("zero_shot_prompt/fbank80_minus_mean");
    close(
        "fbank without its mean",
        &fbank.compute_centred(&wav),
        &want,
        1e-4,
    );
}

fn source(rule: PhaseRule) -> HarmonicSource {
    // The merge layers of the two tiny checkpoints' hift.pt.
    let (sample_rate, hop, merge_weight, merge_bias) = match rule {
        PhaseRule::PerSample => (
            22_050,
            256,
            vec![
                -0.557_659_4,
                -0.421_074_1,
                -0.134_105_38,
                -0.698_185_7,
                -0.944_834_1,
                -0.503_041_8,
                -0.988_305_7,
                -1.439_864_2,
                0.556_127_9,
            ],
            -0.088_360_09,
        ),
        _ => (
            24_000,
            480,
            vec![
                -2.106_692,
                -0.109_168_99,
                -0.445_295_78,
                -0.331_916_48,
                -0.311_700_1,
                -0.761_403_5,
                2.020_085_8,
                -1.016_053_9,
                0.774_704_34,
            ],
            -0.037_858_993,
        ),
    };
    HarmonicSource::new(SourceParams {
        sample_rate,
        hop,
        harmonics: 8,
        sine_amp: 0.1,
        noise_std: 0.003,
        voiced_threshold: 10.0,
        merge_weight,
        merge_bias,
        rule,
    })
    .unwrap()
}

#[test]
fn the_source_of_generation_2_is_the_references() {
    let mut want = Goldens::open("tiny/hift_2.npz");
    let (f0, noise) = (want.get("full/f0"), want.get("full/sine_noise"));
    let source = source(PhaseRule::Linear);
    let draws = || noise.data.iter().copied();
    let mut one = draws();
    let sines = source.sines(&f0.data, &[], || one.next().unwrap());
    let sines = Matrix {
        rows: sines.len() / 9,
        cols: 9,
        data: sines,
    };
    // The reference sums phases in single precision; what differs is its rounding.
    close("sines, generation 2", &sines, &want.get("full/sinegen"), 1e-3);
    let mut one = draws();
    let merged = row(source.render(&f0.data, &[], || one.next().unwrap()));
    close("source, generation 2", &merged, &want.get("full/source"), 1e-3);
}

#[test]
fn the_source_of_generation_1_is_the_references() {
    let mut want = Goldens::open("tiny/hift_1_source.npz");
    let (f0, noise, start) = (want.get("f0"), want.get("sine_noise"), want.get("sine_phase"));
    let noise = noise.transposed();
    let source = source(PhaseRule::PerSample);
    let mut one = noise.data.iter().copied();
    let sines = source.sines(&f0.data, &start.data, || one.next().unwrap());
    let sines = Matrix {
        rows: sines.len() / 9,
        cols: 9,
        data: sines,
    };
    close("sines, generation 1", &sines, &want.get("sinegen"), 1e-4);
    let mut one = noise.data.iter().copied();
    let merged = row(source.render(&f0.data, &start.data, || one.next().unwrap()));
    close("source, generation 1", &merged, &want.get("source"), 1e-4);
}

#[test]
fn the_speed_change_is_torchs() {
    let mut want = Goldens::open("tiny/stream_2.npz");
    let mel = want.get("full/chunk0/mel");
    let mel = Matrix {
        rows: 80,
        cols: mel.cols,
        data: mel.data,
    };
    close(
        "speed 1.3",
        &stretch(&mel, 1.3),
        &want.get("speed1.3/chunk0/hift_mel"),
        1e-5,
    );
}
