//! `/docs`: the OpenAPI document as a page to read and to try (Swagger UI, built into the binary).
//!
//! It is open even where there is an API key: the document is the same for every server. Its "Authorize" button takes the
//! key for the requests one tries.

use std::sync::{Arc, LazyLock};

use axum::{
    extract::Path,
    response::{IntoResponse, Redirect, Response},
};
use utoipa_swagger_ui::Config;

use super::pages;
use crate::{Error, api::error::ApiError};

/// Swagger UI sets styles from its script and has its icons as data.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
                      connect-src 'self'; media-src blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Relative addresses, so that a proxy may serve all of it under a prefix.
static CONFIG: LazyLock<Arc<Config<'static>>> = LazyLock::new(|| {
    let config = Config::from("../openapi.json")
        .use_base_layout()
        .try_it_out_enabled(true)
        .display_request_duration(true)
        .display_operation_id(true)
        .validator_url("none");
    Arc::new(config)
});

/// To the page: its parts lie below it.
pub async fn enter() -> Redirect {
    Redirect::permanent("docs/")
}

/// The page.
pub async fn index() -> Result<Response, ApiError> {
    file("index.html")
}

/// A part of the page.
pub async fn part(Path(name): Path<String>) -> Result<Response, ApiError> {
    file(&name)
}

fn file(name: &str) -> Result<Response, ApiError> {
    match utoipa_swagger_ui::serve(name, CONFIG.clone()) {
        Ok(Some(file)) => Ok(pages::file(&file.content_type, file.bytes, POLICY)),
        Ok(None) => Ok(super::no_route(&format!("/docs/{name}")).into_response()),
        Err(error) => Err(Error::internal("the documentation page", error).into()),
    }
}
