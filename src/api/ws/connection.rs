//! One connection: utterances one after the other, and how long it is kept.
//!
//! It has two halves that wait for each other only where messages must keep their order: this one reads, hands text to
//! the utterance's session and orders answers; the [`Writer`] sends.

use std::pin::pin;

use axum::{
    extract::ws::{Message, Utf8Bytes, WebSocket, close_code},
    http::StatusCode,
};
use futures::{StreamExt, stream::SplitStream};
use serde_json::{Map, Value};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep_until, timeout},
};

use super::{
    message::{ClientMessage, ServerMessage},
    patience::Patience,
    start::Start,
    writer::{Ended, Order, Speaking, Writer},
};
use crate::{
    Error, Result,
    api::{
        ApiState,
        error::ApiError,
        http::layers::{HeldLine, RequestId},
        live::{self, LiveInput},
    },
    limits,
};

/// A connection that is about to open.
pub struct Connection {
    /// What handlers share.
    pub state: ApiState,
    /// Its id; those of its utterances begin with it.
    pub id: RequestId,
    /// What its query says: defaults of every `start`.
    pub query: Map<String, Value>,
    /// Its access line.
    pub line: HeldLine,
    /// How long it is kept.
    pub patience: Patience,
}

impl Connection {
    /// Serves it to its end. Dropped, or left by the client, it cancels what is being spoken.
    pub async fn run(self, socket: WebSocket) {
        let (sink, source) = socket.split();
        let (orders, queue) = mpsc::channel(limits::WS_REPLIES);
        let (ended, ends) = watch::channel(Ended::default());
        let writer = Writer {
            sink,
            ended,
            line: self.line,
            connection: self.id.as_str().to_owned(),
            ping: self.patience.ping,
        };
        let reader = Reader {
            state: self.state,
            id: self.id,
            query: self.query,
            patience: self.patience,
            orders,
            ends,
            begun: 0,
            turn: Turn::Fresh,
        };
        let mut reading = pin!(reader.run(source));
        tokio::select! {
            () = &mut reading => {}
            () = writer.run(queue) => {
                // The client's own close follows, unless it is gone.
                let _ = timeout(limits::WS_CLOSING, reading).await;
            }
        }
    }
}

/// Where the conversation is.
enum Turn {
    /// Nothing is being spoken, and text begins the next utterance.
    Fresh,
    /// Nothing is being spoken, and text until the next `start` belongs to what was cancelled or failed.
    Stale,
    /// An utterance is being spoken.
    Speaking {
        number: u64,
        id: String,
        input: LiveInput,
    },
}

/// The reading half.
struct Reader {
    state: ApiState,
    id: RequestId,
    query: Map<String, Value>,
    patience: Patience,
    orders: mpsc::Sender<Order>,
    ends: watch::Receiver<Ended>,
    begun: u64,
    turn: Turn,
}

