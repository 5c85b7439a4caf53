//! The routes over a speaker that needs no model.
mod cors;
pub(crate) mod fake;
mod forms;
mod inference;
mod openai;
mod service;
mod speech;
mod vc;
mod voices;
pub(crate) mod ws;

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    http::{HeaderMap, Method, Request, StatusCode, header},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use self::fake::Fake;
use crate::api::{ApiOptions, ApiState, http::router};

/// A router over a new fake.
fn app() -> (Router, Arc<Fake>) {
    app_with(ApiOptions::default())
}

fn app_with(options: ApiOptions) -> (Router, Arc<Fake>) {
    let fake = Arc::new(Fake::default());
    (router(ApiState::new(fake.clone(), options)), fake)
}

/// An answer, read to its end.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    fn json(&self) -> Value {
        assert_eq!(self.header("content-type"), "application/json");
        serde_json::from_slice(&self.body).unwrap()
    }

    fn detail(&self) -> String {
        let body = self.json();
        assert_eq!(body.as_object().unwrap().len(), 1, "{body}");
        body["detail"].as_str().unwrap().to_string()
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Checks a failure: its status, and that its detail starts so.
    #[track_caller]
    fn refused(&self, status: u16, detail: &str) {
        let text = String::from_utf8_lossy(&self.body);
        assert_eq!(self.status.as_u16(), status, "{text}");
        assert!(
            self.detail().starts_with(detail),
            "{:?} does not start with {detail:?}",
            self.detail()
        );
        assert!(!self.header("x-request-id").is_empty());
    }
}

async fn send(app: &Router, request: Request<Body>) -> Answer {
    let response = app.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Answer {
        status: parts.status,
        headers: parts.headers,
        body,
    }
}

async fn get(app: &Router, path: &str) -> Answer {
    send(app, Request::get(path).body(Body::empty()).unwrap()).await
}

fn post_json(path: &str, body: &Value) -> Request<Body> {
    let builder = Request::post(path).header(header::CONTENT_TYPE, "application/json");
    builder.body(Body::from(body.to_string())).unwrap()
}

async fn post(app: &Router, path: &str, body: Value) -> Answer {
    send(app, post_json(path, &body)).await
}

/// A multipart form; a part with a file name is a file.
fn form(path: &str, parts: &[(&str, Option<&str>, &[u8])]) -> Request<Body> {
    let mut body = Vec::new();
    for (name, file, content) in parts {
        body.extend_from_slice(b"--XX\r\n");
        let file = file
            .map(|file| format!("; filename=\"{file}\"\r\nContent-Type: audio/wav"))
            .unwrap_or_default();
        let head = format!("Content-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n");
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(content);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"--XX--\r\n");
    let builder = Request::post(path).header(header::CONTENT_TYPE, "multipart/form-data; boundary=XX");
    builder.body(Body::from(body)).unwrap()
}

/// One second of a tone at 16 kHz, as a WAV file.
fn wav() -> Vec<u8> {
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: 16_000,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut file = std::io::Cursor::new(Vec::new());
    let mut writer = hound::WavWriter::new(&mut file, spec).unwrap();
    for i in 0..16_000 {
        writer
            .write_sample(((i as f32 * 0.1).sin() * 12_000.0) as i16)
            .unwrap();
    }
    writer.finalize().unwrap();
    file.into_inner()
}

fn wav_base64() -> String {
    STANDARD.encode(wav())
}
