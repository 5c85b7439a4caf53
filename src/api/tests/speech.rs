//! JSON speech routes: bodies, headers, seeds, failures before and after the first audio.

use std::{sync::atomic::Ordering, time::Duration};

use futures::StreamExt;

use super::{
    fake::{CHUNK, CHUNKS},
    *,
};
use crate::{engine::Mode, limits};

fn sft(text: &str) -> Value {
    json!({"tts_text": text, "spk_id": "中文女"})
}

#[tokio::test]
async fn tts_answers_mp3_whole_with_its_length() {
    let (app, fake) = app();
    let answer = post(&app, "/tts", sft("你好")).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), "audio/mpeg");
    assert_eq!(answer.header("content-length"), answer.body.len().to_string());
    assert_eq!(answer.body[0], 0xff, "an MP3 frame starts the body");
    assert!(answer.header("x-seed").parse::<u64>().unwrap() > 0);
    let request = fake.last();
    assert_eq!(
        (request.text.as_str(), request.speed, request.stream),
        ("你好", 1.0, false)
    );
    assert!(matches!(request.mode, Mode::Sft { voice } if voice == "中文女"));
    assert_eq!(request.id, answer.header("x-request-id"));
    assert_eq!(request.seed.to_string(), answer.header("x-seed"));
}

#[tokio::test]
async fn streaming_has_no_length_and_says_the_same() {
    let (app, fake) = app();
    let mut body = sft("hello");
    body["seed"] = json!(7);
    let whole = post(&app, "/tts", body.clone()).await;
    body["stream"] = json!(true);
    let streamed = post(&app, "/tts", body).await;
    assert!(fake.last().stream);
    assert_eq!(streamed.header("content-length"), "");
    assert_eq!(streamed.header("content-type"), "audio/mpeg");
    assert_eq!((streamed.header("x-seed"), whole.header("x-seed")), ("7", "7"));
    let decode = |answer: &Answer| {
        crate::audio::decode::decode(answer.body.to_vec(), "f")
            .unwrap()
            .samples
            .len()
    };
    assert_eq!(decode(&whole), CHUNK * CHUNKS);
    // A stream starts with the codec's delay and ends on a whole frame.
    assert!((CHUNK * CHUNKS..CHUNK * CHUNKS + 4_000).contains(&decode(&streamed)));
}

#[tokio::test]
async fn pcm_always_streams_and_describes_itself() {
    let (app, fake) = app();
    let answer = post(&app, "/tts/pcm", sft("hello")).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), "audio/L16");
    assert_eq!(answer.header("x-sample-rate"), "24000");
    assert_eq!(answer.header("x-channels"), "1");
    assert_eq!(answer.header("x-bit-depth"), "16");
    assert_eq!(answer.header("content-length"), "");
    assert_eq!(answer.body.len(), CHUNK * CHUNKS * 2);
    assert!(fake.last().stream);
    let first = i16::from_le_bytes([answer.body[0], answer.body[1]]);
    assert!((-16_400..-16_300).contains(&first), "little-endian: {first}");
}

#[tokio::test]
async fn seeds_reproduce_and_zero_draws_new_ones() {
    let (app, _) = app();
    let with = |seed: Value| {
        let mut body = sft("hello");
        body["seed"] = seed;
        post(&app, "/tts/pcm", body)
    };
    assert_eq!(with(json!(42)).await.body, with(json!("42")).await.body);
    assert_ne!(with(json!(42)).await.body, with(json!(43)).await.body);
    let (one, two) = (with(json!(0)).await, with(Value::Null).await);
    assert_ne!(one.header("x-seed"), two.header("x-seed"));
    let again = with(json!(one.header("x-seed").parse::<u64>().unwrap())).await;
    assert_eq!(again.body, one.body);
    assert_eq!(with(json!(i64::MAX)).await.header("x-seed"), i64::MAX.to_string());
}

#[tokio::test]
async fn fields_that_are_wrong_are_named() {
    let (app, fake) = app();
    let long = "字".repeat(limits::TTS_TEXT_CHARS + 1);
    for (change, detail) in [
        (json!({"tts_text": ""}), "tts_text: "),
        (json!({"tts_text": " \n"}), "tts_text: "),
        (json!({"tts_text": long}), "tts_text: more than 10000 characters"),
        (json!({"tts_text": 5}), "tts_text: "),
        (json!({"tts_text": null}), "tts_text: "),
        (json!({"spk_id": ""}), "spk_id: "),
        (json!({"spk_id": "nobody"}), "spk_id: "),
        (json!({"speed": 0.49}), "speed: must be between 0.5 and 2"),
        (json!({"speed": 2.01}), "speed: "),
        (json!({"speed": "fast"}), "speed: "),
        (json!({"speed": "NaN"}), "speed: "),
        (json!({"speed": []}), "speed: "),
        (json!({"seed": -1}), "seed: "),
        (json!({"seed": 1.5}), "seed: "),
        (json!({"seed": 1e300}), "seed: "),
        (json!({"seed": u64::MAX}), "seed: "),
        (json!({"stream": "perhaps"}), "stream: "),
        (json!({"stream": 2}), "stream: "),
    ] {
        let mut body = sft("hello");
        body.as_object_mut()
            .unwrap()
            .extend(change.as_object().unwrap().clone());
        post(&app, "/tts", body).await.refused(400, detail);
    }
    assert!(fake.requests.lock().is_empty());
    post(&app, "/tts", json!({"spk_id": "中文女"}))
        .await
        .refused(400, "missing field `tts_text`");
    post(&app, "/tts", json!({"tts_text": "hi"}))
        .await
        .refused(400, "missing field `spk_id`");
    for array in [json!(["hi"]), json!(["hi", "中文女", false, 1.0, 7])] {
        post(&app, "/tts", array)
            .await
            .refused(400, "body: must be a JSON object");
    }
    post(&app, "/tts", json!("hi"))
        .await
        .refused(400, "body: must be a JSON object");
}

