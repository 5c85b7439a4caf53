//! `/ws/tts` over a speaker that needs no model, through real sockets.

mod cancel;
mod door;
mod keeping;
mod protocol;

#[path = "../../../../tests/support/live_client.rs"]
pub(crate) mod client;

use std::{sync::atomic::Ordering, time::Duration};

use tokio::net::TcpListener;

use self::client::{Client, LONG};
use super::*;

/// The voice that the fake knows, as a query has it.
const VOICE: &str = "?spk_id=%E4%B8%AD%E6%96%87%E5%A5%B3";

/// Serves these routes; the address.
async fn serve(app: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    address
}

async fn server() -> (String, Arc<Fake>) {
    let (app, fake) = app();
    (serve(app).await, fake)
}

fn voice() -> Value {
    json!({"spk_id": "中文女"})
}

/// An utterance of these pieces, from its start to its last message.
async fn spoken(client: &mut Client, fields: Value, pieces: &[&str]) -> (Value, Vec<u8>, Value) {
    client.start(fields).await;
    for piece in pieces {
        client.text(piece).await;
    }
    client.just("end").await;
    let started = client.answer().await;
    let (audio, done) = client.listen().await;
    (started, audio, done)
}

async fn eventually(what: impl Fn() -> bool) {
    let happens = async {
        while !what() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LONG, happens)
        .await
        .expect("it does not happen");
}
