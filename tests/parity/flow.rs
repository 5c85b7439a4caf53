//! The flow against the reference's own mels, and against itself: however an utterance is cut into runs, batched,
//! shared or recomputed, its mel is that of one chunk-masked run. On the exported tiny checkpoints of generations 2 and 3.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{LazyLock, Mutex};
use std::time::{Duration, Instant};

use crate::support::{
    FlowCase, Golden, bundle, bundle_3, flow, flow_of, flow_worker, flow_worker_of, keep_going, long_case,
    max_error,
};
use cosyserve::Error;
use cosyserve::engine::flow_worker::{FlowWorker, PagedStream};
use cosyserve::engine::turn::Turn;
use cosyserve::engine::urgency::Urgency;
use cosyserve::model::flow::{Attention, Flow, FlowRunner, Row};
use cosyserve::model::pages::{Page, PagePool};
use cosyserve::model::{Bundle, Mel, mel};
use proptest::prelude::*;

/// Same mel: what is left of f32 rounding when runs differ in shape.
const SAME: f32 = 1e-4;
const CHUNK: usize = 25;
const LOOKAHEAD: usize = 3;
const RATIO: usize = 2;

/// The models, and how their goldens end.
fn generations() -> [(Bundle, u32); 2] {
    [(bundle(), 2), (bundle_3(), 3)]
}

/// One run over everything, nothing kept.
fn evaluate(flow: Flow, case: &FlowCase, attention: Attention, to: usize) -> Mel {
    let mut runner = FlowRunner::new(flow, 0).unwrap();
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

fn chunked(case: &FlowCase, left: Option<usize>) -> Mel {
    chunked_by(flow(), case, left)
}

fn chunked_by(flow: Flow, case: &FlowCase, left: Option<usize>) -> Mel {
    evaluate(flow, case, Attention::Chunked { left }, case.tokens.len())
}

/// The mel of a stream that is asked for chunks when `upto` tokens are there, and then for the rest.
fn streamed(stream: &mut PagedStream, tokens: &[i64], upto: &[usize]) -> Mel {
    let mut all = Mel::default();
    for &upto in upto {
        let new = stream.chunk(&tokens[..upto], false, &keep_going).unwrap();
        all = mel::join(&all, &new);
    }
    mel::join(&all, &stream.chunk(tokens, true, &keep_going).unwrap())
}

/// Guarantees the flow's mel in every case of the goldens: streaming or not, final or not, with prompt or without.
#[test]
fn goldens() {
    for (bundle, generation) in generations() {
        let golden = Golden::open(&format!("flow_{generation}"));
        for (name, attention, finalize) in [
            ("final1_stream1", Attention::Chunked { left: None }, true),
            ("final1_stream0", Attention::Full, true),
            ("final0_stream1", Attention::Chunked { left: None }, false),
            ("final0_stream0", Attention::Full, false),
            ("noprompt_final1_stream0", Attention::Full, true),
        ] {
            let case = FlowCase::read(&golden, name);
            let to = case.tokens.len() - if finalize { 0 } else { LOOKAHEAD };
            let mel = evaluate(flow_of(&bundle), &case, attention, to);
            let worst = max_error(&mel.data, &golden.floats(&format!("{name}/mel")));
            println!("generation {generation}, flow {name}: max mel error {worst:.2e}");
            assert!(worst <= 2e-3, "generation {generation}, {name}: {worst}");
        }
    }
}

/// Guarantees that a stream makes the reference's chunks, and a last one as the flow was trained to: chunk-masked.
#[test]
fn streams_make_the_references_chunks() {
    for (bundle, generation) in generations() {
        let golden = Golden::open(&format!("stream_{generation}"));
        let case = FlowCase::read(&golden, "stream");
        let worker = flow_worker_of(flow_of(&bundle), None);
        let mut stream = case.open(&worker);
        let mut made = Mel::default();
        for chunk in [0, 1] {
            let n = golden.ints(&format!("stream/chunk{chunk}/n_token"))[0] as usize;
            let new = stream.chunk(&case.tokens[..n], false, &keep_going).unwrap();
            made = mel::join(&made, &new);
            let expected = golden.floats(&format!("stream/chunk{chunk}/mel"));
            let error = max_error(&made.data, &expected);
            println!("generation {generation}, stream chunk {chunk}: max mel error {error:.2e}");
            assert!(error <= 2e-3, "generation {generation}, chunk {chunk}: {error}");
        }
        made = mel::join(&made, &stream.chunk(&case.tokens, true, &keep_going).unwrap());
        let error = max_error(&made.data, &chunked_by(flow_of(&bundle), &case, None).data);
        println!("generation {generation}, stream, all chunks: max difference {error:.2e}");
        assert!(error <= SAME, "generation {generation}: {error}");
    }
}

/// Guarantees the same of generation 3 for hops of some lengths; its graphs keep other state than generation 2's, which
/// the tests below look at closely.
#[test]
fn generation_3s_hops_do_not_matter() {
    let case = FlowCase::read(&Golden::open("stream_3"), "stream");
    let whole = chunked_by(flow_of(&bundle_3()), &case, None);
    let worker = flow_worker_of(flow_of(&bundle_3()), None);
    for upto in [vec![5], vec![30, 55, 80], vec![13, 14, 90], vec![99, 100]] {
        let made = streamed(&mut case.open(&worker), &case.tokens, &upto);
        let error = max_error(&made.data, &whole.data);
        println!("tokens at {upto:?}: {error:.2e}");
        assert!(error <= SAME, "{upto:?}: {error}");
    }
}

static HOPS: LazyLock<(FlowWorker, Vec<(FlowCase, Mel)>)> = LazyLock::new(|| {
    let cases = [0, 23, 92].map(long_case).into_iter();
    let expected = cases.map(|case| {
        let mel = chunked(&case, None);
        (case, mel)
    });
    (flow_worker(None), expected.collect())
});

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..Default::default() })]

    /// Whatever the hops, the mel of a stream is that of one chunk-masked run.
    #[test]
    fn hops_do_not_matter(which in 0usize..3, mut upto in prop::collection::vec(0usize..200, 0..6)) {
        upto.sort_unstable();
        let (worker, cases) = &*HOPS;
        let (case, expected) = &cases[which];
        let mel = streamed(&mut case.open(worker), &case.tokens, &upto);
        let error = max_error(&mel.data, &expected.data);
        println!("prompt {}, tokens at {upto:?}: {error:.2e}", case.voice.tokens.len());
        prop_assert!(error <= SAME, "{error}");
    }
}

