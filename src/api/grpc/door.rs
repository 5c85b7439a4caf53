//! What lies around every call, from the outside in: request id and access line, panics, then all that is asked before
//! a message is read: the client's deadline, the key, whether the server drains, and whether it has room.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header::CONTENT_TYPE},
    middleware::Next,
    response::{IntoResponse, Response},
};
use futures::FutureExt;
use http_body_util::BodyExt;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};
use tracing::Instrument;

use super::{deadline, probes, status};
use crate::{
    Error,
    api::{
        ApiState,
        access::{AccessLine, RequestId, X_REQUEST_ID},
        error::{ApiError, panic_text},
    },
    limits,
};

/// The method whose calls each speak.
const INFERENCE: &str = "/cosyvoice.CosyVoice/Inference";
/// The one whose calls speak now and then.
const LIVE: &str = "/cosyvoice.CosyVoice/Live";

/// Gives the call its id, writes the access line once the whole answer has gone out, and keeps what a panic said in the
/// log.
pub(super) async fn track(mut request: Request, next: Next) -> Response {
    let id = RequestId::of(request.headers());
    let span = tracing::info_span!("request", id = id.as_str());
    let mut line = AccessLine::new(&id, "gRPC", request.uri().path(), Code::Cancelled as u16);
    request.extensions_mut().insert(id.clone());
    let answered = AssertUnwindSafe(next.run(request)).catch_unwind();
    let answered = answered.instrument(span.clone()).await;
    let mut response = answered.unwrap_or_else(|cause| {
        let fault = Error::Internal(panic_text(&*cause));
        span.in_scope(|| status::refused(&fault, &id)).into_http()
    });
    if let Ok(value) = HeaderValue::from_str(id.as_str()) {
        response.headers_mut().insert(X_REQUEST_ID, value);
    }
    if let Some(code) = code(response.headers()) {
        line.end(code);
    }
    response.map(|body| {
        Body::new(body.map_frame(move |frame| {
            // Method calls, so that the closure owns the whole line and drops it with the body.
            line.count(frame.data_ref().map_or(0, |data| data.len() as u64));
            if let Some(code) = frame.trailers_ref().and_then(code) {
                line.end(code);
            }
            frame
        }))
    })
}

/// The code that ends a call, where these headers are its last.
fn code(headers: &HeaderMap) -> Option<u16> {
    headers.get(Status::GRPC_STATUS)?.to_str().ok()?.parse().ok()
}

/// Decides who comes in.
#[derive(Clone)]
pub(super) struct Door {
    state: ApiState,
    /// One permit for each call that speaks.
    calls: Arc<Semaphore>,
    /// One for each that is open and may speak now and then.
    live: Arc<Semaphore>,
}

impl Door {
    pub(super) fn new(state: &ApiState) -> Self {
        let concurrency = state.speaker().concurrency().min(Semaphore::MAX_PERMITS);
        Self {
            state: state.clone(),
            calls: Arc::new(Semaphore::new(concurrency)),
            live: Arc::new(Semaphore::new(limits::GRPC_LIVE_CALLS)),
        }
    }

    /// A place among those who speak.
    pub(super) fn place(&self) -> Result<OwnedSemaphorePermit, Status> {
        let most = self.state.speaker().concurrency();
        take(&self.calls, || format!("{most} calls are at work"))
    }

    fn check(&self, request: &Request, id: &RequestId) -> Result<Call, Status> {
        let path = request.uri().path();
        let deadline = deadline::of(request.headers())?;
        if let Some(key) = &self.state.options().api_key
            && !path.starts_with(probes::HEALTH)
        {
            let checked = key.check(request.headers());
            checked.map_err(|error| status::translated(&error, id))?;
        }
        if matches!(path, INFERENCE | LIVE) && self.state.is_draining() {
            return Err(status::translated(&ApiError::draining(), id));
        }
        let open = || format!("{} live calls are open", limits::GRPC_LIVE_CALLS);
        let place = match path {
            INFERENCE => Some(self.place()?),
            LIVE => Some(take(&self.live, open)?),
            _ => None,
        };
        Ok(Call {
            id: id.clone(),
            deadline,
            arrived: CancellationToken::new(),
            _place: place.map(Arc::new),
        })
    }
}

