//! Real sockets over a speaker that needs no model: framing, clients that leave, draining.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::*;
use crate::api::tests::{
    fake::{CHUNK, CHUNKS, Fake},
    ws::client::{Client, Heard},
};

mod grpc;

struct Running {
    address: SocketAddr,
    state: ApiState,
    doors: Doors,
    fake: Arc<Fake>,
}

async fn start() -> Running {
    let fake = Arc::new(Fake::default());
    let state = ApiState::new(fake.clone(), ApiOptions::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, doors) = (listener.local_addr().unwrap(), Doors::new());
    let serves = Serves::Http(router(state.clone()));
    tokio::spawn(doors.clone().accept(listener, serves));
    Running {
        address,
        state,
        doors,
        fake,
    }
}

impl Running {
    async fn open(&self, path: &str, text: &str) -> TcpStream {
        let body = json!({"tts_text": text, "spk_id": "中文女", "seed": 5}).to_string();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all((head + &body).as_bytes()).await.unwrap();
        stream
    }

    /// The whole answer of a request, head and body apart; the connection is closed after it.
    async fn ask(&self, path: &str, text: &str) -> (String, Vec<u8>) {
        let mut stream = self.open(path, text).await;
        read_head_and(&mut stream, complete).await
    }

    async fn left(&self) -> bool {
        for _ in 0..200 {
            if self.fake.dropped.load(Ordering::SeqCst) > 0 {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        false
    }
}

fn complete(head: &str, body: &[u8]) -> bool {
    match head.split("content-length: ").nth(1) {
        Some(rest) => body.len() >= rest.split("\r\n").next().unwrap().parse().unwrap(),
        None => body.ends_with(b"0\r\n\r\n"),
    }
}

async fn read_head_and(stream: &mut TcpStream, enough: impl Fn(&str, &[u8]) -> bool) -> (String, Vec<u8>) {
    let (mut all, mut buf) = (Vec::new(), vec![0; 65_536]);
    loop {
        if let Some(end) = all.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&all[..end + 4]).to_lowercase();
            if enough(&head, &all[end + 4..]) {
                return (head, all[end + 4..].to_vec());
            }
        }
        let read = stream.read(&mut buf).await.unwrap();
        assert!(read > 0, "closed early: {}", String::from_utf8_lossy(&all));
        all.extend_from_slice(&buf[..read]);
    }
}

#[tokio::test]
async fn a_whole_answer_states_its_length() {
    let server = start().await;
    let (head, body) = server.ask("/tts", "hello").await;
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert!(
        head.contains(&format!("content-length: {}\r\n", body.len())),
        "{head}"
    );
    assert!(!head.contains("transfer-encoding"), "{head}");
}

#[tokio::test]
async fn a_streamed_answer_is_chunked() {
    let server = start().await;
    let (head, body) = server.ask("/tts/pcm", "hello").await;
    assert!(head.contains("transfer-encoding: chunked\r\n"), "{head}");
    assert!(!head.contains("content-length"), "{head}");
    assert!(body.len() > CHUNK * CHUNKS * 2);
}

#[tokio::test]
async fn a_client_that_closes_its_connection_stops_the_speech() {
    for path in ["/tts/pcm", "/tts"] {
        let server = start().await;
        let stream = server.open(path, "endless").await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(server.fake.requests.lock().len(), 1);
        drop(stream);
        assert!(server.left().await, "{path}: the speech went on");
    }
}

#[tokio::test]
async fn a_fault_in_the_middle_cuts_the_connection() {
    let server = start().await;
    let mut stream = server.open("/tts/pcm", "late fault").await;
    let mut all = Vec::new();
    // The end of the chunks never comes; the connection just ends.
    let _ = stream.read_to_end(&mut all).await;
    assert!(!all.ends_with(b"0\r\n\r\n"));
}

#[tokio::test]
async fn draining_waits_for_running_speech_and_refuses_new() {
    let server = start().await;
    let mut running = server.open("/tts/pcm", "endless").await;
    read_head_and(&mut running, |_, body| body.len() > CHUNK).await;
    server.state.start_draining();
    let (head, _) = server.ask("/tts", "hello").await;
    assert!(
        head.starts_with("http/1.1 503") && head.contains("retry-after: "),
        "{head}"
    );
    let closing = server.doors.close();
    let started = Instant::now();
    let client = async move {
        tokio::time::sleep(Duration::from_millis(200)).await;
        drop(running);
    };
    tokio::join!(closing, client);
    assert!(started.elapsed() >= Duration::from_millis(200));
    assert!(
        TcpStream::connect(server.address).await.is_err(),
        "closed to new connections"
    );
}

/// Guarantees that a connection that has become a WebSocket is waited for like any other.
#[tokio::test]
async fn draining_waits_for_a_websocket_that_speaks() {
    let server = start().await;
    let mut client = Client::open(&server.address.to_string(), "").await;
    client.start(json!({"spk_id": "中文女"})).await;
    assert_eq!(client.answer().await["type"], "started");
    let draining = drain(
        &server.state,
        std::slice::from_ref(&server.doors),
        std::future::pending(),
    );
    let speaking = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        client.text("hello").await;
        client.just("end").await;
        let (audio, done) = client.listen().await;
        assert_eq!((audio.len(), &done["type"]), (2 * CHUNK, &"done".into()));
        assert_eq!(client.closed().await.0, 1001);
        assert!(matches!(client.hear().await, Heard::Gone));
        Instant::now()
    };
    let ((), spoken) = tokio::join!(draining, speaking);
    assert!(spoken.elapsed() < Duration::from_secs(10));
    assert_eq!(server.fake.dropped.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn connections_are_kept_alive() {
    let server = start().await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    for _ in 0..3 {
        stream
            .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            .await
            .unwrap();
        let (head, _) = read_head_and(&mut stream, complete).await;
        assert!(head.starts_with("http/1.1 200"), "{head}");
    }
}

#[tokio::test]
async fn a_client_that_sends_too_much_gets_to_read_why() {
    let server = start().await;
    for (path, length, status) in [
        ("/tts", 30 << 20, "413"),
        ("/tts", 1 << 20, "400"),
        ("/nowhere", 8 << 20, "404"),
    ] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&vec![b'['; length]).await.unwrap();
        let (head, body) = read_head_and(&mut stream, complete).await;
        assert!(head.starts_with(&format!("http/1.1 {status}")), "{head}");
        assert!(body.starts_with(b"{\"detail\":"));
    }
}

#[tokio::test]
async fn a_client_that_asks_first_is_refused_at_once() {
    let server = start().await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let head = "POST /tts HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 99999999\r\n\
                Expect: 100-continue\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let started = Instant::now();
    let (head, _) = read_head_and(&mut stream, complete).await;
    assert!(head.starts_with("http/1.1 413"), "{head}");
    assert!(started.elapsed() < Duration::from_secs(2));
}
