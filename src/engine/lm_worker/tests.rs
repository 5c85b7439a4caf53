#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "tests stop where something is broken"
)]
use std::path::Path;
use std::time::{Duration, Instant};

use rand::SeedableRng;

use super::*;
use crate::engine::text_feed::{TextFeed, feed};
use crate::engine::token_stream::Taken;
use crate::model::Bundle;
use crate::runtime::{Device, Options, Runtime};
use crate::text::interleave::{Mix, Opening};

const PATIENCE: Duration = Duration::from_secs(60);

fn bundle() -> Bundle {
    Bundle::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("onnx/bundled")).unwrap()
}

fn load(bundle: &Bundle, slots: usize) -> Llm {
    let runtime = Runtime::get(&Options {
        library: None,
        threads: 2,
    })
    .expect("ONNX Runtime; run `make setup`");
    Llm::load(runtime, bundle, Device::Cpu, slots).unwrap()
}

fn worker(slots: usize, turn: Option<Arc<Turn>>) -> LmWorker {
    LmWorker::start(load(&bundle(), slots), turn).unwrap()
}

/// Request `i` of the tests, of 20 to 60 tokens.
fn request(i: u64) -> LmRequest {
    let llm = bundle().manifest.llm;
    let text = (0..8 + i as i64).map(|t| (t * 37 + i as i64 * 11) % llm.text_vocab);
    let ids = std::iter::once(llm.sos_id).chain(text).chain([llm.task_id]);
    LmRequest {
        input: LmInput::Whole {
            ids: ids.collect(),
            rows: None,
            min_tokens: 20,
        },
        max_tokens: 60,
        generator: ChaCha12Rng::seed_from_u64(i),
        urgency: Urgency::new(Instant::now(), true),
    }
}

/// The same of so many tokens, at least and at most.
fn of_length(i: u64, min: usize, max: usize) -> LmRequest {
    let mut request = request(i);
    if let LmInput::Whole { min_tokens, .. } = &mut request.input {
        *min_tokens = min;
    }
    LmRequest {
        max_tokens: max,
        ..request
    }
}

fn tokens(mut stream: TokenStream) -> Result<Vec<usize>> {
    let mut tokens = Vec::new();
    loop {
        match stream.take(1, Instant::now() + PATIENCE)? {
            Taken::Tokens(some) => tokens.extend(some),
            Taken::End => return Ok(tokens),
            Taken::NotYet => panic!("the next token never came"),
        }
    }
}

fn until(mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < PATIENCE, "it never came to pass");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Guarantees that a request's tokens are its own: alone, or among requests that come and go, more than there are
/// slots, with and without turns.
#[test]
fn tokens_are_the_same_alone_and_in_company() {
    let alone = worker(1, None);
    let expected: Vec<_> = (0..8)
        .map(|i| tokens(alone.join(request(i)).unwrap()).unwrap())
        .collect();
    assert!(expected.iter().all(|t| (20..=60).contains(&t.len())));
    for turn in [None, Some(Turn::new())] {
        let worker = worker(5, turn);
        std::thread::scope(|scope| {
            let runs: Vec<_> = (0..8)
                .map(|i| {
                    let worker = &worker;
                    scope.spawn(move || {
                        std::thread::sleep(Duration::from_millis(3 * i));
                        tokens(worker.join(request(i)).unwrap()).unwrap()
                    })
                })
                .collect();
            for (run, expected) in runs.into_iter().zip(&expected) {
                assert_eq!(&run.join().unwrap(), expected);
            }
        });
        until(|| worker.load() == 0);
    }
}

#[test]
fn a_full_channel_sits_out_and_goes_on_where_it_was() {
    let worker = worker(2, None);
    let long = || of_length(1, 200, 200);
    let expected = tokens(worker.join(long()).unwrap()).unwrap();
    let unread = worker.join(long()).unwrap();
    // Reading the others takes longer than the unread one needs to fill its channel.
    for _ in 0..4 {
        assert_eq!(tokens(worker.join(long()).unwrap()).unwrap(), expected);
    }
    until(|| worker.load() == 1);
    assert_eq!(tokens(unread).unwrap(), expected);
}

