//! The engine with a bundle of generation 1: it speaks, streamed and whole, through the whole pipeline. On the exported
//! tiny CosyVoice 1 checkpoint, whose speech is noise; `make test` exports it first.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::support::engine::{conversion, prompt, request};
use crate::support::{self, bundle_1};
use cosyserve::engine::{Engine, Mode, SpeechRequest};
use cosyserve::{Error, Result};
use tokio::sync::OnceCell;

/// Long enough for two chunks: the tiny model hardly ever ends its speech before it must, at 20 tokens a text token.
const TEXT: &str = "<|en|>I have 3 cats.";
const TRANSCRIPT: &str = "I hope you will do better than me.";
/// Samples of a mel frame.
const HOP: usize = 256;
const RATE: u32 = 22_050;

/// What a variant of the model was trained for.
#[derive(Clone, Copy)]
enum Variant {
    Base,
    Instruct,
}

/// The variant that has a mode; the checkpoint of the tests is the same for both.
fn variant(mode: &Mode) -> Variant {
    match mode {
        Mode::Sft { voice } if voice != "saved" => Variant::Instruct,
        Mode::Instruct { .. } => Variant::Instruct,
        _ => Variant::Base,
    }
}

async fn engine(variant: Variant) -> Arc<Engine> {
    static ENGINES: [OnceCell<Arc<Engine>>; 2] = [const { OnceCell::const_new() }; 2];
    let engine = ENGINES[variant as usize].get_or_init(|| async {
        let engine = tokio::task::spawn_blocking(move || load(variant)).await.unwrap();
        engine
            .add_voice("saved", "Saved", TRANSCRIPT, prompt())
            .await
            .unwrap();
        engine
    });
    engine.await.clone()
}

/// The bundle with what its manifest would say of modes if it had been exported as the variant.
fn bundle_of(variant: Variant) -> PathBuf {
    let base = bundle_1().dir;
    if let Variant::Base = variant {
        return base;
    }
    let dir = tempfile::tempdir().unwrap().keep();
    for entry in std::fs::read_dir(&base).unwrap().flatten() {
        if entry.file_name() != "bundle.json" {
            std::os::unix::fs::symlink(entry.path(), dir.join(entry.file_name())).unwrap();
        }
    }
    let manifest = std::fs::read(base.join("bundle.json")).unwrap();
    let mut manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    manifest["name"] = "CosyVoice-300M-Instruct".into();
    manifest["modes"] = serde_json::json!(["instruct", "sft"]);
    std::fs::write(dir.join("bundle.json"), manifest.to_string()).unwrap();
    dir
}

fn load(variant: Variant) -> Arc<Engine> {
    support::engine::load(bundle_of(variant))
}

/// The samples, chunk by chunk.
async fn chunks(request: SpeechRequest) -> Result<Vec<Vec<f32>>> {
    let engine = engine(variant(&request.mode)).await;
    let speech = engine.speak(request).await?;
    assert_eq!(speech.sample_rate, RATE);
    support::engine::chunks(speech).await
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

/// Guarantees that an instruction is followed with a clone's voice too, and that what a variant was not trained for is
/// refused with the way to get it.
#[tokio::test(flavor = "multi_thread")]
async fn a_variant_does_what_it_was_trained_for() {
    let instruct = |voice: &str| Mode::Instruct {
        voice: voice.into(),
        instruct_text: "A calm voice.".into(),
    };
    let saved = speak(instruct("saved"), TEXT, false).await;
    assert!(saved != speak(instruct("中文女"), TEXT, false).await);
    let refusal = async |variant, mode| match engine(variant).await.speak(request(mode, TEXT, false)).await {
        Err(Error::Unsupported(text)) => text,
        other => panic!("{other:?}"),
    };
    let text = refusal(Variant::Base, instruct("中文女")).await;
    assert!(
        text.contains("CosyVoice-300M takes no instructions") && text.contains("load "),
        "{text}"
    );
    let text = refusal(Variant::Base, built_in()).await;
    assert!(
        text.contains("preset voices") && text.contains("/clone"),
        "{text}"
    );
    let text = refusal(Variant::Instruct, zero_shot()).await;
    assert!(
        text.contains("recorded voices") && text.contains("/tts"),
        "{text}"
    );
}

/// Guarantees voice conversion, which has no language model: as long as the source is.
#[tokio::test(flavor = "multi_thread")]
async fn a_recording_is_converted() {
    let (samples, rate) = support::prompt_wav();
    let mode = conversion();
    let streamed = speak(mode.clone(), "", true).await;
    let whole = speak(mode, "", false).await;
    let seconds = whole.len() as f32 / RATE as f32;
    assert!(
        (seconds - samples.len() as f32 / rate as f32).abs() < 0.1,
        "{seconds}"
    );
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
    let engine = tokio::task::spawn_blocking(|| load(Variant::Instruct))
        .await
        .unwrap();
    let long = TEXT.repeat(12);
    let mut speech = engine.speak(request(built_in(), &long, true)).await.unwrap();
    assert!(speech.chunks.recv().await.unwrap().is_ok());
    assert_eq!(engine.status().active, 1);
    drop(speech);
    engine.drain(Duration::from_secs(60)).await;
    assert_eq!((engine.status().active, engine.status().flow_cache_bytes), (0, 0));
}
