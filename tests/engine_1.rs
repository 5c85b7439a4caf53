//! The engine with a bundle of generation 1: it speaks, streamed and whole, through the whole pipeline. On the exported
//! tiny CosyVoice 1 checkpoint, whose speech is noise; `make test` exports it first.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test stops where something is broken"
)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use cosyserve::Result;
use cosyserve::engine::{Engine, EngineOptions, Mode, PromptAudio, SpeechRequest};
use support::bundle_1;
use tokio::sync::OnceCell;

/// Long enough for two chunks: the tiny model hardly ever ends its speech before it must, at 20 tokens a text token.
const TEXT: &str = "<|en|>I have 3 cats.";
const TRANSCRIPT: &str = "I hope you will do better than me.";
/// Samples of a mel frame.
const HOP: usize = 256;
const RATE: u32 = 22_050;

async fn engine() -> Arc<Engine> {
    static ENGINE: OnceCell<Arc<Engine>> = OnceCell::const_new();
    let engine = ENGINE.get_or_init(|| async {
        let engine = tokio::task::spawn_blocking(load).await.unwrap();
        engine
            .add_voice("saved", "Saved", TRANSCRIPT, prompt())
            .await
            .unwrap();
        engine
    });
    engine.await.clone()
}

fn load() -> Arc<Engine> {
    let voices = tempfile::tempdir().unwrap().keep();
    Engine::load(EngineOptions {
        bundle: bundle_1().dir,
        voices_dir: voices.clone(),
        onnxruntime: None,
        threads: 2,
        devices: "cpu".into(),
        flow_cache: None,
        left_context: None,
        tensorrt_cache: voices,
        concurrency: Some(4),
        queue: 64,
        deadline: Duration::from_secs(120),
    })
    .unwrap()
}

fn prompt() -> PromptAudio {
    let (samples, rate) = support::prompt_wav();
    PromptAudio::prepare(&samples, rate, "prompt").unwrap()
}

fn request(mode: Mode, text: &str, stream: bool) -> SpeechRequest {
    SpeechRequest {
        id: "test".into(),
        text: text.into(),
        mode,
        speed: 1.0,
        seed: 7,
        stream,
    }
}

/// The samples, chunk by chunk.
async fn chunks(request: SpeechRequest) -> Result<Vec<Vec<f32>>> {
    let mut speech = engine().await.speak(request).await?;
    assert_eq!(speech.sample_rate, RATE);
    let mut chunks = Vec::new();
    while let Some(chunk) = speech.chunks.recv().await {
        chunks.push(chunk?);
    }
    assert!(chunks.iter().flatten().all(|v| v.is_finite() && v.abs() <= 1.0));
    Ok(chunks)
}

async fn speak(mode: Mode, text: &str, stream: bool) -> Vec<f32> {
    chunks(request(mode, text, stream)).await.unwrap().concat()
}

fn zero_shot() -> Mode {
    Mode::ZeroShot {
        prompt: prompt(),
        prompt_text: TRANSCRIPT.into(),
    }
}

fn built_in() -> Mode {
    let voice = "英文男".to_string();
    Mode::Sft { voice }
}

/// Mel frames of so many speech tokens.
fn frames(tokens: usize) -> usize {
    tokens * RATE as usize / (50 * HOP)
}

/// Mel frames of a stream's chunks, for as many tokens as make `whole` frames at once: chunks of 120 tokens go on by 100,
/// and hold back 34 frames; what their lengths lose in rounding is lost.
fn streamed(whole: usize) -> Vec<usize> {
    let mut left = (0..).find(|&tokens| frames(tokens) >= whole).unwrap();
    let mut chunks = Vec::new();
    while left >= 120 {
        chunks.push(frames(120) - 34);
        left -= 100;
    }
    chunks.push(frames(left));
    chunks
}

