//! OpenAI's routes: formats, events, names, and errors in two tongues.

use futures::StreamExt;

use super::{
    fake::{CHUNK, CHUNKS},
    *,
};
use crate::{
    api::{ApiKey, Speaker},
    audio::decode::decode,
    engine::Mode,
    limits,
};

const SPEECH: &str = "/v1/audio/speech";

fn speech(text: &str) -> Value {
    json!({"model": "tts-1", "input": text, "voice": "中文女"})
}

fn with(fields: Value) -> Value {
    let mut body = speech("hello");
    body.as_object_mut()
        .unwrap()
        .extend(fields.as_object().unwrap().clone());
    body
}

/// Checks a failure as OpenAI's clients read it, and that `detail` says the same; gives the error.
#[track_caller]
fn refused(answer: &Answer, status: u16, message: &str) -> Value {
    let body = answer.json();
    assert_eq!(answer.status.as_u16(), status, "{body}");
    assert_eq!(answer.header("content-length"), answer.body.len().to_string());
    let said = body["error"]["message"].as_str().unwrap();
    assert!(
        said.starts_with(message),
        "{said:?} does not start with {message:?}"
    );
    assert_eq!(body["detail"], body["error"]["message"]);
    for key in ["message", "type", "param", "code"] {
        assert!(body["error"].get(key).is_some(), "{body} has no {key}");
    }
    body["error"].clone()
}

#[tokio::test]
async fn mp3_comes_chunked_when_no_format_is_asked_for() {
    let (app, fake) = app();
    let answer = post(&app, SPEECH, with(json!({"seed": 7}))).await;
    assert_eq!(answer.status, 200, "{:?}", answer.body);
    assert_eq!(answer.header("content-type"), "audio/mpeg");
    assert_eq!(answer.header("content-length"), "");
    assert_eq!(answer.header("x-seed"), "7");
    assert_eq!(answer.body[0], 0xff, "an MP3 frame starts the body");
    let request = fake.last();
    assert!(request.stream);
    assert_eq!(
        (request.text.as_str(), request.speed, request.seed),
        ("hello", 1.0, 7)
    );
    assert!(matches!(request.mode, Mode::Sft { voice } if voice == "中文女"));
}

#[tokio::test]
async fn every_format_decodes_to_the_speech() {
    let (app, _) = app();
    let samples = CHUNK * CHUNKS;
    for (format, content_type, rate, most) in [
        ("mp3", "audio/mpeg", 24_000, samples + 4_000),
        ("wav", "audio/wav", 24_000, samples),
        ("flac", "audio/flac", 24_000, samples),
        ("opus", "audio/ogg", 48_000, 2 * samples),
    ] {
        let answer = post(&app, SPEECH, with(json!({"response_format": format}))).await;
        assert_eq!(answer.header("content-type"), content_type);
        assert_eq!(answer.header("content-length"), "", "{format} is streamed");
        let got = decode(answer.body.to_vec(), format).unwrap();
        assert_eq!(got.sample_rate, rate);
        let least = samples * rate as usize / 24_000;
        assert!(
            (least..=most).contains(&got.samples.len()),
            "{format}: {}",
            got.samples.len()
        );
    }
    let pcm = post(&app, SPEECH, with(json!({"response_format": "pcm"}))).await;
    assert_eq!(pcm.header("content-type"), "audio/pcm");
    assert_eq!(pcm.header("x-sample-rate"), "24000");
    assert_eq!(pcm.body.len(), samples * 2);
}

/// Guarantees that `pcm` is what OpenAI's clients take it for, whatever the model's rate.
#[tokio::test]
async fn pcm_is_24_khz_from_a_model_of_another_rate_too() {
    let fake = Arc::new(Fake::at(22_050));
    let app = router(ApiState::new(fake, ApiOptions::default()));
    let pcm = post(&app, SPEECH, with(json!({"response_format": "pcm"}))).await;
    assert_eq!(pcm.header("x-sample-rate"), "24000");
    let wanted = (CHUNK * CHUNKS * 24_000).div_ceil(22_050);
    assert_eq!(pcm.body.len(), wanted * 2);
    let wav = post(&app, SPEECH, with(json!({"response_format": "wav"}))).await;
    let wav = decode(wav.body.to_vec(), "wav").unwrap();
    assert_eq!((wav.sample_rate, wav.samples.len()), (22_050, CHUNK * CHUNKS));
}

/// The data of server-sent events.
fn events(body: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(body).unwrap();
    assert!(text.ends_with("\n\n"), "{text}");
    let data = text
        .trim_end()
        .split("\n\n")
        .map(|event| event.strip_prefix("data: ").unwrap());
    data.map(|data| serde_json::from_str(data).unwrap()).collect()
}

