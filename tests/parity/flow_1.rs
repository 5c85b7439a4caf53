//! Generation 1's flow and vocoder against the reference's own numbers, on the exported tiny CosyVoice 1 checkpoint;
//! `make test` exports it first.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use crate::support::{
    FlowCase, Golden, bundle_1, check_vocoder, keep_going, max_error, runtime, snr_db, vocoder_graphs_of,
};
use cosyserve::engine::overlapped_flow::{OverlappedFlows, OverlappedStream};
use cosyserve::engine::turn::Turn;
use cosyserve::engine::urgency::Urgency;
use cosyserve::model::overlapped_flow::OverlappedFlow;
use cosyserve::model::vocoder::{Ran, Vocoder, VocoderGraphs, VocoderRun, VocoderRuns};
use cosyserve::model::{Mel, mel};
use cosyserve::runtime::Device;
use cosyserve::{Error, Result};

const BINS: usize = 80;
const MEL: f32 = 2e-3;
const SAMPLES_DB: f64 = 50.0;
/// Frames of the goldens' prompt, and of what chunks share.
const PROMPT: usize = 86;
const OVERLAP: usize = 34;

fn flow() -> OverlappedFlow {
    OverlappedFlow::load(runtime(), &bundle_1(), Device::Cpu).unwrap()
}

/// The columns of `z` from `from` on, as the flow draws them.
fn draws(z: &Mel, from: usize) -> Vec<f32> {
    let frames = from..z.cols;
    frames
        .flat_map(|frame| (0..BINS).map(move |bin| (bin, frame)))
        .map(|(bin, frame)| z.row(bin)[frame])
        .collect()
}

fn open(
    flows: &OverlappedFlows,
    case: &FlowCase,
    noise: impl FnMut() -> f32 + Send + 'static,
) -> OverlappedStream {
    flows.open(case.voice.clone(), Urgency::new(Instant::now(), true), noise)
}

/// Any noise that is a function of how much was drawn before.
fn some_noise() -> impl FnMut() -> f32 + Send + 'static {
    let mut n = 0u32;
    move || {
        n = n.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (n >> 8) as f32 / 8_388_608.0 - 1.0
    }
}

/// Guarantees the mel of whole chunks, with prompt and without, with lengths that are interpolated as one piece and as
/// three; and of a chunk that goes on from another.
#[test]
fn mels_are_the_references() {
    let (flow, golden) = (flow(), Golden::open("flow_1"));
    let mut carried = None;
    for name in ["short30", "noprompt70", "chunk0", "chunk1"] {
        let case = FlowCase::read(&golden, name);
        if name != "chunk1" {
            carried = None;
        }
        let known = carried.as_ref().map_or(0, |_| PROMPT + OVERLAP);
        let z = draws(&golden.matrix(&format!("{name}/z")), known);
        let mut z = z.into_iter();
        let mut noise = || z.next().unwrap();
        let mut solving = flow
            .begin(&case.voice, &case.tokens, &mut carried, &mut noise)
            .unwrap();
        let mel = loop {
            if let Some(mel) = flow.advance(&mut solving).unwrap() {
                break mel;
            }
        };
        assert!(z.next().is_none(), "{name}: noise is left");
        let worst = max_error(&mel.data, &golden.floats(&format!("{name}/mel")));
        println!("flow {name}: max mel error {worst:.2e}");
        assert!(worst <= MEL, "{name}: {worst}");
    }
}

/// The graphs, with the reference's source in the place of the one made here, which has noise of its own.
struct Given<'a> {
    graphs: &'a VocoderGraphs,
    source: RefCell<Vec<f32>>,
}

impl VocoderRuns for Given<'_> {
    fn has_fixed_widths(&self) -> bool {
        false
    }

    fn run(&self, mut run: VocoderRun) -> Result<Ran> {
        if let Some(decode) = &mut run.decode {
            let given = self.source.borrow();
            assert_eq!(decode.source.len(), given.len());
            decode.source.clone_from(&given);
        }
        VocoderRuns::run(self.graphs, run)
    }
}

