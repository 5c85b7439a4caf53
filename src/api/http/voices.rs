//! Voices: listing them, making one from a recording, importing, renaming and removing them.

use axum::{
    Json,
    extract::{Path, Request, State, rejection::PathRejection},
    http::StatusCode,
};

use super::body;
use crate::{
    Error,
    api::{
        ApiState,
        error::{ApiError, ErrorBody},
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
#[utoipa::path(get, path = "/available_spks", tag = "voices", responses((status = 200, body = Speakers)))]
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
    post, path = "/clone", tag = "voices",
    request_body(content = CloneForm, content_type = "multipart/form-data"),
    responses(
        (status = 200, body = Cloned),
        (status = 400, description = "A field is missing or empty; undecodable recording; a built-in voice has this id", body = ErrorBody),
        (status = 413, description = "Recording too large", body = ErrorBody),
        (status = 415, description = "Not a multipart form", body = ErrorBody),
        (status = 500, description = "The voice could not be saved", body = ErrorBody),
    )
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
#[utoipa::path(get, path = "/voices", tag = "voices", responses((status = 200, body = Voices)))]
pub async fn voices(State(state): State<ApiState>) -> Json<Voices> {
    let voices = state.speaker().voices().into_iter();
    Json(Voices {
        voices: voices.map(VoiceEntry::from).collect(),
    })
}

/// One voice.
#[utoipa::path(
    get, path = "/voices/{id}", tag = "voices",
    params(("id" = String, Path, description = "Voice id, percent-encoded")),
    responses((status = 200, body = VoiceEntry), (status = 404, description = "Unknown voice", body = ErrorBody))
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
    patch, path = "/voices/{id}", tag = "voices",
    params(("id" = String, Path, description = "Id of a saved voice, percent-encoded")),
    request_body = VoiceChange,
    responses(
        (status = 200, body = VoiceEntry),
        (status = 400, description = "The name is missing, empty or too long; a built-in voice", body = ErrorBody),
        (status = 404, description = "Unknown voice", body = ErrorBody),
        (status = 415, description = "Not JSON", body = ErrorBody),
        (status = 500, description = "The voice could not be saved", body = ErrorBody),
    )
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
    delete, path = "/voices/{id}", tag = "voices",
    params(("id" = String, Path, description = "Id of a saved voice, percent-encoded")),
    responses(
        (status = 200, body = VoiceRemoved),
        (status = 400, description = "A built-in voice", body = ErrorBody),
        (status = 404, description = "Unknown voice", body = ErrorBody),
        (status = 500, description = "The voice could not be removed", body = ErrorBody),
    )
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
    post, path = "/voices/import", tag = "voices",
    request_body(content = ImportForm, content_type = "multipart/form-data"),
    responses(
        (status = 200, body = VoicesImported),
        (status = 400, description = "Not such a file, or no voice of it can be saved", body = ErrorBody),
        (status = 413, description = "File too large", body = ErrorBody),
        (status = 415, description = "Not a multipart form", body = ErrorBody),
        (status = 500, description = "A voice could not be saved", body = ErrorBody),
    )
)]
pub async fn import(
    State(state): State<ApiState>,
    path: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Json<VoicesImported>, ApiError> {
    // The route is that of one voice, so that a voice whose id is this word keeps its own.
    if path_id(path)? != IMPORT {
        let what = "a voice does not take POST; /voices/import and /clone make voices";
        return Err(ApiError::new(StatusCode::METHOD_NOT_ALLOWED, what));
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
    Ok(Json(imported.map_err(named)?.into()))
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
