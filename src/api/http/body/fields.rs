//! Fields as forms without files send them, in a body or in a query: `name=value` pairs, percent-encoded.

use std::borrow::Cow;

use axum::{
    body::HttpBody,
    extract::Request,
    http::{HeaderMap, Uri},
};
use percent_encoding::percent_decode;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{
    content_type,
    form::{self, Form},
    whole,
};
use crate::{api::error::ApiError, limits};

/// Reads a request whose fields come in its body, whatever its method, as a multipart form or as an urlencoded one, or in
/// its query; a field of the body hides one of the query. The files named in `file_fields` are kept.
///
/// # Errors
/// 415 for a body of another content type, else as [`form`](form::form).
pub async fn any_form(request: Request, file_fields: &[&'static str]) -> Result<Form, ApiError> {
    let mut fields = parse(request.uri().query().unwrap_or_default().as_bytes())?;
    let mut form = if request.body().is_end_stream() {
        Form::default()
    } else if is_urlencoded(request.headers()) {
        let body = whole(request, limits::URLENCODED_BODY_BYTES).await?;
        Form::of_fields(parse(&body)?)
    } else if form::boundary(request.headers()).is_some() {
        form::form(request, file_fields).await?
    } else {
        return Err(ApiError::content_type(
            "application/x-www-form-urlencoded or multipart/form-data with a boundary",
        ));
    };
    fields.append(&mut form.fields);
    form.fields = fields;
    Ok(form)
}

/// The query's fields as a request.
///
/// # Errors
/// 400 naming a field that is missing or has the wrong type, 413 naming one that is too large.
pub fn query<T: DeserializeOwned>(uri: &Uri) -> Result<T, ApiError> {
    Form::of_fields(parse(uri.query().unwrap_or_default().as_bytes())?).parse()
}

/// Pairs joined by `&`; of several with one name the last counts.
fn parse(pairs: &[u8]) -> Result<Map<String, Value>, ApiError> {
    let mut fields = Map::new();
    for pair in pairs.split(|&byte| byte == b'&').filter(|pair| !pair.is_empty()) {
        let mut halves = pair.splitn(2, |&byte| byte == b'=');
        let name = decoded("body", halves.next().unwrap_or_default())?;
        let value = decoded(&name, halves.next().unwrap_or_default())?;
        if value.len() > limits::FORM_FIELD_BYTES {
            return Err(ApiError::too_large(&name, limits::FORM_FIELD_BYTES));
        }
        if fields.len() >= limits::FORM_FIELDS {
            return Err(form::too_many_fields());
        }
        fields.insert(name, Value::String(value));
    }
    Ok(fields)
}

/// One half of a pair. Text in another encoding is refused: what would be spoken of it is nothing anybody wrote.
fn decoded(field: &str, encoded: &[u8]) -> Result<String, ApiError> {
    let spaces: Vec<u8> = encoded
        .iter()
        .map(|&byte| if byte == b'+' { b' ' } else { byte })
        .collect();
    let bytes = Cow::from(percent_decode(&spaces));
    String::from_utf8(bytes.into_owned()).map_err(|_| form::not_utf8(field))
}

fn is_urlencoded(headers: &HeaderMap) -> bool {
    content_type(headers).is_some_and(|mime| mime.essence_str() == mime::APPLICATION_WWW_FORM_URLENCODED)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(pairs: &str) -> Vec<(String, String)> {
        let parsed = parse(pairs.as_bytes()).unwrap();
        let text = |(name, value): (String, Value)| (name, value.as_str().unwrap().to_owned());
        parsed.into_iter().map(text).collect()
    }

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.into(), value.into())
    }

    #[test]
    fn pairs_are_decoded() {
        assert_eq!(
            fields("tts_text=%E4%BD%A0%E5%A5%BD+a%2Bb%26c&spk_id=x=y&seed=&flag"),
            [
                pair("flag", ""),
                pair("seed", ""),
                pair("spk_id", "x=y"),
                pair("tts_text", "你好 a+b&c")
            ]
        );
        assert_eq!(fields("a=1&&a=2"), [pair("a", "2")]);
        assert_eq!(fields("a=100%&b=%zz"), [pair("a", "100%"), pair("b", "%zz")]);
        assert_eq!(fields(""), []);
    }

    #[test]
    fn what_is_no_text_or_too_much_is_named() {
        let refused = |pairs: String| parse(pairs.as_bytes()).unwrap_err();
        let gbk = refused("tts_text=%C4%E3".into());
        assert_eq!(gbk.detail(), "tts_text: must be text in UTF-8");
        assert_eq!(refused("%FF=1".into()).status().as_u16(), 400);
        let long = refused(format!("a={}", "x".repeat(limits::FORM_FIELD_BYTES + 1)));
        assert_eq!(long.status().as_u16(), 413);
        assert!(long.detail().starts_with("a: more than "), "{}", long.detail());
        let many: String = (0..=limits::FORM_FIELDS).map(|i| format!("f{i}=&")).collect();
        assert!(
            refused(many)
                .detail()
                .starts_with("body: more than 64 form fields")
        );
    }
}
