//! The basic inference API: forms of every kind, with GET and POST, and bare samples out.

use super::*;
use crate::{api::tests::fake::CHUNKS, engine::Mode, limits};

const ROUTES: [&str; 5] = [
    "/inference_sft",
    "/inference_zero_shot",
    "/inference_cross_lingual",
    "/inference_instruct",
    "/inference_instruct2",
];

/// An urlencoded form.
fn urlencoded(method: &Method, path: &str, body: &str) -> Request<Body> {
    let builder = Request::builder().method(method).uri(path);
    let builder = builder.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    builder.body(Body::from(body.to_owned())).unwrap()
}

/// A multipart form with all fields that any route takes.
fn whole_form(method: Method, path: &str) -> Request<Body> {
    let parts: [(&str, Option<&str>, &[u8]); 7] = [
        ("tts_text", None, "再见".as_bytes()),
        ("spk_id", None, "中文女".as_bytes()),
        ("prompt_text", None, "你好".as_bytes()),
        ("instruct_text", None, "开心".as_bytes()),
        ("prompt_wav", Some("prompt_wav"), &wav()),
        ("speed", None, b"1.5"),
        ("seed", None, b"9"),
    ];
    let mut request = form(path, &parts);
    *request.method_mut() = method;
    request
}

#[tokio::test]
async fn every_route_takes_a_form_with_get_and_with_post() {
    let (app, fake) = app();
    for path in ROUTES {
        for method in [Method::GET, Method::POST] {
            let answer = send(&app, whole_form(method, path)).await;
            assert_eq!(answer.status, 200, "{path}: {:?}", answer.body);
            let headers = [
                "content-type",
                "x-sample-rate",
                "x-channels",
                "x-bit-depth",
                "x-seed",
            ];
            assert_eq!(
                headers.map(|name| answer.header(name)),
                ["audio/L16", "24000", "1", "16", "9"]
            );
            assert_eq!(answer.header("content-length"), "", "it streams");
            assert_eq!(answer.body.len(), CHUNKS * fake::CHUNK * 2);
            let request = fake.last();
            assert_eq!((request.text.as_str(), request.speed), ("再见", 1.5));
            assert!(request.stream);
            let (name, prompt) = match &request.mode {
                Mode::Sft { voice } => (voice.as_str(), None),
                Mode::ZeroShot { prompt, prompt_text } => (prompt_text.as_str(), Some(prompt)),
                Mode::CrossLingual { prompt } => ("", Some(prompt)),
                Mode::Instruct { instruct_text, .. } => (instruct_text.as_str(), None),
                Mode::InstructPrompt {
                    prompt,
                    instruct_text,
                } => (instruct_text.as_str(), Some(prompt)),
                other => panic!("{other:?}"),
            };
            let (want_name, has_prompt) = match path {
                "/inference_sft" => ("中文女", false),
                "/inference_zero_shot" => ("你好", true),
                "/inference_cross_lingual" => ("", true),
                "/inference_instruct" => ("开心", false),
                _ => ("开心", true),
            };
            assert_eq!((name, prompt.is_some()), (want_name, has_prompt), "{path}");
            assert!(prompt.is_none_or(|prompt| prompt.seconds() == 1.0));
        }
    }
}

#[tokio::test]
async fn fields_come_urlencoded_or_in_the_query_and_the_body_wins() {
    let (app, fake) = app();
    let encoded = "tts_text=%E4%BD%A0%E5%A5%BD+a%26b&spk_id=%E4%B8%AD%E6%96%87%E5%A5%B3";
    for method in [Method::GET, Method::POST] {
        let answer = send(&app, urlencoded(&method, "/inference_sft", encoded)).await;
        assert_eq!(answer.status, 200, "{:?}", answer.body);
        assert_eq!(fake.last().text, "你好 a&b");
        let query = Request::builder()
            .method(&method)
            .uri(format!("/inference_sft?{encoded}&seed=4"));
        let answer = send(&app, query.body(Body::empty()).unwrap()).await;
        assert_eq!((answer.status.as_u16(), answer.header("x-seed")), (200, "4"));
    }
    let path = format!("/inference_instruct?{encoded}&seed=4&instruct_text=x");
    let answer = send(&app, urlencoded(&Method::GET, &path, "tts_text=body&seed=5")).await;
    assert_eq!((answer.status.as_u16(), answer.header("x-seed")), (200, "5"));
    let request = fake.last();
    assert_eq!(request.text, "body");
    assert!(matches!(request.mode, Mode::Instruct { instruct_text, .. } if instruct_text == "x"));
    // The content type of a body that is not there says nothing.
    let empty = Request::get(format!("/inference_sft?{encoded}"));
    let empty = empty.header(header::CONTENT_TYPE, "application/json");
    assert_eq!(send(&app, empty.body(Body::empty()).unwrap()).await.status, 200);
    // A recording comes as a file, the rest of the fields may be in the query.
    let mut recording = form("/", &[("prompt_wav", Some("a.wav"), &wav())]);
    *recording.uri_mut() = "/inference_cross_lingual?tts_text=hi".parse().unwrap();
    assert_eq!(send(&app, recording).await.status, 200);
}

