//! `cosyserve bench` against a running server.

use std::process::{Command, Output};

use serde_json::Value;

use crate::{
    client::{SENTENCE, file_in},
    server::{Server, binary, shared},
};

fn bench(server: &Server, args: &[&str]) -> Output {
    let mut command = Command::new(binary());
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("COSYSERVE_")) {
        command.env_remove(name);
    }
    command
        .args(["bench", "--url", &server.base, "--json"])
        .args(args);
    command.output().unwrap()
}

#[track_caller]
fn report(server: &Server, args: &[&str]) -> Value {
    let output = bench(server, args);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[track_caller]
fn positive(report: &Value, pointers: &[&str]) {
    for pointer in pointers {
        let value = report.pointer(pointer).and_then(Value::as_f64);
        assert!(value.is_some_and(|value| value > 0.0), "{pointer}: {report}");
    }
}

#[tokio::test]
async fn streams_of_a_server_are_measured() {
    let shared = shared();
    let server = &shared.server;
    let found = report(server, &["--streams", "2", "--requests", "4", "--text", SENTENCE]);
    assert_eq!(
        (&found["requests"], &found["failed"]),
        (&4.into(), &0.into()),
        "{found}"
    );
    assert_eq!(found["url"], server.base.as_str());
    // The server is a child of this test, so its memory is found through its port.
    positive(
        &found,
        &[
            "/first_audio_ms/p50",
            "/rtf/p99",
            "/audio_s_per_s",
            "/resident_mib",
            "/resident_peak_mib",
        ],
    );
    // The same texts and seeds are the same speech, streamed as PCM or whole as MP3 (which adds the codec's delay).
    let whole = report(server, &["--requests", "4", "--text", SENTENCE, "--whole"]);
    let (streamed, whole) = (
        found["audio_s"].as_f64().unwrap(),
        whole["audio_s"].as_f64().unwrap(),
    );
    assert!(
        (whole - streamed).abs() < 4.0 * 0.3,
        "{streamed} s streamed, {whole} s whole"
    );
}

#[tokio::test]
async fn a_recording_is_sent_with_every_request() {
    let shared = shared();
    let data = tempfile::tempdir().unwrap();
    let wav = file_in(data.path(), "prompt.wav", &shared.server.recording().await);
    let prompt = ["--prompt", &wav, "--prompt-text", SENTENCE, "--text", "你好。"];
    let found = report(
        &shared.server,
        &[&prompt[..], &["--rate", "5", "--requests", "2"]].concat(),
    );
    assert_eq!(
        (&found["requests"], &found["rate"]),
        (&2.into(), &5.0.into()),
        "{found}"
    );
    positive(&found, &["/audio_s", "/first_audio_ms/p50"]);
}

#[tokio::test]
async fn refusals_are_counted_and_a_run_without_speech_fails() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path(), &["--max-conc", "1", "--queue", "0"]);
    let found = report(
        &server,
        &["--streams", "3", "--requests", "6", "--length", "medium"],
    );
    let (spoke, failed) = (
        found["requests"].as_u64().unwrap(),
        found["failed"].as_u64().unwrap(),
    );
    assert!(spoke >= 1 && failed >= 1 && spoke + failed == 6, "{found}");
    let texts: Vec<&String> = found["errors"].as_object().unwrap().keys().collect();
    assert!(texts.iter().all(|text| text.starts_with("503 ")), "{found}");
    let output = bench(&server, &["--voice", "nobody", "--requests", "2"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said.contains("every request failed: 400") && said.contains("nobody"),
        "{said}"
    );
}

#[tokio::test]
async fn a_run_may_be_bounded_by_time() {
    let shared = shared();
    let found = report(&shared.server, &["--duration", "2", "--length", "short"]);
    assert!(found["wall_s"].as_f64().unwrap() >= 2.0, "{found}");
    assert!(found["requests"].as_u64().unwrap() >= 1, "{found}");
}