/// Guarantees that a bounded left context means the same however chunks are grouped, and is bounded in pages.
#[test]
fn bounded_left_context_does_not_depend_on_grouping() {
    let case = long_case(60);
    let expected = chunked(&case, Some(2));
    assert!(
        max_error(&expected.data, &chunked(&case, None).data) > SAME,
        "the bound is felt"
    );
    let worker = flow_worker(Some(2));
    for upto in [&[30, 60, 90, 120, 150, 180][..], &[100, 190], &[]] {
        let mut stream = case.open(&worker);
        let mel = streamed(&mut stream, &case.tokens, upto);
        let error = max_error(&mel.data, &expected.data);
        println!("two chunks of left context, tokens at {upto:?}: {error:.2e}");
        assert!(error <= SAME, "{error}");
    }
    let mut stream = case.open(&worker);
    for upto in (30..200).step_by(10) {
        stream.chunk(&case.tokens[..upto], false, &keep_going).unwrap();
        let held = worker.pages().total() - worker.pages().free();
        assert!(held <= 2 + 2, "its own two and those of the prompt: {held}");
    }
}

/// Guarantees that utterances of one voice share the prompt's pages and sound as if they did not.
#[test]
fn prompts_are_shared() {
    let case = long_case(92);
    let worker = flow_worker(None);
    let held = || worker.pages().total() - worker.pages().free();
    let mut first = case.open(&worker);
    let mel = streamed(&mut first, &case.tokens, &[40]);
    assert!(max_error(&mel.data, &chunked(&case, None).data) <= SAME);
    assert_eq!(
        held(),
        3,
        "of 92 tokens, 75 and their look-ahead are in the prompt"
    );
    let mut streams: Vec<_> = (0..3).map(|_| case.open(&worker)).collect();
    for stream in &mut streams {
        stream.chunk(&case.tokens[..40], false, &keep_going).unwrap();
    }
    assert_eq!(held(), 3 + 3 * 2);
    for stream in &mut streams {
        let rest = stream.chunk(&case.tokens, true, &keep_going).unwrap();
        let again = mel::frames(&mel, mel.cols - rest.cols, mel.cols);
        assert_eq!(rest, again, "a shared prompt changes no bit");
    }
    drop(streams);
    assert_eq!(held(), 3);
}

