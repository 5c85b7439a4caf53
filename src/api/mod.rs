//! Wire protocols over the engine, a folder each: `http`, `grpc`, `ws`; what they share lies here.
//!
//! The api knows no model: it turns a wire request into a [`crate::engine::SpeechRequest`], hands it to a [`Speaker`],
//! and turns the samples that come back into a body. Nothing here blocks a thread: decoding, encoding and the parsing
//! of large bodies run on the blocking pool, each with a bound in [`crate::limits`].

pub mod access;
pub mod auth;
pub mod encoding;
pub mod error;
pub mod grpc;
pub mod http;
mod lax;
pub mod live;
pub mod preview;
pub mod prompt;
pub mod speaker;
pub mod wire;
pub mod ws;

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use self::preview::PreviewCache;
pub use self::{auth::ApiKey, error::ApiError, speaker::Speaker};
use crate::limits;

/// What an operator may choose about the api.
#[derive(Debug, Clone, Default)]
pub struct ApiOptions {
    /// Origins that browsers may call from; empty means any.
    pub cors_origins: Vec<axum::http::HeaderValue>,
    /// Key that clients must send; `None` leaves the api open.
    pub api_key: Option<ApiKey>,
}

/// What every handler shares. Cheap to clone.
#[derive(Clone)]
pub struct ApiState(Arc<Shared>);

struct Shared {
    speaker: Arc<dyn Speaker>,
    options: ApiOptions,
    draining: CancellationToken,
    loaded: SystemTime,
    decodes: Arc<Semaphore>,
    body_bytes: Arc<Semaphore>,
    sockets: Arc<Semaphore>,
    imports: Arc<Semaphore>,
    previews: PreviewCache,
}

impl ApiState {
    /// Over a speaker.
    pub fn new(speaker: Arc<dyn Speaker>, options: ApiOptions) -> Self {
        Self(Arc::new(Shared {
            speaker,
            options,
            draining: CancellationToken::new(),
            loaded: SystemTime::now(),
            decodes: Arc::new(Semaphore::new(limits::DECODES_AT_ONCE)),
            body_bytes: Arc::new(Semaphore::new(limits::BODY_BYTES_IN_FLIGHT)),
            sockets: Arc::new(Semaphore::new(limits::WS_CONNECTIONS)),
            imports: Arc::new(Semaphore::new(limits::IMPORTS_AT_ONCE)),
            previews: PreviewCache::default(),
        }))
    }

    /// The speaker.
    pub fn speaker(&self) -> &dyn Speaker {
        &*self.0.speaker
    }

    /// The operator's choices.
    pub fn options(&self) -> &ApiOptions {
        &self.0.options
    }

    /// When the speaker was there, seconds since 1970.
    pub fn loaded_at(&self) -> u64 {
        let since = self.0.loaded.duration_since(UNIX_EPOCH);
        since.map_or(0, |since| since.as_secs())
    }

    /// From now on new work is answered 503; running work goes on.
    pub fn start_draining(&self) {
        self.0.draining.cancel();
    }

    /// Whether new work is refused.
    pub fn is_draining(&self) -> bool {
        self.0.draining.is_cancelled()
    }

    /// Waits until new work is refused.
    pub async fn draining(&self) {
        self.0.draining.cancelled().await;
    }

    /// One permit per recording being decoded.
    pub(crate) fn decodes(&self) -> &Arc<Semaphore> {
        &self.0.decodes
    }

    /// One permit per byte of request body in memory.
    pub(crate) fn body_bytes(&self) -> &Arc<Semaphore> {
        &self.0.body_bytes
    }

    /// One permit per open WebSocket.
    pub(crate) fn sockets(&self) -> &Arc<Semaphore> {
        &self.0.sockets
    }

    /// Waits until no WebSocket is open. While draining, each is closed when it has spoken.
    pub async fn sockets_closed(&self) {
        let all = u32::try_from(limits::WS_CONNECTIONS).unwrap_or(u32::MAX);
        drop(self.0.sockets.acquire_many(all).await);
    }

    /// One permit per file of voices being read.
    pub(crate) fn imports(&self) -> &Arc<Semaphore> {
        &self.0.imports
    }

    /// Previews made so far.
    pub(crate) fn previews(&self) -> &PreviewCache {
        &self.0.previews
    }
}

#[cfg(test)]
pub(crate) mod tests;
