//! What the CPU does besides the model, a request at a time: prompt features, sampling, encoders.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a benchmark stops where something is wrong"
)]

use std::{hint::black_box, time::Duration};

use cosyserve::{
    audio::encode::{AudioFormat, encode_whole, encoder},
    dsp::{
        fbank::Fbank,
        mel::{LogMel, MelParams},
        resample::resample,
        whisper::WhisperMel,
    },
    model::{bundle::SamplingConfig, sampler},
};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha12Rng;

/// Prompt recordings of 5 s are typical.
const PROMPT_SECONDS: usize = 5;
const VOCABULARY: usize = 6_564;

/// Noise in [-0.5, 0.5).
fn noise(samples: usize) -> Vec<f32> {
    let mut random = ChaCha12Rng::seed_from_u64(1);
    (0..samples).map(|_| random.random::<f32>() - 0.5).collect()
}

fn features(c: &mut Criterion) {
    let (at_16k, at_24k) = (noise(PROMPT_SECONDS * 16_000), noise(PROMPT_SECONDS * 24_000));
    let mel = LogMel::new(MelParams {
        sample_rate: 24_000,
        n_fft: 1_920,
        hop: 480,
        window: 1_920,
        bins: 80,
        fmin: 0.0,
        fmax: 8_000.0,
    })
    .unwrap();
    let (whisper, fbank) = (WhisperMel::new(128), Fbank::new(80));
    let mut group = c.benchmark_group("features of 5 s");
    group.bench_function("mel", |b| b.iter(|| mel.compute(black_box(&at_24k))));
    group.bench_function("whisper", |b| b.iter(|| whisper.compute(black_box(&at_16k))));
    group.bench_function("fbank", |b| b.iter(|| fbank.compute_centred(black_box(&at_16k))));
    group.bench_function("resample 24 to 16 kHz", |b| {
        b.iter(|| resample(black_box(&at_24k), 24_000, 16_000));
    });
    group.finish();
}

fn sampling(c: &mut Criterion) {
    let config = SamplingConfig {
        top_p: 0.8,
        top_k: 25,
        win_size: 10,
        tau_r: 0.1,
    };
    let logits: Vec<f32> = noise(VOCABULARY).iter().map(|x| 12.0 * x).collect();
    let decoded: Vec<usize> = (0..100).collect();
    let mut random = ChaCha12Rng::seed_from_u64(2);
    c.bench_function("sampling of one token", |b| {
        b.iter_batched_ref(
            || logits.clone(),
            |logits| sampler::sample(logits, &decoded, &config, &mut random),
            BatchSize::SmallInput,
        );
    });
}

fn encoders(c: &mut Criterion) {
    let second = noise(24_000);
    let mut group = c.benchmark_group("encoding of 1 s");
    for format in [AudioFormat::Mp3, AudioFormat::L16] {
        group.bench_function(format!("{format:?}, whole"), |b| {
            b.iter(|| encode_whole(format, 24_000, black_box(&second)).unwrap());
        });
        let mut stream = encoder(format, 24_000).unwrap();
        group.bench_function(format!("{format:?}, in a stream"), |b| {
            b.iter(|| stream.encode(black_box(&second)).unwrap());
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).measurement_time(Duration::from_secs(2)).warm_up_time(Duration::from_millis(500));
    targets = features, sampling, encoders
}
criterion_main!(benches);