/// A place where there is one.
fn take(places: &Arc<Semaphore>, taken: impl FnOnce() -> String) -> Result<OwnedSemaphorePermit, Status> {
    let place = places.clone().try_acquire_owned();
    place.map_err(|_| {
        let taken = taken();
        Status::resource_exhausted(format!("{taken}, which is all there may be; try again later"))
    })
}

/// What the door knows of a call.
#[derive(Clone)]
pub(super) struct Call {
    /// Its id.
    pub id: RequestId,
    /// When its client stops waiting.
    pub deadline: Option<Instant>,
    /// Its message has been read.
    arrived: CancellationToken,
    /// Its place among those who speak, or who may, until the last clone of this is dropped.
    _place: Option<Arc<OwnedSemaphorePermit>>,
}

impl Call {
    /// The message of a call, and what the door said of it.
    ///
    /// # Errors
    /// INTERNAL when it did not come through the door.
    pub(super) fn of<T>(request: tonic::Request<T>) -> Result<(Self, T), Status> {
        let (_, mut extensions, message) = request.into_parts();
        let call: Self = extensions.remove().ok_or_else(|| Status::internal("no call"))?;
        call.arrived.cancel();
        Ok((call, message))
    }

    /// One that came through no door.
    #[cfg(test)]
    pub(super) fn lone() -> Self {
        Self {
            id: RequestId::of(&HeaderMap::new()),
            deadline: None,
            arrived: CancellationToken::new(),
            _place: None,
        }
    }

    /// Waits for what ends a call before it is answered: its deadline, or a message that does not come.
    async fn overdue(deadline: Option<Instant>, arrived: CancellationToken, patience: Duration) -> Status {
        let silent = async {
            if timeout(patience, arrived.cancelled()).await.is_ok() {
                std::future::pending().await
            }
        };
        tokio::select! {
            () = deadline::passed(deadline) => status::late(),
            () = silent => Status::deadline_exceeded(format!(
                "the call's message did not arrive within {} s",
                patience.as_secs()
            )),
        }
    }
}

/// Lets a call in, or refuses it; once it is in, it is answered before its deadline.
pub(super) async fn admit(State(door): State<Door>, mut request: Request, next: Next) -> Response {
    let content = request.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    if !content.is_some_and(|content| content.starts_with(b"application/grpc")) {
        return StatusCode::UNSUPPORTED_MEDIA_TYPE.into_response();
    }
    let id = request.extensions().get::<RequestId>().cloned();
    let id = id.unwrap_or_else(|| RequestId::of(request.headers()));
    let call = match door.check(&request, &id) {
        Ok(call) => call,
        Err(status) => return status.into_http(),
    };
    let (deadline, arrived) = (call.deadline, call.arrived.clone());
    request.extensions_mut().insert(call);
    let overdue = Call::overdue(deadline, arrived.clone(), limits::GRPC_MESSAGE_TIME);
    let response = tokio::select! {
        response = next.run(request) => response,
        status = overdue => return status.into_http(),
    };
    match arrived.is_cancelled() {
        true => response,
        false => unread(response),
    }
}

/// An answer that was given without the handler: it is about the message.
fn unread(response: Response) -> Response {
    match response.extensions().get::<Status>() {
        Some(status) => status::unread(status).into_http(),
        None => response,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_message_that_does_not_come_ends_the_call() {
        let arrived = CancellationToken::new();
        let soon = Duration::from_millis(20);
        let status = Call::overdue(None, arrived.clone(), soon).await;
        assert_eq!(status.code(), Code::DeadlineExceeded);
        assert!(status.message().contains("did not arrive"), "{status}");
        arrived.cancel();
        let waiting = Call::overdue(None, arrived.clone(), soon);
        assert!(timeout(Duration::from_millis(100), waiting).await.is_err());
        let late = Call::overdue(Some(Instant::now() + soon), arrived, soon).await;
        assert_eq!(late.message(), status::late().message());
    }
}
