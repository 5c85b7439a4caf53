//! The OpenAPI document of the HTTP api. `openapi/openapi.json` is a copy of it; `make openapi` writes that anew.

use std::sync::LazyLock;

use axum::{
    http::header,
    response::{IntoResponse, Response},
};
use utoipa::{
    Modify, OpenApi,
    openapi::{
        Server,
        security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};

use super::{
    answers, inference,
    openai::{
        self,
        wire::{OpenAiErrorBody, SpeechEvent},
    },
    preview, root, tts, upload, vc, voices,
};
use crate::api::{error::ErrorBody, ws};

/// What readers of the document should know first.
const DESCRIPTION: &str = "\
CosyVoice speech over HTTP. All audio is mono, at the model's rate (see `/health`).

Requests are JSON in UTF-8, or forms where files come with them. Unknown fields are ignored; numbers and flags may also \
come as strings. Errors are `{\"detail\": \"...\"}`, which names the field and the limit.

Where the server was started with an API key, send it as `Authorization: Bearer <key>` or `X-API-Key: <key>`.";

/// Every route and schema.
#[derive(OpenApi)]
#[openapi(
    info(title = "cosyserve", description = DESCRIPTION),
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
    components(schemas(ErrorBody, OpenAiErrorBody, SpeechEvent)),
    modifiers(&Shared),
    security((), ("bearer" = []), ("api_key" = [])),
    tags(
        (name = "speech", description = "Speech from text, and from speech"),
        (name = "openai", description = "OpenAI's speech API"),
        (name = "basic", description = "The basic inference API: forms in, bare samples out"),
        (name = "voices", description = "Voices and recordings"),
        (name = "service", description = "The server itself"),
    )
)]
pub struct Document;

/// What the derive has no words for: servers, the ways to show a key, failures by name.
struct Shared;

impl Modify for Shared {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let mut here = Server::new("/");
        here.description = Some("The server that gave this document".into());
        let mut local = Server::new("http://localhost:5000");
        local.description = Some("A server on this machine with its default port".into());
        document.servers = Some(vec![here, local]);
        let components = document.components.get_or_insert_default();
        components.responses.extend(answers::components());
        let mut bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        bearer.description = Some("The server's API key, where it has one".into());
        let header = ApiKeyValue::with_description("X-API-Key", "The server's API key, where it has one");
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
        components.add_security_scheme("api_key", SecurityScheme::ApiKey(ApiKey::Header(header)));
    }
}

/// The document as JSON text with a line end: the same for every server of a version.
pub fn text() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| match Document::openapi().to_pretty_json() {
        Ok(text) => text + "\n",
        Err(error) => {
            tracing::error!(%error, "the OpenAPI document could not be written");
            String::new()
        }
    });
    &TEXT
}

/// The document, as JSON.
pub async fn document() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], text()).into_response()
}
