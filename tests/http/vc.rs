//! `/tts/vc` with the real model.

use std::path::Path;

use reqwest::multipart::Form;
use serde_json::json;

use crate::client::file;
use crate::server::shared;

/// The goldens' recording.
fn recording() -> Vec<u8> {
    let path = "tests/goldens/common/zero_shot_prompt.wav";
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// Guarantees that the answer is as long as the source, streamed or not, for a voice and for a recording of one, and the
/// same bytes for a seed.
#[tokio::test]
async fn a_recording_is_said_in_another_voice() {
    let shared = shared();
    let server = &shared.server;
    let source = recording();
    let seconds = cosyserve::audio::decode::decode(source.clone(), "source")
        .unwrap()
        .seconds();
    let base64 = cosyserve::audio::base64::encode(&source);
    let voice = server.voice().await;
    let body = json!({"source_audio_base64": base64, "spk_id": voice, "seed": 5});
    let whole = server.post("/tts/vc", body.clone()).await.ok();
    assert!(
        server.post("/tts/vc", body.clone()).await.ok().body == whole.body,
        "the same seed"
    );
    let mut streamed = body.clone();
    streamed["stream"] = json!(true);
    let streamed = server.post("/tts/vc", streamed).await.ok();
    let mut other = body.clone();
    other["spk_id"] = json!(server.voices().await[1].0);
    let other = server.post("/tts/vc", other).await.ok();
    assert!(other.body != whole.body, "another voice");
    let form = Form::new().text("seed", "5").part("source_wav", file(&source));
    let prompt = server.recording().await;
    let prompted = server
        .form("/tts/vc", form.part("prompt_wav", file(&prompt)))
        .await
        .ok();
    for answer in [&whole, &streamed, &other, &prompted] {
        let ratio = answer.mp3_seconds() / seconds;
        assert!((0.95..1.05).contains(&ratio), "{ratio}");
    }
    let mut fast = body;
    fast["speed"] = json!(2.0);
    let ratio = server.post("/tts/vc", fast).await.ok().mp3_seconds() / seconds;
    assert!((0.45..0.55).contains(&ratio), "{ratio}");
}

#[tokio::test]
async fn what_cannot_be_converted_is_refused_in_words() {
    let shared = shared();
    let server = &shared.server;
    let base64 = cosyserve::audio::base64::encode(&recording());
    for (body, says) in [
        (json!({"spk_id": server.voice().await}), "source_audio_base64"),
        (
            json!({"source_audio_base64": base64, "spk_id": "nobody"}),
            "nobody",
        ),
        (json!({"source_audio_base64": base64}), "spk_id"),
    ] {
        let answer = server.post("/tts/vc", body).await;
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert_eq!((answer.status, detail.contains(says)), (400, true), "{detail}");
    }
}
