//! OpenAI's routes with the real model: every format, events, names, errors.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use cosyserve::audio::decode::decode;
use serde_json::{Value, json};

use crate::{
    client::{Answer, plausible},
    server::{Server, shared},
};

const TEXT: &str = "Hello from a small machine.";

async fn speak(server: &Server, fields: Value) -> Answer {
    let mut body = json!({"model": "tts-1", "input": TEXT, "voice": "alloy", "seed": 5});
    body.as_object_mut()
        .unwrap()
        .extend(fields.as_object().unwrap().clone());
    server.post("/v1/audio/speech", body).await
}

/// Seconds of the speech in the body, which must not be silent.
fn seconds(answer: &Answer) -> f32 {
    let audio = decode(answer.body.clone(), "answer").unwrap();
    assert!(audio.samples.iter().any(|sample| sample.abs() > 0.01), "silence");
    audio.seconds()
}

#[tokio::test]
async fn every_format_is_the_same_speech() {
    let shared = shared();
    let server = &shared.server;
    let pcm = speak(server, json!({"response_format": "pcm"})).await.ok();
    assert_eq!(
        (pcm.header("content-type"), pcm.header("x-sample-rate")),
        ("audio/pcm", "24000")
    );
    let said = pcm.pcm().len() as f32 / 24_000.0;
    plausible(said);
    for (format, content_type, codec) in [
        ("mp3", "audio/mpeg", 0.2),
        ("wav", "audio/wav", 0.001),
        ("flac", "audio/flac", 0.001),
        ("opus", "audio/ogg", 0.001),
    ] {
        let answer = speak(server, json!({"response_format": format})).await.ok();
        assert_eq!(answer.header("content-type"), content_type);
        assert_eq!(answer.header("transfer-encoding"), "chunked");
        assert_eq!(answer.header("x-seed"), "5");
        let seconds = seconds(&answer);
        assert!(
            (seconds - said).abs() <= codec,
            "{format}: {seconds} s, pcm {said} s"
        );
    }
}

/// Guarantees that FLAC holds the very samples, and that `/tts/pcm` of the voice that OpenAI's name stands for says the same.
#[tokio::test]
async fn openais_names_mean_voices_of_this_server() {
    let shared = shared();
    let server = &shared.server;
    let flac = speak(server, json!({"response_format": "flac"})).await.ok();
    let flac = decode(flac.body, "flac").unwrap().samples;
    let ids: Vec<String> = server.voices().await.into_iter().map(|(id, _)| id).collect();
    let voice = ids.iter().find(|id| *id == "英文女").unwrap_or(&ids[0]);
    let own = server
        .post("/tts/pcm", json!({"tts_text": TEXT, "spk_id": voice, "seed": 5}))
        .await;
    assert!(flac == own.ok().pcm());
    let other = speak(
        server,
        json!({"response_format": "pcm", "voice": {"id": ids.last().unwrap()}}),
    )
    .await;
    assert!(other.ok().pcm() != flac || ids.len() == 1);
    let listed = server.get("/v1/audio/voices").await.ok().json();
    let listed = listed["voices"].as_array().unwrap().iter();
    let listed: Vec<&str> = listed.map(|voice| voice["id"].as_str().unwrap()).collect();
    assert!(ids.iter().all(|id| listed.contains(&id.as_str())));
}

#[tokio::test]
async fn events_join_to_the_file_and_say_what_it_cost() {
    let shared = shared();
    let server = &shared.server;
    let plain = speak(server, json!({})).await.ok();
    let answer = speak(server, json!({"stream_format": "sse"})).await.ok();
    assert_eq!(answer.header("content-type"), "text/event-stream");
    let text = String::from_utf8(answer.body).unwrap();
    let events: Vec<Value> = text
        .trim_end()
        .split("\n\n")
        .map(|event| serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap())
        .collect();
    let (done, deltas) = events.split_last().unwrap();
    let audio: Vec<u8> = deltas
        .iter()
        .flat_map(|event| STANDARD.decode(event["audio"].as_str().unwrap()).unwrap())
        .collect();
    assert!(audio == plain.body);
    assert_eq!(done["type"], "speech.audio.done");
    let tokens = |name: &str| done["usage"][name].as_u64().unwrap();
    // Six words; 25 tokens make a second.
    assert!((4..40).contains(&tokens("input_tokens")), "{done}");
    let seconds = tokens("output_tokens") as f32 / 25.0;
    let heard = decode(audio, "mp3").unwrap().seconds();
    assert!((seconds - heard).abs() < 0.5, "{done}, {heard} s");
    assert_eq!(
        tokens("total_tokens"),
        tokens("input_tokens") + tokens("output_tokens")
    );
}

#[tokio::test]
async fn instructions_and_refusals() {
    let shared = shared();
    let server = &shared.server;
    let told = json!({"instructions": "Speak quickly.", "model": "gpt-4o-mini-tts"});
    plausible(seconds(&speak(server, told).await.ok()));
    for (fields, status, param) in [
        (json!({"model": "whisper-1"}), 404, "model"),
        (json!({"voice": "nobody"}), 400, "voice"),
        (json!({"input": "..."}), 400, "input"),
        (json!({"response_format": "aac"}), 400, "response_format"),
    ] {
        let answer = speak(server, fields).await;
        let body = answer.json();
        assert_eq!(
            (answer.status, &body["error"]["param"]),
            (status, &json!(param)),
            "{body}"
        );
        assert_eq!(body["error"]["message"], body["detail"]);
    }
    let models = server.get("/v1/models").await.ok().json();
    let own = models["data"][0]["id"].as_str().unwrap();
    assert_eq!(speak(server, json!({"model": own})).await.status, 200);
}
