//! `/ws/tts`: text in as it is written, speech out as it is made. `openapi/ws.md` describes the protocol.

mod connection;
mod message;
mod patience;
mod start;
mod writer;

use axum::{
    extract::{
        Query, State,
        ws::{WebSocketUpgrade, rejection::WebSocketUpgradeRejection},
    },
    http::{
        HeaderMap, HeaderValue, StatusCode, Uri,
        header::{HOST, ORIGIN, UPGRADE},
    },
    response::{IntoResponse, Response},
};
use serde_json::{Map, Value};
use tracing::Instrument;

pub use self::patience::Patience;
use self::{connection::Connection, start::Start};
use crate::{
    api::{
        ApiOptions, ApiState,
        error::{ApiError, ErrorBody},
        http::layers::{HeldLine, RequestId},
    },
    limits,
};

/// The query's parameter for the API key.
const API_KEY: &str = "api_key";

/// Live speech over WebSocket: JSON messages and binary audio, described in `openapi/ws.md`. Parameters of the query are
/// those of a `start` message, and the defaults of every one.
#[utoipa::path(
    get, path = "/ws/tts", tag = "speech",
    params(
        ("spk_id" = Option<String>, Query, description = "Voice id, built in or cloned; with it, text may come without a start message"),
        ("instruct_text" = Option<String>, Query, description = "How to speak"),
        ("format" = Option<String>, Query, description = "pcm (default), mp3, opus, flac or wav"),
        ("speed" = Option<f64>, Query, description = "0.5 to 2, default 1"),
        ("seed" = Option<u64>, Query, description = "0, the default, draws one"),
        ("ahead" = Option<f64>, Query, description = "Most seconds of audio sent before they are played, 0.1 to 60"),
        ("api_key" = Option<String>, Query, description = "The API key, for browsers, which cannot send it as a header"),
    ),
    responses(
        (status = 101, description = "The connection is a WebSocket from now on"),
        (status = 400, description = "A parameter is out of range", body = ErrorBody),
        (status = 401, description = "The API key is missing or wrong", body = ErrorBody),
        (status = 403, description = "Pages of this origin may not call", body = ErrorBody),
        (status = 426, description = "No WebSocket handshake", body = ErrorBody),
        (status = 503, description = "Too many connections, or shutting down", body = ErrorBody),
    )
)]
pub async fn connect(
    State(state): State<ApiState>,
    id: RequestId,
    uri: Uri,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    open(&state, id, &uri, &headers, upgrade, Patience::default()).unwrap_or_else(refuse)
}

/// The answer to a handshake; the connection lives on with so much patience.
pub(crate) fn open(
    state: &ApiState,
    id: RequestId,
    uri: &Uri,
    headers: &HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
    patience: Patience,
) -> Result<Response, ApiError> {
    let mut query = query(uri)?;
    let key = query.remove(API_KEY);
    authorise(state.options(), headers, key.as_ref().and_then(Value::as_str))?;
    check_origin(state.options(), headers)?;
    if state.is_draining() {
        return Err(ApiError::draining());
    }
    Start::check(&query)?;
    let wanted = |rejection: WebSocketUpgradeRejection| {
        ApiError::new(StatusCode::UPGRADE_REQUIRED, rejection.body_text())
    };
    let upgrade = upgrade.map_err(wanted)?;
    let full = |_| {
        let text = format!("{} WebSockets are open; try again later", limits::WS_CONNECTIONS);
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, text)
    };
    let place = state.sockets().clone().try_acquire_owned().map_err(full)?;
    let line = HeldLine::default();
    let connection = Connection {
        state: state.clone(),
        id,
        query,
        line: line.clone(),
        patience,
    };
    let (span, holds) = (tracing::Span::current(), (line.clone(), place));
    let mut response = upgrade
        .max_message_size(limits::WS_MESSAGE_BYTES)
        .max_frame_size(limits::WS_MESSAGE_BYTES)
        .on_upgrade(|socket| async move {
            connection.run(socket).instrument(span).await;
            drop(holds);
        });
    response.extensions_mut().insert(line);
    Ok(response)
}

fn refuse(error: ApiError) -> Response {
    let no_handshake = error.status() == StatusCode::UPGRADE_REQUIRED;
    let mut response = error.into_response();
    if no_handshake {
        response
            .headers_mut()
            .insert(UPGRADE, HeaderValue::from_static("websocket"));
    }
    response
}

/// The query's parameters; of several with one name, the last.
fn query(uri: &Uri) -> Result<Map<String, Value>, ApiError> {
    let pairs = Query::<Vec<(String, String)>>::try_from_uri(uri)
        .map_err(|rejection| ApiError::field("query", rejection.body_text()))?;
    Ok(pairs
        .0
        .into_iter()
        .map(|(name, value)| (name, Value::String(value)))
        .collect())
}

fn authorise(options: &ApiOptions, headers: &HeaderMap, in_query: Option<&str>) -> Result<(), ApiError> {
    match &options.api_key {
        Some(key) if !in_query.is_some_and(|sent| key.is(sent)) => key.check(headers),
        _ => Ok(()),
    }
}

/// Browsers let any page open a WebSocket, so a restriction of origins is the server's to enforce. The server's own pages
/// may, and so may whoever is no browser.
fn check_origin(options: &ApiOptions, headers: &HeaderMap) -> Result<(), ApiError> {
    let Some(origin) = headers.get(ORIGIN) else {
        return Ok(());
    };
    let own = || {
        let (_, authority) = origin.to_str().ok()?.split_once("://")?;
        Some(authority.eq_ignore_ascii_case(headers.get(HOST)?.to_str().ok()?))
    };
    if options.cors_origins.is_empty() || options.cors_origins.contains(origin) || own() == Some(true) {
        return Ok(());
    }
    Err(ApiError::new(
        StatusCode::FORBIDDEN,
        "Origin: pages of this origin may not call this server",
    ))
}