#[tokio::test]
async fn events_carry_the_same_bytes_and_what_they_cost() {
    let (app, _) = app();
    let body = with(json!({"response_format": "pcm", "seed": 3}));
    let plain = post(&app, SPEECH, body.clone()).await;
    let mut body = body;
    body["stream_format"] = json!("sse");
    let answer = post(&app, SPEECH, body).await;
    assert_eq!(answer.header("content-type"), "text/event-stream");
    assert_eq!(answer.header("x-seed"), "3");
    let mut events = events(&answer.body);
    let done = events.pop().unwrap();
    assert_eq!(
        done,
        json!({"type": "speech.audio.done", "usage": {"input_tokens": 5, "output_tokens": 25, "total_tokens": 30}})
    );
    assert_eq!(events.len(), CHUNKS);
    let mut audio = Vec::new();
    for event in events {
        assert_eq!(event["type"], "speech.audio.delta");
        audio.extend(STANDARD.decode(event["audio"].as_str().unwrap()).unwrap());
    }
    assert!(audio == plain.body);
}

#[tokio::test]
async fn a_failure_after_the_first_audio_is_an_event_or_cuts_the_body() {
    let (app, _) = app();
    let mut body = speech("late fault");
    body["stream_format"] = json!("sse");
    let answer = post(&app, SPEECH, body).await;
    assert_eq!(answer.status, 200);
    let events = events(&answer.body);
    assert_eq!(events[0]["type"], "speech.audio.delta");
    let last = events.last().unwrap();
    assert_eq!(
        (&last["type"], &last["error"]["type"]),
        (&json!("error"), &json!("server_error"))
    );
    let message = last["error"]["message"].as_str().unwrap();
    assert!(
        message.contains(answer.header("x-request-id")) && !message.contains("secret"),
        "{message}"
    );
    let mut body = speech("late fault");
    body["response_format"] = json!("pcm");
    let response = app.oneshot(post_json(SPEECH, &body)).await.unwrap();
    let mut chunks = response.into_body().into_data_stream();
    assert_eq!(chunks.next().await.unwrap().unwrap().len(), CHUNK * 2);
    assert!(chunks.next().await.unwrap().is_err());
}

#[tokio::test]
async fn voices_are_named_by_id_by_object_or_as_openai_does() {
    let (app, fake) = app();
    for voice in [
        json!("中文女"),
        json!({"id": "中文女"}),
        json!("alloy"),
        json!("ONYX"),
    ] {
        let answer = post(&app, SPEECH, with(json!({"voice": voice}))).await;
        assert_eq!(answer.status, 200, "{voice}: {:?}", answer.body);
        assert!(matches!(fake.last().mode, Mode::Sft { voice } if voice == "中文女"));
    }
}

#[tokio::test]
async fn instructions_are_followed_or_refused_but_never_dropped() {
    let (app, fake) = app();
    for model in ["tts-1", "gpt-4o-mini-tts-2025-12-15", "fake"] {
        let body = with(json!({"model": model, "instructions": "whisper"}));
        assert_eq!(post(&app, SPEECH, body).await.status, 200);
        let wanted = |mode| matches!(mode, Mode::Instruct { voice, instruct_text } if voice == "中文女" && instruct_text == "whisper");
        assert!(wanted(fake.last().mode), "{model}");
    }
    for nothing in [json!(""), json!(" "), Value::Null] {
        let body = with(json!({"instructions": nothing}));
        assert_eq!(post(&app, SPEECH, body).await.status, 200);
        assert!(matches!(fake.last().mode, Mode::Sft { .. }));
    }
    let mut body = speech("unsupported");
    body["instructions"] = json!("whisper");
    refused(
        &post(&app, SPEECH, body).await,
        400,
        "this model takes no instructions",
    );
}

#[tokio::test]
async fn fields_that_are_wrong_are_named() {
    let (app, fake) = app();
    let long = "字".repeat(limits::TTS_TEXT_CHARS + 1);
    for (change, param, message) in [
        (json!({"input": ""}), "input", "input: must not be empty"),
        (
            json!({"input": long}),
            "input",
            "input: more than 10000 characters",
        ),
        (json!({"input": 5}), "input", "input: "),
        (json!({"voice": ""}), "voice", "voice: must not be empty"),
        (json!({"voice": "nobody"}), "voice", "voice: no voice \"nobody\""),
        (
            json!({"voice": 5}),
            "voice",
            "voice: must be a string or an object with an id",
        ),
        (
            json!({"voice": {"name": "x"}}),
            "voice",
            "voice: must be a string or an object with an id",
        ),
        (
            json!({"response_format": "aac"}),
            "response_format",
            "response_format: aac is not made here",
        ),
        (
            json!({"response_format": "ogg"}),
            "response_format",
            "response_format: must be mp3, opus, flac, wav or pcm",
        ),
        (
            json!({"stream_format": "ws"}),
            "stream_format",
            "stream_format: must be audio or sse",
        ),
        (
            json!({"speed": 0.25}),
            "speed",
            "speed: must be between 0.5 and 2, not 0.25",
        ),
        (json!({"seed": -1}), "seed", "seed: "),
        (
            json!({"instructions": "x".repeat(1001)}),
            "instructions",
            "instructions: more than 1000 characters",
        ),
    ] {
        let error = refused(&post(&app, SPEECH, with(change)).await, 400, message);
        assert_eq!(
            (&error["param"], &error["type"]),
            (&json!(param), &json!("invalid_request_error"))
        );
    }
    for field in ["model", "input", "voice"] {
        let mut body = speech("hello");
        body.as_object_mut().unwrap().remove(field);
        let error = refused(
            &post(&app, SPEECH, body).await,
            400,
            &format!("missing field `{field}`"),
        );
        assert_eq!(error["param"], field);
    }
    let error = refused(
        &post(&app, SPEECH, with(json!({"model": "tts-9"}))).await,
        404,
        "model: no model \"tts-9\"",
    );
    assert_eq!(
        (&error["code"], &error["param"]),
        (&json!("model_not_found"), &json!("model"))
    );
    assert!(fake.requests.lock().is_empty());
}

