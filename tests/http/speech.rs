//! Speech over every route: formats, lengths, reproducibility, refusals.

use futures::StreamExt;
use reqwest::multipart::Form;
use serde_json::{Value, json};
use std::time::Instant;

use crate::{
    client::{Answer, SENTENCE, STORY, file, plausible},
    server::{Server, shared},
};

#[tokio::test]
async fn the_ready_line_and_the_greeting() {
    let shared = shared();
    let server = &shared.server;
    assert!(server.ready.starts_with("cosyserve "), "{}", server.ready);
    assert!(server.ready.contains(" voices, in "), "{}", server.ready);
    let greeting = server.get("/").await.ok().json();
    assert_eq!(
        greeting,
        json!({"message": "欢迎使用CosyVoice API服务", "version": env!("CARGO_PKG_VERSION")})
    );
    assert_eq!(server.get("/ready").await.ok().json()["status"], "ready");
    assert!(!server.voices().await.is_empty());
    assert!(server.get("/openapi.json").await.ok().json()["paths"]["/tts"].is_object());
}

#[tokio::test]
async fn mp3_whole_and_streamed_say_the_same() {
    let shared = shared();
    let server = &shared.server;
    let mut body = server.sft(SENTENCE, 7).await;
    let whole = server.post("/tts", body.clone()).await.ok();
    assert_eq!(whole.header("content-length"), whole.body.len().to_string());
    assert_eq!(whole.header("x-seed"), "7");
    plausible(whole.mp3_seconds());
    body["stream"] = json!(true);
    let streamed = server.post("/tts", body).await.ok();
    assert_eq!(streamed.header("content-length"), "");
    assert_eq!(streamed.header("transfer-encoding"), "chunked");
    // A stream carries the codec's delay and padding besides.
    let (one, two) = (whole.mp3_seconds(), streamed.mp3_seconds());
    assert!((one - two).abs() < 0.25, "{one} s whole, {two} s streamed");
}

#[tokio::test]
async fn pcm_describes_itself() {
    let shared = shared();
    let server = &shared.server;
    let answer = server.post("/tts/pcm", server.sft(SENTENCE, 7).await).await.ok();
    assert_eq!(answer.header("content-type"), "audio/L16");
    assert_eq!(
        (answer.header("x-channels"), answer.header("x-bit-depth")),
        ("1", "16")
    );
    assert_eq!(answer.header("transfer-encoding"), "chunked");
    let rate: u32 = answer.header("x-sample-rate").parse().unwrap();
    assert!(server.ready.contains(&format!("{rate} Hz")), "{}", server.ready);
    let samples = answer.pcm();
    plausible(samples.len() as f32 / rate as f32);
    // Read in the wrong byte order, speech would be noise at full level.
    let power = samples.iter().map(|x| x * x).sum::<f32>() / samples.len() as f32;
    assert!((1e-6..0.1).contains(&power), "power {power}");
}

#[tokio::test]
async fn the_same_seed_gives_the_same_bytes() {
    let shared = shared();
    let server = &shared.server;
    for (path, stream) in [("/tts", false), ("/tts", true), ("/tts/pcm", true)] {
        let mut body = server.sft(SENTENCE, 42).await;
        body["stream"] = json!(stream);
        let one = server.post(path, body.clone()).await.ok();
        let two = server.post(path, body.clone()).await.ok();
        assert!(
            one.body == two.body,
            "{path}, stream {stream}: two answers differ"
        );
        body["seed"] = json!(43);
        let other = server.post(path, body).await.ok();
        assert!(other.body != one.body, "{path}: another seed said the same");
    }
}

#[tokio::test]
async fn a_drawn_seed_can_be_sent_back() {
    let shared = shared();
    let server = &shared.server;
    let mut body = server.sft(SENTENCE, 0).await;
    let one = server.post("/tts/pcm", body.clone()).await.ok();
    let seed: u64 = one.header("x-seed").parse().unwrap();
    assert!(seed > 0);
    body["seed"] = json!(seed);
    assert!(server.post("/tts/pcm", body).await.ok().body == one.body);
}

#[tokio::test]
async fn long_speech_arrives_while_it_is_made() {
    let shared = shared();
    let server = &shared.server;
    let mut body = server.sft(STORY, 5).await;
    body["stream"] = json!(true);
    let started = Instant::now();
    let response = server.open("/tts", &body).await;
    let mut chunks = response.bytes_stream();
    let first = chunks.next().await.unwrap().unwrap();
    let first_after = started.elapsed();
    assert!(!first.is_empty());
    let mut count = 1;
    while let Some(chunk) = chunks.next().await {
        chunk.unwrap();
        count += 1;
    }
    let all_after = started.elapsed();
    assert!(count > 3, "{count} chunks");
    assert!(
        first_after < all_after / 2,
        "first after {first_after:?} of {all_after:?}"
    );
}

