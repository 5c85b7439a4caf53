//! Request bodies: JSON, and multipart forms with files, both bounded in size and in time.

use std::{collections::HashMap, sync::Arc};

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderMap, StatusCode, header},
};
use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt, TryStreamExt};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

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

/// A file of a multipart form.
#[derive(Debug)]
pub struct Upload {
    /// Its name as the client gave it; empty when it gave none.
    pub filename: String,
    /// Its content.
    pub bytes: Vec<u8>,
}

/// A multipart form: its text fields, and those of the wanted files that came.
#[derive(Debug, Default)]
pub struct Form {
    fields: Map<String, Value>,
    files: HashMap<&'static str, Upload>,
}

impl Form {
    /// The text fields as a request.
    ///
    /// # Errors
    /// 400 naming a field that is missing or has the wrong type.
    pub fn parse<T: DeserializeOwned>(&mut self) -> Result<T, ApiError> {
        let fields = Value::Object(std::mem::take(&mut self.fields));
        serde_path_to_error::deserialize(fields).map_err(|error| wrong_field(&error))
    }

    /// Takes the file of this field.
    pub fn take(&mut self, field: &str) -> Option<Upload> {
        self.files.remove(field)
    }

    /// Takes the file of this field, which must have come and not be empty.
    ///
    /// # Errors
    /// 400 naming the field.
    pub fn require(&mut self, field: &str) -> Result<Upload, ApiError> {
        match self.take(field) {
            None => Err(ApiError::field(field, "a file is required")),
            Some(file) if file.bytes.is_empty() => Err(ApiError::field(field, "the file is empty")),
            Some(file) => Ok(file),
        }
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

/// Reads a request that comes as JSON, or as a multipart form with the same fields and perhaps the files `file_fields`.
///
/// # Errors
/// As [`json`] and [`form`].
pub async fn json_or_form<T: DeserializeOwned + Send + 'static, const N: usize>(
    request: Request,
    file_fields: [&'static str; N],
) -> Result<(T, [Option<Upload>; N]), ApiError> {
    if is_json(request.headers()) {
        return Ok((read_json(request).await?, [const { None }; N]));
    }
    if boundary(request.headers()).is_none() {
        return Err(ApiError::content_type(
            "application/json or multipart/form-data with a boundary",
        ));
    }
    let mut form = form(request, &file_fields).await?;
    Ok((form.parse()?, file_fields.map(|field| form.take(field))))
}

/// Reads a multipart form, keeping its text fields and the files named in `file_fields`.
///
/// # Errors
/// 415 for another content type, 413 when the body, a file or a field is too large, 408 when the client stalls, 400
/// when the form is malformed.
pub async fn form(request: Request, file_fields: &[&'static str]) -> Result<Form, ApiError> {
    let Some(boundary) = boundary(request.headers()) else {
        return Err(ApiError::content_type("multipart/form-data with a boundary"));
    };
    let body = read(request, limits::MULTIPART_BODY_BYTES)?;
    let mut multipart = multer::Multipart::new(body, boundary);
    let mut form = Form::default();
    while let Some(field) = multipart.next_field().await.map_err(malformed)? {
        let Some(name) = field.name().map(str::to_owned) else {
            continue;
        };
        if let Some(&name) = file_fields.iter().find(|wanted| **wanted == name) {
            let filename = field.file_name().unwrap_or_default().to_owned();
            let bytes = read_field(field, name, limits::PROMPT_FILE_BYTES).await?;
            form.files.insert(name, Upload { filename, bytes });
        } else if field.file_name().is_none() {
            // A base64 recording may come as a text field too; every other text is far below this.
            let limit = if name.ends_with("_base64") {
                limits::JSON_BODY_BYTES
            } else {
                limits::FORM_FIELD_BYTES
            };
            if form.fields.len() >= limits::FORM_FIELDS {
                return Err(ApiError::field(
                    "body",
                    format!("more than {} form fields", limits::FORM_FIELDS),
                ));
            }
            let bytes = read_field(field, &name, limit).await?;
            let text =
                String::from_utf8(bytes).map_err(|_| ApiError::field(&name, "must be text in UTF-8"))?;
            form.fields.insert(name, Value::String(text));
        }
    }
    Ok(form)
}

async fn read_field(mut field: multer::Field<'_>, name: &str, limit: usize) -> Result<Vec<u8>, ApiError> {
    let mut bytes = Vec::new();
    while let Some(chunk) = field.chunk().await.map_err(malformed)? {
        if bytes.len() + chunk.len() > limit {
            return Err(ApiError::too_large(name, limit));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

async fn read_json<T: DeserializeOwned + Send + 'static>(request: Request) -> Result<T, ApiError> {
    let mut body = std::pin::pin!(read(request, limits::JSON_BODY_BYTES)?);
    let mut bytes = BytesMut::new();
    while let Some(chunk) = body.try_next().await? {
        bytes.extend_from_slice(&chunk);
    }
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
fn wrong_field(error: &serde_path_to_error::Error<serde_json::Error>) -> ApiError {
    let what = error.inner();
    match error.path().to_string().as_str() {
        "." | "?" if what.to_string().starts_with("missing field") => {
            ApiError::new(StatusCode::BAD_REQUEST, what.to_string())
        }
        "." | "?" => ApiError::field("body", format!("must be a JSON object: {what}")),
        path => ApiError::field(path, what),
    }
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

/// A form that could not be read; the reason may be one of ours, carried through the parser.
fn malformed(error: multer::Error) -> ApiError {
    match error {
        multer::Error::StreamReadFailed(cause) => match cause.downcast::<ApiError>() {
            Ok(own) => *own,
            Err(cause) => ApiError::field("body", cause),
        },
        other => ApiError::field("body", format!("malformed multipart form: {other}")),
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(mime) = content_type(headers) else {
        return false;
    };
    mime.type_() == mime::APPLICATION
        && (mime.subtype() == mime::JSON || mime.suffix().is_some_and(|suffix| suffix == mime::JSON))
}

fn boundary(headers: &HeaderMap) -> Option<String> {
    multer::parse_boundary(headers.get(header::CONTENT_TYPE)?.to_str().ok()?).ok()
}

fn content_type(headers: &HeaderMap) -> Option<mime::Mime> {
    headers.get(header::CONTENT_TYPE)?.to_str().ok()?.parse().ok()
}
