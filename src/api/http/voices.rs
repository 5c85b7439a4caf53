//! Voices: listing them, making one from a recording, importing, renaming and removing them.

use axum::{
    Json,
    extract::{Path, Request, State, rejection::PathRejection},
    http::{StatusCode, header::ALLOW},
    response::{IntoResponse, Response},
};

use super::{
    answers::{KeyFailures, UnknownVoice, UploadFailures, VoiceFailures},
    body,
};
use crate::{
    Error,
    api::{
        ApiState,
        error::ApiError,
        prompt::{self, Recording},
        wire::{
            CloneForm, CloneRequest, Cloned, ImportForm, SpeakerEntry, Speakers, VoiceChange, VoiceEntry,
            VoiceRemoved, Voices, VoicesImported, check_text, check_voice_name,
        },
    },
    engine::SpeakerFile,
    limits,
};

/// The multipart field of the recording.
const PROMPT_AUDIO: &str = "prompt_audio";
/// The multipart field of a file of voices.
const FILE: &str = "file";
/// What stands in the place of an id where voices are imported.
const IMPORT: &str = "import";

/// The voices: built-in ones, then saved ones.
#[utoipa::path(
    get, path = "/available_spks", tag = "voices", operation_id = "list_speakers",
    responses((status = 200, description = "The voices", body = Speakers), KeyFailures)
)]
pub async fn available_spks(State(state): State<ApiState>) -> Json<Speakers> {
    let voices = state.speaker().voices().into_iter();
    let speakers = voices
        .map(|voice| SpeakerEntry {
            spk_id: voice.id,
            spk_name: voice.name,
        })
        .collect();
    Json(Speakers { speakers })
}

/// Makes a voice from a recording and saves it; it replaces a saved voice of that id.
#[utoipa::path(
    post, path = "/clone", tag = "voices", operation_id = "clone_voice",
    request_body(content = CloneForm, content_type = "multipart/form-data"),
    responses((status = 200, description = "The voice was saved", body = Cloned), UploadFailures)
)]
pub async fn clone(State(state): State<ApiState>, request: Request) -> Result<Json<Cloned>, ApiError> {
    let mut form = body::form(request, &[PROMPT_AUDIO]).await?;
    let CloneRequest {
        prompt_text,
        spk_id,
        spk_name,
    } = form.parse()?;
    let name = spk_name
        .filter(|name| !name.trim().is_empty())
        .unwrap_or_else(|| spk_id.clone());
    check_text("spk_id", &spk_id, limits::VOICE_ID_CHARS)?;
    check_voice_name("spk_name", &name)?;
    check_text("prompt_text", &prompt_text, limits::PROMPT_TEXT_CHARS)?;
    let file = form.require(PROMPT_AUDIO)?;
    let prompt = prompt::decode(&state, PROMPT_AUDIO, Recording::File(file.bytes)).await?;
    let voice = state
        .speaker()
        .add_voice(spk_id, name, prompt_text, prompt)
        .await?;
    let message = format!("voice {} saved", voice.id);
    Ok(Json(Cloned {
        status: "success",
        message,
        spk_id: voice.id,
        spk_name: voice.name,
    }))
}

/// The voices with what is known of them: built-in ones, then saved ones.
#[utoipa::path(
    get, path = "/voices", tag = "voices", operation_id = "list_voices",
    responses((status = 200, description = "The voices", body = Voices), KeyFailures)
)]
pub async fn voices(State(state): State<ApiState>) -> Json<Voices> {
    let voices = state.speaker().voices().into_iter();
    Json(Voices {
        voices: voices.map(VoiceEntry::from).collect(),
    })
}

