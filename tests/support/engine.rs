//! An engine for tests: how it is loaded, asked and heard.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cosyserve::Result;
use cosyserve::engine::{
    Engine, EngineOptions, Mode, PromptAudio, SourceAudio, SpeechRequest, SpeechStream, Status, Target,
};

/// Two threads of a CPU, a folder of its own for voices, 4 requests at work and 64 waiting; no warm-up.
pub fn options(bundle: PathBuf) -> EngineOptions {
    let voices = tempfile::tempdir().unwrap().keep();
    EngineOptions {
        bundle,
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
        warm_up: false,
    }
}

/// An engine of the bundle in a folder. Blocks.
pub fn load(bundle: PathBuf) -> Arc<Engine> {
    Engine::load(options(bundle)).unwrap()
}

/// The bundled voice, or what `COSYSERVE_TEST_MODEL` names.
pub fn bundled() -> PathBuf {
    let bundled = super::root("onnx/bundled");
    std::env::var_os("COSYSERVE_TEST_MODEL").map_or(bundled, PathBuf::from)
}

/// The goldens' recording.
pub fn prompt() -> PromptAudio {
    let (samples, rate) = super::prompt_wav();
    PromptAudio::prepare(&samples, rate, "prompt").unwrap()
}

/// The goldens' recording in its own voice.
pub fn conversion() -> Mode {
    let (samples, rate) = super::prompt_wav();
    Mode::Convert {
        source: SourceAudio::prepare(&samples, rate, "source").unwrap(),
        target: Target::Prompt(prompt()),
    }
}

/// A request of seed 7 at its own speed.
pub fn request(mode: Mode, text: &str, stream: bool) -> SpeechRequest {
    SpeechRequest {
        id: "test".into(),
        text: text.into(),
        mode,
        speed: 1.0,
        seed: 7,
        stream,
    }
}

/// The samples of a speech, chunk by chunk.
pub async fn chunks(mut speech: SpeechStream) -> Result<Vec<Vec<f32>>> {
    let mut chunks = Vec::new();
    while let Some(chunk) = speech.chunks.recv().await {
        chunks.push(chunk?);
    }
    assert!(chunks.iter().flatten().all(|v| v.is_finite() && v.abs() <= 1.0));
    Ok(chunks)
}

/// Waits until the engine is as it was; a test fails where it is not by `limit`.
pub async fn until(engine: &Engine, before: &Status, limit: Instant) {
    while engine.status() != *before {
        assert!(Instant::now() < limit, "{:?} is not {before:?}", engine.status());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