#[test]
fn a_reader_that_goes_away_frees_its_slot() {
    let worker = worker(1, Some(Turn::new()));
    let forever = |i| of_length(i, 1000, 1000);
    let mut running = worker.join(forever(0)).unwrap();
    running.take(1, Instant::now() + PATIENCE).unwrap();
    let waiting = worker.join(forever(1)).unwrap();
    let next = worker.join(request(2)).unwrap();
    assert_eq!(worker.load(), 3);
    drop(waiting);
    drop(running);
    assert!(!tokens(next).unwrap().is_empty());
    until(|| worker.load() == 0);
}

#[test]
fn an_error_in_prefill_is_one_requests_own() {
    let worker = worker(3, None);
    let good = worker.join(request(3)).unwrap();
    let bad = worker
        .join(LmRequest {
            input: LmInput::Whole {
                ids: vec![1, 1 << 40],
                rows: None,
                min_tokens: 20,
            },
            ..request(4)
        })
        .unwrap();
    assert!(matches!(tokens(bad), Err(Error::Internal(_))));
    assert!(!tokens(good).unwrap().is_empty());
    let too_long = LmRequest {
        max_tokens: 1 << 20,
        ..request(5)
    };
    assert!(matches!(worker.join(too_long), Err(Error::Invalid(_))));
    until(|| worker.load() == 0);
}

#[test]
fn an_error_in_a_step_ends_those_in_it_and_no_others() {
    let mut bundle = bundle();
    bundle.manifest.llm.speech_offset = 1 << 40;
    let worker = LmWorker::start(load(&bundle, 1), None).unwrap();
    for _ in 0..2 {
        assert!(matches!(
            tokens(worker.join(request(0)).unwrap()),
            Err(Error::Internal(_))
        ));
    }
    let one = of_length(0, 1, 1);
    assert_eq!(tokens(worker.join(one).unwrap()).unwrap().len(), 1);
}

#[test]
fn what_is_withheld_does_not_end_speech_before_its_least_length() {
    let mut bundle = bundle();
    let llm = &mut bundle.manifest.llm;
    llm.stop = (1..llm.speech_vocab).collect();
    llm.withheld = llm.stop.clone();
    let worker = LmWorker::start(load(&bundle, 1), None).unwrap();
    let made = tokens(worker.join(of_length(0, 10, 20)).unwrap());
    assert!(made.unwrap().starts_with(&[0; 10]));
}

#[test]
fn the_most_urgent_gets_the_next_free_slot() {
    let worker = worker(1, None);
    let one = |i, urgency| LmRequest {
        urgency,
        ..of_length(i, 40, 40)
    };
    let mut running = worker.join(one(0, Urgency::new(Instant::now(), true))).unwrap();
    running.take(1, Instant::now() + PATIENCE).unwrap();
    let patient = worker.join(one(1, Urgency::new(Instant::now(), false))).unwrap();
    let urgent = worker.join(one(2, Urgency::new(Instant::now(), true))).unwrap();
    let patient = std::thread::spawn(move || (tokens(patient).unwrap(), Instant::now()).1);
    let urgent = std::thread::spawn(move || (tokens(urgent).unwrap(), Instant::now()).1);
    tokens(running).unwrap();
    assert!(urgent.join().unwrap() < patient.join().unwrap());
}

#[test]
fn waiting_has_an_end() {
    let turn = Turn::new();
    let worker = worker(1, Some(turn.clone()));
    let held = turn.take(Instant::now());
    let mut stream = worker.join(request(0)).unwrap();
    let soon = Instant::now() + Duration::from_millis(20);
    assert_eq!(stream.take(1, soon).unwrap(), Taken::NotYet);
    drop(held);
    let taken = stream.take(1, Instant::now() + PATIENCE).unwrap();
    assert!(matches!(taken, Taken::Tokens(_)));
    drop(worker);
    let end = tokens(stream);
    assert!(end.is_err() || end.is_ok_and(|t| t.len() >= 19));
}

#[test]
fn a_worker_that_ends_while_it_waits_for_its_turn_ends_its_streams() {
    let turn = Turn::new();
    let worker = worker(1, Some(turn.clone()));
    let _held = turn.take(Instant::now());
    let stream = worker.join(request(0)).unwrap();
    drop(worker);
    assert!(matches!(tokens(stream), Err(Error::Internal(_))));
}

