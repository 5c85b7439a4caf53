//! How long a connection is kept.

use std::time::Duration;

use axum::extract::ws::close_code;
use tokio::time::Instant;

use crate::limits;

/// How long a connection on which nothing is being spoken is kept.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Time between two pings to the client.
    pub ping: Duration,
    /// Longest time without a sign of life.
    pub silence: Duration,
    /// Longest time without a message.
    pub idle: Duration,
    /// Age of the connection.
    pub session: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            ping: limits::WS_PING,
            silence: limits::WS_SILENCE,
            idle: limits::WS_IDLE,
            session: limits::WS_SESSION,
        }
    }
}

impl Patience {
    /// When a connection on which nothing is being spoken ends, with which code, and why.
    pub fn ends(&self, opened: Instant, heard: Instant, active: Instant) -> (Instant, u16, String) {
        let ends = [
            (heard + self.silence, close_code::POLICY, "no pong", self.silence),
            (active + self.idle, close_code::NORMAL, "no message", self.idle),
            (opened + self.session, close_code::NORMAL, "open", self.session),
        ];
        let [first, others @ ..] = ends;
        let (at, code, what, limit) = others
            .into_iter()
            .fold(first, |one, other| if other.0 < one.0 { other } else { one });
        (at, code, format!("{what} for {} s", limit.as_secs()))
    }
}