/// Guarantees the reference's chunked synthesis through the engine's own stream and vocoder: its overlaps, what is
/// carried, and the cross-fades of mel and samples, with its noise and sources.
#[test]
fn streamed_samples_are_the_references() {
    let (bundle, golden) = (bundle_1(), Golden::open("stream_1"));
    let case = FlowCase::read(&golden, "stream");
    let key = |chunk: usize, name: &str| format!("stream/chunk{chunk}/{name}");
    let noise = (0..3).flat_map(|chunk| {
        let known = if chunk == 0 { 0 } else { PROMPT + OVERLAP };
        draws(&golden.matrix(&key(chunk, "z")), known)
    });
    let mut noise = noise.collect::<Vec<_>>().into_iter();
    let flows = OverlappedFlows::new(flow(), Some(Turn::new()));
    let mut stream = open(&flows, &case, move || noise.next().unwrap());
    let vocoder = Vocoder::new(&bundle).unwrap();
    let runs = Given {
        graphs: &vocoder_graphs_of(&bundle),
        source: RefCell::default(),
    };
    let mut state = vocoder.begin();
    for (chunk, upto, last) in [(0, 120, false), (1, 220, false), (2, 250, true)] {
        stream.begin(&case.tokens[..upto], last);
        let mel = stream.finish(&keep_going).unwrap();
        *runs.source.borrow_mut() = golden.floats(&key(chunk, "hift_source"));
        let samples = vocoder.push(&runs, &mut state, &mel, last, || 0.0).unwrap();
        let snr = snr_db(&samples, &golden.floats(&key(chunk, "out")));
        println!("stream chunk {chunk}: {} samples, SNR {snr:.1} dB", samples.len());
        assert!(snr >= SAMPLES_DB, "chunk {chunk}: {snr}");
    }
}

/// Guarantees the speed change of whole utterances, and zero-shot synthesis from the tokens on.
#[test]
fn whole_samples_are_the_references() {
    let bundle = bundle_1();
    let (graphs, vocoder) = (vocoder_graphs_of(&bundle), Vocoder::new(&bundle).unwrap());
    let flows = OverlappedFlows::new(flow(), None);
    let prompt = Golden::open("frontend_1");
    let zero_shot = |golden: &Golden, case: &str| FlowCase {
        voice: Arc::new(cosyserve::model::flow::FlowVoice::new(
            prompt.ints("zero_shot/flow_prompt_speech_token"),
            prompt.floats("zero_shot/prompt_speech_feat"),
            prompt.floats("zero_shot/flow_embedding"),
        )),
        tokens: golden.ints(&format!("{case}/token")),
    };
    let (speed, e2e) = (Golden::open("stream_1"), Golden::open("e2e_1"));
    for (golden, case, chunk, names, factor) in [
        (
            &speed,
            FlowCase::read(&speed, "speed1.3"),
            "speed1.3/chunk0",
            ("hift_source", "out"),
            1.3,
        ),
        (
            &e2e,
            zero_shot(&e2e, "stream0/chunk0"),
            "stream0/chunk0",
            ("source", "audio"),
            1.0,
        ),
    ] {
        let mut noise = draws(&golden.matrix(&format!("{chunk}/z")), 0).into_iter();
        let mut stream = open(&flows, &case, move || noise.next().unwrap());
        stream.begin(&case.tokens, true);
        let mel = stream.finish(&keep_going).unwrap();
        let error = max_error(&mel.data, &golden.floats(&format!("{chunk}/mel")));
        let runs = Given {
            graphs: &graphs,
            source: golden.floats(&format!("{chunk}/{}", names.0)).into(),
        };
        let mel = cosyserve::dsp::stretch::stretch(&mel, factor);
        let samples = vocoder
            .push(&runs, &mut vocoder.begin(), &mel, true, || 0.0)
            .unwrap();
        let snr = snr_db(&samples, &golden.floats(&format!("{chunk}/{}", names.1)));
        println!("whole {chunk}: max mel error {error:.2e}, SNR {snr:.1} dB");
        assert!(error <= MEL && snr >= SAMPLES_DB, "{chunk}");
    }
}

