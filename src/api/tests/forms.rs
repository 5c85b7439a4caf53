//! Routes with recordings: base64 in JSON, files in multipart forms, cloning, uploading; and their bounds.

use super::*;
use crate::{engine::Mode, limits};

#[tokio::test]
async fn zero_shot_takes_base64() {
    let (app, fake) = app();
    for audio in [wav_base64(), format!("data:audio/wav;base64,{}", wav_base64())] {
        let body =
            json!({"tts_text": "hi", "prompt_text": "你好", "prompt_audio_base64": audio, "speed": 1.5});
        let answer = post(&app, "/tts/zero_shot", body).await;
        assert_eq!(
            (answer.status.as_u16(), answer.header("content-type")),
            (200, "audio/mpeg")
        );
        let request = fake.last();
        assert_eq!(request.speed, 1.5);
        let Mode::ZeroShot { prompt, prompt_text } = request.mode else {
            panic!("{:?}", request.mode)
        };
        assert_eq!((prompt.seconds(), prompt_text.as_str()), (1.0, "你好"));
    }
}

#[tokio::test]
async fn zero_shot_takes_a_form() {
    let (app, fake) = app();
    let parts: [(&str, Option<&str>, &[u8]); 7] = [
        ("tts_text", None, "再见".as_bytes()),
        ("prompt_text", None, "你好".as_bytes()),
        ("prompt_wav", Some("a.wav"), &wav()),
        ("stream", None, b"true"),
        ("speed", None, b"0.8"),
        ("seed", None, b"9"),
        ("unknown", Some("x.bin"), b"ignored"),
    ];
    let answer = send(&app, form("/tts/zero_shot", &parts)).await;
    assert_eq!(answer.status, 200, "{:?}", answer.body);
    assert_eq!(
        (answer.header("x-seed"), answer.header("content-length")),
        ("9", "")
    );
    let request = fake.last();
    assert_eq!(
        (request.text.as_str(), request.stream, request.speed, request.seed),
        ("再见", true, 0.8, 9)
    );
    assert!(matches!(request.mode, Mode::ZeroShot { prompt, .. } if prompt.seconds() == 1.0));
}

#[tokio::test]
async fn cross_lingual_takes_both() {
    let (app, fake) = app();
    let body = json!({"tts_text": "hi", "prompt_audio_base64": wav_base64()});
    assert_eq!(post(&app, "/tts/cross_lingual", body).await.status, 200);
    let parts: [(&str, Option<&str>, &[u8]); 2] =
        [("tts_text", None, b"hi"), ("prompt_wav", Some("a.wav"), &wav())];
    assert_eq!(send(&app, form("/tts/cross_lingual", &parts)).await.status, 200);
    assert_eq!(fake.requests.lock().len(), 2);
    assert!(
        fake.requests
            .lock()
            .iter()
            .all(|r| matches!(r.mode, Mode::CrossLingual { .. }))
    );
}

#[tokio::test]
async fn recordings_that_are_wrong_are_named() {
    let (app, _) = app();
    for path in ["/tts/zero_shot", "/tts/cross_lingual"] {
        let with = |audio: Value| {
            post(
                &app,
                path,
                json!({"tts_text": "hi", "prompt_text": "x", "prompt_audio_base64": audio}),
            )
        };
        with(Value::Null)
            .await
            .refused(400, "prompt_audio_base64: a recording is required");
        with(json!("")).await.refused(400, "prompt_audio_base64: ");
        with(json!("%%%"))
            .await
            .refused(400, "prompt_audio_base64: not valid base64");
        with(json!(STANDARD.encode("no audio")))
            .await
            .refused(400, "prompt_audio_base64: ");
        with(json!([1, 2])).await.refused(400, "prompt_audio_base64: ");
        let text: [(&str, Option<&str>, &[u8]); 3] = [
            ("tts_text", None, b"hi"),
            ("prompt_text", None, b"x"),
            ("prompt_wav", Some("a"), b"no audio"),
        ];
        send(&app, form(path, &text)).await.refused(400, "prompt_wav: ");
        send(&app, form(path, &text[..2]))
            .await
            .refused(400, "prompt_audio_base64: a recording is required");
        send(&app, form(path, &text[1..]))
            .await
            .refused(400, "missing field `tts_text`");
    }
    let no_text = json!({"tts_text": "hi", "prompt_text": "", "prompt_audio_base64": wav_base64()});
    post(&app, "/tts/zero_shot", no_text)
        .await
        .refused(400, "prompt_text: ");
}

