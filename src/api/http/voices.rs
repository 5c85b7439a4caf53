//! Voices: listing them, making one from a recording.

use axum::{
    Json,
    extract::{Request, State},
};

use super::{
    answers::{KeyFailures, UploadFailures},
    body,
};
use crate::api::{
    ApiState,
    error::ApiError,
    prompt::{self, Recording},
    wire::{CloneForm, CloneRequest, Cloned, SpeakerEntry, Speakers, check_text, check_voice_name},
};
use crate::limits;

/// The multipart field of the recording.
const PROMPT_AUDIO: &str = "prompt_audio";

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