/// Guarantees f0 and samples of the vocoder, with the reference's source injected.
#[test]
fn the_vocoder_is_the_references() {
    check_vocoder(
        &vocoder_graphs_of(&bundle_1()),
        &Golden::open("hift_1"),
        SAMPLES_DB,
    );
}

/// Guarantees that a frame of an utterance begins with the same noise whether it is streamed or not: as many numbers are
/// drawn for either.
#[test]
fn a_frame_has_its_noise_however_it_is_made() {
    let golden = Golden::open("stream_1");
    let case = FlowCase::read(&golden, "stream");
    let flow = flow();
    let drawn = |chunks: &[&[i64]]| {
        let (mut carried, count) = (None, Cell::new(0));
        let mut noise = || {
            count.set(count.get() + 1);
            0.5
        };
        for tokens in chunks {
            flow.begin(&case.voice, tokens, &mut carried, &mut noise).unwrap();
        }
        count.get() / BINS
    };
    let (whole, tokens) = (drawn(&[&case.tokens]), &case.tokens);
    let streamed = drawn(&[&tokens[..120], &tokens[100..220], &tokens[200..]]);
    assert_eq!(whole, PROMPT + flow.frames(250));
    // The lengths of chunks are rounded each on its own.
    assert!(streamed.abs_diff(whole) <= 3, "{streamed} {whole}");
}

/// Guarantees that the shortest utterances are made, and that too long ones and strange voices are refused.
#[test]
fn lengths_have_their_bounds() {
    let case = FlowCase::read(&Golden::open("flow_1"), "noprompt70");
    let flows = OverlappedFlows::new(flow(), None);
    for count in [1, 2, 3, 41] {
        let mut stream = open(&flows, &case, some_noise());
        stream.begin(&case.tokens[..count], true);
        let mel = stream.finish(&keep_going).unwrap();
        assert_eq!(mel.cols, flow().frames(count));
        assert!(mel.data.iter().all(|v| v.is_finite()));
    }
    let mut stream = open(&flows, &case, some_noise());
    stream.begin(&vec![7; 4_000], true);
    let error = stream.finish(&keep_going).unwrap_err();
    assert!(
        matches!(&error, Error::Invalid(why) if why.contains("5500")),
        "{error}"
    );
}

/// Guarantees that a request which is given up makes no further run of a graph.
#[test]
fn a_cancelled_chunk_stops_before_its_next_step() {
    let case = FlowCase::read(&Golden::open("flow_1"), "noprompt70");
    let flows = OverlappedFlows::new(flow(), Some(Turn::new()));
    let mut stream = open(&flows, &case, some_noise());
    let asked = AtomicUsize::new(0);
    // Before the encoder's run, the first step and the second.
    let thrice = || match asked.fetch_add(1, Ordering::Relaxed) {
        0..3 => Ok(()),
        _ => Err(Error::Cancelled),
    };
    stream.begin(&case.tokens, true);
    assert!(matches!(stream.finish(&thrice), Err(Error::Cancelled)));
    assert_eq!(asked.load(Ordering::Relaxed), 4);
}

/// Guarantees that utterances which share the turn are what they are alone.
#[test]
fn utterances_do_not_touch_each_other() {
    let golden = Golden::open("flow_1");
    let cases = ["short30", "noprompt70", "chunk0"].map(|name| FlowCase::read(&golden, name));
    let flows = OverlappedFlows::new(flow(), Some(Turn::new()));
    let spoken = |case: &FlowCase| {
        let mut stream = open(&flows, case, some_noise());
        stream.begin(&case.tokens, true);
        stream.finish(&keep_going).unwrap()
    };
    let alone = cases.each_ref().map(&spoken);
    std::thread::scope(|scope| {
        let together = cases.each_ref().map(|case| scope.spawn(|| spoken(case)));
        for (mel, alone) in together.into_iter().zip(&alone) {
            assert!(mel.join().unwrap() == *alone);
        }
    });
    let joined = mel::join(&alone[0], &alone[1]);
    assert_eq!(joined.cols, alone[0].cols + alone[1].cols);
}