#[tokio::test]
async fn form_scalars_that_are_wrong_are_named() {
    let (app, _) = app();
    for (field, value) in [
        ("speed", "fast"),
        ("speed", "9"),
        ("seed", "-1"),
        ("seed", "1.5"),
        ("stream", "?"),
    ] {
        let parts: [(&str, Option<&str>, &[u8]); 3] = [
            ("tts_text", None, b"hi"),
            ("prompt_wav", Some("a"), &wav()),
            (field, None, value.as_bytes()),
        ];
        send(&app, form("/tts/cross_lingual", &parts))
            .await
            .refused(400, &format!("{field}: "));
    }
}

#[tokio::test]
async fn a_clone_is_listed_and_speaks() {
    let (app, fake) = app();
    let clone = |id: &'static str, name: Option<&'static str>| {
        let wav = wav();
        let mut parts: Vec<(&str, Option<&str>, &[u8])> = vec![
            ("prompt_text", None, "你好".as_bytes()),
            ("spk_id", None, id.as_bytes()),
            ("prompt_audio", Some("a.wav"), &wav),
        ];
        parts.extend(name.map(|name| ("spk_name", None, name.as_bytes())));
        form("/clone", &parts)
    };
    let answer = send(&app, clone("小明", Some("Xiao Ming"))).await.json();
    assert_eq!(
        (&answer["status"], &answer["spk_id"]),
        (&json!("success"), &json!("小明"))
    );
    assert_eq!(answer["spk_name"], "Xiao Ming");
    assert!(answer["message"].is_string());
    assert_eq!(send(&app, clone("b", None)).await.json()["spk_name"], "b");
    assert_eq!(
        get(&app, "/available_spks").await.json(),
        json!({"speakers": [
            {"spk_id": "中文女", "spk_name": "中文女"},
            {"spk_id": "小明", "spk_name": "Xiao Ming"},
            {"spk_id": "b", "spk_name": "b"},
        ]})
    );
    assert_eq!(
        post(&app, "/tts", json!({"tts_text": "hi", "spk_id": "小明"}))
            .await
            .status,
        200
    );
    assert_eq!(fake.saved.lock()[0].1, "你好");
    send(&app, clone("中文女", None)).await.refused(400, "spk_id: ");
    send(&app, clone(" ", None)).await.refused(400, "spk_id: ");
    send(&app, clone("c", Some("a\nb")))
        .await
        .refused(400, "spk_name: ");
}

#[tokio::test]
async fn clone_wants_every_field() {
    let (app, _) = app();
    let wav = wav();
    let parts: [(&str, Option<&str>, &[u8]); 3] = [
        ("prompt_text", None, b"hi"),
        ("spk_id", None, b"a"),
        ("prompt_audio", Some("a.wav"), &wav),
    ];
    send(&app, form("/clone", &parts[1..]))
        .await
        .refused(400, "missing field `prompt_text`");
    send(&app, form("/clone", &parts[..1]))
        .await
        .refused(400, "missing field `spk_id`");
    send(&app, form("/clone", &parts[..2]))
        .await
        .refused(400, "prompt_audio: a file is required");
    let empty: [(&str, Option<&str>, &[u8]); 3] = [parts[0], parts[1], ("prompt_audio", Some("a.wav"), b"")];
    send(&app, form("/clone", &empty))
        .await
        .refused(400, "prompt_audio: the file is empty");
    let long = "a".repeat(limits::VOICE_ID_CHARS + 1);
    let long: [(&str, Option<&str>, &[u8]); 3] = [parts[0], ("spk_id", None, long.as_bytes()), parts[2]];
    send(&app, form("/clone", &long))
        .await
        .refused(400, "spk_id: more than 64 characters");
    post(&app, "/clone", json!({"spk_id": "a"}))
        .await
        .refused(415, "Content-Type: ");
}

