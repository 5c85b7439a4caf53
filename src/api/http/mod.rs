//! The HTTP routes, one file per group, and what lies around them (see [`layers`]).

pub mod body;
pub mod inference;
pub mod layers;
pub mod openai;
pub mod openapi;
pub mod preview;
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
    routing::{MethodFilter, get, on, post},
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
        .merge(basic())
        .route("/clone", post(voices::clone))
        .route(
            "/voices/{id}",
            post(voices::import).patch(voices::rename).delete(voices::remove),
        )
        .route("/voices/{id}/preview", get(preview::preview))
        .route("/upload_audio", post(upload::upload_audio))
        .route("/v1/audio/speech", post(openai::speech::create))
        .route_layer(middleware::from_fn_with_state(state.clone(), layers::admit));
    let lists = Router::new()
        .route("/available_spks", get(voices::available_spks))
        .route("/voices", get(voices::voices))
        .route("/voices/{id}", get(voices::voice))
        .route("/v1/models", get(openai::lists::models))
        .route("/v1/models/{*id}", get(openai::lists::one_model))
        .route("/v1/audio/voices", get(openai::lists::voices))
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

/// The basic inference API: its forms come with GET as well as with POST.
fn basic() -> Router<ApiState> {
    let both = MethodFilter::GET.or(MethodFilter::POST);
    Router::new()
        .route("/inference_sft", get(inference::sft_by_get).post(inference::sft))
        .route("/inference_zero_shot", on(both, inference::zero_shot))
        .route("/inference_cross_lingual", on(both, inference::cross_lingual))
        .route(
            "/inference_instruct",
            get(inference::instruct_by_get).post(inference::instruct),
        )
        .route("/inference_instruct2", on(both, inference::instruct2))
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
