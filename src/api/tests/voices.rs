//! `/voices`: what is known of them, renaming, removing, previews, and files of them.

use super::*;
use crate::voice::spk2info::tests::torch_writer::{self, Value as Saved};

fn percent(id: &str) -> String {
    id.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

async fn clone(app: &Router, id: &str) {
    let parts: [(&str, Option<&str>, &[u8]); 3] = [
        ("prompt_text", None, "你好".as_bytes()),
        ("spk_id", None, id.as_bytes()),
        ("prompt_audio", Some("a.wav"), &wav()),
    ];
    assert_eq!(send(app, form("/clone", &parts)).await.status, 200);
}

async fn call(app: &Router, method: Method, path: &str, body: Option<Value>) -> Answer {
    let mut request = post_json(path, &body.clone().unwrap_or_default());
    *request.method_mut() = method;
    if body.is_none() {
        *request.body_mut() = Body::empty();
    }
    send(app, request).await
}

#[tokio::test]
async fn voices_are_listed_with_what_is_known_of_them() {
    let (app, _) = app();
    clone(&app, "小明/甲").await;
    let built_in = json!({
        "spk_id": "中文女", "spk_name": "中文女", "built_in": true, "kind": "preset", "language": "zh",
        "prompt_text": null, "prompt_seconds": null,
    });
    let cloned = json!({
        "spk_id": "小明/甲", "spk_name": "小明/甲", "built_in": false, "kind": "clone", "language": "zh",
        "prompt_text": "你好", "prompt_seconds": 1.0,
    });
    assert_eq!(
        get(&app, "/voices").await.json(),
        json!({"voices": [built_in, cloned]})
    );
    assert_eq!(
        get(&app, &format!("/voices/{}", percent("小明/甲"))).await.json(),
        cloned
    );
    for path in ["/voices/nobody", "/voices/nobody/preview"] {
        get(&app, path).await.refused(404, "spk_id: no voice \"nobody\"");
    }
    for path in ["/voices/%FF", "/voices/%FF/preview"] {
        get(&app, path)
            .await
            .refused(400, "id: must be percent-encoded UTF-8");
    }
    call(&app, Method::DELETE, "/voices", None)
        .await
        .refused(405, "/voices does not take DELETE");
}

#[tokio::test]
async fn a_saved_voice_is_renamed_and_keeps_its_id() {
    let (app, _) = app();
    clone(&app, "a").await;
    let renamed = call(
        &app,
        Method::PATCH,
        "/voices/a",
        Some(json!({"spk_name": "安娜"})),
    )
    .await;
    assert_eq!(
        (renamed.status.as_u16(), &renamed.json()["spk_name"]),
        (200, &json!("安娜"))
    );
    assert_eq!(get(&app, "/voices/a").await.json()["spk_name"], "安娜");
    let same_id = json!({"spk_name": "b", "spk_id": "a"});
    assert_eq!(
        call(&app, Method::PATCH, "/voices/a", Some(same_id)).await.status,
        200
    );
    let name = json!({"spk_name": "x"});
    for (path, body, status, says) in [
        (
            "/voices/a",
            json!({"spk_name": "b", "spk_id": "c"}),
            400,
            "spk_id: an id stays as it is",
        ),
        ("/voices/a", json!({}), 400, "missing field `spk_name`"),
        (
            "/voices/a",
            json!({"spk_name": " "}),
            400,
            "spk_name: must not be empty",
        ),
        (
            "/voices/a",
            json!({"spk_name": "a\nb"}),
            400,
            "spk_name: must not hold control characters",
        ),
        (
            "/voices/a",
            json!({"spk_name": "x".repeat(65)}),
            400,
            "spk_name: more than 64 characters",
        ),
        ("/voices/nobody", name.clone(), 404, "spk_id: no voice"),
        (
            "/voices/%E4%B8%AD%E6%96%87%E5%A5%B3",
            name,
            400,
            "spk_id: 中文女 is a built-in voice",
        ),
    ] {
        call(&app, Method::PATCH, path, Some(body))
            .await
            .refused(status, says);
    }
    let untyped = Request::patch("/voices/a").body(Body::from("{}")).unwrap();
    send(&app, untyped)
        .await
        .refused(415, "Content-Type: must be application/json");
}

#[tokio::test]
async fn a_saved_voice_is_removed() {
    let (app, _) = app();
    clone(&app, "a").await;
    let removed = call(&app, Method::DELETE, "/voices/a", None).await;
    assert_eq!(
        removed.json(),
        json!({"status": "success", "message": "voice a removed", "spk_id": "a", "spk_name": "a"})
    );
    call(&app, Method::DELETE, "/voices/a", None)
        .await
        .refused(404, "spk_id: no voice");
    get(&app, "/voices/a").await.refused(404, "spk_id: no voice");
    let built_in = format!("/voices/{}", percent("中文女"));
    call(&app, Method::DELETE, &built_in, None)
        .await
        .refused(400, "spk_id: 中文女 is a built-in voice");
}

#[tokio::test]
async fn a_preview_is_made_once_until_the_voice_changes() {
    let (app, fake) = app();
    clone(&app, "a").await;
    let first = get(&app, "/voices/a/preview").await;
    assert_eq!(first.status, 200, "{:?}", first.body);
    let headers = ["content-type", "x-seed", "cache-control"];
    assert_eq!(
        headers.map(|name| first.header(name)),
        ["audio/mpeg", "1", "no-cache"]
    );
    assert_eq!(first.header("content-length"), first.body.len().to_string());
    let request = fake.last();
    assert!(request.text.starts_with("你好") && !request.stream && request.seed == 1);
    let made = || fake.requests.lock().len();
    assert_eq!(get(&app, "/voices/a/preview").await.body, first.body);
    assert_eq!(made(), 1);
    // Another name sounds the same; another recording does not.
    call(&app, Method::PATCH, "/voices/a", Some(json!({"spk_name": "b"}))).await;
    get(&app, "/voices/a/preview").await;
    assert_eq!(made(), 1);
    clone(&app, "a").await;
    get(&app, "/voices/a/preview").await;
    assert_eq!(made(), 2);
    get(&app, "/voices/a/preview?text=Good+day").await;
    assert_eq!((made(), fake.last().text.as_str()), (3, "Good day"));
}

#[tokio::test]
async fn previews_that_cannot_be_are_told_and_not_kept() {
    let (app, fake) = app();
    let preview = |text: &str| format!("/voices/{}/preview?text={text}", percent("中文女"));
    get(&app, &preview("+"))
        .await
        .refused(400, "text: must not be empty");
    get(&app, &preview(&"x".repeat(201)))
        .await
        .refused(400, "text: more than 200 characters");
    get(&app, &preview("%FF"))
        .await
        .refused(400, "text: must be text in UTF-8");
    for (text, status) in [
        ("full", 503),
        ("unsupported", 400),
        ("late+fault", 500),
        ("late+fault", 500),
    ] {
        assert_eq!(get(&app, &preview(text)).await.status, status, "{text}");
    }
    assert_eq!(fake.requests.lock().len(), 4, "what failed is tried again");
}

#[tokio::test]
async fn a_file_of_voices_is_imported() {
    let (app, _) = app();
    let speaker = || Saved::dict([("embedding", Saved::floats(&[1, 4], &[0.5; 4]))]);
    let file = torch_writer::file(&Saved::dict([
        ("a", speaker()),
        ("中文女", speaker()),
        ("import", speaker()),
    ]));
    let import = |content: &[u8]| form("/voices/import", &[("file", Some("spk2info.pt"), content)]);
    let answer = send(&app, import(&file)).await.json();
    assert_eq!(
        (&answer["status"], &answer["message"]),
        (&json!("success"), &json!("voices saved: 2, skipped: 1"))
    );
    assert_eq!(answer["imported"][0]["spk_id"], "a");
    assert_eq!(
        answer["skipped"],
        json!([{"spk_id": "中文女", "reason": "spk_id: 中文女 is a built-in voice"}])
    );
    // A voice may have the name of the route.
    assert_eq!(get(&app, "/voices/import").await.json()["spk_id"], "import");
    assert_eq!(
        call(&app, Method::DELETE, "/voices/import", None).await.status,
        200
    );

    let one = |id: &str| torch_writer::file(&Saved::dict([(id, speaker())]));
    send(&app, import(&one("中文女")))
        .await
        .refused(400, "file: no voice could be imported");
    send(&app, import(b"RIFF"))
        .await
        .refused(400, "file: it is not a torch file");
    send(&app, import(b"\x80\x02}."))
        .await
        .refused(400, "file: it is a torch file of the format before PyTorch 1.6");
    let hostile = torch_writer::file(&Saved::dict([("a", Saved::Global("os", "system"))]));
    send(&app, import(&hostile))
        .await
        .refused(400, "file: refused: it asks for os.system");
    send(&app, import(&one("fault")))
        .await
        .refused(500, "internal error");
    send(&app, import(b""))
        .await
        .refused(400, "file: the file is empty");
    send(&app, form("/voices/import", &[]))
        .await
        .refused(400, "file: a file is required");
    post(&app, "/voices/import", json!({}))
        .await
        .refused(415, "Content-Type: must be multipart");
    let answer = post(&app, "/voices/a", json!({})).await;
    assert_eq!(answer.header("allow"), "GET, HEAD, PATCH, DELETE");
    answer.refused(405, "a voice does not take POST");
}

#[tokio::test]
async fn voices_are_behind_the_key_and_changes_stop_with_the_server() {
    let key = ApiOptions {
        api_key: Some(crate::api::ApiKey::new("k")),
        ..ApiOptions::default()
    };
    let (app, _) = app_with(key);
    let work = [
        (Method::PATCH, "/voices/a"),
        (Method::DELETE, "/voices/a"),
        (Method::POST, "/voices/import"),
        (Method::GET, "/voices/a/preview"),
    ];
    let reads = [(Method::GET, "/voices"), (Method::GET, "/voices/a")];
    for (method, path) in reads.iter().chain(&work) {
        call(&app, method.clone(), path, None)
            .await
            .refused(401, "an API key is required");
    }
    let state = ApiState::new(Arc::new(Fake::default()), ApiOptions::default());
    state.start_draining();
    let app = router(state);
    for (method, path) in work {
        call(&app, method, path, None)
            .await
            .refused(503, "the server is shutting down");
    }
    assert_eq!(get(&app, "/voices").await.status, 200);
}