#[tokio::test]
async fn every_layer_answers_as_openai_does() {
    let (app, fake) = app();
    let error = refused(&get(&app, "/v1/nowhere").await, 404, "no such route: /v1/nowhere");
    assert_eq!(error["code"], Value::Null);
    let wrong = get(&app, SPEECH).await;
    refused(&wrong, 405, "/v1/audio/speech does not take GET");
    assert_eq!(wrong.header("allow"), "POST");
    let text = Request::post(SPEECH).body(Body::from("hello")).unwrap();
    refused(
        &send(&app, text).await,
        415,
        "Content-Type: must be application/json",
    );
    let full = post(&app, SPEECH, speech("full")).await;
    assert_eq!(refused(&full, 503, "the queue is full")["code"], "overloaded");
    assert_eq!(
        full.header("retry-after"),
        limits::RETRY_AFTER_SECONDS.to_string()
    );
    let late = post(&app, SPEECH, speech("late deadline")).await;
    assert_eq!(refused(&late, 504, "no audio within 1 s")["code"], "timeout");
    for text in ["fault", "early fault", "panic", "nothing"] {
        let fault = post(&app, SPEECH, speech(text)).await;
        let error = refused(&fault, 500, "internal error");
        assert!(
            error["message"]
                .as_str()
                .unwrap()
                .contains(fault.header("x-request-id"))
        );
        assert_eq!(error["type"], "server_error");
    }
    let key = ApiOptions {
        api_key: Some(ApiKey::new("sk-1")),
        ..ApiOptions::default()
    };
    let state = ApiState::new(fake, key);
    let app = router(state.clone());
    let error = refused(
        &post(&app, SPEECH, speech("hello")).await,
        401,
        "an API key is required",
    );
    assert_eq!(error["code"], "invalid_api_key");
    state.start_draining();
    let mut request = post_json(SPEECH, &speech("hello"));
    request
        .headers_mut()
        .insert("authorization", "Bearer sk-1".parse().unwrap());
    refused(&send(&app, request).await, 503, "the server is shutting down");
}

#[tokio::test]
async fn models_and_voices_are_listed() {
    let (app, fake) = app();
    let models = get(&app, "/v1/models").await.json();
    assert_eq!(models["object"], "list");
    let ids: Vec<&str> = models["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|model| model["id"].as_str().unwrap())
        .collect();
    assert_eq!(ids, ["fake", "tts-1", "tts-1-hd", "gpt-4o-mini-tts"]);
    assert!(models["data"][0]["created"].as_u64().unwrap() > 1_700_000_000);
    for id in ids.iter().chain(&["owner/fake", "tts-1-1106"]) {
        let model = get(&app, &format!("/v1/models/{id}")).await.json();
        assert_eq!((&model["id"], &model["object"]), (&json!(id), &json!("model")));
    }
    let error = refused(
        &get(&app, "/v1/models/whisper-1").await,
        404,
        "model: no model \"whisper-1\"",
    );
    assert_eq!(error["code"], "model_not_found");
    refused(&get(&app, "/v1/models/%ff").await, 400, "model: must be text");

    let prompt = crate::engine::PromptAudio::prepare(&[0.3; 16_000], 16_000, "f").unwrap();
    fake.add_voice("anna".into(), "Anna".into(), "x".into(), prompt)
        .await
        .unwrap();
    let voices = get(&app, "/v1/audio/voices").await.json();
    assert_eq!(
        voices["voices"][0],
        json!({"id": "中文女", "name": "中文女", "object": "audio.voice"})
    );
    assert_eq!(
        voices["voices"][1],
        json!({"id": "anna", "name": "Anna", "object": "audio.voice"})
    );
    assert_eq!(
        (&voices["data"], &voices["object"]),
        (&voices["voices"], &json!("list"))
    );
}
