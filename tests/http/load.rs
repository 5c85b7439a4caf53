//! Many clients, impatient clients, and the end of the server.

use std::time::{Duration, Instant};

use futures::{StreamExt, future::join_all};

use crate::{
    client::{SENTENCE, STORY, client},
    server::{Server, shared},
};

#[tokio::test]
async fn requests_at_once_give_the_same_bytes_as_alone() {
    let shared = shared();
    let server = &shared.server;
    let mut alone = Vec::new();
    for seed in [21, 22, 23] {
        alone.push(
            server
                .post("/tts/pcm", server.sft(SENTENCE, seed).await)
                .await
                .ok()
                .body,
        );
    }
    let crowd = (0..9).map(|i| async move {
        let body = server.sft(SENTENCE, 21 + i % 3).await;
        server.post("/tts/pcm", body).await.ok().body
    });
    for (i, body) in join_all(crowd).await.into_iter().enumerate() {
        assert!(body == alone[i % 3], "request {i} differs under load");
    }
}

/// Asks until the server has room again.
async fn room_again(server: &Server, limit: Duration) -> Duration {
    let started = Instant::now();
    loop {
        let answer = server.post("/tts/pcm", server.sft(SENTENCE, 1).await).await;
        if answer.status == 200 {
            return started.elapsed();
        }
        assert_eq!(answer.status, 503);
        assert!(started.elapsed() < limit, "no room:\n{}", server.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_full_server_says_so_and_a_client_that_leaves_makes_room() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path(), &["--max-conc", "1", "--queue", "0"]);
    for path in ["/tts/pcm", "/tts"] {
        let body = server.sft(STORY, 5).await;
        let url = format!("{}{path}", server.base);
        // Streamed: left after the first audio. Whole: left while it waits.
        let listening = tokio::spawn(async move {
            let response = client().post(url).json(&body).send().await.unwrap();
            let mut chunks = response.bytes_stream();
            while chunks.next().await.is_some() {
                tokio::time::sleep(Duration::from_secs(60)).await;
            }
        });
        tokio::time::sleep(Duration::from_millis(300)).await;
        let refused = server.post("/tts", server.sft(SENTENCE, 1).await).await;
        assert_eq!(refused.status, 503, "{path}: the story is over already?");
        assert!(refused.header("retry-after").parse::<u32>().unwrap() >= 1);
        assert!(refused.json()["detail"].is_string());
        listening.abort();
        room_again(&server, Duration::from_secs(20)).await;
        assert!(server.log().contains("cancelled"), "{path}: {}", server.log());
    }
}

#[tokio::test]
async fn sigterm_lets_running_speech_end() {
    let data = tempfile::tempdir().unwrap();
    let mut server = Server::start(data.path(), &["--max-conc", "2"]);
    let body = server.sft(STORY, 5).await;
    let whole = server.post("/tts/pcm", body.clone()).await.ok().body;
    let response = server.open("/tts/pcm", &body).await;
    server.terminate();
    tokio::time::sleep(Duration::from_millis(200)).await;
    // The server may be gone by now only if the speech is complete.
    let late = client()
        .post(format!("{}/tts", server.base))
        .json(&server_free(&body))
        .send()
        .await;
    if let Ok(late) = late {
        assert_eq!(late.status(), 503);
        assert!(late.headers().contains_key("retry-after"));
    }
    let mut heard = Vec::new();
    let mut chunks = response.bytes_stream();
    while let Some(chunk) = chunks.next().await {
        heard.extend_from_slice(&chunk.unwrap());
    }
    assert!(heard == whole, "heard {} of {} bytes", heard.len(), whole.len());
    assert_eq!(
        server.wait(Duration::from_secs(40)).code(),
        Some(0),
        "{}",
        server.log()
    );
}

/// The same request with other words.
fn server_free(body: &serde_json::Value) -> serde_json::Value {
    let mut other = body.clone();
    other["tts_text"] = SENTENCE.into();
    other
}

#[tokio::test]
async fn every_request_leaves_its_line_in_the_log_file() {
    let data = tempfile::tempdir().unwrap();
    let log = data.path().join("logs/server.log");
    let args = ["--log-file", log.to_str().unwrap(), "--log-format", "json"];
    let mut server = Server::start(data.path(), &args);
    let answer = server.post("/tts", server.sft(SENTENCE, 1).await).await.ok();
    let id = answer.header("x-request-id").to_owned();
    server.terminate();
    assert!(server.wait(Duration::from_secs(40)).success());
    let written: Vec<_> = std::fs::read_dir(log.parent().unwrap()).unwrap().collect();
    let text = std::fs::read_to_string(written[0].as_ref().unwrap().path()).unwrap();
    let lines: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let access = lines
        .iter()
        .find(|line| line["target"] == "cosyserve::access" && line["id"] == id.as_str());
    let access = access.unwrap_or_else(|| panic!("{text}"));
    assert_eq!(
        (&access["method"], &access["path"]),
        (&"POST".into(), &"/tts".into())
    );
    assert_eq!(
        (access["status"].as_u64(), access["bytes"].as_u64()),
        (Some(200), Some(answer.body.len() as u64))
    );
    assert!(
        lines
            .iter()
            .any(|line| line["message"] == "spoke" && line["id"] == id.as_str()),
        "{text}"
    );
}

#[tokio::test]
async fn a_key_is_wanted_where_one_is_set() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path(), &["--api-key", "hunter2"]);
    assert_eq!(server.get("/available_spks").await.status, 401);
    assert_eq!(server.get("/health").await.status, 200);
    let request = client()
        .get(format!("{}/available_spks", server.base))
        .bearer_auth("hunter2");
    assert_eq!(request.send().await.unwrap().status(), 200);
    assert!(!server.log().contains("hunter2"));
}