#[tokio::test]
async fn extra_fields_and_nulls_are_fine() {
    let (app, fake) = app();
    let body = json!({
        "tts_text": "hi", "spk_id": "中文女", "stream": null, "speed": null, "seed": null, "format": "mp3", "x": {"y": 1}
    });
    assert_eq!(post(&app, "/tts", body).await.status, 200);
    let body = json!({"tts_text": "hi", "spk_id": "中文女", "stream": "true", "speed": "0.5", "seed": 3.0});
    assert_eq!(post(&app, "/tts", body).await.status, 200);
    let request = fake.last();
    assert_eq!((request.stream, request.speed, request.seed), (true, 0.5, 3));
}

#[tokio::test]
async fn instruct_passes_the_instruction() {
    let (app, fake) = app();
    let body = json!({"tts_text": "hi", "spk_id": "中文女", "instruct_text": "whisper"});
    assert_eq!(
        post(&app, "/tts/instruct", body).await.header("content-type"),
        "audio/mpeg"
    );
    let wanted = |mode| matches!(mode, Mode::Instruct { voice, instruct_text } if voice == "中文女" && instruct_text == "whisper");
    assert!(wanted(fake.last().mode));
    let empty = json!({"tts_text": "hi", "spk_id": "中文女", "instruct_text": ""});
    post(&app, "/tts/instruct", empty)
        .await
        .refused(400, "instruct_text: ");
    let unsupported = json!({"tts_text": "unsupported", "spk_id": "中文女", "instruct_text": "x"});
    post(&app, "/tts/instruct", unsupported)
        .await
        .refused(400, "this model takes no instructions");
}

#[tokio::test]
async fn failures_before_the_first_audio_have_a_status() {
    let (app, _) = app();
    for path in ["/tts", "/tts/pcm"] {
        let full = post(&app, path, sft("full")).await;
        full.refused(503, "the queue is full");
        assert_eq!(
            full.header("retry-after"),
            limits::RETRY_AFTER_SECONDS.to_string()
        );
        post(&app, path, sft("late deadline"))
            .await
            .refused(504, "no audio within 1 s");
        for text in ["fault", "early fault", "panic", "nothing"] {
            let fault = post(&app, path, sft(text)).await;
            fault.refused(500, "internal error");
            assert!(
                fault.detail().contains(fault.header("x-request-id")),
                "{}",
                fault.detail()
            );
            assert!(!fault.detail().contains("secret"));
            assert_eq!(fault.header("content-length"), fault.body.len().to_string());
        }
    }
}

#[tokio::test]
async fn a_failure_after_the_first_audio_cuts_the_body() {
    let (app, _) = app();
    post(&app, "/tts", sft("late fault"))
        .await
        .refused(500, "internal error");
    let response = app
        .oneshot(post_json("/tts/pcm", &sft("late fault")))
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    let mut body = response.into_body().into_data_stream();
    assert_eq!(body.next().await.unwrap().unwrap().len(), CHUNK * 2);
    assert!(body.next().await.unwrap().is_err());
}

#[tokio::test]
async fn a_client_that_leaves_stops_the_speech() {
    let (app, fake) = app();
    let response = app.oneshot(post_json("/tts/pcm", &sft("endless"))).await.unwrap();
    let mut body = response.into_body().into_data_stream();
    for _ in 0..3 {
        body.next().await.unwrap().unwrap();
    }
    // Nobody reads further: only the channel's room is filled, not more.
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(fake.endless.load(Ordering::SeqCst) <= 5);
    drop(body);
    for _ in 0..100 {
        if fake.dropped.load(Ordering::SeqCst) == 1 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the speech went on");
}

#[tokio::test]
async fn leaving_before_the_answer_stops_the_speech_too() {
    let (app, fake) = app();
    let whole = app.oneshot(post_json("/tts", &sft("endless")));
    assert!(
        tokio::time::timeout(Duration::from_millis(100), whole)
            .await
            .is_err()
    );
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(fake.dropped.load(Ordering::SeqCst), 1);
}
