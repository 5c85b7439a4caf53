//! Multipart forms: text fields and files.

use std::collections::HashMap;

use axum::{
    extract::Request,
    http::{HeaderMap, header},
};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{is_json, read, read_json, wrong_field};
use crate::{api::error::ApiError, limits};

/// A file of a multipart form.
#[derive(Debug)]
pub struct Upload {
    /// Its name as the client gave it; empty when it gave none.
    pub filename: String,
    /// Its content.
    pub bytes: Vec<u8>,
}

/// A form: its text fields, and those of the wanted files that came.
#[derive(Debug, Default)]
pub struct Form {
    pub(super) fields: Map<String, Value>,
    files: HashMap<&'static str, Upload>,
}

impl Form {
    /// A form of text fields alone.
    pub(super) fn of_fields(fields: Map<String, Value>) -> Self {
        Self {
            fields,
            ..Self::default()
        }
    }

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

/// Reads a request that comes as JSON, or as a multipart form with the same fields and perhaps the files `file_fields`.
///
/// # Errors
/// As [`json`](super::json) and [`form`].
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
                return Err(too_many_fields());
            }
            let bytes = read_field(field, &name, limit).await?;
            let text = String::from_utf8(bytes).map_err(|_| not_utf8(&name))?;
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

/// More text fields than [`limits::FORM_FIELDS`].
pub(super) fn too_many_fields() -> ApiError {
    ApiError::field("body", format!("more than {} form fields", limits::FORM_FIELDS))
}

/// A field in another encoding, or in none.
pub(super) fn not_utf8(field: &str) -> ApiError {
    ApiError::field(field, "must be text in UTF-8")
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

/// Where a multipart form is cut; `None`: it is not one.
pub(super) fn boundary(headers: &HeaderMap) -> Option<String> {
    multer::parse_boundary(headers.get(header::CONTENT_TYPE)?.to_str().ok()?).ok()
}
