//! Voices that outlive their server.

use std::{path::Path, time::Duration};

use serde_json::json;

use crate::{
    client::{SENTENCE, plausible},
    server::{Server, shared},
};

#[tokio::test]
async fn a_clone_is_listed_speaks_and_survives_a_restart() {
    let data = tempfile::tempdir().unwrap();
    let mut server = Server::start(data.path(), &[]);
    let wav = server.recording().await;
    let before = server.voices().await;
    let answer = server
        .clone_voice("小明 (1)", Some("Xiao Ming"), &wav)
        .await
        .ok()
        .json();
    assert_eq!(answer["status"], "success");
    assert_eq!(
        (&answer["spk_id"], &answer["spk_name"]),
        (&json!("小明 (1)"), &json!("Xiao Ming"))
    );
    let listed = server.voices().await;
    assert_eq!(listed.len(), before.len() + 1);
    assert_eq!(
        listed.last().unwrap(),
        &("小明 (1)".to_string(), "Xiao Ming".to_string())
    );

    let body = json!({"tts_text": SENTENCE, "spk_id": "小明 (1)", "seed": 3});
    let spoken = server.post("/tts", body.clone()).await.ok();
    plausible(spoken.mp3_seconds());
    let instructed = json!({
        "tts_text": SENTENCE, "spk_id": "小明 (1)", "instruct_text": "用开心的语气说", "seed": 3
    });
    plausible(server.post("/tts/instruct", instructed).await.ok().mp3_seconds());

    server.terminate();
    assert!(server.wait(Duration::from_secs(30)).success());
    drop(server);
    let server = Server::start(data.path(), &[]);
    assert_eq!(server.voices().await, listed);
    let again = server.post("/tts", body.clone()).await.ok();
    assert!(again.body == spoken.body, "the voice changed over a restart");

    // The same id again replaces it: still one voice of that id.
    server.clone_voice("小明 (1)", Some("Another"), &wav).await.ok();
    let replaced = server.voices().await;
    assert_eq!(
        (replaced.len(), replaced.last().unwrap().1.as_str()),
        (listed.len(), "Another")
    );
}

#[tokio::test]
async fn voices_that_may_not_be_saved() {
    let shared = shared();
    let server = &shared.server;
    let wav = server.recording().await;
    let built_in = server.voice().await;
    let long = "长".repeat(65);
    for id in [built_in.as_str(), "../up", "a/b", "a\\b", "..", "", " ", &long] {
        let answer = server.clone_voice(id, None, &wav).await;
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert_eq!(
            (answer.status, detail.starts_with("spk_id: ")),
            (400, true),
            "{id:?}: {detail}"
        );
    }
    let answer = server.clone_voice("noise", None, b"this is no audio").await;
    assert_eq!(answer.status, 400);
    assert!(server.voices().await.iter().all(|(id, _)| id != "noise"));
}

/// Files below a directory, by their names' ends.
fn files(directory: &Path, end: &str) -> usize {
    let entries = std::fs::read_dir(directory).unwrap();
    entries
        .filter(|entry| {
            entry
                .as_ref()
                .unwrap()
                .file_name()
                .to_string_lossy()
                .ends_with(end)
        })
        .count()
}

#[tokio::test]
async fn kill_9_during_clone_leaves_no_half_voice() {
    let data = tempfile::tempdir().unwrap();
    let mut server = Server::start(data.path(), &[]);
    let wav = server.recording().await;
    server.clone_voice("stays", None, &wav).await.ok();
    let body = json!({"tts_text": SENTENCE, "spk_id": "stays", "seed": 3});
    let spoken = server.post("/tts/pcm", body.clone()).await.ok().body;
    // Killed at different moments of replacing the one voice and adding another.
    for delay in [5, 40, 120, 300] {
        let (base, wav) = (server.base.clone(), wav.clone());
        let cloning = tokio::spawn(async move {
            for id in ["stays", "new", "stays", "new", "stays", "new"] {
                let form = reqwest::multipart::Form::new()
                    .text("prompt_text", SENTENCE)
                    .text("spk_id", id);
                let form = form.part("prompt_audio", crate::client::file(&wav));
                let sent = crate::client::client()
                    .post(format!("{base}/clone"))
                    .multipart(form)
                    .send()
                    .await;
                if sent.is_err() {
                    return;
                }
            }
        });
        tokio::time::sleep(Duration::from_millis(delay)).await;
        server.kill();
        cloning.await.unwrap();
        server = Server::start(data.path(), &[]);
        assert!(!server.log().contains("cannot be read"), "{}", server.log());
        let voices = server.voices().await;
        let again = server.post("/tts/pcm", body.clone()).await.ok().body;
        assert!(again == spoken, "the voice is not what it was");
        if voices.iter().any(|(id, _)| id == "new") {
            server
                .post("/tts/pcm", json!({"tts_text": SENTENCE, "spk_id": "new"}))
                .await
                .ok();
        }
        let directory = data.path().join("voices");
        assert_eq!(
            files(&directory, ".tmp"),
            0,
            "what a killed writer left is cleared at the next start"
        );
        assert!(files(&directory, ".safetensors") <= 2);
    }
}
