//! `Inference` and `ListVoices`: modes, audio, metadata, and calls that end early.

use std::sync::atomic::Ordering;

use super::*;
use crate::{
    api::{
        Speaker,
        tests::fake::{CHUNK, CHUNKS},
    },
    engine::{Mode, PromptAudio},
};

#[tokio::test]
async fn every_mode_reaches_the_engine() {
    let app = app().await;
    let text = || "hello".to_string();
    app.hear(proto::Request {
        speed: 1.5,
        ..sft("hello")
    })
    .await;
    let request = app.fake.last();
    assert_eq!(
        (request.text.as_str(), request.speed, request.seed),
        ("hello", 1.5, 5)
    );
    assert!(request.stream, "audio comes while it is made");
    assert!(matches!(request.mode, Mode::Sft { voice } if voice == "中文女"));

    app.hear(payload(RequestPayload::ZeroShotRequest(proto::ZeroshotRequest {
        tts_text: text(),
        prompt_text: "what it says".into(),
        prompt_audio: tone(1.0),
    })))
    .await;
    let Mode::ZeroShot { prompt, prompt_text } = app.fake.last().mode else {
        panic!("{:?}", app.fake.last())
    };
    assert_eq!((prompt.seconds(), prompt_text.as_str()), (1.0, "what it says"));
    assert_eq!(app.fake.last().speed, 1.0, "0 is not given");

    app.hear(payload(RequestPayload::CrossLingualRequest(
        proto::CrosslingualRequest {
            tts_text: text(),
            prompt_audio: tone(0.7),
        },
    )))
    .await;
    assert!(matches!(app.fake.last().mode, Mode::CrossLingual { .. }));

    let instruct = proto::InstructRequest {
        tts_text: text(),
        spk_id: "中文女".into(),
        instruct_text: "whisper".into(),
        ..proto::InstructRequest::default()
    };
    app.hear(payload(RequestPayload::InstructRequest(instruct.clone())))
        .await;
    assert!(
        matches!(app.fake.last().mode, Mode::Instruct { instruct_text, .. } if instruct_text == "whisper")
    );

    let prompted = proto::InstructRequest {
        spk_id: String::new(),
        prompt_audio: tone(1.0),
        ..instruct
    };
    app.hear(payload(RequestPayload::InstructRequest(prompted))).await;
    assert!(
        matches!(app.fake.last().mode, Mode::InstructPrompt { instruct_text, .. } if instruct_text == "whisper")
    );
}

#[tokio::test]
async fn audio_is_little_endian_and_described() {
    let app = app().await;
    let answer = app
        .infer(with(sft("hello"), "x-request-id", "my-id"))
        .await
        .unwrap();
    let metadata = answer.metadata();
    for (name, value) in [
        ("x-sample-rate", "24000"),
        ("x-seed", "5"),
        ("x-request-id", "my-id"),
    ] {
        assert_eq!(metadata.get(name).unwrap(), value, "{name}");
    }
    assert_eq!(app.fake.last().id, "my-id");
    let messages: Vec<_> = answer.into_inner().map(Result::unwrap).collect().await;
    assert_eq!((messages[0].sample_rate, messages[0].seed), (24_000, 5));
    assert!(
        messages[1..]
            .iter()
            .all(|message| (message.sample_rate, message.seed) == (0, 0))
    );
    let heard: Vec<u8> = messages
        .iter()
        .flat_map(|message| message.tts_audio.to_vec())
        .collect();
    assert_eq!(heard.len(), CHUNK * CHUNKS * 2);
    // What the fake says with this seed.
    let sample = |n: usize| i16::from_le_bytes([heard[2 * n], heard[2 * n + 1]]);
    let said = |n: usize| ((((n * 5) % 997) as f32 / 997.0 - 0.5) * 32_768.0) as i16;
    assert!((0..CHUNK).all(|n| sample(n) == said(n)));
}

