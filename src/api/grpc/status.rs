//! How an error reaches a gRPC client: a code, and the same text that an HTTP client gets.

use axum::http::StatusCode;
use tonic::{Code, Status};

use crate::{
    Error,
    api::{
        access::RequestId,
        error::{ApiError, fault_detail},
    },
};

/// The status of an error that ends the call `id`; a fault's own text is for the log.
pub(super) fn of(error: &Error, id: &RequestId) -> Status {
    let code = match error {
        Error::Invalid(_) => Code::InvalidArgument,
        Error::UnknownVoice(_) => Code::NotFound,
        Error::Unsupported(_) => Code::Unimplemented,
        Error::TooLarge(_) | Error::Overloaded(_) => Code::ResourceExhausted,
        Error::Deadline(_) => Code::DeadlineExceeded,
        Error::Cancelled => Code::Cancelled,
        Error::Internal(_) => return internal(id),
    };
    Status::new(code, error.to_string())
}

/// Likewise of one that the log does not have yet.
pub(super) fn refused(error: &Error, id: &RequestId) -> Status {
    if let Error::Internal(cause) = error {
        tracing::error!(cause, "request failed");
    }
    of(error, id)
}

/// Likewise of one that speaks HTTP, as what all protocols check does.
pub(super) fn translated(error: &ApiError, id: &RequestId) -> Status {
    let code = match error.status() {
        StatusCode::BAD_REQUEST => Code::InvalidArgument,
        StatusCode::UNAUTHORIZED => Code::Unauthenticated,
        StatusCode::PAYLOAD_TOO_LARGE => Code::ResourceExhausted,
        StatusCode::SERVICE_UNAVAILABLE => Code::Unavailable,
        StatusCode::GATEWAY_TIMEOUT => Code::DeadlineExceeded,
        _ => {
            tracing::error!(cause = error.detail(), "request failed");
            return internal(id);
        }
    };
    Status::new(code, error.detail())
}

/// INTERNAL: says where the cause is to be found.
pub(super) fn internal(id: &RequestId) -> Status {
    Status::internal(fault_detail(id.as_str()))
}

/// Of a message that could not be read: the client's fault, whatever code it has where it was found.
pub(super) fn unread(status: &Status) -> Status {
    match status.code() {
        Code::OutOfRange => Status::resource_exhausted(status.message()),
        Code::Internal => Status::invalid_argument(status.message()),
        _ => status.clone(),
    }
}

/// DEADLINE_EXCEEDED, of the client's own deadline.
pub(super) fn late() -> Status {
    Status::deadline_exceeded("grpc-timeout: the call's deadline passed")
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderMap;

    use super::*;

    #[test]
    fn every_kind_of_error_has_its_code() {
        let id = RequestId::of(&HeaderMap::new());
        let text = || "why".to_string();
        for (error, code) in [
            (Error::Invalid(text()), Code::InvalidArgument),
            (Error::UnknownVoice(text()), Code::NotFound),
            (Error::Unsupported(text()), Code::Unimplemented),
            (Error::TooLarge(text()), Code::ResourceExhausted),
            (Error::Overloaded(text()), Code::ResourceExhausted),
            (Error::Deadline(text()), Code::DeadlineExceeded),
        ] {
            let status = refused(&error, &id);
            assert_eq!((status.code(), status.message()), (code, "why"));
        }
        assert_eq!(of(&Error::Cancelled, &id).code(), Code::Cancelled);
        let fault = refused(&Error::Internal("/secret".into()), &id);
        assert_eq!(fault.code(), Code::Internal);
        assert!(fault.message().contains(id.as_str()) && !fault.message().contains("secret"));
    }

    #[test]
    fn what_speaks_http_is_translated() {
        let id = RequestId::of(&HeaderMap::new());
        for (status, code) in [
            (400, Code::InvalidArgument),
            (401, Code::Unauthenticated),
            (413, Code::ResourceExhausted),
            (503, Code::Unavailable),
            (504, Code::DeadlineExceeded),
        ] {
            let error = ApiError::new(StatusCode::from_u16(status).unwrap(), "why");
            let status = translated(&error, &id);
            assert_eq!((status.code(), status.message()), (code, "why"));
        }
        let fault = ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "/secret");
        assert_eq!(translated(&fault, &id).message(), internal(&id).message());
    }
}
