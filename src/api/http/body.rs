//! Request bodies: JSON, and forms with files, bounded in size and in time.

mod fields;
mod form;

use std::sync::Arc;

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderMap, StatusCode, header},
};
use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt, TryStreamExt};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub use self::{
    fields::{any_form, query},
    form::{Form, Upload, form, json_or_form},
};
use crate::{api::error::ApiError, limits};

/// What a request holds of the memory for request bodies ([`limits::BODY_BYTES_IN_FLIGHT`], over all connections),
/// until its handler has answered.
#[derive(Debug)]
pub struct BodyBudget {
    total: Arc<Semaphore>,
    held: Mutex<Option<OwnedSemaphorePermit>>,
}

impl BodyBudget {
    /// Nothing yet of `total`, which has one permit per byte.
    pub fn new(total: Arc<Semaphore>) -> Self {
        Self {
            total,
            held: Mutex::new(None),
        }
    }

    /// Takes room for a chunk.
    fn take(&self, bytes: usize) -> Result<(), ApiError> {
        let full = || {
            let text = "too many large requests are being received; try again later";
            ApiError::new(StatusCode::SERVICE_UNAVAILABLE, text)
        };
        let bytes = u32::try_from(bytes).map_err(|_| full())?;
        let more = self
            .total
            .clone()
            .try_acquire_many_owned(bytes)
            .map_err(|_| full())?;
        match &mut *self.held.lock() {
            Some(held) => held.merge(more),
            none => *none = Some(more),
        }
        Ok(())
    }
}

/// Reads a JSON body as a request.
///
/// # Errors
/// 415 without a JSON content type, 413 over the limit, 408 when the client stalls, 400 for bad syntax or a field that
/// is missing or has the wrong type (named).
pub async fn json<T: DeserializeOwned + Send + 'static>(request: Request) -> Result<T, ApiError> {
    if !is_json(request.headers()) {
        return Err(ApiError::content_type("application/json"));
    }
    read_json(request).await
}

async fn read_json<T: DeserializeOwned + Send + 'static>(request: Request) -> Result<T, ApiError> {
    let bytes = whole(request, limits::JSON_BODY_BYTES).await?;
    if bytes.len() <= limits::PARSE_IN_PLACE_BYTES {
        return parse_json(&bytes);
    }
    tokio::task::spawn_blocking(move || parse_json(&bytes))
        .await
        .map_err(|error| {
            ApiError::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                format!("parsing JSON: {error}"),
            )
        })?
}

fn parse_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    // Some clients (.NET, PowerShell) begin with a byte order mark.
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    // Serde would take the values of an array for the fields in their order.
    if bytes.trim_ascii_start().starts_with(b"[") {
        return Err(ApiError::field("body", "must be a JSON object, not an array"));
    }
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| wrong_field(&error))?;
    reader.end().map_err(|error| ApiError::field("body", error))?;
    Ok(value)
}

/// A type error, with the path of the field before it where there is one.
pub(in crate::api) fn wrong_field(error: &serde_path_to_error::Error<serde_json::Error>) -> ApiError {
    let what = error.inner();
    match error.path().to_string().as_str() {
        "." | "?" if what.to_string().starts_with("missing field") => {
            ApiError::new(StatusCode::BAD_REQUEST, what.to_string())
        }
        "." | "?" => ApiError::field("body", format!("must be a JSON object: {what}")),
        path => ApiError::field(path, what),
    }
}

/// All of the body, at most `limit` bytes.
async fn whole(request: Request, limit: usize) -> Result<BytesMut, ApiError> {
    let mut body = std::pin::pin!(read(request, limit)?);
    let mut bytes = BytesMut::new();
    while let Some(chunk) = body.try_next().await? {
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// The body's chunks, failing when more than `limit` bytes come or when the client stalls.
fn read(
    request: Request,
    limit: usize,
) -> Result<impl Stream<Item = Result<Bytes, ApiError>> + Send + 'static, ApiError> {
    let declared = request.headers().get(header::CONTENT_LENGTH);
    let declared = declared.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if declared.is_some_and(|bytes| bytes > limit as u64) {
        return Err(ApiError::too_large("body", limit));
    }
    let budget = request.extensions().get::<Arc<BodyBudget>>().cloned();
    Ok(bounded(request.into_body(), limit, budget))
}

fn bounded(
    body: Body,
    limit: usize,
    budget: Option<Arc<BodyBudget>>,
) -> impl Stream<Item = Result<Bytes, ApiError>> + Send + 'static {
    let chunks = (body.into_data_stream(), budget);
    futures::stream::try_unfold((chunks, 0), move |((mut chunks, budget), before)| async move {
        let chunk = match tokio::time::timeout(limits::BODY_IDLE, chunks.next()).await {
            Err(_) => {
                let text = format!("body: nothing came for {} s", limits::BODY_IDLE.as_secs());
                return Err(ApiError::new(StatusCode::REQUEST_TIMEOUT, text));
            }
            Ok(None) => return Ok(None),
            Ok(Some(Err(error))) => return Err(ApiError::field("body", error)),
            Ok(Some(Ok(chunk))) => chunk,
        };
        let total = before + chunk.len();
        if total > limit {
            return Err(ApiError::too_large("body", limit));
        }
        if let Some(budget) = &budget {
            budget.take(chunk.len())?;
        }
        Ok(Some((chunk, ((chunks, budget), total))))
    })
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(mime) = content_type(headers) else {
        return false;
    };
    mime.type_() == mime::APPLICATION
        && (mime.subtype() == mime::JSON || mime.suffix().is_some_and(|suffix| suffix == mime::JSON))
}

fn content_type(headers: &HeaderMap) -> Option<mime::Mime> {
    headers.get(header::CONTENT_TYPE)?.to_str().ok()?.parse().ok()
}
