//! What is common to all routes: greeting, probes, ids, unknown routes, wrong methods, draining, the document.

use super::*;

#[tokio::test]
async fn the_root_greets() {
    let (app, _) = app();
    let wanted = json!({"message": "欢迎使用CosyVoice API服务", "version": env!("CARGO_PKG_VERSION")});
    assert_eq!(get(&app, "/").await.json(), wanted);
}

#[tokio::test]
async fn probes_name_the_model() {
    let (app, _) = app();
    assert_eq!(
        get(&app, "/health").await.json(),
        json!({"status": "ok", "model": "fake", "sample_rate": 24000})
    );
    assert_eq!(get(&app, "/ready").await.json()["status"], "ready");
}

#[tokio::test]
async fn draining_refuses_work_but_answers_probes() {
    let fake = Arc::new(Fake::default());
    let state = ApiState::new(fake, ApiOptions::default());
    let app = router(state.clone());
    state.start_draining();
    let body = json!({"tts_text": "hi", "spk_id": "中文女"});
    let answer = post(&app, "/tts", body).await;
    answer.refused(503, "the server is shutting down");
    assert!(answer.header("retry-after").parse::<u32>().unwrap() > 0);
    assert_eq!(get(&app, "/ready").await.status, 503);
    assert_eq!(get(&app, "/health").await.status, 200);
    assert_eq!(get(&app, "/available_spks").await.status, 200);
}

#[tokio::test]
async fn unknown_routes_and_wrong_methods() {
    let (app, _) = app();
    get(&app, "/nowhere")
        .await
        .refused(404, "no such route: /nowhere");
    get(&app, "/tts/").await.refused(404, "no such route: /tts/");
    for path in [
        "/tts",
        "/tts/pcm",
        "/tts/zero_shot",
        "/tts/cross_lingual",
        "/tts/instruct",
        "/tts/vc",
        "/clone",
        "/upload_audio",
    ] {
        let answer = get(&app, path).await;
        answer.refused(405, &format!("{path} does not take GET"));
        assert_eq!(answer.header("allow"), "POST", "{path}");
    }
    for path in ["/", "/available_spks", "/health", "/ready", "/openapi.json"] {
        let answer = post(&app, path, json!({})).await;
        answer.refused(405, &format!("{path} does not take POST"));
        assert_eq!(answer.header("allow"), "GET,HEAD", "{path}");
    }
}

#[tokio::test]
async fn request_ids_are_kept_when_plain_and_made_otherwise() {
    let (app, _) = app();
    for (sent, kept) in [
        ("my-id_1.2:3", true),
        ("a b", false),
        ("<script>", false),
        (&"x".repeat(65), false),
    ] {
        let request = Request::get("/")
            .header("x-request-id", sent)
            .body(Body::empty())
            .unwrap();
        let answer = send(&app, request).await;
        assert_eq!(answer.header("x-request-id") == sent, kept, "{sent}");
        assert!(!answer.header("x-request-id").is_empty());
    }
    let (one, two) = (get(&app, "/").await, get(&app, "/").await);
    assert_ne!(one.header("x-request-id"), two.header("x-request-id"));
}

#[tokio::test]
async fn the_document_has_every_route() {
    let (app, _) = app();
    let document = get(&app, "/openapi.json").await.json();
    for path in [
        "/tts",
        "/tts/pcm",
        "/tts/zero_shot",
        "/tts/cross_lingual",
        "/tts/instruct",
        "/tts/vc",
        "/clone",
        "/upload_audio",
        "/v1/audio/speech",
    ] {
        assert!(document["paths"][path]["post"].is_object(), "{path}");
    }
    for path in [
        "/",
        "/available_spks",
        "/health",
        "/ready",
        "/v1/models",
        "/v1/models/{id}",
        "/v1/audio/voices",
    ] {
        assert!(document["paths"][path]["get"].is_object(), "{path}");
    }
    let zero_shot = &document["paths"]["/tts/zero_shot"]["post"]["requestBody"]["content"];
    assert!(
        zero_shot["application/json"].is_object() && zero_shot["multipart/form-data"].is_object(),
        "{zero_shot}"
    );
    let sft = &document["components"]["schemas"]["SftRequest"];
    assert_eq!(sft["required"], json!(["tts_text", "spk_id"]));
    assert_eq!(sft["properties"]["speed"]["default"], json!(1.0));
    assert_eq!(sft["properties"]["seed"]["default"], json!(0));
    assert_eq!(sft["properties"]["stream"]["default"], json!(false));
}
