//! What is refused, with which code and in which words.

use axum::{body::Body, http};
use tower::ServiceExt;

use super::*;
use crate::{api::ApiKey, limits};

fn zero_shot(prompt_audio: bytes::Bytes) -> proto::Request {
    payload(RequestPayload::ZeroShotRequest(proto::ZeroshotRequest {
        tts_text: "hello".into(),
        prompt_text: "what it says".into(),
        prompt_audio,
    }))
}

fn instruct(change: impl FnOnce(&mut proto::InstructRequest)) -> proto::Request {
    let mut request = proto::InstructRequest {
        tts_text: "hello".into(),
        spk_id: "中文女".into(),
        instruct_text: "whisper".into(),
        prompt_audio: bytes::Bytes::new(),
    };
    change(&mut request);
    payload(RequestPayload::InstructRequest(request))
}

#[tokio::test]
async fn fields_that_are_wrong_are_named_with_their_limit() {
    let app = app().await;
    let long = "字".repeat(limits::TTS_TEXT_CHARS + 1);
    let mut nameless = sft("hello");
    if let Some(RequestPayload::SftRequest(request)) = &mut nameless.request_payload {
        request.spk_id.clear();
    }
    for (request, words) in [
        (
            proto::Request::default(),
            "RequestPayload: must be one of sft_request, ",
        ),
        (sft(""), "tts_text: must not be empty"),
        (sft(" \n"), "tts_text: must not be empty"),
        (sft(&long), "tts_text: more than 10000 characters"),
        (nameless, "spk_id: must not be empty"),
        (
            proto::Request {
                speed: 0.4,
                ..sft("hi")
            },
            "speed: must be between 0.5 and 2, not 0.4",
        ),
        (
            proto::Request {
                speed: f32::NAN,
                ..sft("hi")
            },
            "speed: must be between 0.5 and 2",
        ),
        (
            proto::Request {
                speed: -1.0,
                ..sft("hi")
            },
            "speed: must be between 0.5 and 2",
        ),
        (
            zero_shot(bytes::Bytes::new()),
            "prompt_audio: the recording is empty",
        ),
        (
            zero_shot(tone(1.0).slice(1..)),
            "prompt_audio: 31999 bytes are no whole number",
        ),
        (zero_shot(tone(0.2)), "prompt_audio: "),
        (zero_shot(tone(31.0)), "prompt_audio: "),
        (
            zero_shot(vec![0; 32_000].into()),
            "prompt_audio: the recording is silent",
        ),
        (
            instruct(|request| request.instruct_text.clear()),
            "instruct_text: must not be empty",
        ),
        (
            instruct(|request| request.prompt_audio = tone(1.0)),
            "spk_id: give a voice or a recording",
        ),
        (
            instruct(|request| request.spk_id.clear()),
            "spk_id: must not be empty",
        ),
    ] {
        says(&app.refusal(request).await, Code::InvalidArgument, words);
    }
    assert!(app.fake.requests.lock().is_empty());
}

#[tokio::test]
async fn what_the_engine_refuses_has_its_code() {
    let app = app().await;
    let stranger = payload(RequestPayload::SftRequest(proto::SftRequest {
        spk_id: "nobody".into(),
        tts_text: "hello".into(),
    }));
    for (request, code, words) in [
        (stranger, Code::NotFound, "spk_id: no voice \"nobody\""),
        (
            sft("unsupported"),
            Code::Unimplemented,
            "this model takes no instructions",
        ),
        (sft("full"), Code::ResourceExhausted, "the queue is full"),
        (
            sft("late deadline"),
            Code::DeadlineExceeded,
            "no audio within 1 s",
        ),
        (sft("fault"), Code::Internal, "internal error; "),
        (sft("early fault"), Code::Internal, "internal error; "),
        (sft("panic"), Code::Internal, "internal error; "),
        (sft("nothing"), Code::Internal, "internal error; "),
    ] {
        let status = app.refusal(with(request, "x-request-id", "my-id")).await;
        says(&status, code, words);
        assert_eq!(status.metadata().get("x-request-id").unwrap(), "my-id");
        assert_eq!(status.message().contains("my-id"), code == Code::Internal);
        assert!(!status.message().contains("secret"));
    }
}

