//! Every message, every field, every error.

use tokio_tungstenite::tungstenite::Message;

use super::{client::Heard, *};
use crate::{api::tests::fake::CHUNK, audio::decode::decode, engine::Mode, limits};

#[track_caller]
fn is_error(message: &Value, status: u16, detail: &str) {
    assert_eq!(
        (&message["type"], &message["status"]),
        (&"error".into(), &status.into()),
        "{message}"
    );
    let text = message["detail"].as_str().unwrap();
    assert!(
        text.starts_with(detail),
        "{text:?} does not start with {detail:?}"
    );
}

/// Shows that nothing came before this answer, and that the connection is in order.
async fn pong(client: &mut Client) {
    client.just("ping").await;
    assert_eq!(client.answer().await, json!({"type": "pong"}));
}

#[tokio::test]
async fn an_utterance_is_started_spoken_and_done() {
    let (address, fake) = server().await;
    let mut client = Client::open(&address, "").await;
    let mut fields = voice();
    fields["seed"] = json!(7);
    client.start(fields).await;
    let started = client.answer().await;
    let id = started["id"].as_str().unwrap().to_owned();
    let expected = json!({
        "type": "started", "id": id, "format": "pcm", "content_type": "audio/L16", "sample_rate": 24_000,
        "channels": 1, "seed": 7,
    });
    assert_eq!(started, expected);
    client.text("one").await;
    let Heard::Audio(first) = client.hear().await else {
        panic!("the audio waits for the end")
    };
    client.text("three").await;
    client.just("flush").await;
    client.just("end").await;
    let (audio, done) = client.listen().await;
    assert_eq!(done, json!({"type": "done", "id": id, "seconds": 0.5}));
    assert_eq!(first.len() + audio.len(), 2 * 2 * CHUNK);
    assert!(first.len() <= limits::LIVE_AUDIO_BYTES);
    // Five characters, in thousandths of full scale, little-endian.
    let last = i16::from_le_bytes([audio[audio.len() - 2], audio[audio.len() - 1]]);
    assert!(last.abs_diff(164) < 2, "{last}");
    assert_eq!(fake.flushes.load(Ordering::SeqCst), 1);
    assert_eq!(fake.last().id, id);
    assert!(fake.last().stream);
}

#[tokio::test]
async fn a_connection_speaks_again_and_again() {
    let (address, _) = server().await;
    let mut client = Client::open(&address, "").await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        let (started, audio, done) = spoken(&mut client, voice(), &["hello"]).await;
        assert_eq!((audio.len(), &done["type"]), (2 * CHUNK, &"done".into()));
        assert_eq!(started["id"], done["id"]);
        ids.push(started["id"].as_str().unwrap().to_owned());
    }
    let connection = ids[0].strip_suffix(".1").unwrap();
    assert_eq!(ids[1..], [format!("{connection}.2"), format!("{connection}.3")]);
}

#[tokio::test]
async fn a_query_is_a_start() {
    let (address, fake) = server().await;
    let mut client = Client::open(&address, &format!("{VOICE}&seed=5&speed=1.5&format=mp3")).await;
    for _ in 0..2 {
        client.text("hello").await;
        client.just("end").await;
        let started = client.answer().await;
        assert_eq!((&started["format"], &started["seed"]), (&"mp3".into(), &5.into()));
        let (audio, _) = client.listen().await;
        assert!(decode(audio, "answer").unwrap().samples.len() >= CHUNK);
    }
    assert_eq!(fake.last().speed, 1.5);
    let (started, ..) = spoken(&mut client, json!({"format": "pcm", "speed": null}), &["hello"]).await;
    assert_eq!((&started["format"], &started["seed"]), (&"pcm".into(), &5.into()));
    assert_eq!(fake.last().speed, 1.0);
}

