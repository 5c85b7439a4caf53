//! Barge-in, slow clients and clients that leave.

use super::{client::Heard, *};

/// Begins an endless utterance; its id.
async fn endless(client: &mut Client) -> Value {
    client.start(voice()).await;
    let started = client.answer().await;
    client.text("endless").await;
    started["id"].clone()
}

/// Samples of an endless utterance.
fn is_endless(audio: &[u8]) -> bool {
    let samples = audio
        .chunks_exact(2)
        .map(|pair| i16::from_le_bytes([pair[0], pair[1]]));
    samples.into_iter().all(|sample| sample.abs_diff(3_277) < 2)
}

#[tokio::test]
async fn no_audio_follows_cancelled() {
    let (address, fake) = server().await;
    let mut client = Client::open(&address, "").await;
    for round in 1..=5 {
        let id = endless(&mut client).await;
        for _ in 0..20 {
            assert!(matches!(client.hear().await, Heard::Audio(_)));
        }
        client.just("cancel").await;
        let (_, cancelled) = client.listen().await;
        assert_eq!(cancelled, json!({"type": "cancelled", "id": id}));
        // The next utterance's audio is its own.
        let (_, audio, _) = spoken(&mut client, voice(), &["hello"]).await;
        assert!(!audio.is_empty() && !is_endless(&audio[..2]));
        eventually(|| fake.dropped.load(Ordering::SeqCst) == round).await;
    }
}

/// Guarantees that a cancel is heard, and the synthesis stopped, while the client takes no audio and text waits for the
/// synthesis; that what the server held back is dropped; and that the connection then speaks again.
#[tokio::test]
async fn a_cancel_is_heard_while_audio_and_text_are_backed_up() {
    let (address, fake) = server().await;
    let mut client = Client::open_narrow(&address, "").await;
    let id = endless(&mut client).await;
    for _ in 0..500 {
        client.text("more").await;
    }
    // Until the connection holds no more.
    let made = || fake.endless.load(Ordering::SeqCst);
    loop {
        let before = made();
        tokio::time::sleep(Duration::from_millis(300)).await;
        if made() == before {
            break;
        }
    }
    let before = made();
    client.just("cancel").await;
    eventually(|| fake.dropped.load(Ordering::SeqCst) == 1).await;
    client.start(voice()).await;
    client.text("hello").await;
    client.just("end").await;
    let (old, cancelled) = client.listen().await;
    assert_eq!(cancelled, json!({"type": "cancelled", "id": id}));
    assert!(is_endless(&old));
    assert!(made() <= before + 1, "the synthesis went on");
    assert_eq!(client.answer().await["type"], "started");
    let (audio, done) = client.listen().await;
    assert!(!is_endless(&audio[..2]) && done["type"] == "done");
}

#[tokio::test]
async fn a_cancel_is_answered_whatever_there_is_to_cancel() {
    let (address, fake) = server().await;
    let mut client = Client::open(&address, VOICE).await;
    for _ in 0..2 {
        client.just("cancel").await;
        assert_eq!(client.answer().await, json!({"type": "cancelled"}));
    }
    // What was on its way for what was cancelled begins nothing.
    client.text("late").await;
    client.just("end").await;
    client.just("ping").await;
    assert_eq!(client.answer().await["type"], "pong");
    assert!(fake.requests.lock().is_empty());
    let (.., done) = spoken(&mut client, json!({}), &["hello"]).await;
    assert_eq!(done["type"], "done");
}

#[tokio::test]
async fn the_next_start_need_not_wait_for_cancelled() {
    let (address, _) = server().await;
    let mut client = Client::open(&address, "").await;
    let id = endless(&mut client).await;
    client.just("cancel").await;
    client.start(voice()).await;
    client.text("hello").await;
    client.just("end").await;
    let (_, cancelled) = client.listen().await;
    assert_eq!((&cancelled["type"], &cancelled["id"]), (&"cancelled".into(), &id));
    assert_eq!(client.answer().await["type"], "started");
    assert_eq!(client.listen().await.1["type"], "done");
}

/// Guarantees that a client that plays as it reads can have its audio in time for that, and no sooner.
#[tokio::test]
async fn audio_is_kept_back_on_request() {
    let (address, _) = server().await;
    let mut client = Client::open(&address, "").await;
    let mut fields = voice();
    fields["ahead"] = json!(0.5);
    client.start(fields).await;
    client.answer().await;
    client.text("endless").await;
    let mut sent = 0.0;
    let mut first = None;
    while sent < 2.0 {
        let Heard::Audio(bytes) = client.hear().await else {
            panic!("the speech ended")
        };
        let first = *first.get_or_insert_with(std::time::Instant::now);
        sent += bytes.len() as f64 / 48_000.0;
        // What is on its way when exactly that much is ahead: a message sent, one in the channel.
        let most = first.elapsed().as_secs_f64() + 0.5 + 0.2;
        assert!(sent < most, "{sent} s instead of {most} s");
    }
}

/// Guarantees that a client that reads slowly is made for slowly, and gets everything.
#[tokio::test]
async fn a_slow_client_slows_its_synthesis() {
    let (address, fake) = server().await;
    let mut client = Client::open_narrow(&address, "").await;
    endless(&mut client).await;
    let made = || fake.endless.load(Ordering::SeqCst);
    let mut before = usize::MAX;
    while made() != before {
        before = made();
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let mut taken = 0;
    while made() < before + 40 {
        let Heard::Audio(bytes) = client.hear().await else {
            panic!("the speech ended")
        };
        assert!(is_endless(&bytes));
        taken += bytes.len();
    }
    assert!(
        taken > 10 * 2 * crate::api::tests::fake::CHUNK,
        "made without being taken"
    );
}

#[tokio::test]
async fn a_client_that_leaves_stops_its_synthesis() {
    let (address, fake) = server().await;
    let mut client = Client::open(&address, "").await;
    endless(&mut client).await;
    client.hear().await;
    client.socket.close(None).await.unwrap();
    eventually(|| fake.dropped.load(Ordering::SeqCst) == 1).await;

    let mut client = Client::open(&address, "").await;
    endless(&mut client).await;
    client.hear().await;
    drop(client);
    eventually(|| fake.dropped.load(Ordering::SeqCst) == 2).await;
}