#[tokio::test]
async fn what_is_wrong_is_named() {
    let (app, _) = app();
    let sft = |fields: &'static str| urlencoded(&Method::GET, "/inference_sft", fields);
    for (fields, status, says) in [
        ("spk_id=a", 400, "missing field `tts_text`"),
        ("tts_text=hi", 400, "missing field `spk_id`"),
        ("tts_text=+&spk_id=a", 400, "tts_text: must not be empty"),
        ("tts_text=hi&spk_id=nobody", 400, "spk_id: no voice"),
        ("tts_text=hi&spk_id=a&speed=3", 400, "speed: must be between"),
        ("tts_text=hi&spk_id=a&seed=x", 400, "seed: must be a whole number"),
        ("tts_text=%C4%E3&spk_id=a", 400, "tts_text: must be text in UTF-8"),
    ] {
        send(&app, sft(fields)).await.refused(status, says);
    }
    for path in [
        "/inference_zero_shot",
        "/inference_cross_lingual",
        "/inference_instruct2",
    ] {
        let fields: [(&str, Option<&str>, &[u8]); 4] = [
            ("tts_text", None, b"hi"),
            ("prompt_text", None, b"hi"),
            ("instruct_text", None, b"hi"),
            ("prompt_wav", Some("a"), b"no audio"),
        ];
        send(&app, form(path, &fields[..3]))
            .await
            .refused(400, "prompt_wav: a file is required");
        send(&app, form(path, &fields)).await.refused(400, "prompt_wav: ");
        send(&app, form(path, &fields[3..]))
            .await
            .refused(400, "missing field `tts_text`");
    }
    for path in ROUTES {
        post(&app, path, json!({"tts_text": "hi"})).await.refused(
            415,
            "Content-Type: must be application/x-www-form-urlencoded or multipart",
        );
        let untyped = Request::post(path).body(Body::from("tts_text=hi")).unwrap();
        send(&app, untyped).await.refused(415, "Content-Type: ");
        let put = Request::put(path).body(Body::empty()).unwrap();
        send(&app, put).await.refused(405, path);
    }
}

#[tokio::test]
async fn forms_are_bounded() {
    let (app, _) = app();
    let long = format!("tts_text={}&spk_id=a", "x".repeat(limits::TTS_TEXT_CHARS + 1));
    send(&app, urlencoded(&Method::POST, "/inference_sft", &long))
        .await
        .refused(400, "tts_text: more than 10000 characters");
    let field = "x".repeat(limits::FORM_FIELD_BYTES + 1);
    send(
        &app,
        urlencoded(&Method::GET, "/inference_sft", &format!("tts_text={field}")),
    )
    .await
    .refused(413, "tts_text: more than ");
    let body = "x=1&".repeat(limits::URLENCODED_BODY_BYTES / 4 + 1);
    send(&app, urlencoded(&Method::GET, "/inference_sft", &body))
        .await
        .refused(413, "body: more than ");
}

#[tokio::test]
async fn it_fails_and_drains_as_the_other_routes_do() {
    let (app, _) = app();
    let say = |text: &str| format!("tts_text={text}&spk_id=%E4%B8%AD%E6%96%87%E5%A5%B3");
    for (text, status) in [
        ("full", 503),
        ("late+deadline", 504),
        ("early+fault", 500),
        ("unsupported", 400),
    ] {
        let answer = send(&app, urlencoded(&Method::GET, "/inference_sft", &say(text))).await;
        assert_eq!(answer.status, status, "{text}: {:?}", answer.body);
        assert!(!answer.detail().contains("secret"));
    }
    let state = ApiState::new(Arc::new(Fake::default()), ApiOptions::default());
    state.start_draining();
    let app = router(state);
    for path in ROUTES {
        send(&app, whole_form(Method::GET, path))
            .await
            .refused(503, "the server is shutting down");
    }
    let key = ApiOptions {
        api_key: Some(crate::api::ApiKey::new("k")),
        ..ApiOptions::default()
    };
    let (app, _) = app_with(key);
    send(&app, whole_form(Method::GET, "/inference_sft"))
        .await
        .refused(401, "an API key");
}
