//! The HTTP routes, one file per group, and what lies around them (see [`layers`]).

pub mod body;
pub mod layers;
pub mod openapi;
pub mod root;
pub mod speech;
pub mod tts;
pub mod unread;
pub mod upload;
pub mod vc;
pub mod voices;

use axum::{
    Router,
    http::{Method, StatusCode, Uri},
    middleware,
    routing::{get, post},
};

use super::{ApiState, error::ApiError, ws};

/// All routes over this state.
pub fn router(state: ApiState) -> Router {
    let work = Router::new()
        .route("/tts", post(tts::sft))
        .route("/tts/pcm", post(tts::sft_pcm))
        .route("/tts/zero_shot", post(tts::zero_shot))
        .route("/tts/cross_lingual", post(tts::cross_lingual))
        .route("/tts/instruct", post(tts::instruct))
        .route("/tts/vc", post(vc::convert))
        .route("/clone", post(voices::clone))
        .route("/upload_audio", post(upload::upload_audio))
        .route_layer(middleware::from_fn_with_state(state.clone(), layers::admit));
    let lists = Router::new()
        .route("/available_spks", get(voices::available_spks))
        .route("/openapi.json", get(openapi::document));
    let closed = work
        .merge(lists)
        .route_layer(middleware::from_fn_with_state(state.clone(), layers::authorise));
    let open = Router::new()
        .route("/", get(root::welcome))
        .route("/health", get(root::health))
        .route("/ready", get(root::ready))
        // It checks the key itself: a browser sends it in the query.
        .route("/ws/tts", get(ws::connect));
    let routes = closed
        .merge(open)
        .fallback(no_route)
        .method_not_allowed_fallback(wrong_method);
    layers::around(routes, &state).with_state(state)
}

async fn no_route(uri: Uri) -> ApiError {
    let path: String = uri.path().chars().take(200).collect();
    ApiError::new(StatusCode::NOT_FOUND, format!("no such route: {path}"))
}

async fn wrong_method(method: Method, uri: Uri) -> ApiError {
    ApiError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        format!("{} does not take {method}", uri.path()),
    )
}
