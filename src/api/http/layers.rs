//! What lies around every route, from the outside in: request id and access line, CORS, panics, key, draining.

use std::{any::Any, sync::Arc};

use axum::{
    Router,
    body::{Body, HttpBody},
    extract::{Request, State},
    http::{
        HeaderName, HeaderValue, StatusCode,
        header::{CONTENT_LENGTH, RETRY_AFTER},
    },
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use http_body_util::BodyExt;
use tower_http::{
    catch_panic::CatchPanicLayer,
    cors::{AllowHeaders, AllowMethods, AllowOrigin, CorsLayer},
};
use tracing::Instrument;

use crate::api::{
    ApiState,
    access::AccessLine,
    error::{self, ApiError, Fault, fault_detail, panic_text},
    http::{body::BodyBudget, openai, unread::Unread},
};

pub(crate) use crate::api::access::HeldLine;
pub use crate::api::access::{RequestId, X_REQUEST_ID};

/// The seed's header.
pub const X_SEED: HeaderName = HeaderName::from_static("x-seed");
/// Hertz of a PCM answer.
pub const X_SAMPLE_RATE: HeaderName = HeaderName::from_static("x-sample-rate");
/// Channels of a PCM answer.
pub const X_CHANNELS: HeaderName = HeaderName::from_static("x-channels");
/// Bits per sample of a PCM answer.
pub const X_BIT_DEPTH: HeaderName = HeaderName::from_static("x-bit-depth");

/// Status in the access line of a request whose client left before there was an answer.
const CLIENT_LEFT: u16 = 499;

/// Puts the layers around the routes.
pub fn around(routes: Router<ApiState>, state: &ApiState) -> Router<ApiState> {
    routes
        .layer(CatchPanicLayer::custom(panicked))
        .layer(cors(state))
        .layer(middleware::from_fn(track))
}

/// Any origin is echoed (or only those the operator named), with credentials; whatever headers and methods a preflight
/// asks for are granted.
fn cors(state: &ApiState) -> CorsLayer {
    let origins = &state.options().cors_origins;
    let origin = match origins.is_empty() {
        true => AllowOrigin::mirror_request(),
        false => AllowOrigin::list(origins.iter().cloned()),
    };
    CorsLayer::new()
        .allow_origin(origin)
        .allow_methods(AllowMethods::mirror_request())
        .allow_headers(AllowHeaders::mirror_request())
        .allow_credentials(true)
        .expose_headers([
            X_REQUEST_ID,
            X_SEED,
            X_SAMPLE_RATE,
            X_CHANNELS,
            X_BIT_DEPTH,
            RETRY_AFTER,
        ])
        .max_age(std::time::Duration::from_secs(600))
}

fn panicked(cause: Box<dyn Any + Send + 'static>) -> Response {
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, panic_text(&*cause)).into_response()
}

/// Refuses a request without the API key, where one is set.
pub async fn authorise(State(state): State<ApiState>, request: Request, next: Next) -> Response {
    let checked = state
        .options()
        .api_key
        .as_ref()
        .map_or(Ok(()), |key| key.check(request.headers()));
    match checked {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    }
}

/// Refuses new work while the server is draining; gives the rest a share of the memory for request bodies.
pub async fn admit(State(state): State<ApiState>, mut request: Request, next: Next) -> Response {
    if state.is_draining() {
        return ApiError::draining().into_response();
    }
    let budget = Arc::new(BodyBudget::new(state.body_bytes().clone()));
    request.extensions_mut().insert(budget.clone());
    let response = next.run(request).await;
    drop(budget);
    response
}

/// Gives the request its id, writes the access line once the whole answer has gone out, and keeps the cause of a 500
/// in the log while the client gets the id to ask with.
pub async fn track(request: Request, next: Next) -> Response {
    let id = RequestId::of(request.headers());
    let span = tracing::info_span!("request", id = id.as_str());
    let mut line = AccessLine::new(&id, request.method().as_str(), request.uri().path(), CLIENT_LEFT);
    let (unread, mut request) = Unread::watch(request);
    request.extensions_mut().insert(id.clone());
    let mut response = next.run(request).instrument(span.clone()).await;
    if !response.status().is_success() {
        unread.discard().await;
    }
    if let Some(Fault(cause)) = response.extensions_mut().remove() {
        span.in_scope(|| tracing::error!(cause, "request failed"));
        let told = error::answer(response.status(), fault_detail(id.as_str()));
        let (mut parts, _) = response.into_parts();
        parts.headers.remove(CONTENT_LENGTH);
        let (told, body) = told.into_parts();
        parts.extensions.extend(told.extensions);
        response = Response::from_parts(parts, body);
    }
    if openai::errors::speaks_for(line.path()) {
        response = openai::errors::dress(response);
    }
    if let Ok(value) = HeaderValue::from_str(id.as_str()) {
        response.headers_mut().insert(X_REQUEST_ID, value);
    }
    line.end(response.status().as_u16());
    if let Some(held) = response.extensions_mut().remove::<HeldLine>() {
        held.hold(line);
        return response;
    }
    // Counting the bytes hides the body's size from what follows, so the length is written down before.
    if let Some(length) = response.body().size_hint().exact() {
        response
            .headers_mut()
            .entry(CONTENT_LENGTH)
            .or_insert_with(|| length.into());
    }
    response.map(|body| {
        Body::new(body.map_frame(move |frame| {
            // A method call, so that the closure owns the whole line and drops it with the body.
            line.count(frame.data_ref().map_or(0, |data| data.len() as u64));
            frame
        }))
    })
}
