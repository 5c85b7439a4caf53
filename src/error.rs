//! The one error type of the crate: what went wrong, in words for the caller, and of which kind.
//!
//! The kind decides the HTTP status or gRPC code (in `api`); the text is what the client reads, so it names
//! the field and the limit. [`Error::Internal`] is the exception: its text is for the log, never for the wire.

/// Result with the crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong. See the module documentation for who reads the text.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The request is malformed or out of range (400, INVALID_ARGUMENT).
    #[error("{0}")]
    Invalid(String),
    /// No voice has this id (400 over HTTP, NOT_FOUND over gRPC).
    #[error("{0}")]
    UnknownVoice(String),
    /// The loaded model cannot do this; the text names what can (400, UNIMPLEMENTED).
    #[error("{0}")]
    Unsupported(String),
    /// A body, file or field is over its size limit (413, RESOURCE_EXHAUSTED).
    #[error("{0}")]
    TooLarge(String),
    /// No room now; trying again later helps (503 with Retry-After, RESOURCE_EXHAUSTED).
    #[error("{0}")]
    Overloaded(String),
    /// The request's deadline passed (504, DEADLINE_EXCEEDED).
    #[error("{0}")]
    Deadline(String),
    /// The client went away; nobody reads this answer (CANCELLED).
    #[error("the request was cancelled")]
    Cancelled,
    /// A fault of the server or the model (500, INTERNAL). The text goes to the log only.
    #[error("{0}")]
    Internal(String),
}

impl Error {
    /// An [`Error::Invalid`] from anything printable.
    pub fn invalid(text: impl Into<String>) -> Self {
        Error::Invalid(text.into())
    }

    /// An [`Error::Internal`] that says what was being done when `cause` happened.
    pub fn internal(doing: &str, cause: impl std::fmt::Display) -> Self {
        Error::Internal(format!("{doing}: {cause}"))
    }
}
