//! The model's two costly stages, with the bundled voice (`COSYSERVE_MODEL` names another bundle).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a benchmark stops where something is wrong"
)]

use std::{path::PathBuf, time::Duration};

use cosyserve::{
    model::{
        Bundle,
        flow::{Flow, FlowInput},
        llm::Llm,
    },
    runtime::{Options, Runtime},
};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};

/// Positions before the measured step: a short text and three seconds of speech.
const BEFORE: usize = 100;

fn bundle() -> Bundle {
    let bundled = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("onnx/bundled");
    let dir = std::env::var_os("COSYSERVE_MODEL").map_or(bundled, PathBuf::from);
    Bundle::open(&dir).unwrap()
}

fn runtime() -> &'static Runtime {
    let options = Options {
        library: None,
        threads: 0,
    };
    Runtime::get(&options).expect("ONNX Runtime; run `make setup`")
}

fn language_model(c: &mut Criterion) {
    let llm = Llm::load(runtime(), &bundle()).unwrap();
    let ids = vec![1; BEFORE];
    let mut group = c.benchmark_group("language model");
    group.bench_function("prefill of 100 ids", |b| {
        b.iter(|| llm.prefill(&ids, 50).unwrap())
    });
    group.bench_function("one step", |b| {
        b.iter_batched_ref(
            || llm.prefill(&ids, 50).unwrap().0,
            |sequence| llm.step(sequence, 7).unwrap(),
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

fn flow(c: &mut Criterion) {
    let flow = Flow::load(runtime(), &bundle()).unwrap();
    let config = flow.config();
    let tokens: Vec<i64> = (0..config.chunk_tokens + config.lookahead_tokens)
        .map(|t| 50 * t as i64)
        .collect();
    let embedding = vec![0.1; config.spk_dim];
    let input = FlowInput {
        prompt_tokens: &[],
        prompt_feat: &[],
        embedding: &embedding,
        tokens: &tokens,
        streaming: true,
        finalize: false,
    };
    c.bench_function("flow, one chunk of 1 s", |b| {
        b.iter(|| flow.infer(&input, &|| Ok(())).unwrap());
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).measurement_time(Duration::from_secs(4)).warm_up_time(Duration::from_secs(1));
    targets = language_model, flow
}
criterion_main!(benches);
