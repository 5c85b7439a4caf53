//! The services over a speaker that needs no model, called in the process.
mod calls;
mod live;
mod probes;
mod refusals;

use std::{sync::Arc, time::Duration};

use axum::Router;
use futures::StreamExt;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Status, Streaming};

use super::proto::{self, Response, cosy_voice_client::CosyVoiceClient, request::RequestPayload};
use crate::api::{ApiOptions, ApiState, tests::fake::Fake};

/// Finite patience, so that a hang is a failure.
const PATIENCE: Duration = Duration::from_secs(60);

/// The services and what is behind them.
struct App {
    router: Router,
    client: CosyVoiceClient<Router>,
    fake: Arc<Fake>,
    state: ApiState,
    closing: CancellationToken,
}

async fn app() -> App {
    app_with(ApiOptions::default()).await
}

async fn app_with(options: ApiOptions) -> App {
    let (fake, closing) = (Arc::new(Fake::default()), CancellationToken::new());
    let state = ApiState::new(fake.clone(), options);
    let router = super::router(state.clone(), closing.clone()).await.unwrap();
    App {
        client: CosyVoiceClient::new(router.clone()),
        router,
        fake,
        state,
        closing,
    }
}

impl App {
    /// Calls `Inference`; the head of the answer, or why there is none.
    async fn infer(
        &self,
        request: impl tonic::IntoRequest<proto::Request>,
    ) -> Result<tonic::Response<Streaming<Response>>, Status> {
        let request = request.into_request();
        timeout(PATIENCE, self.client.clone().inference(request))
            .await
            .unwrap()
    }

    /// All messages of `Inference`.
    async fn hear(&self, request: impl tonic::IntoRequest<proto::Request>) -> Vec<Response> {
        let answer = self.infer(request).await.unwrap().into_inner();
        timeout(PATIENCE, answer.map(Result::unwrap).collect())
            .await
            .unwrap()
    }

    /// Why `Inference` is refused.
    async fn refusal(&self, request: impl tonic::IntoRequest<proto::Request>) -> Status {
        self.infer(request).await.map(|_| ()).unwrap_err()
    }

    /// Waits until so many speeches have lost their listener.
    async fn left(&self, count: usize) {
        for _ in 0..PATIENCE.as_millis() / 10 {
            if self.fake.dropped.load(std::sync::atomic::Ordering::SeqCst) == count {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the speech goes on");
    }
}

/// Speech of the built-in voice, with seed 5.
fn sft(text: &str) -> proto::Request {
    let request = proto::SftRequest {
        spk_id: "中文女".into(),
        tts_text: text.into(),
    };
    proto::Request {
        seed: 5,
        ..payload(RequestPayload::SftRequest(request))
    }
}

fn payload(payload: RequestPayload) -> proto::Request {
    proto::Request {
        request_payload: Some(payload),
        ..proto::Request::default()
    }
}

/// A tone at 16 kHz, so many seconds long.
fn tone(seconds: f32) -> bytes::Bytes {
    let samples = (0..(seconds * 16_000.0) as usize).map(|i| ((i as f32 * 0.1).sin() * 12_000.0) as i16);
    samples.flat_map(i16::to_le_bytes).collect()
}

/// With metadata.
fn with<T>(message: T, name: &'static str, value: &str) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert(name, value.parse().unwrap());
    request
}

#[track_caller]
fn says(status: &Status, code: Code, start: &str) {
    assert_eq!(status.code(), code, "{status}");
    assert!(status.message().starts_with(start), "{status}");
}
