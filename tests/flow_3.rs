//! Generation 3's flow against the reference's own mels and against itself, on the exported tiny CosyVoice 3
//! checkpoint; `make test` exports it first.
#![allow(clippy::unwrap_used, reason = "a test stops where something is broken")]

mod support;

use cosyserve::engine::flow_worker::FlowWorker;
use cosyserve::model::flow::{Attention, Flow, FlowRunner, Row};
use cosyserve::model::{Mel, mel};
use cosyserve::runtime::Device;
use support::{FlowCase, Golden, bundle_3, keep_going, max_error, runtime};

/// Same mel: what is left of f32 rounding when runs differ in shape.
const SAME: f32 = 1e-4;
const LOOKAHEAD: usize = 3;
const RATIO: usize = 2;

fn flow() -> Flow {
    Flow::load(runtime(), &bundle_3(), Device::Cpu).unwrap()
}

/// One run over everything, nothing kept.
fn evaluate(case: &FlowCase, attention: Attention, to: usize) -> Mel {
    let mut runner = FlowRunner::new(flow(), 0).unwrap();
    let row = Row {
        voice: &case.voice,
        tokens: &case.tokens,
        from: 0,
        to: case.voice.tokens.len() + to,
        history: &[],
        write: &[],
    };
    let mel = runner.run(&[row], attention).unwrap().remove(0);
    mel::frames(&mel, case.voice.tokens.len() * RATIO, mel.cols)
}

/// Guarantees the flow's mel in every case of the goldens: streaming or not, final or not, with prompt or without.
#[test]
fn mels_are_the_references() {
    let golden = Golden::open("flow_3");
    for (name, attention, finalize) in [
        ("final1_stream1", Attention::Chunked { left: None }, true),
        ("final1_stream0", Attention::Full, true),
        ("final0_stream1", Attention::Chunked { left: None }, false),
        ("final0_stream0", Attention::Full, false),
        ("noprompt_final1_stream0", Attention::Full, true),
    ] {
        let case = FlowCase::read(&golden, name);
        let to = case.tokens.len() - if finalize { 0 } else { LOOKAHEAD };
        let mel = evaluate(&case, attention, to);
        let worst = max_error(&mel.data, &golden.floats(&format!("{name}/mel")));
        println!("flow {name}: max mel error {worst:.2e}");
        assert!(worst <= 2e-3, "{name}: {worst}");
    }
}

/// Guarantees that a stream makes the reference's chunks, and all of them together what one chunk-masked run makes.
#[test]
fn streams_make_the_references_chunks() {
    let golden = Golden::open("stream_3");
    let case = FlowCase::read(&golden, "stream");
    let flow = flow();
    let bytes = 60 * flow.page_bytes();
    let worker = FlowWorker::start(flow, None, bytes, None).unwrap();
    let mut stream = case.open(&worker);
    let mut made = Mel::default();
    for chunk in [0, 1] {
        let n = golden.ints(&format!("stream/chunk{chunk}/n_token"))[0] as usize;
        let new = stream.chunk(&case.tokens[..n], false, &keep_going).unwrap();
        made = mel::join(&made, &new);
        let expected = golden.floats(&format!("stream/chunk{chunk}/mel"));
        let error = max_error(&made.data, &expected);
        println!("stream chunk {chunk}: max mel error {error:.2e}");
        assert!(error <= 2e-3, "chunk {chunk}: {error}");
    }
    made = mel::join(&made, &stream.chunk(&case.tokens, true, &keep_going).unwrap());
    let whole = evaluate(&case, Attention::Chunked { left: None }, case.tokens.len());
    let error = max_error(&made.data, &whole.data);
    println!("stream, all chunks: max difference {error:.2e}");
    assert!(error <= SAME, "{error}");
}

/// Guarantees that hops of every length give the mel of one chunk-masked run.
#[test]
fn hops_do_not_matter() {
    let case = FlowCase::read(&Golden::open("stream_3"), "stream");
    let whole = evaluate(&case, Attention::Chunked { left: None }, case.tokens.len());
    let flow = flow();
    let bytes = 60 * flow.page_bytes();
    let worker = FlowWorker::start(flow, None, bytes, None).unwrap();
    for upto in [vec![5], vec![30, 55, 80], vec![13, 14, 90], vec![99, 100]] {
        let mut stream = case.open(&worker);
        let mut made = Mel::default();
        for &upto in &upto {
            made = mel::join(
                &made,
                &stream.chunk(&case.tokens[..upto], false, &keep_going).unwrap(),
            );
        }
        made = mel::join(&made, &stream.chunk(&case.tokens, true, &keep_going).unwrap());
        let error = max_error(&made.data, &whole.data);
        println!("tokens at {upto:?}: {error:.2e}");
        assert!(error <= SAME, "{upto:?}: {error}");
    }
}