#[tokio::test]
async fn upload_gives_the_file_back_as_base64() {
    let (app, _) = app();
    let parts: [(&str, Option<&str>, &[u8]); 1] = [("file", Some("录音.wav"), b"\x00\xffbytes")];
    let answer = send(&app, form("/upload_audio", &parts)).await;
    assert_eq!(
        answer.json(),
        json!({"filename": "录音.wav", "audio_base64": STANDARD.encode(b"\x00\xffbytes")})
    );
    send(&app, form("/upload_audio", &[]))
        .await
        .refused(400, "file: a file is required");
    let cut = Request::post("/upload_audio").header(header::CONTENT_TYPE, "multipart/form-data; boundary=XX");
    send(&app, cut.body(Body::from("--XX\r\nContent-Dis")).unwrap())
        .await
        .refused(400, "body: ");
}

#[tokio::test]
async fn content_types_are_checked() {
    let (app, _) = app();
    let text = json!({"tts_text": "hi", "spk_id": "中文女"}).to_string();
    for content_type in [
        None,
        Some("text/plain"),
        Some("application/x-www-form-urlencoded"),
        Some("multipart/form-data"),
    ] {
        for path in [
            "/tts",
            "/tts/pcm",
            "/tts/zero_shot",
            "/tts/cross_lingual",
            "/tts/instruct",
        ] {
            let mut request = Request::post(path);
            if let Some(content_type) = content_type {
                request = request.header(header::CONTENT_TYPE, content_type);
            }
            let answer = send(&app, request.body(Body::from(text.clone())).unwrap()).await;
            answer.refused(415, "Content-Type: must be application/json");
        }
    }
    for content_type in [
        "application/json; charset=utf-8",
        "Application/JSON",
        "application/vnd.api+json",
    ] {
        let request = Request::post("/tts").header(header::CONTENT_TYPE, content_type);
        assert_eq!(
            send(&app, request.body(Body::from(text.clone())).unwrap())
                .await
                .status,
            200,
            "{content_type}"
        );
    }
}

#[tokio::test]
async fn json_that_is_broken_is_400() {
    let (app, _) = app();
    for text in [
        "",
        "{",
        "{\"tts_text\": \"hi\",}",
        "{} {}",
        "\u{feff}{}",
        "{\"tts_text\": \"\\ud800\"}",
    ] {
        let request = Request::post("/tts").header(header::CONTENT_TYPE, "application/json");
        let answer = send(&app, request.body(Body::from(text)).unwrap()).await;
        assert_eq!(answer.status, 400, "{text:?}");
        assert!(!answer.detail().is_empty());
    }
    let request = Request::post("/tts").header(header::CONTENT_TYPE, "application/json");
    send(
        &app,
        request
            .body(Body::from(&b"{\"tts_text\": \"\xff\"}"[..]))
            .unwrap(),
    )
    .await
    .refused(400, "");
}

#[tokio::test]
async fn bodies_over_their_limit_are_413() {
    let (app, _) = app();
    // Declared too long: refused unread.
    let request = Request::post("/tts")
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::CONTENT_LENGTH, limits::JSON_BODY_BYTES + 1);
    send(&app, request.body(Body::empty()).unwrap())
        .await
        .refused(413, "body: more than ");
    // Undeclared: refused where the limit is crossed.
    let chunk = Bytes::from(vec![b' '; 1 << 20]);
    let chunks = futures::stream::repeat(Ok::<_, std::convert::Infallible>(chunk));
    let request = Request::post("/tts").header(header::CONTENT_TYPE, "application/json");
    send(&app, request.body(Body::from_stream(chunks)).unwrap())
        .await
        .refused(413, "body: more than ");
    let field = vec![b'a'; limits::FORM_FIELD_BYTES + 1];
    send(&app, form("/clone", &[("prompt_text", None, &field)]))
        .await
        .refused(413, "prompt_text: more than ");
    let file = vec![0; limits::PROMPT_FILE_BYTES + 1];
    send(&app, form("/upload_audio", &[("file", Some("a"), &file)]))
        .await
        .refused(413, "file: more than ");
}

#[tokio::test]
async fn a_large_json_body_is_parsed_too() {
    let (app, _) = app();
    let padding = "A".repeat(limits::PARSE_IN_PLACE_BYTES);
    let body = json!({"tts_text": "hi", "spk_id": "中文女", "padding": padding});
    assert_eq!(post(&app, "/tts", body).await.status, 200);
    let body = json!({"tts_text": "hi", "spk_id": "中文女", "padding": padding, "seed": -4});
    post(&app, "/tts", body).await.refused(400, "seed: ");
}