/// Guarantees that a stream goes on without pages when there are none, and that all come back.
#[test]
fn an_exhausted_pool_changes_no_mel() {
    for (pages, prompt) in [(0, 23), (2, 23), (5, 92), (2, 92)] {
        let case = long_case(prompt);
        let expected = chunked(&case, None);
        let flow = flow();
        let bytes = pages * flow.page_bytes();
        let worker = FlowWorker::start(flow, None, bytes, None).unwrap();
        let mut streams = [case.open(&worker), case.open(&worker)];
        let mut mels = [Mel::default(), Mel::default()];
        for upto in [30, 55, 80, 130, 180] {
            for (stream, made) in streams.iter_mut().zip(&mut mels) {
                let new = stream.chunk(&case.tokens[..upto], false, &keep_going).unwrap();
                *made = mel::join(made, &new);
            }
        }
        for (stream, made) in streams.iter_mut().zip(&mels) {
            let all = mel::join(made, &stream.chunk(&case.tokens, true, &keep_going).unwrap());
            let error = max_error(&all.data, &expected.data);
            println!("{pages} pages, prompt {prompt}: {error:.2e}");
            assert!(error <= SAME, "{pages} pages: {error}");
        }
        let kept = worker.pages().total() - worker.pages().free();
        assert!(kept <= worker.pages().total() / 2, "only a prompt's: {kept}");
    }
}

/// Guarantees that a row's mel does not depend on the others of its batch, padded shapes of a GPU included.
#[test]
fn rows_of_a_batch_are_independent() {
    for padded in [false, true] {
        let (cases, pool) = ([long_case(0), long_case(23), long_case(50)], PagePool::new(40));
        let mut runner = FlowRunner::new(flow().batching(padded), pool.total()).unwrap();
        let attention = Attention::Chunked { left: None };
        let mut run = |rows: &[Row<'_>]| runner.run(rows, attention).unwrap();
        // A different history for each: one, two and four chunks.
        let history: Vec<Vec<Page>> = cases
            .iter()
            .zip([1, 2, 4])
            .map(|(case, chunks)| {
                let write = pool.take(chunks).unwrap();
                let row = row(case, 0, chunks * CHUNK, &[], &write);
                run(&[row]);
                write
            })
            .collect();
        // The second is not a whole chunk.
        let ends = [(25, 50), (50, 60), (100, 125)];
        let rows: Vec<Row<'_>> = cases
            .iter()
            .zip(&history)
            .zip(ends)
            .map(|((case, history), (from, to))| row(case, from, to, history, &[]))
            .collect();
        let together = run(&rows);
        for ((row, mel), (from, to)) in rows.iter().zip(&together).zip(ends) {
            let alone = run(std::slice::from_ref(row)).remove(0);
            let error = max_error(&mel.data, &alone.data);
            println!("padded {padded}, positions {from} to {to}: {error:.2e}");
            assert!(error <= SAME, "{error}");
        }
    }
}

/// A whole answer, which its client does not play while it comes.
fn whole(worker: &FlowWorker, case: &FlowCase) -> Mel {
    let urgency = Urgency::new(Instant::now(), false);
    let mut stream = worker.open(case.voice.clone(), urgency);
    stream.whole(&case.tokens, &keep_going).unwrap()
}

fn row<'a>(case: &'a FlowCase, from: usize, to: usize, history: &'a [Page], write: &'a [Page]) -> Row<'a> {
    Row {
        voice: &case.voice,
        tokens: &case.tokens,
        from,
        to,
        history,
        write,
    }
}

/// Guarantees that streams at once sound as alone: to the last bit where runs are not batched.
#[test]
fn streams_under_load_sound_as_alone() {
    let cases: Vec<FlowCase> = [0, 23, 92, 92, 60].into_iter().map(long_case).collect();
    let upto = [30, 60, 110, 160];
    for batching in [false, true] {
        let worker = || {
            let flow = flow().batching(batching);
            let bytes = 80 * flow.page_bytes();
            FlowWorker::start(flow, Some(Turn::new()), bytes, None).unwrap()
        };
        let (quiet, busy) = (worker(), worker());
        let speak =
            |worker: &FlowWorker, case: &FlowCase| streamed(&mut case.open(worker), &case.tokens, &upto);
        let together: Vec<Mel> = std::thread::scope(|scope| {
            let threads: Vec<_> = cases
                .iter()
                .map(|case| scope.spawn(|| speak(&busy, case)))
                .collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        });
        for (case, mel) in cases.iter().zip(&together) {
            let alone = speak(&quiet, case);
            let error = max_error(&mel.data, &alone.data);
            println!(
                "batching {batching}, prompt {}: {error:.2e}",
                case.voice.tokens.len()
            );
            assert!(error <= if batching { SAME } else { 0.0 }, "{error}");
            assert!(max_error(&mel.data, &chunked(case, None).data) <= SAME);
        }
    }
}

