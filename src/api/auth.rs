//! The optional API key.

use axum::http::{HeaderMap, header};
use sha2::{Digest, Sha256};

use super::error::ApiError;

/// A key that clients must send. Only its digest is kept, so it shows in no log, and digests are compared, so the
/// time a comparison takes says nothing about the key.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey([u8; 32]);

impl std::fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ApiKey(..)")
    }
}

impl ApiKey {
    /// From the key itself.
    pub fn new(key: &str) -> Self {
        Self(Sha256::digest(key.as_bytes()).into())
    }

    /// Whether this is the key.
    pub fn is(&self, key: &str) -> bool {
        Self::new(key) == *self
    }

    /// Checks `Authorization: Bearer <key>` or `X-API-Key: <key>`.
    ///
    /// # Errors
    /// 401 when neither header holds the key.
    pub fn check(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        let bearer = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| {
                let (scheme, key) = value.split_once(' ')?;
                scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
            });
        let plain = headers.get("x-api-key").and_then(|value| value.to_str().ok());
        if [bearer, plain].into_iter().flatten().any(|key| self.is(key)) {
            return Ok(());
        }
        Err(ApiError::unauthorized())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        headers
    }

    #[test]
    fn either_header_opens() {
        let key = ApiKey::new("hunter2");
        assert!(key.check(&headers("authorization", "Bearer hunter2")).is_ok());
        assert!(key.check(&headers("authorization", "bearer  hunter2")).is_ok());
        assert!(key.check(&headers("x-api-key", "hunter2")).is_ok());
    }

    #[test]
    fn anything_else_is_401() {
        let key = ApiKey::new("hunter2");
        assert!(key.check(&HeaderMap::new()).is_err());
        assert!(key.check(&headers("authorization", "Basic hunter2")).is_err());
        assert!(key.check(&headers("authorization", "Bearer hunter")).is_err());
        assert!(key.check(&headers("x-api-key", "")).is_err());
        assert_eq!(format!("{key:?}"), "ApiKey(..)");
    }
}
