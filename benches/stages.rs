//! The model's two costly stages, with the bundled voice (`COSYSERVE_MODEL` names another bundle).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a benchmark stops where something is wrong"
)]

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use cosyserve::{
    model::{
        Bundle,
        flow::{Attention, Flow, FlowRunner, FlowVoice, Row},
        llm::{Llm, Slot},
    },
    runtime::{Device, Options, Runtime},
};
use criterion::{Criterion, criterion_group, criterion_main};

/// Positions before the measured step: a short text and three seconds of speech.
const BEFORE: usize = 100;
/// Steps measured from there.
const STEPS: u64 = 50;
/// Sequences in a batch.
const ROWS: usize = 4;

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
    let mut llm = Llm::load(runtime(), &bundle(), Device::Cpu, ROWS).unwrap();
    let ids = vec![1; BEFORE];
    let slots: Vec<Slot> = (0..ROWS).map(|_| llm.open().unwrap()).collect();
    let mut group = c.benchmark_group("language model");
    group.bench_function("prefill of 100 ids", |b| {
        b.iter(|| llm.prefill(&slots[0], &ids, None).map(drop).unwrap());
    });
    for rows in [1, ROWS] {
        let step: Vec<(&Slot, usize)> = slots[..rows].iter().map(|slot| (slot, 7)).collect();
        group.bench_function(format!("one step of {rows}"), |b| {
            b.iter_custom(|times| {
                let mut took = Duration::ZERO;
                for time in 0..times {
                    // Back to the start now and then: a step's cost grows with what came before it.
                    if time % STEPS == 0 {
                        slots
                            .iter()
                            .for_each(|slot| drop(llm.prefill(slot, &ids, None).unwrap()));
                    }
                    let started = Instant::now();
                    drop(llm.step(&step).unwrap());
                    took += started.elapsed();
                }
                took
            });
        });
    }
    group.finish();
}

fn flow(c: &mut Criterion) {
    let flow = Flow::load(runtime(), &bundle(), Device::Cpu).unwrap();
    let (chunk, lookahead) = (flow.config().chunk_tokens, flow.config().lookahead_tokens);
    let tokens: Vec<i64> = (0..chunk + lookahead).map(|t| 50 * t as i64).collect();
    let voice = FlowVoice::new(Vec::new(), Vec::new(), vec![0.1; flow.spk_dim()]);
    let mut runner = FlowRunner::new(flow, 0).unwrap();
    let row = Row {
        voice: &voice,
        tokens: &tokens,
        from: 0,
        to: chunk,
        history: &[],
        write: &[],
    };
    c.bench_function("flow, one chunk of 1 s", |b| {
        b.iter(|| runner.run(&[row], Attention::Chunked { left: None }).unwrap());
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).measurement_time(Duration::from_secs(4)).warm_up_time(Duration::from_secs(1));
    targets = language_model, flow
}
criterion_main!(benches);
