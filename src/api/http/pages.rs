//! Pages for browsers: they load nothing from other hosts and run no script but their own.

use std::borrow::Cow;

use axum::{
    body::Body,
    http::{
        HeaderValue,
        header::{
            CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
        },
    },
    response::{IntoResponse, Response},
};

/// A page or a part of it, with what it may do as a content security policy.
pub fn file(content_type: &str, content: impl Into<Cow<'static, [u8]>>, policy: &'static str) -> Response {
    let content: Cow<'static, [u8]> = content.into();
    let body = match content {
        Cow::Borrowed(bytes) => Body::from(bytes),
        Cow::Owned(bytes) => Body::from(bytes),
    };
    let mut response = body.into_response();
    let headers = response.headers_mut();
    let kind = HeaderValue::from_str(content_type);
    headers.insert(
        CONTENT_TYPE,
        kind.unwrap_or(HeaderValue::from_static("application/octet-stream")),
    );
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    // Another version of the server may answer the next time.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}
