//! Who gets in: handshakes, the key, origins, room.

use super::*;
use crate::{api::ApiKey, limits};

/// A handshake as browsers send it. Behind this router there is no connection to upgrade, so one that is let in gets 426.
fn handshake(query: &str, headers: &[(&str, &str)]) -> Request<Body> {
    let mut builder = Request::get(format!("/ws/tts{query}"))
        .header("host", "here:5000")
        .header("connection", "upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(Body::empty()).unwrap()
}

#[tokio::test]
async fn what_is_no_handshake_is_told_so() {
    let (app, _) = app();
    let answer = get(&app, "/ws/tts").await;
    answer.refused(426, "");
    assert_eq!(answer.header("upgrade"), "websocket");
    post(&app, "/ws/tts", json!({})).await.refused(405, "");
}

#[tokio::test]
async fn a_wrong_query_is_refused_before_the_connection() {
    let (app, _) = app();
    for (query, detail) in [
        ("?speed=9", "speed: must be between 0.5 and 2"),
        ("?seed=x", "seed: "),
        ("?format=midi", "format: must be mp3, "),
        ("?mode=sing", "mode: must be one of"),
        ("?ahead=1000", "ahead: must be between"),
    ] {
        send(&app, handshake(query, &[])).await.refused(400, detail);
    }
    send(&app, handshake("?format=wav&x=y", &[]))
        .await
        .refused(426, "");
}

#[tokio::test]
async fn the_key_comes_in_a_header_or_in_the_query() {
    let options = ApiOptions {
        api_key: Some(ApiKey::new("hunter2")),
        ..ApiOptions::default()
    };
    let (app, _) = app_with(options.clone());
    for query in ["", "?api_key=hunter3", "?api_key="] {
        let answer = send(&app, handshake(query, &[])).await;
        answer.refused(401, "an API key is required");
    }
    let header = ("authorization", "Bearer hunter2");
    send(&app, handshake("", &[header])).await.refused(426, "");
    send(&app, handshake("?api_key=hunter2", &[]))
        .await
        .refused(426, "");

    let (app, _) = app_with(options);
    let address = serve(app).await;
    let mut client = Client::open(&address, "?api_key=hunter2").await;
    assert_eq!(spoken(&mut client, voice(), &["hello"]).await.2["type"], "done");
    // The key alone is no utterance.
    client.text("hello").await;
    assert_eq!(client.answer().await["status"], 400);
}

#[tokio::test]
async fn pages_of_other_origins_are_refused_where_origins_are_restricted() {
    let options = ApiOptions {
        cors_origins: vec!["https://good".parse().unwrap()],
        ..ApiOptions::default()
    };
    let (app, _) = app_with(options);
    for (origin, status) in [
        ("https://good", 426),
        ("http://here:5000", 426),
        ("https://bad", 403),
        ("null", 403),
    ] {
        let answer = send(&app, handshake("", &[("origin", origin)])).await;
        answer.refused(status, "");
    }
    send(&app, handshake("", &[])).await.refused(426, "");
    let (app, _) = super::super::app();
    let answer = send(&app, handshake("", &[("origin", "https://bad")])).await;
    answer.refused(426, "");
}

#[tokio::test]
async fn connections_are_counted() {
    let fake = Arc::new(Fake::default());
    let state = ApiState::new(fake, ApiOptions::default());
    let address = serve(router(state.clone())).await;
    let others = u32::try_from(limits::WS_CONNECTIONS - 1).unwrap();
    let held = state.sockets().try_acquire_many(others).unwrap();
    let client = Client::open(&address, "").await;
    let refused = tokio_tungstenite::connect_async(format!("ws://{address}/ws/tts")).await;
    let Err(tokio_tungstenite::tungstenite::Error::Http(answer)) = refused else {
        panic!("one more was let in")
    };
    assert_eq!(answer.status(), 503);
    assert!(answer.headers().contains_key("retry-after"));
    drop(client);
    eventually(|| state.sockets().available_permits() == 1).await;
    drop(held);
    Client::open(&address, "").await;
}

#[tokio::test]
async fn nobody_gets_in_while_draining() {
    let fake = Arc::new(Fake::default());
    let state = ApiState::new(fake, ApiOptions::default());
    state.start_draining();
    let answer = send(&router(state), handshake("", &[])).await;
    answer.refused(503, "the server is shutting down");
}
