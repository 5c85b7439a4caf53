//! Voice conversion on the exported tiny checkpoints of generations 2 and 3; `make test` exports them first.

use crate::support::engine::{chunks, load, request};
use crate::support::{self, Golden};
use cosyserve::audio::decode::decode;
use cosyserve::engine::{Engine, Mode, PromptAudio, SourceAudio, Target};
use cosyserve::model::prompt_encoder::PromptEncoder;
use cosyserve::runtime::Device;
use cosyserve::{Error, Result};

/// Samples of one speech token.
const TOKEN: usize = 960;

/// The recording whose tokens the reference recorded.
fn source() -> (Vec<f32>, u32) {
    let bytes = std::fs::read(support::root("tests/goldens/common/cross_lingual_prompt.wav")).unwrap();
    let audio = decode(bytes, "source").unwrap();
    (audio.samples, audio.sample_rate)
}

async fn convert(
    engine: &Engine,
    samples: &[f32],
    rate: u32,
    target: Target,
    stream: bool,
) -> Result<Vec<f32>> {
    let source = SourceAudio::prepare(samples, rate, "source")?;
    let mode = Mode::Convert { source, target };
    let speech = engine.speak(request(mode, "", stream)).await?;
    Ok(chunks(speech).await?.concat())
}

/// Guarantees the reference's tokens of its source: as many, and the same but where the toy tokenizer, which rounds a
/// number, had one on the edge (the reference resamples in another order of additions).
#[test]
fn tokens_are_the_references() {
    let expected = Golden::open("frontend_2").ints("vc/source_speech_token");
    let encoder = PromptEncoder::load(support::runtime(), &support::bundle(), Device::Cpu).unwrap();
    let (samples, rate) = source();
    let at_16k = cosyserve::audio::source::prepare(&samples, rate, "source").unwrap();
    let got = encoder.speech_tokens(&at_16k).unwrap();
    assert_eq!(got.len(), expected.len());
    let off: Vec<i64> = got
        .iter()
        .zip(&expected)
        .map(|(a, b)| a - b)
        .filter(|off| *off != 0)
        .collect();
    println!("{} of {} tokens are one off", off.len(), got.len());
    assert!(
        off.len() * 40 <= got.len() && off.iter().all(|off| off.abs() == 1),
        "{off:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn both_generations_convert_to_recordings_and_voices() {
    let (samples, rate) = source();
    let (prompt, prompt_rate) = support::prompt_wav();
    let prompt = PromptAudio::prepare(&prompt, prompt_rate, "prompt").unwrap();
    let tokens = Golden::open("frontend_2").ints("vc/source_speech_token").len();
    for bundle in [support::bundle(), support::bundle_3()] {
        let generation = bundle.manifest.generation;
        let engine = tokio::task::spawn_blocking(move || load(bundle.dir))
            .await
            .unwrap();
        engine
            .add_voice("saved", "Saved", "Hello.", prompt.clone())
            .await
            .unwrap();
        let voice = |id: &str| Target::Voice(id.into());
        let preset = engine.voices()[0].id.clone();
        for target in [Target::Prompt(prompt.clone()), voice("saved"), voice(&preset)] {
            let whole = convert(&engine, &samples, rate, target.clone(), false)
                .await
                .unwrap();
            let again = convert(&engine, &samples, rate, target.clone(), false)
                .await
                .unwrap();
            let streamed = convert(&engine, &samples, rate, target, true).await.unwrap();
            assert!(whole == again, "generation {generation}: the same seed");
            assert_eq!(whole.len(), tokens * TOKEN, "generation {generation}");
            assert_eq!(streamed.len(), whole.len(), "generation {generation}");
        }
        let unknown = convert(&engine, &samples, rate, voice("nobody"), true).await;
        assert!(matches!(unknown, Err(Error::UnknownVoice(_))), "{unknown:?}");
    }
}

/// Guarantees that a recording of several pieces is spoken to its end.
#[tokio::test(flavor = "multi_thread")]
async fn a_long_recording_is_spoken_piece_by_piece() {
    let (samples, rate) = source();
    let long = samples.repeat(5);
    let engine = tokio::task::spawn_blocking(|| load(support::bundle().dir))
        .await
        .unwrap();
    let target = Target::Voice(engine.voices()[0].id.clone());
    let spoken = convert(&engine, &long, rate, target, true).await.unwrap();
    let ratio = spoken.len() as f32 / 24_000.0 / (long.len() as f32 / rate as f32);
    assert!((0.999..1.001).contains(&ratio), "{ratio}");
}
