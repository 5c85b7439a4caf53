//! How an error reaches an HTTP client: a status and `{"detail": "..."}`.

use std::any::Any;

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Error, limits};

/// The body of every answer that is not a success.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct ErrorBody {
    /// What is wrong, in which field, and which limit applies.
    #[schema(example = "speed: must be between 0.5 and 2, not 3")]
    pub detail: String,
}

/// An error with its HTTP status; the text is for the client, except that of a fault (500), which the request
/// log keeps and replaces on the wire by the request's id.
#[derive(Debug)]
pub struct ApiError {
    status: StatusCode,
    detail: String,
}

/// Marks an answer whose cause belongs in the log only; `layers::track` takes it out again.
#[derive(Debug, Clone)]
pub(crate) struct Fault(pub String);

/// What a panic said, for the log.
pub(crate) fn panic_text(cause: &(dyn Any + Send)) -> String {
    let text = cause.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| cause.downcast_ref::<&str>().copied());
    format!("panic: {}", text.unwrap_or("of unknown cause"))
}

/// The text of an error answer, for whoever puts it in other words.
#[derive(Debug, Clone)]
pub(crate) struct Detail(pub String);

/// An error answer with this text.
pub(crate) fn answer(status: StatusCode, detail: String) -> Response {
    let body = ErrorBody {
        detail: detail.clone(),
    };
    let mut response = (status, Json(body)).into_response();
    response.extensions_mut().insert(Detail(detail));
    response
}

impl ApiError {
    /// An error of any status with a text for the client.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            status,
            detail: detail.into(),
        }
    }

    /// 400, naming the field.
    pub fn field(name: &str, what: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::BAD_REQUEST, format!("{name}: {what}"))
    }

    /// 413, naming what was too large and its limit in bytes.
    pub fn too_large(what: &str, limit: usize) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("{what}: more than {limit} bytes"),
        )
    }

    /// 415, naming the content types the route takes.
    pub fn content_type(wanted: &str) -> Self {
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            format!("Content-Type: must be {wanted}"),
        )
    }

    /// 401: the API key is missing or wrong.
    pub fn unauthorized() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "an API key is required: send Authorization: Bearer <key> or X-API-Key: <key>",
        )
    }

    /// 503: the server is shutting down.
    pub fn draining() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "the server is shutting down; try another one or again soon",
        )
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The text (of a fault: the one for the log).
    pub fn detail(&self) -> &str {
        &self.detail
    }
}

/// What a client is told of a fault: where its cause is.
pub(crate) fn fault_detail(id: &str) -> String {
    format!("internal error; the server's log has its cause under id {id}")
}

impl std::fmt::Display for ApiError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.status.as_u16(), self.detail)
    }
}

impl std::error::Error for ApiError {}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        let status = match &error {
            Error::Invalid(_) | Error::UnknownVoice(_) | Error::Unsupported(_) => StatusCode::BAD_REQUEST,
            Error::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            // A cancelled synthesis whose client still listens was cut by the server: trying again helps.
            Error::Overloaded(_) | Error::Cancelled => StatusCode::SERVICE_UNAVAILABLE,
            Error::Deadline(_) => StatusCode::GATEWAY_TIMEOUT,
            Error::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, error.to_string())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let Self { status, detail } = self;
        if status == StatusCode::INTERNAL_SERVER_ERROR {
            let mut response = answer(status, "internal error".into());
            response.extensions_mut().insert(Fault(detail));
            return response;
        }
        let mut response = answer(status, detail);
        let headers = response.headers_mut();
        match status {
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => {
                headers.insert(
                    header::RETRY_AFTER,
                    HeaderValue::from(limits::RETRY_AFTER_SECONDS),
                );
            }
            StatusCode::UNAUTHORIZED => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            _ => {}
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_status() {
        let text = || "words".to_string();
        for (error, status) in [
            (Error::Invalid(text()), 400),
            (Error::UnknownVoice(text()), 400),
            (Error::Unsupported(text()), 400),
            (Error::TooLarge(text()), 413),
            (Error::Overloaded(text()), 503),
            (Error::Cancelled, 503),
            (Error::Deadline(text()), 504),
            (Error::Internal(text()), 500),
        ] {
            assert_eq!(
                ApiError::from(error.clone()).status().as_u16(),
                status,
                "{error:?}"
            );
        }
    }

    #[test]
    fn retry_after_comes_with_503_only() {
        let full = ApiError::from(Error::Overloaded("full".into())).into_response();
        assert_eq!(
            full.headers()[header::RETRY_AFTER],
            limits::RETRY_AFTER_SECONDS.to_string()
        );
        let bad = ApiError::field("seed", "bad").into_response();
        assert!(bad.headers().get(header::RETRY_AFTER).is_none());
    }

    #[test]
    fn a_fault_keeps_its_text_off_the_wire() {
        let response = ApiError::from(Error::Internal("secret path".into())).into_response();
        assert_eq!(
            response.extensions().get::<Fault>().map(|f| f.0.as_str()),
            Some("secret path")
        );
    }
}
