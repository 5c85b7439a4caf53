//! Browsers: preflights, credentials, exposed headers, restricted origins; and the API key.

use super::*;
use crate::api::ApiKey;

fn preflight(path: &str, origin: &str) -> Request<Body> {
    Request::builder()
        .method(Method::OPTIONS)
        .uri(path)
        .header("origin", origin)
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "content-type,x-anything")
        .body(Body::empty())
        .unwrap()
}

#[tokio::test]
async fn a_preflight_is_granted_whatever_it_asks() {
    let (app, _) = app();
    for path in ["/tts", "/tts/pcm", "/clone", "/available_spks", "/"] {
        let answer = send(&app, preflight(path, "https://app.example")).await;
        assert!(answer.status.is_success(), "{path}: {}", answer.status);
        assert_eq!(
            answer.header("access-control-allow-origin"),
            "https://app.example"
        );
        assert_eq!(answer.header("access-control-allow-credentials"), "true");
        assert_eq!(answer.header("access-control-allow-methods"), "POST");
        assert_eq!(
            answer.header("access-control-allow-headers"),
            "content-type,x-anything"
        );
        assert!(
            answer
                .headers
                .get_all("vary")
                .iter()
                .any(|v| v.to_str().unwrap().contains("origin"))
        );
    }
}

#[tokio::test]
async fn answers_echo_the_origin_and_expose_the_headers() {
    let (app, _) = app();
    let mut request = post_json("/tts/pcm", &json!({"tts_text": "hi", "spk_id": "中文女"}));
    request
        .headers_mut()
        .insert("origin", "http://localhost:3000".parse().unwrap());
    let answer = send(&app, request).await;
    assert_eq!(
        answer.header("access-control-allow-origin"),
        "http://localhost:3000"
    );
    assert_eq!(answer.header("access-control-allow-credentials"), "true");
    let exposed = answer.header("access-control-expose-headers");
    for name in [
        "x-seed",
        "x-request-id",
        "x-sample-rate",
        "x-channels",
        "x-bit-depth",
        "retry-after",
    ] {
        assert!(exposed.contains(name), "{name} is not in {exposed}");
    }
}

#[tokio::test]
async fn failures_can_be_read_by_browsers_too() {
    let (app, _) = app();
    for (path, status) in [("/tts", 400), ("/nowhere", 404), ("/available_spks", 405)] {
        let mut request = post_json(path, &json!({}));
        request
            .headers_mut()
            .insert("origin", "http://a".parse().unwrap());
        let answer = send(&app, request).await;
        assert_eq!(
            (
                answer.status.as_u16(),
                answer.header("access-control-allow-origin")
            ),
            (status, "http://a")
        );
    }
}

#[tokio::test]
async fn an_operator_can_restrict_origins() {
    let options = ApiOptions {
        cors_origins: vec!["https://good".parse().unwrap()],
        ..ApiOptions::default()
    };
    let (app, _) = app_with(options);
    let good = send(&app, preflight("/tts", "https://good")).await;
    assert_eq!(good.header("access-control-allow-origin"), "https://good");
    let bad = send(&app, preflight("/tts", "https://bad")).await;
    assert_eq!(bad.header("access-control-allow-origin"), "");
}

#[tokio::test]
async fn a_key_closes_all_but_the_probes_and_the_pages() {
    let options = ApiOptions {
        api_key: Some(ApiKey::new("hunter2")),
        ..ApiOptions::default()
    };
    let (app, _) = app_with(options);
    for path in ["/", "/health", "/ready", "/openapi.json", "/docs/", "/playground"] {
        assert_eq!(get(&app, path).await.status, 200, "{path}");
    }
    let answer = get(&app, "/available_spks").await;
    answer.refused(401, "an API key is required");
    assert_eq!(answer.header("www-authenticate"), "Bearer");
    let body = json!({"tts_text": "hi", "spk_id": "中文女"});
    post(&app, "/tts", body.clone())
        .await
        .refused(401, "an API key is required");
    for (name, value) in [("authorization", "Bearer hunter2"), ("x-api-key", "hunter2")] {
        let mut request = post_json("/tts", &body);
        request.headers_mut().insert(name, value.parse().unwrap());
        assert_eq!(send(&app, request).await.status, 200);
    }
    assert!(
        send(&app, preflight("/tts", "https://a"))
            .await
            .status
            .is_success()
    );
    post(&app, "/nowhere", json!({}))
        .await
        .refused(404, "no such route");
}
