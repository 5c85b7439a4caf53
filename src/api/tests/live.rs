//! Live sessions over a speaker that needs no model.

use std::{sync::atomic::Ordering, time::Duration};

use tokio::time::timeout;

use super::*;
use crate::{
    api::{
        ApiOptions,
        tests::fake::{CHUNK, Fake},
    },
    engine::Mode,
};

const PCM: LiveAudio = LiveAudio {
    format: AudioFormat::L16,
    ahead: None,
};
/// Far longer than anything here takes.
const LONG: Duration = Duration::from_secs(20);

fn fake() -> (ApiState, Arc<Fake>) {
    let fake = Arc::new(Fake::default());
    (ApiState::new(fake.clone(), ApiOptions::default()), fake)
}

async fn request(voice: &str) -> Result<SpeechRequest> {
    Ok(SpeechRequest {
        id: "live".into(),
        text: String::new(),
        mode: Mode::Sft { voice: voice.into() },
        speed: 1.0,
        seed: 7,
        stream: true,
    })
}

async fn next(events: &mut LiveEvents) -> LiveEvent {
    timeout(LONG, events.next()).await.unwrap().unwrap()
}

/// All audio up to the last event, which it returns.
async fn rest(events: &mut LiveEvents) -> (Vec<u8>, LiveEvent) {
    let mut audio = Vec::new();
    loop {
        match next(events).await {
            LiveEvent::Audio(bytes) => {
                assert!((1..=limits::LIVE_AUDIO_BYTES).contains(&bytes.len()));
                audio.extend_from_slice(&bytes);
            }
            LiveEvent::Started { .. } => {}
            last => {
                assert!(events.next().await.is_none(), "something follows the last event");
                return (audio, last);
            }
        }
    }
}

