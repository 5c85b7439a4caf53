//! The engine with a bundle of generation 3: every mode speaks, streamed and whole, through the whole pipeline. On the
//! exported tiny CosyVoice 3 checkpoint, whose speech is noise; `make test` exports it first.

use crate::support;
use std::sync::Arc;

use crate::support::engine::{conversion, prompt, request};
use cosyserve::engine::{Engine, Mode};
use cosyserve::{Error, Result};
use tokio::sync::OnceCell;

const TEXT: &str = "I have 3 cats.";
const TRANSCRIPT: &str = "I hope you will do better than me.";
/// Samples of one speech token.
const TOKEN: usize = 960;

async fn engine() -> Arc<Engine> {
    static ENGINE: OnceCell<Arc<Engine>> = OnceCell::const_new();
    let engine = ENGINE.get_or_init(|| async {
        let engine = tokio::task::spawn_blocking(|| support::engine::load(support::bundle_3().dir))
            .await
            .unwrap();
        engine
            .add_voice("saved", "Saved", TRANSCRIPT, prompt())
            .await
            .unwrap();
        engine
    });
    engine.await.clone()
}

async fn speak(mode: Mode, text: &str, stream: bool) -> Result<Vec<f32>> {
    let speech = engine().await.speak(request(mode, text, stream)).await?;
    Ok(support::engine::chunks(speech).await?.concat())
}

fn modes() -> Vec<Mode> {
    let voice = || "saved".to_string();
    let instruct_text = "Speak slowly.".to_string();
    vec![
        Mode::Sft { voice: voice() },
        Mode::ZeroShot {
            prompt: prompt(),
            prompt_text: TRANSCRIPT.into(),
        },
        Mode::CrossLingual { prompt: prompt() },
        Mode::Instruct {
            voice: voice(),
            instruct_text: instruct_text.clone(),
        },
        Mode::InstructPrompt {
            prompt: prompt(),
            instruct_text,
        },
    ]
}

/// Guarantees that every mode speaks, as many samples streamed as whole, and the same ones for a seed.
#[tokio::test(flavor = "multi_thread")]
async fn every_mode_speaks() {
    for mode in modes() {
        let name = mode.name();
        let streamed = speak(mode.clone(), TEXT, true).await.unwrap();
        let again = speak(mode.clone(), TEXT, true).await.unwrap();
        let whole = speak(mode, TEXT, false).await.unwrap();
        println!("{name}: {} samples", streamed.len());
        assert!(streamed == again, "{name}");
        assert_eq!(streamed.len(), whole.len(), "{name}");
        // Four words are four text tokens at least; none of them is spoken with fewer than two speech tokens.
        assert!(
            streamed.len() >= 8 * TOKEN && streamed.len() % TOKEN == 0,
            "{name}"
        );
    }
}

/// Guarantees voice conversion, which has no language model.
#[tokio::test(flavor = "multi_thread")]
async fn a_recording_is_converted() {
    let mode = conversion();
    let streamed = speak(mode.clone(), "", true).await.unwrap();
    let whole = speak(mode, "", false).await.unwrap();
    assert!(!whole.is_empty() && streamed.len() == whole.len());
}

/// Guarantees that the prompt which is added is the one a user of the reference writes, and that one of the request's
/// own replaces it: in the text, before the transcript, or as an instruction.
#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_of_ones_own_replaces_the_usual_one() {
    let usual = "You are a helpful assistant.<|endofprompt|>";
    let other = "You are a pirate.<|endofprompt|>";
    let zero_shot = |before: &str| Mode::ZeroShot {
        prompt: prompt(),
        prompt_text: format!("{before}{TRANSCRIPT}"),
    };
    let plain = speak(zero_shot(""), TEXT, false).await.unwrap();
    assert!(plain == speak(zero_shot(usual), TEXT, false).await.unwrap());
    assert!(
        plain
            == speak(zero_shot(""), &format!("{usual}{TEXT}"), false)
                .await
                .unwrap()
    );
    assert!(plain != speak(zero_shot(other), TEXT, false).await.unwrap());
    assert!(
        plain
            != speak(zero_shot(""), &format!("{other}{TEXT}"), false)
                .await
                .unwrap()
    );

    let cross = || Mode::CrossLingual { prompt: prompt() };
    let plain = speak(cross(), TEXT, false).await.unwrap();
    assert!(plain == speak(cross(), &format!("{usual}{TEXT}"), false).await.unwrap());
    let nothing = speak(cross(), usual, false).await;
    assert!(matches!(nothing, Err(Error::Invalid(_))), "{nothing:?}");
}
