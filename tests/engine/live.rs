//! Text that streams in, through the whole engine: with the bundled voice (or `COSYSERVE_TEST_MODEL`), and on the tiny
//! checkpoints of generations 2 and 3, whose speech is noise; `make test` exports them first.

use crate::support;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::support::engine::{bundled, chunks, load, prompt, request, until};
use cosyserve::engine::{Engine, LiveText, Mode, SpeechStream};
use cosyserve::{Error, Result};
use tokio::sync::OnceCell;

const STORY: &str = "Once upon a time, a small boat left the harbour before the sun was up, and nobody on the shore knew \
    where it was going. The old sailor said nothing, but he smiled, because he had seen the island in a dream. ";
const TRANSCRIPT: &str = "I hope you will do better than me.";

async fn engine() -> Arc<Engine> {
    static ENGINE: OnceCell<Arc<Engine>> = OnceCell::const_new();
    let loaded = || async { tokio::task::spawn_blocking(|| load(bundled())).await.unwrap() };
    ENGINE.get_or_init(loaded).await.clone()
}

fn preset(engine: &Engine) -> Mode {
    Mode::Sft {
        voice: engine.voices()[0].id.clone(),
    }
}

async fn begin(engine: &Engine, mode: Mode) -> (LiveText, SpeechStream) {
    engine.speak_live(request(mode, "", true)).await.unwrap()
}

async fn listen(speech: SpeechStream) -> Result<Vec<f32>> {
    Ok(chunks(speech).await?.concat())
}

/// Speaks a text that comes in pieces of so many characters.
async fn speak(engine: &Engine, mode: Mode, text: &str, piece: usize) -> Result<Vec<f32>> {
    let (live, speech) = begin(engine, mode).await;
    let listening = tokio::spawn(listen(speech));
    let chars: Vec<char> = text.chars().collect();
    for piece in chars.chunks(piece) {
        live.push(piece.iter().collect::<String>()).await.unwrap();
    }
    live.end();
    listening.await.unwrap()
}

/// Guarantees that audio comes before the text ends.
#[tokio::test(flavor = "multi_thread")]
async fn audio_begins_before_the_text_ends() {
    let engine = engine().await;
    let (live, mut speech) = begin(&engine, preset(&engine)).await;
    // Some 30 tokens: no sentence has ended yet.
    for word in STORY.split_inclusive(' ').take(26) {
        live.push(word).await.unwrap();
    }
    let first = speech.chunks.recv().await.unwrap().unwrap();
    assert!(!first.is_empty());
    live.push("going.").await.unwrap();
    live.end();
    assert!(!listen(speech).await.unwrap().is_empty());
}

/// Guarantees the same samples for the same text and seed, in whatever pieces and however slowly it comes.
#[tokio::test(flavor = "multi_thread")]
async fn the_same_text_gives_the_same_samples() {
    let engine = engine().await;
    let text = "Hello there, we have 3 cats, and all of them are asleep.";
    let at_once = speak(&engine, preset(&engine), text, 1_000).await.unwrap();
    assert!(
        (24_000 * 2..24_000 * 12).contains(&at_once.len()),
        "{}",
        at_once.len()
    );
    for piece in [1, 4] {
        assert!(speak(&engine, preset(&engine), text, piece).await.unwrap() == at_once);
    }
    let (live, speech) = begin(&engine, preset(&engine)).await;
    for word in text.split_inclusive(' ') {
        tokio::time::sleep(Duration::from_millis(30)).await;
        live.push(word).await.unwrap();
    }
    live.end();
    assert!(listen(speech).await.unwrap() == at_once);
}

/// Guarantees that what was flushed is spoken to its end while nothing more comes, and that the text goes on after it.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_flushed_is_spoken() {
    let engine = engine().await;
    let (live, mut speech) = begin(&engine, preset(&engine)).await;
    live.push("Good morning").await.unwrap();
    live.flush().await.unwrap();
    assert!(!speech.chunks.recv().await.unwrap().unwrap().is_empty());
    live.push("How are you today?").await.unwrap();
    live.end();
    assert!(listen(speech).await.unwrap().len() > 12_000);
}

/// Guarantees that a session of many sentences, and one without any end, go on beyond what one sequence holds.
#[tokio::test(flavor = "multi_thread")]
async fn a_long_session_does_not_end_early() {
    let engine = engine().await;
    let text = STORY.repeat(5);
    let seconds = speak(&engine, preset(&engine), &text, 7).await.unwrap().len() as f32 / 24_000.0;
    assert!((50.0..150.0).contains(&seconds), "{seconds} s");
    let seconds = speak(&engine, preset(&engine), &"and so on ".repeat(60), 7)
        .await
        .unwrap()
        .len()
        / 24_000;
    assert!(seconds > 20, "{seconds} s");
}

/// Guarantees that whoever stops listening frees slot and memory, whether text still comes or not.
#[tokio::test(flavor = "multi_thread")]
async fn a_listener_who_leaves_ends_it() {
    let engine = load_alone().await;
    // The voice's own pages stay.
    speak(&engine, preset(&engine), "Hello there, my friend.", 5)
        .await
        .unwrap();
    let idle = engine.status();
    let (live, mut speech) = begin(&engine, preset(&engine)).await;
    live.push(STORY).await.unwrap();
    speech.chunks.recv().await.unwrap().unwrap();
    assert_eq!(engine.status().active, 1);
    drop(speech);
    let limit = Instant::now() + Duration::from_secs(10);
    until(&engine, &idle, limit).await;
    while live.push("more ").await.is_ok() {
        assert!(Instant::now() < limit, "the text is still read");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // Nor does one who waits for nothing.
    let (_live, speech) = begin(&engine, preset(&engine)).await;
    drop(speech);
    until(&engine, &idle, limit).await;
}

async fn load_alone() -> Arc<Engine> {
    let dir = support::root("onnx/bundled");
    tokio::task::spawn_blocking(|| load(dir)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_without_words_is_refused() {
    let engine = engine().await;
    let nothing = speak(&engine, preset(&engine), " ... \n", 1).await;
    assert!(matches!(nothing, Err(Error::Invalid(_))), "{nothing:?}");
}

/// Guarantees that every mode of both generations speaks a text that streams in: between its words where the prompt
/// allows it, sentence by sentence where not, and the same whatever the pieces.
#[tokio::test(flavor = "multi_thread")]
async fn every_mode_of_both_generations_speaks_live() {
    for bundle in [support::bundle(), support::bundle_3()] {
        let generation = bundle.manifest.generation;
        let engine = tokio::task::spawn_blocking(|| load(bundle.dir)).await.unwrap();
        let instruct_text = "Speak slowly.".to_string();
        let modes = [
            preset(&engine),
            Mode::ZeroShot {
                prompt: prompt(),
                prompt_text: TRANSCRIPT.into(),
            },
            // Too many words for so little speech: whole sentences.
            Mode::ZeroShot {
                prompt: prompt(),
                prompt_text: TRANSCRIPT.repeat(8),
            },
            Mode::CrossLingual { prompt: prompt() },
            Mode::InstructPrompt {
                prompt: prompt(),
                instruct_text,
            },
        ];
        for mode in modes {
            let name = mode.name();
            let text = "I have 3 cats. You have none.";
            let one = speak(&engine, mode.clone(), text, 1).await.unwrap();
            let other = speak(&engine, mode, text, 9).await.unwrap();
            println!("generation {generation}, {name}: {} samples", one.len());
            assert!(!one.is_empty() && one == other, "generation {generation}, {name}");
        }
    }
}
