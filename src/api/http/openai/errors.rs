//! Errors as OpenAI's clients read them, beside the `detail` of this server's other routes.

use axum::{
    Json,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};

use super::wire::{OpenAiError, OpenAiErrorBody};
use crate::api::error::{ApiError, Detail, fault_detail};

/// What the engine's texts call a field, and what it is called here.
const FIELDS: [(&str, &str); 5] = [
    ("tts_text", "input"),
    ("spk_id", "voice"),
    ("instruct_text", "instructions"),
    ("tts/instruct", "instructions"),
    ("tts", "voice"),
];

/// The fields of requests, which an error may name first.
const PARAMS: [&str; 9] = [
    "model",
    "input",
    "voice",
    "voice.id",
    "instructions",
    "response_format",
    "speed",
    "stream_format",
    "seed",
];

/// Whether a path is one of those that answer so.
pub fn speaks_for(path: &str) -> bool {
    path == "/v1" || path.starts_with("/v1/")
}

impl OpenAiError {
    /// From the status of an answer and its text for the client.
    pub fn new(status: StatusCode, detail: &str) -> Self {
        let message = renamed(detail);
        let param = param(&message).map(str::to_owned);
        let code = match status {
            StatusCode::UNAUTHORIZED => Some("invalid_api_key"),
            StatusCode::NOT_FOUND if param.as_deref() == Some("model") => Some("model_not_found"),
            StatusCode::SERVICE_UNAVAILABLE => Some("overloaded"),
            StatusCode::GATEWAY_TIMEOUT => Some("timeout"),
            _ => None,
        };
        let r#type = match status.is_server_error() {
            true => "server_error",
            false => "invalid_request_error",
        };
        Self {
            message,
            r#type,
            param,
            code,
        }
    }

    /// Of a speech that broke off after its answer had begun; the text of a fault stays in the log.
    pub fn late(error: ApiError, id: &str) -> Self {
        match error.status() {
            StatusCode::INTERNAL_SERVER_ERROR => Self::new(error.status(), &fault_detail(id)),
            status => Self::new(status, error.detail()),
        }
    }
}

/// The text with this api's name of the field that it begins with.
fn renamed(detail: &str) -> String {
    for (engine, here) in FIELDS {
        match detail.strip_prefix(engine) {
            Some(rest) if rest.starts_with([':', ' ']) => return format!("{here}{rest}"),
            _ => {}
        }
    }
    detail.to_owned()
}

/// The field that a text names first, or of which it says that it is missing.
fn param(message: &str) -> Option<&'static str> {
    let named = |param: &&'static str| {
        let rest = message.strip_prefix(*param);
        rest.is_some_and(|rest| rest.starts_with([':', ' ']))
            || message
                .strip_prefix("missing field `")
                .and_then(|rest| rest.split('`').next())
                == Some(*param)
    };
    PARAMS.into_iter().find(named)
}

/// Puts the text of an error answer in OpenAI's words; any other answer stays as it is.
pub fn dress(mut response: Response) -> Response {
    let Some(Detail(detail)) = response.extensions_mut().remove() else {
        return response;
    };
    let (mut parts, _) = response.into_parts();
    parts.headers.remove(header::CONTENT_LENGTH);
    let error = OpenAiError::new(parts.status, &detail);
    let detail = error.message.clone();
    let (_, body) = Json(OpenAiErrorBody { error, detail })
        .into_response()
        .into_parts();
    Response::from_parts(parts, body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_field_is_named_as_it_is_here() {
        for (detail, message, param) in [
            ("spk_id: no speaker", "voice: no speaker", Some("voice")),
            (
                "tts_text has nothing to speak",
                "input has nothing to speak",
                Some("input"),
            ),
            (
                "tts/instruct: M takes no",
                "instructions: M takes no",
                Some("instructions"),
            ),
            ("tts: M does not speak", "voice: M does not speak", Some("voice")),
            ("speed: must be", "speed: must be", Some("speed")),
            ("missing field `input`", "missing field `input`", Some("input")),
            ("missing field `other`", "missing field `other`", None),
            ("modelling: x", "modelling: x", None),
            ("body: must be", "body: must be", None),
        ] {
            let error = OpenAiError::new(StatusCode::BAD_REQUEST, detail);
            assert_eq!((error.message.as_str(), error.param.as_deref()), (message, param));
            assert_eq!((error.r#type, error.code), ("invalid_request_error", None));
        }
    }

    #[test]
    fn programs_learn_what_they_may_act_on() {
        let of = |status: u16, detail: &str| {
            let error = OpenAiError::new(StatusCode::from_u16(status).unwrap(), detail);
            (error.r#type, error.code)
        };
        assert_eq!(
            of(404, "model: no model"),
            ("invalid_request_error", Some("model_not_found"))
        );
        assert_eq!(of(404, "no such route"), ("invalid_request_error", None));
        assert_eq!(
            of(401, "an API key"),
            ("invalid_request_error", Some("invalid_api_key"))
        );
        assert_eq!(of(503, "the queue is full"), ("server_error", Some("overloaded")));
        assert_eq!(of(504, "no audio"), ("server_error", Some("timeout")));
        assert_eq!(of(500, "internal error"), ("server_error", None));
    }

    #[test]
    fn only_paths_of_v1_answer_so() {
        assert!(speaks_for("/v1") && speaks_for("/v1/audio/speech"));
        assert!(!speaks_for("/v11") && !speaks_for("/tts"));
    }
}