#[tokio::test]
async fn every_format_is_one_stream() {
    let (address, _) = server().await;
    let mut client = Client::open(&address, "").await;
    for (format, content_type) in [
        ("mp3", "audio/mpeg"),
        ("opus", "audio/ogg"),
        ("flac", "audio/flac"),
        ("wav", "audio/wav"),
    ] {
        let mut fields = voice();
        fields["format"] = format.into();
        let pieces = ["a", "b", "c", "d"];
        let (started, audio, done) = spoken(&mut client, fields, &pieces).await;
        assert_eq!(
            (&started["format"], &started["content_type"]),
            (&format.into(), &content_type.into())
        );
        assert_eq!(done["seconds"], 1.0);
        let seconds = decode(audio, "answer").unwrap().seconds();
        // An MP3 stream has the codec's delay.
        assert!((0.99..1.17).contains(&seconds), "{format}: {seconds} s");
    }
}

/// Guarantees that every mode is reached, by its name and by its fields.
#[tokio::test]
async fn every_mode_has_its_fields() {
    let (address, fake) = server().await;
    let mut client = Client::open(&address, "").await;
    let recording = wav_base64();
    let modes = [
        ("sft", voice()),
        (
            "zero_shot",
            json!({"prompt_text": "words", "prompt_audio_base64": recording}),
        ),
        ("cross_lingual", json!({"prompt_audio_base64": recording})),
        (
            "instruct",
            json!({"spk_id": "中文女", "instruct_text": "whisper"}),
        ),
        (
            "instruct2",
            json!({"instruct_text": "whisper", "prompt_audio_base64": recording}),
        ),
    ];
    for (name, fields) in modes {
        let mut named = fields.clone();
        named["mode"] = name.into();
        for fields in [fields, named] {
            let (_, _, done) = spoken(&mut client, fields, &["hello"]).await;
            assert_eq!(done["type"], "done", "{name}: {done}");
            let mode = fake.last().mode;
            assert_eq!(mode.name(), name);
            match mode {
                Mode::ZeroShot { prompt_text, .. } => assert_eq!(prompt_text, "words"),
                Mode::Instruct { instruct_text, .. } | Mode::InstructPrompt { instruct_text, .. } => {
                    assert_eq!(instruct_text, "whisper");
                }
                _ => {}
            }
        }
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_message_is_said_and_changes_nothing() {
    let (address, fake) = server().await;
    let mut client = Client::open(&address, "").await;
    let start = |change: Value| {
        let mut fields = voice();
        fields["type"] = "start".into();
        fields
            .as_object_mut()
            .unwrap()
            .extend(change.as_object().unwrap().clone());
        fields.to_string()
    };
    let long = "字".repeat(limits::PROMPT_TEXT_CHARS + 1);
    for (message, detail) in [
        ("hello".into(), "message: must be a JSON object"),
        ("[]".into(), "message: must be a JSON object"),
        ("{}".into(), "type: must be start, text, flush"),
        (r#"{"type": 5}"#.into(), "type: "),
        (r#"{"type": "shout"}"#.into(), "type: "),
        (r#"{"type": "text"}"#.into(), "text: must be a string"),
        (r#"{"type": "text", "text": 5}"#.into(), "text: must be a string"),
        (
            r#"{"type": "text", "text": "hi"}"#.into(),
            "text: nothing has begun",
        ),
        (r#"{"type": "start"}"#.into(), "spk_id: is required"),
        (start(json!({"spk_id": " "})), "spk_id: must not be empty"),
        (start(json!({"spk_id": 5})), "spk_id: "),
        (start(json!({"mode": "sing"})), "mode: must be one of sft, "),
        (start(json!({"mode": "zero_shot"})), "prompt_text: is required"),
        (
            start(json!({"mode": "cross_lingual"})),
            "prompt_audio_base64: is required",
        ),
        (start(json!({"mode": "instruct"})), "instruct_text: is required"),
        (
            start(json!({"instruct_text": long})),
            "instruct_text: more than 1000",
        ),
        (start(json!({"format": "midi"})), "format: must be mp3, opus, "),
        (start(json!({"speed": 3})), "speed: must be between 0.5 and 2"),
        (start(json!({"speed": "fast"})), "speed: "),
        (start(json!({"seed": -1})), "seed: "),
        (start(json!({"ahead": 0})), "ahead: must be between 0.1 and 60"),
    ] {
        client.send(Message::text(message)).await;
        let error = client.answer().await;
        is_error(&error, 400, detail);
        assert!(error.get("id").is_none(), "{error}");
    }
    client.send(Message::binary(vec![0; 8])).await;
    is_error(&client.answer().await, 400, "message: must be text");
    client.just("flush").await;
    client.just("end").await;
    pong(&mut client).await;
    assert!(fake.requests.lock().is_empty());
    assert_eq!(spoken(&mut client, voice(), &["hello"]).await.2["type"], "done");
}

#[tokio::test]
async fn what_is_wrong_within_an_utterance_leaves_it_alone() {
    let (address, _) = server().await;
    let mut client = Client::open(&address, "").await;
    client.start(voice()).await;
    let id = client.answer().await["id"].clone();
    client.start(voice()).await;
    is_error(&client.answer().await, 409, "start: an utterance is being spoken");
    client.text(&"x".repeat(limits::LIVE_PIECE_CHARS + 1)).await;
    is_error(&client.answer().await, 400, "text: more than 10000");
    client.text("hello").await;
    client.just("end").await;
    let (audio, done) = client.listen().await;
    assert_eq!((audio.len(), &done["id"]), (2 * CHUNK, &id));
}

/// Guarantees that a failure names its utterance, and that what is still on its way for it does no harm.
#[tokio::test]
async fn an_utterance_that_fails_says_why() {
    let (address, fake) = server().await;
    let mut client = Client::open(&address, VOICE).await;
    client.start(json!({"spk_id": "nobody"})).await;
    let error = client.answer().await;
    is_error(&error, 400, "spk_id: no voice");
    assert!(error["id"].as_str().unwrap().ends_with(".1"));
    client.text("late").await;
    client.just("end").await;
    pong(&mut client).await;

    client.start(json!({"prompt_audio_base64": "AAAA"})).await;
    is_error(&client.answer().await, 400, "prompt_audio_base64: ");

    client.start(json!({})).await;
    let id = client.answer().await["id"].as_str().unwrap().to_owned();
    client.text("fault").await;
    let error = client.answer().await;
    is_error(&error, 500, "internal error");
    assert_eq!(error["id"], id.as_str());
    let detail = error["detail"].as_str().unwrap();
    assert!(detail.contains(&id) && !detail.contains("secret"), "{detail}");
    assert_eq!(fake.requests.lock().len(), 1);
    assert_eq!(spoken(&mut client, json!({}), &["hello"]).await.2["type"], "done");
}

#[tokio::test]
async fn text_after_the_end_is_refused() {
    let (address, _) = server().await;
    let mut client = Client::open(&address, "").await;
    client.start(voice()).await;
    client.answer().await;
    // The fake goes on for ever, so the utterance is not done.
    client.text("endless").await;
    client.just("end").await;
    client.text("more").await;
    is_error(&client.listen().await.1, 400, "text: it has ended already");
}

#[tokio::test]
async fn a_message_that_is_too_large_closes_the_connection() {
    let (address, _) = server().await;
    let mut client = Client::open(&address, "").await;
    client
        .send(Message::text("x".repeat(limits::WS_MESSAGE_BYTES + 1)))
        .await;
    let (code, reason) = client.closed().await;
    assert_eq!(
        (code, reason.as_str()),
        (1009, "message: more than 2097152 bytes")
    );
}

#[tokio::test]
async fn a_ping_of_either_kind_is_answered() {
    let (address, _) = server().await;
    let mut client = Client::open(&address, "").await;
    pong(&mut client).await;
    client.send(Message::Ping("are you there".into())).await;
    assert!(matches!(client.hear().await, Heard::Pong));
}