/// Guarantees that a request nobody waits for ends at once, gives its pages back and disturbs no other.
#[test]
fn cancelled_chunks_end_early() {
    let case = long_case(23);
    let worker = flow_worker(None);
    let mut stream = case.open(&worker);
    stream.chunk(&case.tokens[..60], false, &keep_going).unwrap();
    let asked = AtomicUsize::new(0);
    let gone = || match asked.fetch_add(1, Ordering::Relaxed) {
        0 => Ok(()),
        _ => Err(Error::Cancelled),
    };
    // Long enough that the wait is looked at before the work is done.
    let tokens: Vec<i64> = case.tokens.iter().cycle().take(500).copied().collect();
    let result = stream.whole(&tokens, &gone);
    assert!(
        matches!(result, Err(Error::Cancelled)),
        "{:?}",
        result.map(|m| m.cols)
    );
    let ended = stream.chunk(&case.tokens, true, &keep_going);
    assert!(matches!(ended, Err(Error::Internal(_))));
    let mel = streamed(&mut case.open(&worker), &case.tokens, &[100]);
    assert!(max_error(&mel.data, &chunked(&case, None).data) <= SAME);
    drop(stream);
    assert_eq!(worker.pages().free(), worker.pages().total());
}

/// Guarantees that a chunk due now does not wait for a long utterance at work, which then ends as if alone.
#[test]
fn what_is_due_first_interrupts_what_is_at_work() {
    let (case, turn) = (long_case(23), Turn::new());
    let flow = flow();
    let bytes = 20 * flow.page_bytes();
    let worker = FlowWorker::start(flow, Some(turn.clone()), bytes, None).unwrap();
    let long = FlowCase {
        voice: case.voice.clone(),
        tokens: case.tokens.iter().cycle().take(500).copied().collect(),
    };
    let (arrival, ended) = (Instant::now(), Mutex::new(Vec::new()));
    let expected = whole(&worker, &long);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            assert_eq!(whole(&worker, &long), expected);
            ended.lock().unwrap().push("long");
        });
        std::thread::sleep(Duration::from_millis(20));
        // While the test has the turn, the long one stays where it is.
        let held = turn.take(arrival);
        scope.spawn(|| {
            let mut stream = case.open(&worker);
            stream.chunk(&case.tokens[..30], false, &keep_going).unwrap();
            ended.lock().unwrap().push("short");
        });
        std::thread::sleep(Duration::from_millis(100));
        drop(held);
    });
    assert_eq!(*ended.lock().unwrap(), ["short", "long"]);
}

/// Guarantees that a run that fails ends its own utterance only.
#[test]
fn a_failed_run_fails_alone() {
    let case = long_case(23);
    let worker = flow_worker(None);
    let mut good = case.open(&worker);
    good.chunk(&case.tokens[..60], false, &keep_going).unwrap();
    let mut bad = case.open(&worker);
    let error = bad.chunk(&[i64::MAX; 60], false, &keep_going).unwrap_err();
    assert!(matches!(error, Error::Internal(_)), "{error}");
    let rest = good.chunk(&case.tokens, true, &keep_going).unwrap();
    let expected = chunked(&case, None);
    let expected = mel::frames(&expected, expected.cols - rest.cols, expected.cols);
    assert!(max_error(&rest.data, &expected.data) <= SAME);
    drop((good, bad));
    assert_eq!(worker.pages().free(), worker.pages().total());
}

/// Guarantees that a stream that outlives its worker is told so and does not wait for ever.
#[test]
fn a_stream_without_its_worker_ends() {
    let case = long_case(23);
    let worker = flow_worker(None);
    let mut stream = case.open(&worker);
    drop(worker);
    let error = stream.chunk(&case.tokens, true, &keep_going).unwrap_err();
    assert!(matches!(error, Error::Internal(_)), "{error}");
}
