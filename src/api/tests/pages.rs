//! What is for readers and browsers: the OpenAPI document, its page, the playground.

use std::collections::BTreeSet;

use super::*;
use crate::api::http::openapi;

/// Every operation of the document: method, path, what it says.
fn operations(document: &Value) -> Vec<(String, String, Value)> {
    let paths = document["paths"].as_object().unwrap();
    let each = paths.iter().flat_map(|(path, item)| {
        let methods = item.as_object().unwrap().iter();
        methods.map(|(method, operation)| (method.clone(), path.clone(), operation.clone()))
    });
    each.collect()
}

fn document() -> Value {
    serde_json::from_str(openapi::text()).unwrap()
}

#[tokio::test]
async fn the_committed_document_is_the_one_that_is_served() {
    let committed = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi/openapi.json");
    let committed = std::fs::read_to_string(committed).unwrap();
    assert!(
        committed == openapi::text(),
        "run `make openapi`: the code says something else"
    );
    let (app, _) = app();
    let answer = get(&app, "/openapi.json").await;
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.body, committed);
}

#[test]
fn every_operation_has_a_name_of_its_own_and_answers() {
    let document = document();
    let mut names = BTreeSet::new();
    for (method, path, operation) in operations(&document) {
        let name = operation["operationId"].as_str().unwrap().to_string();
        assert!(names.insert(name.clone()), "{name} twice");
        assert!(operation["summary"].is_string(), "{method} {path} has no summary");
        assert!(operation["tags"].is_array(), "{method} {path} has no tag");
        for (status, answer) in operation["responses"].as_object().unwrap() {
            let name = answer["$ref"]
                .as_str()
                .and_then(|at| at.strip_prefix("#/components/responses/"));
            let answer = name.map_or(answer, |name| &document["components"]["responses"][name]);
            assert!(
                !answer["description"].as_str().unwrap().is_empty(),
                "{method} {path} {status}"
            );
            if status.parse::<u16>().unwrap() >= 400 {
                let body = &answer["content"]["application/json"];
                let schema = if path.starts_with("/v1/") {
                    "OpenAiErrorBody"
                } else {
                    "ErrorBody"
                };
                let schema = format!("#/components/schemas/{schema}");
                assert_eq!(body["schema"]["$ref"], schema, "{path} {status}");
                assert!(body["example"]["detail"].is_string(), "{path} {status}");
            }
        }
    }
}

#[test]
fn every_request_has_an_example() {
    let document = document();
    for (method, path, operation) in operations(&document) {
        let Some(content) = operation["requestBody"]["content"].as_object() else {
            continue;
        };
        for (kind, body) in content {
            let schema = body["schema"]["$ref"]
                .as_str()
                .unwrap()
                .rsplit('/')
                .next()
                .unwrap();
            let schema = &document["components"]["schemas"][schema];
            let whole = body["example"].is_object() || body["examples"].is_object();
            let required = schema["required"].as_array().cloned().unwrap_or_default();
            let by_field = required.iter().all(|field| {
                let field = &schema["properties"][field.as_str().unwrap()];
                field["example"].is_string() || field["format"] == "binary"
            });
            assert!(whole || by_field, "{method} {path} {kind}");
        }
    }
}

#[tokio::test]
async fn the_declared_bounds_are_the_enforced_ones() {
    let document = document();
    let text = &document["components"]["schemas"]["SftRequest"]["properties"]["tts_text"];
    assert_eq!(text["maxLength"], crate::limits::TTS_TEXT_CHARS);
    let instruction = &document["components"]["schemas"]["InstructRequest"]["properties"]["instruct_text"];
    assert_eq!(instruction["maxLength"], crate::limits::PROMPT_TEXT_CHARS);
    let voice = &document["components"]["schemas"]["SftRequest"]["properties"]["spk_id"];
    assert_eq!(voice["maxLength"], crate::limits::VOICE_ID_CHARS);
    let speed = &document["components"]["schemas"]["SftRequest"]["properties"]["speed"];
    assert_eq!(
        speed["minimum"].as_f64().unwrap() as f32,
        crate::limits::SPEED_MIN
    );
    assert_eq!(
        speed["maximum"].as_f64().unwrap() as f32,
        crate::limits::SPEED_MAX
    );
}

#[tokio::test]
async fn the_document_has_a_page_to_read_it_on() {
    let (app, _) = app();
    let entry = get(&app, "/docs").await;
    assert_eq!((entry.status.as_u16(), entry.header("location")), (308, "docs/"));
    let page = get(&app, "/docs/").await;
    assert_eq!(
        (page.status.as_u16(), page.header("content-type")),
        (200, "text/html")
    );
    let page = String::from_utf8(page.body.to_vec()).unwrap();
    let parts = page
        .split(['"', '\''])
        .filter(|part| part.ends_with(".js") || part.ends_with(".css"));
    let mut count = 0;
    for part in parts {
        let part = part.trim_start_matches("./");
        assert!(!part.contains("//"), "{part} is another host's");
        assert_eq!(get(&app, &format!("/docs/{part}")).await.status, 200, "{part}");
        count += 1;
    }
    assert!(count >= 4, "{page}");
    let start = get(&app, "/docs/swagger-initializer.js").await;
    let start = String::from_utf8(start.body.to_vec()).unwrap();
    assert!(start.contains("\"../openapi.json\""), "{start}");
    get(&app, "/docs/nothing.js")
        .await
        .refused(404, "no such route: /docs/nothing.js");
}

#[tokio::test]
async fn the_playground_asks_nobody_else() {
    let (app, _) = app();
    let page = get(&app, "/playground").await;
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    let policy = page.header("content-security-policy");
    assert!(policy.starts_with("default-src 'none'"), "{policy}");
    assert!(!policy.contains("unsafe") && !policy.contains("http"), "{policy}");
    assert_eq!(page.header("x-content-type-options"), "nosniff");
    let script = get(&app, "/playground/app.js").await;
    assert_eq!(script.header("content-type"), "text/javascript; charset=utf-8");
    let slash = get(&app, "/playground/").await;
    assert_eq!(
        (slash.status.as_u16(), slash.header("location")),
        (308, "../playground")
    );
    get(&app, "/playground/../Cargo.toml")
        .await
        .refused(404, "no such route");
    post(&app, "/playground", json!({}))
        .await
        .refused(405, "/playground does not take POST");
}
