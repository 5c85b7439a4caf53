//! The messages of `/ws/tts`, as JSON.

use axum::{
    extract::ws::{Message, Utf8Bytes},
    http::StatusCode,
};
use serde::Serialize;
use serde_json::{Map, Value};
use tokio::task::spawn_blocking;

use crate::{
    Error,
    api::error::{ApiError, fault_detail},
    limits,
};

/// What a client says.
#[derive(Debug)]
pub enum ClientMessage {
    /// Begins an utterance, with these fields.
    Start(Map<String, Value>),
    /// More of its text.
    Text(String),
    /// Speak what came so far to its end.
    Flush,
    /// No more text.
    End,
    /// Stop speaking.
    Cancel,
    /// Are you there?
    Ping,
}

impl ClientMessage {
    /// Reads a message.
    ///
    /// # Errors
    /// 400 naming what is wrong with it.
    pub async fn read(json: Utf8Bytes) -> Result<Self, ApiError> {
        if json.len() <= limits::PARSE_IN_PLACE_BYTES {
            return Self::parse(&json);
        }
        spawn_blocking(move || Self::parse(&json))
            .await
            .map_err(|error| Error::internal("parsing a message", error))?
    }

    fn parse(json: &str) -> Result<Self, ApiError> {
        let wrong = |error| ApiError::field("message", format!("must be a JSON object: {error}"));
        let mut fields: Map<String, Value> = serde_json::from_str(json).map_err(wrong)?;
        let kinds = || ApiError::field("type", "must be start, text, flush, end, cancel or ping");
        match fields.get("type").and_then(Value::as_str).ok_or_else(kinds)? {
            "start" => Ok(Self::Start(fields)),
            "text" => match fields.remove("text") {
                Some(Value::String(text)) => Ok(Self::Text(text)),
                _ => Err(ApiError::field("text", "must be a string")),
            },
            "flush" => Ok(Self::Flush),
            "end" => Ok(Self::End),
            "cancel" => Ok(Self::Cancel),
            "ping" => Ok(Self::Ping),
            _ => Err(kinds()),
        }
    }
}

/// What the server says.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ServerMessage {
    /// An utterance was admitted; its audio follows.
    Started {
        /// Its id, also in the server's log.
        id: String,
        /// Name of the format.
        format: &'static str,
        /// Media type of its audio.
        content_type: &'static str,
        /// Hertz.
        sample_rate: u32,
        /// Always one.
        channels: u16,
        /// What makes it reproducible.
        seed: u64,
    },
    /// All its text has been spoken and sent.
    Done {
        /// The utterance.
        id: String,
        /// Length of its audio.
        seconds: f64,
    },
    /// The answer to a cancel: no audio of an earlier utterance follows.
    Cancelled {
        /// The utterance that was stopped, if one was at work.
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<String>,
    },
    /// Something is wrong: with an utterance, which has ended, or with a message, which was left out.
    Error {
        /// The utterance.
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<String>,
        /// As over HTTP.
        status: u16,
        /// What, in which field, and which limit applies.
        detail: String,
    },
    /// The answer to a ping.
    Pong,
}

impl ServerMessage {
    /// An error of an utterance, or of a message on the connection of that id. The cause of a fault goes to the log.
    pub fn error(utterance: Option<String>, connection: &str, error: &ApiError) -> Self {
        let status = error.status();
        let detail = if status == StatusCode::INTERNAL_SERVER_ERROR {
            let id = utterance.as_deref().unwrap_or(connection);
            tracing::error!(id, cause = error.detail(), "request failed");
            fault_detail(id)
        } else {
            error.detail().to_owned()
        };
        Self::Error {
            id: utterance,
            status: status.as_u16(),
            detail,
        }
    }

    /// As it is sent.
    pub fn to_message(&self) -> Message {
        // Strings and numbers: this cannot fail.
        Message::text(serde_json::to_string(self).unwrap_or_default())
    }
}
