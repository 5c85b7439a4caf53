//! The engine under several requests at once, with the bundled voice (or `COSYSERVE_TEST_MODEL`).

use crate::support;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cosyserve::engine::{Engine, EngineOptions, Mode, SpeechRequest, SpeechStream};
use futures::future::join_all;
use tokio::sync::{Mutex, MutexGuard, OnceCell};

const SENTENCE: &str = "The quick brown fox jumps over the lazy dog today.";
/// Two segments or more, 24 s.
const STORY: &str = "Once upon a time, a small boat left the harbour before the sun was up, and nobody on the \
    shore knew where it was going. The old sailor said nothing, but he smiled, because he had seen the island in a \
    dream. When the wind came at last, they sailed for three long days, and on the fourth morning a bird sat on the \
    mast and sang. That was how they knew that land was near, and that the dream was true.";

/// One engine for all tests, one test at a time: they look at times and at what the engine holds.
async fn engine() -> (Arc<Engine>, MutexGuard<'static, ()>) {
    static ENGINE: OnceCell<Arc<Engine>> = OnceCell::const_new();
    static ALONE: Mutex<()> = Mutex::const_new(());
    let engine = ENGINE.get_or_init(|| async { tokio::task::spawn_blocking(load).await.unwrap() });
    let engine = engine.await.clone();
    (engine, ALONE.lock().await)
}

fn load() -> Arc<Engine> {
    Engine::load(EngineOptions {
        concurrency: Some(8),
        queue: 0,
        ..support::engine::options(support::engine::bundled())
    })
    .unwrap()
}

fn request(engine: &Engine, text: &str, seed: u64, stream: bool) -> SpeechRequest {
    let voice = engine.voices()[0].id.clone();
    SpeechRequest {
        seed,
        ..support::engine::request(Mode::Sft { voice }, text, stream)
    }
}

/// What a listener notices.
struct Heard {
    samples: Vec<f32>,
    first: Instant,
    last: Instant,
}

async fn listen(mut speech: SpeechStream) -> Heard {
    let (mut samples, mut first) = (Vec::new(), None);
    while let Some(chunk) = speech.chunks.recv().await {
        samples.extend(chunk.unwrap());
        first.get_or_insert_with(Instant::now);
    }
    Heard {
        samples,
        first: first.unwrap(),
        last: Instant::now(),
    }
}

async fn speak(engine: &Engine, text: &str, seed: u64, stream: bool) -> Heard {
    listen(engine.speak(request(engine, text, seed, stream)).await.unwrap()).await
}

/// Guarantees the same samples for a seed: alone, again, and among others, streamed and whole.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_sounds_the_same_alone_and_among_others() {
    let (engine, _alone) = engine().await;
    for stream in [true, false] {
        let mut alone = Vec::new();
        for seed in [7, 8] {
            alone.push(speak(&engine, SENTENCE, seed, stream).await.samples);
            let again = speak(&engine, SENTENCE, seed, stream).await.samples;
            assert!(
                again == alone[alone.len() - 1],
                "seed {seed} differs the second time"
            );
        }
        let crowd = (0..8).map(|i| speak(&engine, SENTENCE, 7 + i % 2, stream));
        for (i, heard) in join_all(crowd).await.into_iter().enumerate() {
            assert!(heard.samples == alone[i % 2], "request {i} differs under load");
        }
    }
}

/// Guarantees that several segments, each begun while the one before is spoken, come in order and the same each time.
#[tokio::test(flavor = "multi_thread")]
async fn a_long_text_sounds_the_same_each_time() {
    let (engine, _alone) = engine().await;
    let heard = join_all((0..2).map(|_| speak(&engine, STORY, 3, true))).await;
    assert!(heard[0].samples == heard[1].samples);
    assert!(heard[0].samples.len() > 24_000 * 20);
}

/// Guarantees that no stream waits for another one to end.
#[tokio::test(flavor = "multi_thread")]
async fn streams_at_once_all_start_before_any_ends() {
    let (engine, _alone) = engine().await;
    let (text, _) = STORY.split_once(" When the wind").unwrap();
    let heard = join_all((0..4).map(|seed| speak(&engine, text, seed + 1, true))).await;
    let latest_start = heard.iter().map(|h| h.first).max().unwrap();
    let earliest_end = heard.iter().map(|h| h.last).min().unwrap();
    assert!(latest_start < earliest_end);
}

/// Guarantees that a stream goes before a whole answer that came earlier and that nobody hears before its end.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_overtakes_a_whole_answer() {
    let (engine, _alone) = engine().await;
    let whole = engine.speak(request(&engine, STORY, 1, false)).await.unwrap();
    let whole = tokio::spawn(listen(whole));
    tokio::time::sleep(Duration::from_millis(100)).await;
    let stream = speak(&engine, SENTENCE, 2, true).await;
    assert!(stream.last < whole.await.unwrap().last);
}

/// Guarantees that a listener who leaves gives back the slot and the memory of the utterance.
#[tokio::test(flavor = "multi_thread")]
async fn a_listener_who_leaves_frees_slot_and_pages() {
    let (engine, _alone) = engine().await;
    // The voice's own pages stay.
    speak(&engine, SENTENCE, 1, true).await;
    let idle = engine.status();
    assert_eq!(idle.active, 0);
    let mut speech = engine.speak(request(&engine, STORY, 1, true)).await.unwrap();
    speech.chunks.recv().await.unwrap().unwrap();
    assert_eq!(engine.status().active, 1);
    drop(speech);
    support::engine::until(&engine, &idle, Instant::now() + Duration::from_secs(5)).await;
}
