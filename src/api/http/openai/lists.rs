//! `/v1/models` and `/v1/audio/voices`: what there is to ask for.

use axum::{
    Json,
    extract::{Path, State, rejection::PathRejection},
};

use super::{
    names,
    wire::{Model, Models, OpenAiErrorBody, Voice, Voices},
};
use crate::api::{ApiState, error::ApiError};

fn model(state: &ApiState, id: &str) -> Model {
    Model {
        id: id.to_owned(),
        object: "model",
        created: state.loaded_at(),
        owned_by: "cosyserve",
    }
}

/// The loaded model by its name, then OpenAI's names for it.
#[utoipa::path(get, path = "/v1/models", tag = "openai", responses((status = 200, body = Models)))]
pub async fn models(State(state): State<ApiState>) -> Json<Models> {
    let loaded = state.speaker().model().name.as_str();
    let ids = std::iter::once(loaded).chain(names::MODELS);
    Json(Models {
        object: "list",
        data: ids.map(|id| model(&state, id)).collect(),
    })
}

/// One of the names of the loaded model.
#[utoipa::path(
    get, path = "/v1/models/{id}", tag = "openai",
    params(("id" = String, Path, description = "A name of `/v1/models`; of OpenAI's models, with a date behind it too")),
    responses(
        (status = 200, body = Model),
        (status = 400, description = "Not UTF-8", body = OpenAiErrorBody),
        (status = 404, description = "No such model", body = OpenAiErrorBody),
    )
)]
pub async fn one_model(
    State(state): State<ApiState>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<Model>, ApiError> {
    let Path(id) = id.map_err(|_| ApiError::field("model", "must be text in UTF-8"))?;
    names::check_model(&id, state.speaker().model())?;
    Ok(Json(model(&state, &id)))
}

/// The voices: built-in ones, then saved ones.
#[utoipa::path(get, path = "/v1/audio/voices", tag = "openai", responses((status = 200, body = Voices)))]
pub async fn voices(State(state): State<ApiState>) -> Json<Voices> {
    let voices = state.speaker().voices().into_iter();
    let voices: Vec<Voice> = voices
        .map(|voice| Voice {
            id: voice.id,
            name: voice.name,
            object: "audio.voice",
        })
        .collect();
    Json(Voices {
        voices: voices.clone(),
        object: "list",
        data: voices,
    })
}
