//! What is done before the first request, with the bundled voice (or `COSYSERVE_TEST_MODEL`).

use std::time::Duration;

use cosyserve::engine::{Engine, EngineOptions, Mode};

use crate::support::engine::{bundled, chunks, options, request};

/// Guarantees that the flow has read the prompts of all built-in voices when the engine is ready: speaking with each of
/// them adds nothing to what is kept of voices.
#[tokio::test(flavor = "multi_thread")]
async fn prompts_of_built_in_voices_are_read_at_the_start() {
    let warm = EngineOptions {
        warm_up: true,
        ..options(bundled())
    };
    let engine = tokio::task::spawn_blocking(|| Engine::load(warm).unwrap())
        .await
        .unwrap();
    let ready = engine.status();
    assert!(ready.flow_cache_bytes > 0, "nothing is kept of any voice");
    for voice in engine.voices() {
        let voice = voice.id;
        let speech = engine
            .speak(request(Mode::Sft { voice }, "One.", true))
            .await
            .unwrap();
        assert!(!chunks(speech).await.unwrap().is_empty());
    }
    engine.drain(Duration::from_secs(60)).await;
    assert_eq!(engine.status().flow_cache_bytes, ready.flow_cache_bytes);
}
