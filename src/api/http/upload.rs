//! `/upload_audio`: a file in, its base64 out, for clients that send recordings in JSON.

use axum::{Json, extract::Request};

use super::{answers::UploadFailures, body};
use crate::{
    Error,
    api::{
        error::ApiError,
        wire::{UploadForm, Uploaded},
    },
    audio::base64,
};

/// Gives a file back as base64, ready for `prompt_audio_base64`.
#[utoipa::path(
    post, path = "/upload_audio", tag = "voices", operation_id = "upload_audio",
    request_body(content = UploadForm, content_type = "multipart/form-data"),
    responses((status = 200, description = "The file as base64", body = Uploaded), UploadFailures)
)]
pub async fn upload_audio(request: Request) -> Result<Json<Uploaded>, ApiError> {
    let file = body::form(request, &["file"]).await?.require("file")?;
    let encoded = tokio::task::spawn_blocking(move || base64::encode(&file.bytes));
    let audio_base64 = encoded
        .await
        .map_err(|error| Error::internal("encoding base64", error))?;
    Ok(Json(Uploaded {
        filename: file.filename,
        audio_base64,
    }))
}
