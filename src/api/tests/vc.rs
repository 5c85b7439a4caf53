//! `/tts/vc`: recordings and voices, as JSON and as forms; what is missing is named.

use super::*;
use crate::engine::{Mode, Target};

fn with(fields: Value) -> Value {
    let mut body = json!({"source_audio_base64": wav_base64()});
    let fields = fields.as_object().unwrap().clone();
    body.as_object_mut().unwrap().extend(fields);
    body
}

#[tokio::test]
async fn it_takes_a_recording_or_a_voice() {
    let (app, fake) = app();
    let body = with(json!({"prompt_audio_base64": wav_base64(), "speed": 1.5, "seed": 9, "stream": true}));
    let answer = post(&app, "/tts/vc", body).await;
    assert_eq!(answer.status, 200, "{:?}", answer.body);
    assert_eq!(
        (
            answer.header("content-type"),
            answer.header("x-seed"),
            answer.header("content-length")
        ),
        ("audio/mpeg", "9", "")
    );
    let request = fake.last();
    assert_eq!((request.speed, request.seed, request.stream), (1.5, 9, true));
    let Mode::Convert { source, target } = request.mode else {
        panic!("{:?}", request.mode)
    };
    assert_eq!(source.seconds(), 1.0);
    assert!(matches!(target, Target::Prompt(prompt) if prompt.seconds() == 1.0));

    let answer = post(&app, "/tts/vc", with(json!({"spk_id": "中文女"}))).await;
    assert_eq!(answer.status, 200, "{:?}", answer.body);
    assert_eq!(answer.header("content-length"), answer.body.len().to_string());
    assert!(
        matches!(fake.last().mode, Mode::Convert { target: Target::Voice(voice), .. } if voice == "中文女")
    );
}

#[tokio::test]
async fn it_takes_a_form() {
    let (app, fake) = app();
    let wav = wav();
    let source: (&str, Option<&str>, &[u8]) = ("source_wav", Some("a.wav"), &wav);
    let answer = send(
        &app,
        form("/tts/vc", &[source, ("prompt_wav", Some("b.wav"), &wav)]),
    )
    .await;
    assert_eq!(answer.status, 200, "{:?}", answer.body);
    assert!(matches!(
        fake.last().mode,
        Mode::Convert {
            target: Target::Prompt(_),
            ..
        }
    ));
    let voice = ("spk_id", None, "中文女".as_bytes());
    let answer = send(&app, form("/tts/vc", &[source, voice, ("seed", None, b"4")])).await;
    assert_eq!(answer.header("x-seed"), "4", "{:?}", answer.body);
    assert!(matches!(
        fake.last().mode,
        Mode::Convert {
            target: Target::Voice(_),
            ..
        }
    ));
}

#[tokio::test]
async fn what_is_missing_or_wrong_is_named() {
    let (app, fake) = app();
    let refused = |body: Value, status, detail: &'static str| {
        let app = app.clone();
        async move { post(&app, "/tts/vc", body).await.refused(status, detail) }
    };
    refused(
        json!({"spk_id": "中文女"}),
        400,
        "source_audio_base64: a recording is required",
    )
    .await;
    refused(with(json!({})), 400, "spk_id: a voice is required").await;
    refused(with(json!({"spk_id": "nobody"})), 400, "spk_id: no voice").await;
    refused(with(json!({"spk_id": " "})), 400, "spk_id: must not be empty").await;
    let both = with(json!({"spk_id": "中文女", "prompt_audio_base64": wav_base64()}));
    refused(both, 400, "spk_id: give a voice or a recording").await;
    refused(
        with(json!({"prompt_audio_base64": "%"})),
        400,
        "prompt_audio_base64: not valid",
    )
    .await;
    let source = |audio: &str| json!({"spk_id": "中文女", "source_audio_base64": audio});
    refused(source("%"), 400, "source_audio_base64: not valid base64").await;
    refused(source(&STANDARD.encode("no audio")), 400, "source_audio_base64: ").await;
    refused(with(json!({"spk_id": "中文女", "speed": 3})), 400, "speed: ").await;
    let wav = wav();
    send(&app, form("/tts/vc", &[("prompt_wav", Some("b.wav"), &wav)]))
        .await
        .refused(
            400,
            "source_audio_base64: a recording is required (or send it as the file source_wav",
        );
    send(
        &app,
        form(
            "/tts/vc",
            &[
                ("source_wav", Some("a"), b"no audio"),
                ("spk_id", None, "中文女".as_bytes()),
            ],
        ),
    )
    .await
    .refused(400, "source_wav: ");
    assert!(fake.requests.lock().is_empty());
}