#[tokio::test]
async fn a_seed_that_is_not_given_is_drawn_and_named() {
    let app = app().await;
    let open = proto::Request {
        seed: 0,
        ..sft("hello")
    };
    let (one, two) = (app.hear(open.clone()).await, app.hear(open.clone()).await);
    assert!(one[0].seed > 0 && one[0].seed != two[0].seed);
    let again = proto::Request {
        seed: one[0].seed,
        ..open
    };
    assert_eq!(app.hear(again).await, one);
}

#[tokio::test]
async fn voices_are_listed() {
    let app = app().await;
    let prompt = PromptAudio::prepare(&[0.5; 16_000], 16_000, "f").unwrap();
    let added = app
        .fake
        .add_voice("anna".into(), "Anna".into(), "hi".into(), prompt);
    added.await.unwrap();
    let list = app.client.clone().list_voices(proto::ListVoicesRequest {}).await;
    let voices = list.unwrap().into_inner().voices;
    let seen: Vec<_> = voices
        .iter()
        .map(|v| (v.spk_id.as_str(), v.spk_name.as_str(), v.built_in))
        .collect();
    assert_eq!(seen, [("中文女", "中文女", true), ("anna", "Anna", false)]);
}

#[tokio::test]
async fn a_client_that_leaves_stops_the_speech() {
    let app = app().await;
    let mut answer = app.infer(sft("endless")).await.unwrap().into_inner();
    for _ in 0..3 {
        answer.message().await.unwrap().unwrap();
    }
    // Nobody reads further: only what is under way is made, not more.
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(app.fake.endless.load(Ordering::SeqCst) <= 8);
    drop(answer);
    app.left(1).await;
    let waiting = app.infer(sft("never"));
    assert!(
        timeout(Duration::from_millis(100), waiting).await.is_err(),
        "it waits"
    );
    app.hear(sft("hello")).await;
}

#[tokio::test]
async fn a_deadline_ends_a_call_before_and_while_it_speaks() {
    let app = app().await;
    let never = with(sft("never"), "grpc-timeout", "50m");
    says(
        &app.refusal(never).await,
        Code::DeadlineExceeded,
        "grpc-timeout: ",
    );
    let endless = with(sft("endless"), "grpc-timeout", "300m");
    let mut answer = app.infer(endless).await.unwrap().into_inner();
    let mut heard = 0;
    let status = loop {
        match answer.message().await {
            Ok(message) => heard += message.unwrap().tts_audio.len(),
            Err(status) => break status,
        }
    };
    assert!(heard > 0);
    says(&status, Code::DeadlineExceeded, "grpc-timeout: ");
    app.left(1).await;
}

#[tokio::test]
async fn a_deadline_passes_though_nothing_is_read() {
    let app = app().await;
    let endless = with(sft("endless"), "grpc-timeout", "200m");
    let answer = app.infer(endless).await.unwrap().into_inner();
    app.left(1).await;
    let read: Vec<_> = answer.collect().await;
    says(
        read.last().unwrap().as_ref().unwrap_err(),
        Code::DeadlineExceeded,
        "grpc-timeout: ",
    );
}

#[tokio::test]
async fn a_failure_after_the_first_audio_ends_the_answer_with_its_status() {
    let app = app().await;
    let mut answer = app.infer(sft("late fault")).await.unwrap().into_inner();
    assert_eq!(
        answer.message().await.unwrap().unwrap().tts_audio.len(),
        CHUNK * 2
    );
    let status = answer.message().await.unwrap_err();
    says(
        &status,
        Code::Internal,
        "internal error; the server's log has its cause under id ",
    );
    assert!(!status.message().contains("secret"));
}

#[tokio::test]
async fn so_many_speak_at_once_and_one_more_is_refused() {
    let app = app().await;
    let mut speaking = Vec::new();
    for _ in 0..crate::api::tests::fake::CONCURRENCY {
        speaking.push(app.infer(sft("endless")).await.unwrap());
    }
    says(
        &app.refusal(sft("hello")).await,
        Code::ResourceExhausted,
        "3 calls are at work",
    );
    speaking.pop();
    app.left(1).await;
    // The place is free as soon as the end has been read.
    for _ in 0..20 {
        app.hear(sft("hello")).await;
        app.refusal(sft("full")).await;
    }
}
