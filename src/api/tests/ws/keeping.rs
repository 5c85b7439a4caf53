//! How long a connection is kept.

use axum::{
    extract::{State, WebSocketUpgrade, ws::rejection::WebSocketUpgradeRejection},
    http::Uri,
    routing,
};

use super::{client::Heard, *};
use crate::api::{
    http::layers::RequestId,
    ws::{self, Patience},
};

const NEVER: Duration = Duration::from_secs(3600);
const FOR_EVER: Patience = Patience {
    ping: NEVER,
    silence: NEVER,
    idle: NEVER,
    session: NEVER,
};

/// A server with so much patience.
async fn patient(patience: Patience) -> (String, Arc<Fake>, ApiState) {
    let fake = Arc::new(Fake::default());
    let state = ApiState::new(fake.clone(), ApiOptions::default());
    let open = move |State(state): State<ApiState>,
                     id: RequestId,
                     uri: Uri,
                     headers: HeaderMap,
                     upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>| async move {
        ws::open(&state, id, &uri, &headers, upgrade, patience)
    };
    let app = Router::new().route("/ws/tts", routing::get(open));
    (serve(app.with_state(state.clone())).await, fake, state)
}

#[tokio::test]
async fn a_client_is_pinged() {
    let ping = Duration::from_millis(50);
    let (address, ..) = patient(Patience { ping, ..FOR_EVER }).await;
    let mut client = Client::open(&address, "").await;
    for _ in 0..3 {
        assert!(matches!(client.hear().await, Heard::Ping));
    }
}

/// Guarantees that a client that shows no life is given up, and one that answers pings is not.
#[tokio::test]
async fn a_silent_client_is_given_up() {
    let patience = Patience {
        ping: Duration::from_millis(100),
        silence: Duration::from_secs(2),
        ..FOR_EVER
    };
    let (address, ..) = patient(patience).await;
    let mut silent = Client::open(&address, "").await;
    let mut alive = Client::open(&address, "").await;
    let until = tokio::time::Instant::now() + Duration::from_secs(5);
    while tokio::time::Instant::now() < until {
        // Reading answers the pings.
        assert!(matches!(alive.hear().await, Heard::Ping));
    }
    let (code, reason) = silent.closed().await;
    assert_eq!((code, reason.as_str()), (1008, "no pong for 2 s"));
}

/// Guarantees that a client that wants nothing is let go, pongs or not, and that a ping message keeps the connection.
#[tokio::test]
async fn an_idle_client_is_let_go() {
    let patience = Patience {
        ping: Duration::from_millis(100),
        idle: Duration::from_secs(2),
        ..FOR_EVER
    };
    let (address, ..) = patient(patience).await;
    let mut idle = Client::open(&address, "").await;
    let mut busy = Client::open(&address, "").await;
    let started = tokio::time::Instant::now();
    let keeping = async {
        while started.elapsed() < Duration::from_secs(4) {
            busy.just("ping").await;
            assert_eq!(busy.answer().await["type"], "pong");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let ((code, reason), ()) = tokio::join!(idle.closed(), keeping);
    assert_eq!((code, reason.as_str()), (1000, "no message for 2 s"));
}

/// Guarantees that none of these bounds ends an utterance, only what comes after it.
#[tokio::test]
async fn whoever_is_spoken_to_is_kept() {
    let soon = Duration::from_millis(200);
    let patience = Patience {
        silence: soon,
        idle: soon,
        session: soon,
        ..FOR_EVER
    };
    let (address, ..) = patient(patience).await;
    let mut client = Client::open(&address, "").await;
    client.start(voice()).await;
    tokio::time::sleep(4 * soon).await;
    assert_eq!(client.answer().await["type"], "started");
    client.text("hello").await;
    tokio::time::sleep(4 * soon).await;
    client.just("end").await;
    let (audio, done) = client.listen().await;
    assert!(!audio.is_empty() && done["type"] == "done");
    assert_eq!(client.closed().await.0, 1000);
}

#[tokio::test]
async fn draining_lets_utterances_end_and_closes_the_rest() {
    let (address, fake, state) = patient(FOR_EVER).await;
    let mut idle = Client::open(&address, "").await;
    let mut busy = Client::open(&address, "").await;
    busy.start(voice()).await;
    assert_eq!(busy.answer().await["type"], "started");
    state.start_draining();
    let (code, reason) = idle.closed().await;
    assert_eq!((code, reason.as_str()), (1001, "the server is shutting down"));
    // Answers the close.
    assert!(matches!(idle.hear().await, Heard::Gone));
    let gone = tokio::time::timeout(Duration::from_millis(200), state.sockets_closed());
    assert!(gone.await.is_err(), "one is still being spoken to");
    busy.text("hello").await;
    busy.just("end").await;
    let (audio, done) = busy.listen().await;
    assert!(!audio.is_empty() && done["type"] == "done");
    assert_eq!(busy.closed().await.0, 1001);
    assert!(matches!(busy.hear().await, Heard::Gone));
    tokio::time::timeout(LONG, state.sockets_closed()).await.unwrap();
    assert_eq!(fake.dropped.load(Ordering::SeqCst), 0);
}
