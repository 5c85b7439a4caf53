//! The id of a request, and the line it leaves in the log, over every protocol.

use std::{convert::Infallible, sync::Arc, time::Instant};

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, HeaderName, request::Parts},
};
use parking_lot::Mutex;

use crate::limits;

/// The request id's header.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Paths that are asked every few seconds; only their failures are news.
const PROBES: [&str; 4] = [
    "/health",
    "/ready",
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/Watch",
];

/// The id of a request: the client's own `X-Request-Id` where it is short and plain, else a new one.
#[derive(Debug, Clone)]
pub struct RequestId(Arc<str>);

impl RequestId {
    /// From a request's headers.
    pub fn of(headers: &HeaderMap) -> Self {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
        let own = headers.get(X_REQUEST_ID).and_then(|value| value.to_str().ok());
        match own.filter(|id| (1..=limits::REQUEST_ID_CHARS).contains(&id.len()) && id.chars().all(plain)) {
            Some(id) => Self(id.into()),
            None => Self(uuid::Uuid::new_v4().to_string().into()),
        }
    }

    /// The id itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<S: Send + Sync> FromRequestParts<S> for RequestId {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        Ok(parts
            .extensions
            .get::<RequestId>()
            .cloned()
            .unwrap_or_else(|| RequestId::of(&parts.headers)))
    }
}

/// Written when dropped: at the end of the answer, or when the client left.
pub struct AccessLine {
    id: RequestId,
    method: String,
    path: String,
    started: Instant,
    status: u16,
    bytes: u64,
}

impl AccessLine {
    /// Of a request that came now; `status` stands if there is no answer.
    pub fn new(id: &RequestId, method: &str, path: &str, status: u16) -> Self {
        Self {
            id: id.clone(),
            method: method.to_owned(),
            path: path.chars().take(200).collect(),
            started: Instant::now(),
            status,
            bytes: 0,
        }
    }

    /// The path that was asked for, its first 200 characters.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The status of the answer: HTTP's, or gRPC's code where the method is `gRPC`.
    pub fn end(&mut self, status: u16) {
        self.status = status;
    }

    /// Adds bytes of the answer.
    pub fn count(&mut self, bytes: u64) {
        self.bytes += bytes;
    }
}

/// The access line of a connection that goes on after its answer, which brings this as an extension: it is written when
/// the last of its holders is dropped.
#[derive(Clone, Default)]
pub(crate) struct HeldLine(Arc<Mutex<Option<AccessLine>>>);

impl HeldLine {
    /// Takes the line, which is complete but for what goes out from now on.
    pub fn hold(&self, line: AccessLine) {
        self.0.lock().replace(line);
    }

    /// Counts bytes that went out.
    pub fn count(&self, bytes: usize) {
        if let Some(line) = &mut *self.0.lock() {
            line.count(bytes as u64);
        }
    }
}

impl Drop for AccessLine {
    fn drop(&mut self) {
        let (id, path, status, bytes) = (self.id.as_str(), self.path.as_str(), self.status, self.bytes);
        let (method, ms) = (self.method.as_str(), self.started.elapsed().as_millis() as u64);
        if PROBES.contains(&path) && matches!(status, 0 | 200) {
            tracing::debug!(target: "cosyserve::access", id, method, path, status, ms, bytes, "answered");
        } else {
            tracing::info!(target: "cosyserve::access", id, method, path, status, ms, bytes, "answered");
        }
    }
}
