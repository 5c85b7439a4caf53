//! `/ws/tts` with the bundled voice: how soon it speaks while text still comes, and how soon it stops.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{
    client::STORY,
    live_client::{Client, Heard},
    server::{Server, shared},
};

/// What a language model might answer.
const ANSWER: &str = "The old harbour is quiet in the morning, when the boats are still out and the gulls wait on the \
    wall. By noon the first of them come home, heavy with fish, and the whole town walks down to see what the sea has \
    given. I would go there early, sit by the lighthouse, and watch the day begin.";
/// Bytes of a second of PCM.
const SECOND: usize = 48_000;

impl Server {
    /// A connection that speaks with this voice.
    async fn live(&self) -> Client {
        Client::open(self.base.trim_start_matches("http://"), "").await
    }
}

async fn start(client: &mut Client, voice: &str, seed: u64) -> Value {
    client.start(json!({"spk_id": voice, "seed": seed})).await;
    let started = client.answer().await;
    assert_eq!(started["type"], "started", "{started}");
    started
}

/// Guarantees that a text that comes as fast as people read, 20 characters a second, is spoken before half of it is
/// there.
#[tokio::test]
async fn audio_begins_before_half_of_the_text_is_there() {
    let shared = shared();
    let mut client = shared.server.live().await;
    start(&mut client, "英文女", 3).await;
    let begun = Instant::now();
    let mut first = None;
    let mut audio = 0;
    let mut clock = tokio::time::interval(Duration::from_millis(200));
    let (mut pieces, mut sent) = (ANSWER.as_bytes().chunks(4), 0);
    let done = loop {
        tokio::select! {
            _ = clock.tick(), if sent < ANSWER.len() => {
                let piece = std::str::from_utf8(pieces.next().unwrap()).unwrap();
                client.text(piece).await;
                sent += piece.len();
                if sent == ANSWER.len() {
                    client.just("end").await;
                }
            }
            heard = client.hear() => match heard {
                Heard::Audio(bytes) => {
                    first.get_or_insert_with(|| (begun.elapsed(), sent));
                    audio += bytes.len();
                }
                Heard::Said(done) => break done,
                Heard::Ping | Heard::Pong => {}
                end => panic!("{end:?}"),
            },
        }
    };
    let (after, at) = first.unwrap();
    println!(
        "first audio after {} ms, at {at} of {} characters",
        after.as_millis(),
        ANSWER.len()
    );
    assert!(at < ANSWER.len() / 2, "at {at} of {} characters", ANSWER.len());
    assert_eq!(done["type"], "done");
    let seconds = done["seconds"].as_f64().unwrap();
    assert!((8.0..40.0).contains(&seconds), "{seconds} s");
    assert_eq!((seconds * SECOND as f64).round() as usize, audio);
}

/// Guarantees that an interrupted utterance ends at once, with most of it never made, and that the connection goes on:
/// the same utterance again begins with the same bytes and is spoken to its end.
#[tokio::test]
async fn barge_in_stops_the_audio() {
    let shared = shared();
    let mut client = shared.server.live().await;
    let (mut took, mut most) = (Vec::new(), Vec::new());
    for _ in 0..5 {
        let id = start(&mut client, "中文女", 5).await["id"].clone();
        client.text(STORY).await;
        client.just("end").await;
        let Heard::Audio(first) = client.hear().await else {
            panic!("no audio")
        };
        tokio::time::sleep(Duration::from_millis(200)).await;
        let interrupted = Instant::now();
        client.just("cancel").await;
        let (rest, cancelled) = client.listen().await;
        took.push(interrupted.elapsed());
        assert_eq!(cancelled, json!({"type": "cancelled", "id": id}));
        let heard = [&first[..], &rest].concat();
        if heard.len() > most.len() {
            most = heard;
        }
    }
    took.sort();
    println!(
        "cancelled after {took:?}, heard {} ms at most",
        most.len() * 1_000 / SECOND
    );
    // On a quiet machine it takes a few milliseconds; a busy one may be late now and then, not always.
    assert!(took[2] < Duration::from_millis(100), "{took:?}");
    start(&mut client, "中文女", 5).await;
    client.text(STORY).await;
    client.just("end").await;
    let (whole, done) = client.listen().await;
    assert_eq!(done["type"], "done");
    assert!(whole.starts_with(&most), "another speech");
    assert!(
        most.len() < whole.len() / 2,
        "{} of {} bytes came before the end",
        most.len(),
        whole.len()
    );
}

/// Guarantees that a connection and each of its utterances leave their lines in the log.
#[tokio::test]
async fn a_connection_leaves_its_lines_in_the_log() {
    let data = tempfile::tempdir().unwrap();
    let mut server = Server::start(data.path(), &[]);
    let mut client = server.live().await;
    let id = start(&mut client, "英文男", 1).await["id"]
        .as_str()
        .unwrap()
        .to_owned();
    client.text("Good morning.").await;
    client.just("end").await;
    let (audio, done) = client.listen().await;
    assert_eq!(done["type"], "done");
    server.terminate();
    // Its last word to a connection that waits.
    assert_eq!(client.closed().await.0, 1001);
    assert!(matches!(client.hear().await, Heard::Gone));
    assert_eq!(
        server.wait(Duration::from_secs(40)).code(),
        Some(0),
        "{}",
        server.log()
    );
    let log = server.log();
    let line = |parts: &[&str]| {
        log.lines()
            .find(|line| parts.iter().all(|part| line.contains(part)))
            .unwrap_or_else(|| panic!("no line with {parts:?}:\n{log}"))
            .to_owned()
    };
    line(&["spoke", &id]);
    let access = line(&["path=\"/ws/tts\"", "status=101", id.strip_suffix(".1").unwrap()]);
    let bytes = access.split("bytes=").nth(1).unwrap();
    let bytes: usize = bytes.split(' ').next().unwrap().parse().unwrap();
    assert!(bytes > audio.len(), "{access}");
}