#[tokio::test]
async fn speed_changes_the_length_in_both_modes() {
    let shared = shared();
    let server = &shared.server;
    for stream in [false, true] {
        let mut seconds = Vec::new();
        for speed in [0.5, 1.0, 2.0] {
            let mut body = server.sft(SENTENCE, 9).await;
            body["speed"] = json!(speed);
            body["stream"] = json!(stream);
            seconds.push(server.post("/tts", body).await.ok().mp3_seconds());
        }
        let (slow, fast) = (seconds[0] / seconds[1], seconds[2] / seconds[1]);
        assert!((1.6..2.4).contains(&slow), "stream {stream}: {seconds:?}");
        assert!((0.35..0.68).contains(&fast), "stream {stream}: {seconds:?}");
    }
}

#[tokio::test]
async fn a_recording_speaks_as_file_and_as_base64() {
    let shared = shared();
    let server = &shared.server;
    let wav = server.recording().await;
    let base64 = cosyserve::audio::base64::encode(&wav);
    for path in ["/tts/zero_shot", "/tts/cross_lingual"] {
        let body = json!({
            "tts_text": SENTENCE, "prompt_text": SENTENCE, "prompt_audio_base64": base64, "seed": 3
        });
        let json = server.post(path, body).await.ok();
        plausible(json.mp3_seconds());
        let form = Form::new()
            .text("tts_text", SENTENCE)
            .text("prompt_text", SENTENCE)
            .text("seed", "3");
        let form = server.form(path, form.part("prompt_wav", file(&wav))).await.ok();
        assert!(form.body == json.body, "{path}: file and base64 differ");
    }
    let url = format!("data:audio/wav;base64,{base64}");
    let body = json!({"tts_text": SENTENCE, "prompt_audio_base64": url, "stream": true});
    plausible(server.post("/tts/cross_lingual", body).await.ok().mp3_seconds());
}

#[tokio::test]
async fn an_uploaded_file_comes_back_ready_to_use() {
    let shared = shared();
    let server = &shared.server;
    let wav = server.recording().await;
    let form = Form::new().part("file", file(&wav));
    let uploaded = server.form("/upload_audio", form).await.ok().json();
    assert_eq!(uploaded["filename"], "prompt.wav");
    let body = json!({"tts_text": SENTENCE, "prompt_audio_base64": uploaded["audio_base64"]});
    plausible(server.post("/tts/cross_lingual", body).await.ok().mp3_seconds());
}

async fn refused(server: &Server, path: &str, body: Value, status: u16, names: &str) {
    let answer: Answer = server.post(path, body).await;
    let detail = answer.json()["detail"].as_str().unwrap().to_owned();
    assert_eq!(
        (answer.status, detail.contains(names)),
        (status, true),
        "{path}: {detail}"
    );
    assert!(!answer.header("x-request-id").is_empty());
}

#[tokio::test]
async fn what_cannot_be_spoken_is_refused_in_words() {
    let shared = shared();
    let server = &shared.server;
    let voice = server.voice().await;
    let text = |text: &str| json!({"tts_text": text, "spk_id": voice});
    refused(server, "/tts", text(""), 400, "tts_text").await;
    refused(server, "/tts", text("   "), 400, "tts_text").await;
    refused(server, "/tts", text(&"长".repeat(10_001)), 400, "tts_text").await;
    refused(
        server,
        "/tts",
        json!({"tts_text": "hi", "spk_id": "nobody"}),
        400,
        "nobody",
    )
    .await;
    refused(server, "/tts", json!({"spk_id": voice}), 400, "tts_text").await;
    refused(server, "/nowhere", json!({}), 404, "/nowhere").await;
    let with = |audio: &str| json!({"tts_text": "hi", "prompt_text": "hi", "prompt_audio_base64": audio});
    refused(server, "/tts/zero_shot", with("?"), 400, "prompt_audio_base64").await;
    refused(
        server,
        "/tts/zero_shot",
        with("aGVsbG8="),
        400,
        "prompt_audio_base64",
    )
    .await;
    let short = cosyserve::audio::encode::encode_whole(
        cosyserve::audio::encode::AudioFormat::Wav,
        16_000,
        &[0.3; 3_200],
    );
    let short = cosyserve::audio::base64::encode(&short.unwrap());
    refused(server, "/tts/zero_shot", with(&short), 400, "0.5").await;
}