/// A live request of the tests, and where its text goes.
fn live(worker: &LmWorker, i: u64, max_tokens: usize) -> (TextFeed, TokenStream) {
    let llm = bundle().manifest.llm;
    let [text, speech] = llm.mix_ratio.unwrap();
    let mix = Mix {
        text,
        speech,
        fill: llm.fill.unwrap(),
    };
    let opening = Opening {
        lead: vec![llm.sos_id],
        prompt_text: Vec::new(),
        prompt_speech: Vec::new(),
        speech_offset: llm.speech_offset,
        task_id: llm.task_id,
    };
    let (text, source) = feed(worker.signal());
    let input = LmInput::Live {
        interleaver: Interleaver::new(mix, opening),
        text: source,
    };
    let request = LmRequest {
        input,
        max_tokens,
        ..request(i)
    };
    (text, worker.join(request).unwrap())
}

/// Some 20 ids of text.
fn text(i: i64) -> Vec<i64> {
    (0..20 + i).map(|t| (t * 41 + i * 13) % 1000).collect()
}

/// Guarantees that a live sequence's tokens depend on its text alone: on how it comes as little as on the others.
#[test]
fn a_live_sequence_is_the_same_however_its_text_comes() {
    let alone = worker(1, None);
    let expected: Vec<_> = (0..4)
        .map(|i| {
            let (feed, stream) = live(&alone, i, 300);
            feed.push(&text(i as i64));
            feed.end(Ok(()));
            tokens(stream).unwrap()
        })
        .collect();
    for tokens in &expected {
        // Four blocks at least, and none of them holds what is no speech.
        assert!(tokens.len() >= 4 * 15, "{}", tokens.len());
        assert!(tokens.iter().all(|&token| token < 6561));
    }
    for turn in [None, Some(Turn::new())] {
        let worker = worker(3, turn);
        std::thread::scope(|scope| {
            let runs: Vec<_> = (0..4)
                .map(|i| {
                    let worker = &worker;
                    scope.spawn(move || {
                        let (feed, stream) = live(worker, i, 300);
                        for ids in text(i as i64).chunks(1 + i as usize) {
                            std::thread::sleep(Duration::from_millis(2 * i));
                            feed.push(ids);
                        }
                        feed.end(Ok(()));
                        tokens(stream).unwrap()
                    })
                })
                .collect();
            tokens(worker.join(request(9)).unwrap()).unwrap();
            for (run, expected) in runs.into_iter().zip(&expected) {
                assert_eq!(&run.join().unwrap(), expected);
            }
        });
        until(|| worker.load() == 0);
    }
}

/// Guarantees that a sequence speaks what it can, then waits without holding others up, and goes on when there is more.
#[test]
fn a_live_sequence_waits_for_text_while_others_speak() {
    let worker = worker(2, None);
    let (feed, mut stream) = live(&worker, 1, 300);
    feed.push(&text(1)[..4]);
    tokens(worker.join(request(2)).unwrap()).unwrap();
    let now = Instant::now();
    assert!(
        matches!(stream.take(1, now), Ok(Taken::NotYet)),
        "less than a block"
    );
    feed.push(&text(1)[4..6]);
    // Twenty steps at least, of both sequences: more than a block has.
    tokens(worker.join(request(3)).unwrap()).unwrap();
    let mut block = Vec::new();
    while let Ok(Taken::Tokens(some)) = stream.take(1, Instant::now()) {
        block.extend(some);
    }
    assert!((1..=15).contains(&block.len()), "{}", block.len());
    feed.end(Ok(()));
    assert!(!tokens(stream).unwrap().is_empty());
    until(|| worker.load() == 0);
}

#[test]
fn a_live_sequence_ends_with_its_text_its_reader_or_an_error() {
    let worker = worker(1, Some(Turn::new()));
    let (feed, stream) = live(&worker, 1, 300);
    feed.end(Ok(()));
    assert_eq!(tokens(stream).unwrap(), [0; 0], "no text");

    let (feed, stream) = live(&worker, 1, 300);
    feed.push(&text(1));
    drop(feed);
    assert!(
        matches!(tokens(stream), Err(Error::Internal(_))),
        "its thread is gone"
    );

    let (feed, stream) = live(&worker, 1, 300);
    feed.push(&text(1));
    feed.end(Err(Error::Deadline("too slow".into())));
    assert!(matches!(tokens(stream), Err(Error::Deadline(_))));

    let (feed, mut stream) = live(&worker, 1, 300);
    feed.push(&text(1));
    stream.take(1, Instant::now() + PATIENCE).unwrap();
    drop(stream);
    until(|| worker.load() == 0);

    let (feed, stream) = live(&worker, 1, 20);
    feed.push(&text(1));
    assert_eq!(tokens(stream).unwrap().len(), 20, "as many as it may have");
}