/// One voice.
#[utoipa::path(
    get, path = "/voices/{id}", tag = "voices", operation_id = "get_voice",
    params(("id" = String, Path, description = "Voice id, percent-encoded", min_length = 1, max_length = 64, example = "中文女")),
    responses((status = 200, description = "The voice", body = VoiceEntry), UnknownVoice)
)]
pub async fn voice(
    State(state): State<ApiState>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Json<VoiceEntry>, ApiError> {
    let voice = state.speaker().voice(&path_id(path)?).map_err(unknown_is_404)?;
    Ok(Json(voice.into()))
}

/// Gives a saved voice another name. Its id stays: requests name it.
#[utoipa::path(
    patch, path = "/voices/{id}", tag = "voices", operation_id = "rename_voice",
    params(("id" = String, Path, description = "Id of a saved voice, percent-encoded", min_length = 1, max_length = 64, example = "anna")),
    request_body(content = VoiceChange, example = json!({"spk_name": "Anna (Berlin)"})),
    responses((status = 200, description = "The voice with its new name", body = VoiceEntry), UnknownVoice, UploadFailures)
)]
pub async fn rename(
    State(state): State<ApiState>,
    path: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Json<VoiceEntry>, ApiError> {
    let id = path_id(path)?;
    let VoiceChange { spk_name, spk_id } = body::json(request).await?;
    if spk_id.is_some_and(|new| new != id) {
        let what = "an id stays as it is, because requests name it; only spk_name changes";
        return Err(ApiError::field("spk_id", what));
    }
    check_voice_name("spk_name", &spk_name)?;
    let renamed = state.speaker().rename_voice(id, spk_name).await;
    Ok(Json(renamed.map_err(unknown_is_404)?.into()))
}

/// Removes a saved voice. What is being spoken with it goes on.
#[utoipa::path(
    delete, path = "/voices/{id}", tag = "voices", operation_id = "remove_voice",
    params(("id" = String, Path, description = "Id of a saved voice, percent-encoded", min_length = 1, max_length = 64, example = "anna")),
    responses((status = 200, description = "The voice is gone", body = VoiceRemoved), UnknownVoice, VoiceFailures)
)]
pub async fn remove(
    State(state): State<ApiState>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Json<VoiceRemoved>, ApiError> {
    let removed = state.speaker().remove_voice(path_id(path)?).await;
    let voice = removed.map_err(unknown_is_404)?;
    Ok(Json(VoiceRemoved {
        status: "success",
        message: format!("voice {} removed", voice.id),
        spk_id: voice.id,
        spk_name: voice.name,
    }))
}

/// Saves the voices of CosyVoice's `spk2info.pt`, replacing saved ones of their ids. Those that cannot be voices of the
/// loaded model, and built-in ones, are skipped and named.
#[utoipa::path(
    post, path = "/voices/import", tag = "voices", operation_id = "import_voices",
    request_body(content = ImportForm, content_type = "multipart/form-data"),
    responses((status = 200, description = "Voices were saved", body = VoicesImported), UploadFailures)
)]
pub async fn import(
    State(state): State<ApiState>,
    path: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, ApiError> {
    // The route is that of one voice, so that a voice whose id is this word keeps its own.
    if path_id(path)? != IMPORT {
        let what = "a voice does not take POST; /voices/import and /clone make voices";
        let refusal = ApiError::new(StatusCode::METHOD_NOT_ALLOWED, what);
        return Ok(([(ALLOW, "GET, HEAD, PATCH, DELETE")], refusal).into_response());
    }
    let file = body::form(request, &[FILE]).await?.require(FILE)?;
    let closed = |error| Error::internal("waiting to import", error);
    let permit = state.imports().clone().acquire_owned().await.map_err(closed)?;
    let reading = tokio::task::spawn_blocking(move || {
        // Held while it is read, whether or not the client waits.
        let read = SpeakerFile::read(&file.bytes, FILE);
        (read, permit)
    });
    let (read, _permit) = reading
        .await
        .map_err(|error| Error::internal("reading voices", error))?;
    let imported = state.speaker().import_voices(read?).await;
    let named = |error| match error {
        Error::Invalid(text) => ApiError::field(FILE, text),
        other => other.into(),
    };
    let imported: VoicesImported = imported.map_err(named)?.into();
    Ok(Json(imported).into_response())
}

/// The id in a path.
///
/// # Errors
/// 400 when it is no text in UTF-8.
pub(super) fn path_id(path: Result<Path<String>, PathRejection>) -> Result<String, ApiError> {
    match path {
        Ok(Path(id)) => Ok(id),
        Err(_) => Err(ApiError::field("id", "must be percent-encoded UTF-8")),
    }
}

/// An unknown voice in a path is a resource that is not there.
pub(super) fn unknown_is_404(error: Error) -> ApiError {
    match error {
        Error::UnknownVoice(text) => ApiError::new(StatusCode::NOT_FOUND, text),
        other => other.into(),
    }
}
