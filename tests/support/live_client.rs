//! A client of `/ws/tts`, for unit tests and tests of the built server alike.
#![allow(dead_code, reason = "each user needs a part of it")]

use std::time::Duration;

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpSocket, TcpStream},
    time::timeout,
};
use tokio_tungstenite::{WebSocketStream, client_async, tungstenite::Message};

/// Longest wait for anything, so that a hang is a failure.
pub const LONG: Duration = Duration::from_secs(60);

/// What a server sends.
#[derive(Debug)]
pub enum Heard {
    Said(Value),
    Audio(Bytes),
    Ping,
    Pong,
    /// Code and reason.
    Closed(u16, String),
    /// The connection is no more.
    Gone,
}

pub struct Client<S = TcpStream> {
    pub socket: WebSocketStream<S>,
}

impl Client {
    /// Opens a connection; `query` is empty or begins with `?`.
    pub async fn open(address: &str, query: &str) -> Self {
        Self::over(TcpStream::connect(address).await.unwrap(), address, query).await
    }

    /// Likewise one whose end of the connection holds little.
    pub async fn open_narrow(address: &str, query: &str) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4_096).unwrap();
        let stream = socket.connect(address.parse().unwrap()).await.unwrap();
        Self::over(stream, address, query).await
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    pub async fn over(stream: S, address: &str, query: &str) -> Self {
        let url = format!("ws://{address}/ws/tts{query}");
        let (socket, answer) = client_async(url, stream).await.unwrap();
        assert_eq!(answer.status(), 101);
        Self { socket }
    }

    pub async fn say(&mut self, message: Value) {
        self.send(Message::text(message.to_string())).await;
    }

    pub async fn send(&mut self, message: Message) {
        timeout(LONG, self.socket.send(message)).await.unwrap().unwrap();
    }

    pub async fn start(&mut self, fields: Value) {
        let mut message = fields;
        message["type"] = "start".into();
        self.say(message).await;
    }

    pub async fn text(&mut self, text: &str) {
        self.say(json!({"type": "text", "text": text})).await;
    }

    /// A message that is only its type.
    pub async fn just(&mut self, kind: &str) {
        self.say(json!({"type": kind})).await;
    }

    /// Whatever comes next.
    pub async fn hear(&mut self) -> Heard {
        let heard = timeout(LONG, self.socket.next())
            .await
            .expect("nothing comes from the server");
        match heard {
            Some(Ok(Message::Text(text))) => Heard::Said(serde_json::from_str(&text).unwrap()),
            Some(Ok(Message::Binary(bytes))) => Heard::Audio(bytes),
            Some(Ok(Message::Ping(_))) => Heard::Ping,
            Some(Ok(Message::Pong(_))) => Heard::Pong,
            Some(Ok(Message::Close(frame))) => {
                let frame = frame.expect("a close says why");
                Heard::Closed(frame.code.into(), frame.reason.to_string())
            }
            Some(Ok(Message::Frame(_))) => unreachable!("only whole messages are read"),
            Some(Err(_)) | None => Heard::Gone,
        }
    }

    /// The audio up to the next message in words, and that message.
    pub async fn listen(&mut self) -> (Vec<u8>, Value) {
        let mut audio = Vec::new();
        loop {
            match self.hear().await {
                Heard::Audio(bytes) => audio.extend_from_slice(&bytes),
                Heard::Said(message) => return (audio, message),
                Heard::Ping | Heard::Pong => {}
                end => panic!("{end:?} after {} bytes of audio", audio.len()),
            }
        }
    }

    /// The next message, which is in words.
    pub async fn answer(&mut self) -> Value {
        let (audio, message) = self.listen().await;
        assert!(
            audio.is_empty(),
            "{} bytes of audio before {message}",
            audio.len()
        );
        message
    }

    /// How the server closes the connection; audio before is skipped.
    pub async fn closed(&mut self) -> (u16, String) {
        loop {
            match self.hear().await {
                Heard::Closed(code, reason) => return (code, reason),
                Heard::Audio(_) | Heard::Ping | Heard::Pong => {}
                other => panic!("{other:?} instead of a close"),
            }
        }
    }
}