impl Reader {
    async fn run(mut self, mut source: SplitStream<WebSocket>) {
        let opened = Instant::now();
        let (mut heard, mut active) = (opened, opened);
        loop {
            if self.settle() {
                (heard, active) = (Instant::now(), Instant::now());
            }
            let idle = !matches!(self.turn, Turn::Speaking { .. });
            let (until, code, reason) = self.patience.ends(opened, heard, active);
            tokio::select! {
                message = source.next() => {
                    heard = Instant::now();
                    match message {
                        None => return,
                        Some(Err(error)) => return self.give_up(&error).await,
                        Some(Ok(Message::Text(json))) => {
                            active = heard;
                            self.take(json).await;
                            heard = Instant::now();
                        }
                        Some(Ok(Message::Binary(_))) => {
                            let error = ApiError::field("message", "must be text; binary messages are audio, and the server's");
                            self.complain(&error).await;
                        }
                        Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Close(_))) => {}
                    }
                }
                _ = self.ends.changed() => {}
                () = self.state.draining(), if idle => {
                    return self.close(source, close_code::AWAY, "the server is shutting down".into()).await;
                }
                () = sleep_until(until), if idle => return self.close(source, code, reason).await,
            }
        }
    }

    /// Notices that the utterance has ended; says whether it has.
    fn settle(&mut self) -> bool {
        let ended = *self.ends.borrow_and_update();
        match self.turn {
            Turn::Speaking { number, .. } if number == ended.number => {
                self.turn = if ended.failed { Turn::Stale } else { Turn::Fresh };
                true
            }
            _ => false,
        }
    }

    /// Does what a message asks for, or says what is wrong with it.
    async fn take(&mut self, json: Utf8Bytes) {
        let taken = match ClientMessage::read(json).await {
            Ok(message) => self.follow(message).await,
            Err(error) => Err(error),
        };
        if let Err(error) = taken {
            self.complain(&error).await;
        }
    }

    async fn follow(&mut self, message: ClientMessage) -> Result<(), ApiError> {
        self.settle();
        match message {
            ClientMessage::Ping => self.order(Order::Say(ServerMessage::Pong)).await,
            ClientMessage::Start(fields) => return self.start(fields).await,
            ClientMessage::Text(text) => return self.text(text).await,
            ClientMessage::Flush => {
                if let Turn::Speaking { input, .. } = &self.turn {
                    return over_is_fine(input.flush().await);
                }
            }
            ClientMessage::End => {
                if let Turn::Speaking { input, .. } = &mut self.turn {
                    input.end();
                }
            }
            ClientMessage::Cancel => {
                let stopped = match std::mem::replace(&mut self.turn, Turn::Stale) {
                    Turn::Speaking { id, input, .. } => {
                        input.cancel();
                        Some(id)
                    }
                    Turn::Fresh | Turn::Stale => None,
                };
                self.order(Order::Cancelled(stopped)).await;
            }
        }
        Ok(())
    }

    async fn text(&mut self, text: String) -> Result<(), ApiError> {
        if matches!(self.turn, Turn::Fresh) {
            if self.query.is_empty() {
                let what = "nothing has begun: send start first, or name a voice in the query";
                return Err(ApiError::field("text", what));
            }
            self.start(Map::new()).await?;
        }
        match &self.turn {
            Turn::Speaking { input, .. } => over_is_fine(input.text(text).await),
            Turn::Fresh | Turn::Stale => Ok(()),
        }
    }

    async fn start(&mut self, fields: Map<String, Value>) -> Result<(), ApiError> {
        if matches!(self.turn, Turn::Speaking { .. }) {
            let text = "start: an utterance is being spoken; cancel it first, or wait until it is done";
            return Err(ApiError::new(StatusCode::CONFLICT, text));
        }
        let mut all = self.query.clone();
        all.extend(fields);
        let utterance = Start::utterance(all)?;
        let (audio, format) = (utterance.audio, utterance.format);
        self.begun += 1;
        let (number, id) = (self.begun, format!("{}.{}", self.id.as_str(), self.begun));
        let request = utterance.request(self.state.clone(), id.clone());
        let (input, events) = live::begin(&self.state, request, audio);
        let speaking = Speaking {
            number,
            id: id.clone(),
            format,
            content_type: audio.format.content_type(),
            events,
        };
        self.order(Order::Speak(Box::new(speaking))).await;
        self.turn = Turn::Speaking { number, id, input };
        Ok(())
    }

    async fn complain(&self, error: &ApiError) {
        let message = ServerMessage::error(None, self.id.as_str(), error);
        self.order(Order::Say(message)).await;
    }

    async fn order(&self, order: Order) {
        // Without a writer the connection is about to end.
        let _ = self.orders.send(order).await;
    }

    /// Closes the connection and waits for the client to agree.
    async fn close(self, mut source: SplitStream<WebSocket>, code: u16, reason: String) {
        self.order(Order::Close(code, reason)).await;
        while let Some(Ok(_)) = source.next().await {}
    }

    /// Closes a connection that cannot be read any more.
    async fn give_up(self, error: &axum::Error) {
        let text = error.to_string();
        // The implementation's own type is not to be had here.
        let (code, reason) = match text.contains("too long") {
            true => (
                close_code::SIZE,
                format!("message: more than {} bytes", limits::WS_MESSAGE_BYTES),
            ),
            false => (close_code::PROTOCOL, text.chars().take(100).collect()),
        };
        self.order(Order::Close(code, reason)).await;
        self.orders.closed().await;
    }
}

/// An utterance that is over takes nothing; the client is told why by its last message.
fn over_is_fine(sent: Result<()>) -> Result<(), ApiError> {
    match sent {
        Err(Error::Cancelled) => Ok(()),
        other => Ok(other?),
    }
}