#[tokio::test]
async fn a_message_that_cannot_be_read_is_its_sender_s_fault() {
    let app = app().await;
    let large = zero_shot(vec![1; limits::GRPC_MESSAGE_BYTES].into());
    let status = app.refusal(large).await;
    says(&status, Code::ResourceExhausted, "");
    assert!(
        status.message().contains("the limit is: 4194304 bytes"),
        "{status}"
    );
    for (message, words) in [
        // One field, whose length is more than there is.
        (&[0, 0, 0, 0, 2, 0x0a, 0x7f][..], "failed to decode"),
        (&[9, 0, 0, 0, 0], "protocol error"),
        (&[], "Missing request message"),
    ] {
        let status = raw(&app, "application/grpc", message, &[]).await;
        says(&status, Code::InvalidArgument, "");
        assert!(status.message().contains(words), "{status}");
    }
}

/// Calls `Inference` with bytes that no client would send.
async fn raw(app: &App, content_type: &str, body: &[u8], metadata: &[(&str, &str)]) -> Status {
    let mut request =
        http::Request::post("/cosyvoice.CosyVoice/Inference").header("content-type", content_type);
    for (name, value) in metadata {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::from(body.to_vec())).unwrap();
    let response = app.router.clone().oneshot(request).await.unwrap();
    assert_eq!(response.status(), 200);
    Status::from_header_map(response.headers()).unwrap()
}

#[tokio::test]
async fn a_deadline_that_is_none_is_refused() {
    let app = app().await;
    let status = raw(
        &app,
        "application/grpc+proto",
        &[0, 0, 0, 0, 0],
        &[("grpc-timeout", "soon")],
    )
    .await;
    says(
        &status,
        Code::InvalidArgument,
        "grpc-timeout: must be 1 to 8 digits",
    );
}

#[tokio::test]
async fn what_is_no_grpc_is_told_so_in_http() {
    let app = app().await;
    let request = http::Request::get("/cosyvoice.CosyVoice/Inference").body(Body::empty());
    let response = app.router.clone().oneshot(request.unwrap()).await.unwrap();
    assert_eq!(response.status(), http::StatusCode::UNSUPPORTED_MEDIA_TYPE);
}

#[tokio::test]
async fn an_unknown_method_is_unimplemented() {
    let app = app().await;
    for path in ["/cosyvoice.CosyVoice/Sing", "/nothing.Here/Sing"] {
        let request = http::Request::post(path).header("content-type", "application/grpc");
        let response = app
            .router
            .clone()
            .oneshot(request.body(Body::empty()).unwrap())
            .await;
        let status = Status::from_header_map(response.unwrap().headers()).unwrap();
        assert_eq!(status.code(), Code::Unimplemented, "{path}");
    }
}

#[tokio::test]
async fn a_key_is_wanted_where_one_is_set() {
    let options = ApiOptions {
        api_key: Some(ApiKey::new("hunter2")),
        ..ApiOptions::default()
    };
    let app = app_with(options).await;
    says(
        &app.refusal(sft("hello")).await,
        Code::Unauthenticated,
        "an API key is required",
    );
    let wrong = with(sft("hello"), "x-api-key", "hunter");
    says(
        &app.refusal(wrong).await,
        Code::Unauthenticated,
        "an API key is required",
    );
    app.hear(with(sft("hello"), "authorization", "Bearer hunter2"))
        .await;
    app.hear(with(sft("hello"), "x-api-key", "hunter2")).await;
    let list = app.client.clone().list_voices(proto::ListVoicesRequest {}).await;
    assert_eq!(list.unwrap_err().code(), Code::Unauthenticated);
}

#[tokio::test]
async fn draining_refuses_new_calls_and_lets_running_ones_end() {
    let app = app().await;
    let running = app.infer(sft("hello")).await.unwrap().into_inner();
    app.state.start_draining();
    let status = app.refusal(sft("hello")).await;
    says(&status, Code::Unavailable, "the server is shutting down");
    let rest: Vec<_> = running.map(Result::unwrap).collect().await;
    assert_eq!(rest.len(), crate::api::tests::fake::CHUNKS);
    assert!(
        app.client
            .clone()
            .list_voices(proto::ListVoicesRequest {})
            .await
            .is_ok()
    );
}
