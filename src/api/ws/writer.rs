//! The sending half of a connection: answers in their order, and the audio of the utterance that is being spoken.

use axum::extract::ws::{CloseFrame, Message, WebSocket};
use bytes::Bytes;
use futures::{SinkExt, stream::SplitSink};
use tokio::{
    sync::{mpsc, watch},
    time::{Duration, Instant, MissedTickBehavior, interval_at},
};

use super::message::ServerMessage;
use crate::api::{
    error::ApiError,
    http::layers::HeldLine,
    live::{LiveEvent, LiveEvents},
};

/// What the reading half wants sent. Orders go before audio, so that a cancel waits for one message at most.
pub enum Order {
    /// An answer.
    Say(ServerMessage),
    /// The audio of an utterance; the one before has ended or was cancelled.
    Speak(Box<Speaking>),
    /// No more of the utterance there is, and an answer that says so.
    Cancelled(Option<String>),
    /// The end of the connection: code and reason.
    Close(u16, String),
}

/// An utterance.
pub struct Speaking {
    /// Counted from one on a connection.
    pub number: u64,
    /// Its id.
    pub id: String,
    /// The name of its format.
    pub format: &'static str,
    /// The media type of its audio.
    pub content_type: &'static str,
    /// What comes of it.
    pub events: LiveEvents,
}

/// The last utterance that ended by itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ended {
    /// Its number, 0 for none.
    pub number: u64,
    /// It ended early.
    pub failed: bool,
}

/// Sends until told to close, or until the client takes nothing any more.
pub struct Writer {
    /// The connection.
    pub sink: SplitSink<WebSocket, Message>,
    /// Told just before the client is.
    pub ended: watch::Sender<Ended>,
    /// Counts what is sent.
    pub line: HeldLine,
    /// The connection's id.
    pub connection: String,
    /// Time between pings.
    pub ping: Duration,
}

/// Why nothing more is sent.
struct Closed;

impl Writer {
    /// Obeys orders to their end.
    pub async fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        let mut current = None;
        let mut pings = interval_at(Instant::now() + self.ping, self.ping);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let sent = tokio::select! {
                biased;
                order = orders.recv() => match order {
                    Some(order) => self.obey(order, &mut current).await,
                    None => return,
                },
                event = next(&mut current) => self.tell(event, &mut current).await,
                _ = pings.tick() => self.send(Message::Ping(Bytes::new())).await,
            };
            if sent.is_err() {
                return;
            }
        }
    }

    async fn obey(&mut self, order: Order, current: &mut Option<Box<Speaking>>) -> Result<(), Closed> {
        match order {
            Order::Say(message) => self.send(message.to_message()).await,
            Order::Speak(speaking) => {
                *current = Some(speaking);
                Ok(())
            }
            Order::Cancelled(id) => {
                *current = None;
                self.send(ServerMessage::Cancelled { id }.to_message()).await
            }
            Order::Close(code, reason) => {
                let reason = reason.into();
                self.send(Message::Close(Some(CloseFrame { code, reason })))
                    .await?;
                Err(Closed)
            }
        }
    }

    /// Tells what came of the utterance; `None` forgets one that has nothing more to say.
    async fn tell(
        &mut self,
        event: Option<LiveEvent>,
        current: &mut Option<Box<Speaking>>,
    ) -> Result<(), Closed> {
        let message = match (event, current.as_ref()) {
            (Some(LiveEvent::Audio(bytes)), _) => return self.send(Message::Binary(bytes)).await,
            (Some(LiveEvent::Started { sample_rate, seed }), Some(speaking)) => {
                let started = ServerMessage::Started {
                    id: speaking.id.clone(),
                    format: speaking.format,
                    content_type: speaking.content_type,
                    sample_rate,
                    channels: 1,
                    seed,
                };
                return self.send(started.to_message()).await;
            }
            (Some(LiveEvent::Done { seconds }), Some(speaking)) => ServerMessage::Done {
                id: speaking.id.clone(),
                seconds,
            },
            (Some(LiveEvent::Failed(error)), Some(speaking)) => {
                let error = ApiError::from(error);
                ServerMessage::error(Some(speaking.id.clone()), &self.connection, &error)
            }
            // The order that says so to the client follows.
            (Some(LiveEvent::Cancelled) | None, _) | (_, None) => {
                *current = None;
                return Ok(());
            }
        };
        if let Some(speaking) = current.take() {
            self.ended.send_replace(Ended {
                number: speaking.number,
                failed: matches!(message, ServerMessage::Error { .. }),
            });
        }
        self.send(message.to_message()).await
    }

    async fn send(&mut self, message: Message) -> Result<(), Closed> {
        let bytes = match &message {
            Message::Text(text) => text.len(),
            Message::Binary(bytes) => bytes.len(),
            _ => 0,
        };
        self.sink.send(message).await.map_err(|_| Closed)?;
        self.line.count(bytes);
        Ok(())
    }
}

/// What comes next of the utterance; nothing while there is none.
async fn next(current: &mut Option<Box<Speaking>>) -> Option<LiveEvent> {
    match current {
        Some(speaking) => speaking.events.next().await,
        None => std::future::pending().await,
    }
}
