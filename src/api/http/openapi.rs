//! The OpenAPI document of the HTTP api.

use axum::Json;
use utoipa::OpenApi;

use super::{inference, openai, preview, root, tts, upload, vc, voices};
use crate::api::{wire, ws};

/// Every route and schema.
#[derive(OpenApi)]
#[openapi(
    info(title = "cosyserve", description = "CosyVoice speech over HTTP. All audio is mono."),
    paths(
        root::welcome, root::health, root::ready,
        voices::available_spks, voices::clone, upload::upload_audio,
        tts::sft, tts::sft_pcm, tts::zero_shot, tts::cross_lingual, tts::instruct, vc::convert,
        openai::speech::create, openai::lists::models, openai::lists::one_model, openai::lists::voices,
        ws::connect,
        inference::sft, inference::sft_by_get, inference::zero_shot, inference::cross_lingual,
        inference::instruct, inference::instruct_by_get, inference::instruct2,
        voices::voices, voices::voice, voices::rename, voices::remove, voices::import, preview::preview,
    ),
    components(schemas(
        wire::ZeroShotForm, wire::CrossLingualForm, wire::ConvertForm, wire::CloneForm, wire::UploadForm,
        wire::Instruct2Form, wire::ImportForm,
    )),
    tags(
        (name = "speech", description = "Speech from text, and from speech"),
        (name = "openai", description = "OpenAI's speech API"),
        (name = "basic", description = "The basic inference API: forms in, bare samples out"),
        (name = "voices", description = "Voices and recordings"),
        (name = "service", description = "The server itself"),
    )
)]
pub struct Document;

/// The document, as JSON.
pub async fn document() -> Json<utoipa::openapi::OpenApi> {
    Json(Document::openapi())
}
