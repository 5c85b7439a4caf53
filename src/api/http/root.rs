//! The greeting, and what operators probe.

use axum::{Json, extract::State};

use super::answers::DrainingFailures;
use crate::api::{
    ApiState,
    error::ApiError,
    wire::{Health, Welcome},
};

/// Greeting and version.
#[utoipa::path(
    get, path = "/", tag = "service", operation_id = "greet", security(),
    responses((status = 200, description = "Greeting and version", body = Welcome))
)]
pub async fn welcome() -> Json<Welcome> {
    Json(Welcome {
        message: "欢迎使用CosyVoice API服务",
        version: env!("CARGO_PKG_VERSION"),
    })
}

/// Whether the process answers at all.
#[utoipa::path(
    get, path = "/health", tag = "service", operation_id = "health", security(),
    responses((status = 200, description = "It does", body = Health))
)]
pub async fn health(State(state): State<ApiState>) -> Json<Health> {
    Json(report(&state, "ok"))
}

/// Whether new work is taken: 503 while shutting down.
#[utoipa::path(
    get, path = "/ready", tag = "service", operation_id = "ready", security(),
    responses((status = 200, description = "It is", body = Health), DrainingFailures)
)]
pub async fn ready(State(state): State<ApiState>) -> Result<Json<Health>, ApiError> {
    match state.is_draining() {
        true => Err(ApiError::draining()),
        false => Ok(Json(report(&state, "ready"))),
    }
}

fn report(state: &ApiState, status: &'static str) -> Health {
    let model = state.speaker().model();
    Health {
        status,
        model: model.name.clone(),
        sample_rate: model.sample_rate,
    }
}