async fn left(fake: &Fake) {
    let gone = async {
        while fake.dropped.load(Ordering::SeqCst) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(LONG, gone).await.expect("the speech goes on");
}

#[tokio::test]
async fn what_is_sent_is_spoken_in_its_order() {
    let (state, fake) = fake();
    let (mut input, mut events) = begin(&state, request("中文女"), PCM);
    for piece in ["one", "", "four"] {
        input.text(piece.into()).await.unwrap();
    }
    input.flush().await.unwrap();
    input.end();
    assert!(matches!(
        next(&mut events).await,
        LiveEvent::Started {
            sample_rate: 24_000,
            seed: 7
        }
    ));
    let (audio, last) = rest(&mut events).await;
    assert!(
        matches!(last, LiveEvent::Done { seconds } if seconds == 0.5),
        "{last:?}"
    );
    let sample = |at: usize| i16::from_le_bytes([audio[2 * at], audio[2 * at + 1]]);
    assert_eq!(audio.len(), 2 * 2 * CHUNK);
    // Three characters and four, in thousandths of full scale.
    assert!(sample(0).abs_diff(98) < 2 && sample(CHUNK).abs_diff(131) < 2);
    assert_eq!(fake.flushes.load(Ordering::SeqCst), 1);
    let late = input.text("late".into()).await;
    assert!(matches!(late, Err(Error::Invalid(text)) if text.contains("ended")));
}

#[tokio::test]
async fn an_input_that_is_dropped_ends_the_text() {
    let (state, _) = fake();
    let (input, mut events) = begin(&state, request("中文女"), PCM);
    input.text("hello".into()).await.unwrap();
    drop(input);
    assert!(matches!(rest(&mut events).await.1, LiveEvent::Done { .. }));
}

#[tokio::test]
async fn what_is_wrong_with_a_session_is_its_last_event() {
    let (state, _) = fake();
    let (input, mut events) = begin(&state, request("nobody"), PCM);
    let (audio, last) = rest(&mut events).await;
    assert!(audio.is_empty() && matches!(last, LiveEvent::Failed(Error::UnknownVoice(_))));
    assert!(matches!(input.text("more".into()).await, Err(Error::Cancelled)));

    let (input, mut events) = begin(&state, async { Err(Error::invalid("prompt: bad")) }, PCM);
    assert!(matches!(
        rest(&mut events).await.1,
        LiveEvent::Failed(Error::Invalid(_))
    ));
    drop(input);

    let (input, mut events) = begin(&state, request("中文女"), PCM);
    input.text("hello".into()).await.unwrap();
    input.text("fault".into()).await.unwrap();
    let (audio, last) = rest(&mut events).await;
    assert_eq!(audio.len(), 2 * CHUNK);
    assert!(matches!(last, LiveEvent::Failed(Error::Internal(_))));
}

#[tokio::test]
async fn a_piece_has_its_bound() {
    let (state, _) = fake();
    let (input, _events) = begin(&state, request("中文女"), PCM);
    input.text("字".repeat(limits::LIVE_PIECE_CHARS)).await.unwrap();
    let more = input.text("字".repeat(limits::LIVE_PIECE_CHARS + 1)).await;
    assert!(matches!(more, Err(Error::Invalid(text)) if text.contains("10000")));
}

/// Guarantees that text which nobody reads is taken up to its bound and no further, that it goes on once there is room,
/// and that whoever waits with it is told when the session ends.
#[tokio::test]
async fn text_that_is_not_read_is_not_taken() {
    let (state, _) = fake();
    let (open, opened) = tokio::sync::oneshot::channel::<()>();
    let waits = async move {
        opened.await.unwrap();
        request("中文女").await
    };
    let (input, mut events) = begin(&state, waits, PCM);
    let piece = "x".repeat(limits::LIVE_PIECE_BYTES);
    let most = limits::LIVE_TEXT_AHEAD_BYTES / (2 * limits::LIVE_PIECE_BYTES);
    for _ in 0..most {
        timeout(LONG, input.text(piece.clone())).await.unwrap().unwrap();
    }
    let mut waiting = pin!(input.text(piece.clone()));
    assert!(
        timeout(Duration::from_millis(100), &mut waiting).await.is_err(),
        "one more was taken"
    );
    open.send(()).unwrap();
    timeout(LONG, waiting).await.unwrap().unwrap();

    input.cancel();
    let ended = async {
        loop {
            if let Err(error) = input.text(piece.clone()).await {
                return error;
            }
        }
    };
    assert!(matches!(timeout(LONG, ended).await.unwrap(), Error::Cancelled));
    assert!(matches!(rest(&mut events).await.1, LiveEvent::Cancelled));
}

/// Guarantees that a listener who does not listen stops the synthesis, that text can still be sent meanwhile, and that
/// a cancel is heard while both wait.
#[tokio::test]
async fn a_cancel_is_heard_while_text_and_audio_wait() {
    let (state, fake) = fake();
    let (input, mut events) = begin(&state, request("中文女"), PCM);
    input.text("endless".into()).await.unwrap();
    for _ in 0..4 * limits::LIVE_PIECES {
        timeout(LONG, input.text("more ".into())).await.unwrap().unwrap();
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(
        fake.endless.load(Ordering::SeqCst) <= 4,
        "nobody listens, yet it goes on"
    );
    assert_eq!(fake.dropped.load(Ordering::SeqCst), 0);
    assert!(matches!(next(&mut events).await, LiveEvent::Started { .. }));
    input.cancel();
    left(&fake).await;
    let (audio, last) = rest(&mut events).await;
    assert!(audio.is_empty(), "audio after the cancel");
    assert!(matches!(last, LiveEvent::Cancelled));
}

#[tokio::test]
async fn a_listener_who_leaves_ends_the_session() {
    let (state, fake) = fake();
    let (input, mut events) = begin(&state, request("中文女"), PCM);
    input.text("endless".into()).await.unwrap();
    while !matches!(next(&mut events).await, LiveEvent::Audio(_)) {}
    drop(events);
    left(&fake).await;
    assert!(matches!(input.text("more".into()).await, Err(Error::Cancelled)));
}

/// Guarantees that a session that waits, for its request or its turn, can be cancelled and left.
#[tokio::test]
async fn a_session_that_has_not_started_can_be_cancelled() {
    let (state, fake) = fake();
    let (input, mut events) = begin(&state, std::future::pending(), PCM);
    input.cancel();
    assert!(matches!(next(&mut events).await, LiveEvent::Cancelled));
    assert!(fake.requests.lock().is_empty());
}

/// Guarantees that audio is sent no further ahead of its playing than asked for.
#[tokio::test]
async fn a_session_keeps_its_pace() {
    let (state, _) = fake();
    let ahead = Duration::from_millis(500);
    let audio = LiveAudio {
        ahead: Some(ahead),
        ..PCM
    };
    let (input, mut events) = begin(&state, request("中文女"), audio);
    for _ in 0..8 {
        input.text("a quarter of a second".into()).await.unwrap();
    }
    drop(input);
    let (mut first, mut sent, mut most) = (None, Duration::ZERO, Duration::ZERO);
    loop {
        match next(&mut events).await {
            LiveEvent::Started { .. } => {}
            LiveEvent::Audio(bytes) => {
                let first = *first.get_or_insert_with(Instant::now);
                sent += Duration::from_secs_f64(bytes.len() as f64 / 48_000.0);
                most = most.max(sent.saturating_sub(first.elapsed()));
            }
            _ => break,
        }
    }
    assert_eq!(sent, Duration::from_secs(2));
    // One message may go out when exactly that much is ahead, and one waits in the channel.
    assert!(most <= ahead + Duration::from_millis(200), "{most:?} ahead");
}