/// Guarantees that the modes of the model and its variants speak, streamed and whole, all of their tokens, and the same
/// samples for a seed.
#[tokio::test(flavor = "multi_thread")]
async fn the_modes_speak() {
    let instruct = Mode::Instruct {
        voice: "中文女".into(),
        instruct_text: "A calm voice.".into(),
    };
    let saved = Mode::Sft {
        voice: "saved".into(),
    };
    let cross_lingual = Mode::CrossLingual { prompt: prompt() };
    for mode in [built_in(), zero_shot(), cross_lingual, instruct, saved] {
        let name = mode.name();
        let parts = chunks(request(mode.clone(), TEXT, true)).await.unwrap();
        let whole = speak(mode.clone(), TEXT, false).await;
        let expected = streamed(whole.len() / HOP);
        println!(
            "{name}: {} samples in {} chunks",
            parts.concat().len(),
            parts.len()
        );
        assert!(
            whole.len() % HOP == 0 && expected.len() > 1,
            "{name}: {expected:?}"
        );
        assert_eq!(parts.len(), expected.len(), "{name}");
        assert_eq!(
            parts.concat().len(),
            expected.iter().sum::<usize>() * HOP,
            "{name}"
        );
        assert!(
            parts == chunks(request(mode, TEXT, true)).await.unwrap(),
            "{name}"
        );
    }
}

/// Guarantees voice conversion, which has no language model: as long as the source is.
#[tokio::test(flavor = "multi_thread")]
async fn a_recording_is_converted() {
    let mode = Mode::Convert {
        source: prompt(),
        prompt: prompt(),
    };
    let streamed = speak(mode.clone(), "", true).await;
    let whole = speak(mode, "", false).await;
    let seconds = whole.len() as f32 / RATE as f32;
    assert!((seconds - prompt().seconds()).abs() < 0.5, "{seconds}");
    let expected = self::streamed(whole.len() / HOP);
    assert_eq!(streamed.len(), expected.iter().sum::<usize>() * HOP);
}

/// Guarantees that a request's samples are its own: alone and beside others, streamed and whole.
#[tokio::test(flavor = "multi_thread")]
async fn samples_are_the_same_alone_and_in_company() {
    let requests = || {
        [
            (zero_shot(), true),
            (built_in(), true),
            (Mode::CrossLingual { prompt: prompt() }, false),
            (built_in(), false),
        ]
    };
    let mut alone = Vec::new();
    for (mode, stream) in requests() {
        alone.push(speak(mode, TEXT, stream).await);
    }
    let together = requests().map(|(mode, stream)| tokio::spawn(speak(mode, TEXT, stream)));
    for (speech, alone) in together.into_iter().zip(alone) {
        assert!(speech.await.unwrap() == alone);
    }
}

/// Guarantees that another seed is another speech, and that speed changes the length, streamed and whole.
#[tokio::test(flavor = "multi_thread")]
async fn seed_and_speed_count() {
    let plain = speak(built_in(), TEXT, false).await;
    for stream in [false, true] {
        let fast = chunks(SpeechRequest {
            speed: 1.25,
            ..request(built_in(), TEXT, stream)
        });
        let part = fast.await.unwrap().concat().len() as f32 / plain.len() as f32;
        assert!((part - 0.8).abs() < 0.01, "{part}");
    }
    let other = SpeechRequest {
        seed: 8,
        ..request(built_in(), TEXT, false)
    };
    assert!(chunks(other).await.unwrap().concat() != plain);
}

/// Guarantees that a client which goes away gives its place back, to one who hears what is his all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_ends_its_speech() {
    let engine = tokio::task::spawn_blocking(load).await.unwrap();
    let long = TEXT.repeat(12);
    let mut speech = engine.speak(request(built_in(), &long, true)).await.unwrap();
    assert!(speech.chunks.recv().await.unwrap().is_ok());
    assert_eq!(engine.status().active, 1);
    drop(speech);
    engine.drain(Duration::from_secs(60)).await;
    assert_eq!((engine.status().active, engine.status().flow_cache_bytes), (0, 0));
}
