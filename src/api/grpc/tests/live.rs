//! `Live`: utterances whose text comes in pieces.

use std::sync::atomic::Ordering;

use futures::{SinkExt, channel::mpsc};

use super::*;
use crate::{api::tests::fake::CHUNK, engine::Mode, limits};
use proto::{LiveRequest, LiveResponse, live_request::Event as Say, live_response::Event};

/// A call, from its client's side.
struct Talk {
    say: mpsc::Sender<LiveRequest>,
    heard: Streaming<LiveResponse>,
}

impl Talk {
    async fn new(app: &App) -> Self {
        let (say, said) = mpsc::channel(64);
        let heard = app.client.clone().live(said).await.unwrap().into_inner();
        Self { say, heard }
    }

    async fn say(&mut self, event: Say) {
        let said = self.say.send(LiveRequest { event: Some(event) });
        timeout(PATIENCE, said).await.unwrap().unwrap();
    }

    async fn start(&mut self, text: &str) {
        self.say(start(text)).await;
    }

    async fn text(&mut self, text: &str) {
        self.say(Say::Text(text.into())).await;
    }

    /// What comes next.
    async fn hear(&mut self) -> Event {
        self.next().await.unwrap().unwrap().event.unwrap()
    }

    async fn next(&mut self) -> Result<Option<LiveResponse>, Status> {
        timeout(PATIENCE, self.heard.message()).await.unwrap()
    }

    /// The audio up to what is no audio, and that.
    async fn listen(&mut self) -> (Vec<u8>, Event) {
        let mut audio = Vec::new();
        loop {
            match self.hear().await {
                Event::TtsAudio(bytes) => {
                    assert!(bytes.len() <= limits::LIVE_AUDIO_BYTES);
                    audio.extend_from_slice(&bytes);
                }
                other => return (audio, other),
            }
        }
    }

    /// The status that ends the call.
    async fn end(&mut self) -> Status {
        loop {
            match self.next().await {
                Ok(message) => assert!(message.is_some(), "it ended well"),
                Err(status) => return status,
            }
        }
    }
}

fn start(text: &str) -> Say {
    Say::Start(proto::LiveStart {
        request: Some(sft(text)),
        ahead: 0.0,
    })
}

const FLUSH: Say = Say::Flush(proto::LiveFlush {});
const END: Say = Say::End(proto::LiveEnd {});
const CANCEL: Say = Say::Cancel(proto::LiveCancel {});

#[tokio::test]
async fn utterances_follow_each_other_in_one_call() {
    let app = app().await;
    let mut talk = Talk::new(&app).await;
    for (first, pieces) in [("", 3), ("Good", 4)] {
        talk.start(first).await;
        for piece in ["mor", "ning", ", all."] {
            talk.text(piece).await;
        }
        talk.say(FLUSH).await;
        talk.say(END).await;
        let started = talk.hear().await;
        assert!(matches!(started, Event::Started(s) if (s.sample_rate, s.seed) == (24_000, 5)));
        let (audio, end) = talk.listen().await;
        // The fake says a chunk for each piece.
        assert_eq!(audio.len(), pieces * CHUNK * 2);
        assert!(matches!(end, Event::Done(done) if done.seconds == pieces as f64 * 0.25));
    }
    assert_eq!(app.fake.flushes.load(Ordering::SeqCst), 2);
    drop(talk.say);
    assert!(
        timeout(PATIENCE, talk.heard.message())
            .await
            .unwrap()
            .unwrap()
            .is_none()
    );
}

#[tokio::test]
async fn audio_comes_before_the_text_is_complete() {
    let app = app().await;
    let mut talk = Talk::new(&app).await;
    talk.start("Hello").await;
    assert!(matches!(talk.hear().await, Event::Started(_)));
    assert!(matches!(talk.hear().await, Event::TtsAudio(_)));
    // Closing the sending side ends the text.
    talk.say.close_channel();
    assert!(matches!(talk.listen().await.1, Event::Done(_)));
    assert!(talk.next().await.unwrap().is_none());
}

#[tokio::test]
async fn a_recording_and_an_instruction_may_be_the_voice() {
    let app = app().await;
    let mut talk = Talk::new(&app).await;
    let request = proto::InstructRequest {
        instruct_text: "whisper".into(),
        prompt_audio: tone(1.0),
        ..proto::InstructRequest::default()
    };
    let request = payload(RequestPayload::InstructRequest(request));
    talk.say(Say::Start(proto::LiveStart {
        request: Some(request),
        ahead: 0.5,
    }))
    .await;
    talk.say(END).await;
    assert!(matches!(talk.hear().await, Event::Started(_)));
    assert!(matches!(app.fake.last().mode, Mode::InstructPrompt { .. }));
}

#[tokio::test]
async fn a_cancel_overtakes_audio_that_waits_and_makes_room_for_the_next() {
    let app = app().await;
    let mut talk = Talk::new(&app).await;
    talk.start("endless").await;
    assert!(matches!(talk.hear().await, Event::Started(_)));
    for _ in 0..10 {
        assert!(matches!(talk.hear().await, Event::TtsAudio(_)));
    }
    // Text that nobody reads any more lies before the cancel.
    for _ in 0..5 {
        talk.text("more").await;
    }
    talk.say(CANCEL).await;
    talk.text("too late").await;
    talk.start("next").await;
    talk.say(END).await;
    let (rest, end) = talk.listen().await;
    assert!(matches!(end, Event::Cancelled(_)), "{end:?}");
    assert!(rest.len() < 4 * CHUNK * 2, "{} bytes were still sent", rest.len());
    app.left(1).await;
    assert!(matches!(talk.hear().await, Event::Started(_)));
    let (audio, end) = talk.listen().await;
    assert_eq!(audio.len(), CHUNK * 2);
    assert!(matches!(end, Event::Done(_)));
    talk.say(CANCEL).await;
    assert!(
        matches!(talk.hear().await, Event::Cancelled(_)),
        "answered though there is nothing to stop"
    );
    talk.start("").await;
    assert!(matches!(talk.hear().await, Event::Started(_)));
}

#[tokio::test]
async fn a_cancel_is_heard_while_nothing_is_read() {
    let app = app().await;
    let mut talk = Talk::new(&app).await;
    talk.start("endless").await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    talk.say(CANCEL).await;
    app.left(1).await;
}

#[tokio::test]
async fn what_is_said_out_of_turn_ends_the_call() {
    let app = app().await;
    for (events, code, words) in [
        (
            vec![Say::Text("hi".into())],
            Code::FailedPrecondition,
            "start: must come first",
        ),
        (vec![FLUSH], Code::FailedPrecondition, "start: must come first"),
        (vec![END], Code::FailedPrecondition, "start: must come first"),
        (
            vec![start(""), start("")],
            Code::FailedPrecondition,
            "start: an utterance is being spoken",
        ),
        (
            vec![start(""), Say::Text("字".repeat(limits::LIVE_PIECE_CHARS + 1))],
            Code::InvalidArgument,
            "text: more than 10000 characters",
        ),
        (vec![start("fault")], Code::Internal, "internal error; "),
        (
            vec![Say::Start(proto::LiveStart::default())],
            Code::InvalidArgument,
            "RequestPayload: ",
        ),
        (
            vec![Say::Start(proto::LiveStart {
                request: Some(sft("")),
                ahead: 61.0,
            })],
            Code::InvalidArgument,
            "ahead: must be between 0.1 and 60 seconds",
        ),
    ] {
        let mut talk = Talk::new(&app).await;
        for event in events {
            // The call may be over already.
            let _ = talk.say.send(LiveRequest { event: Some(event) }).await;
        }
        says(&talk.end().await, code, words);
    }
    let mut talk = Talk::new(&app).await;
    talk.say.send(LiveRequest { event: None }).await.unwrap();
    says(&talk.end().await, Code::InvalidArgument, "event: must be one of");
}

#[tokio::test]
async fn what_the_engine_refuses_has_its_code() {
    let app = app().await;
    let mut talk = Talk::new(&app).await;
    let request = payload(RequestPayload::SftRequest(proto::SftRequest {
        spk_id: "nobody".into(),
        ..proto::SftRequest::default()
    }));
    talk.say(Say::Start(proto::LiveStart {
        request: Some(request),
        ahead: 0.0,
    }))
    .await;
    says(&talk.end().await, Code::NotFound, "spk_id: no voice");
}

#[tokio::test]
async fn utterances_count_among_those_who_speak_and_waiting_calls_do_not() {
    let app = app().await;
    let mut talks = Vec::new();
    for _ in 0..crate::api::tests::fake::CONCURRENCY + 1 {
        talks.push(Talk::new(&app).await);
    }
    let mut last = talks.pop().unwrap();
    for talk in &mut talks {
        talk.start("Hello").await;
        assert!(matches!(talk.hear().await, Event::Started(_)));
    }
    last.start("Hello").await;
    says(&last.end().await, Code::ResourceExhausted, "3 calls are at work");
    says(
        &app.refusal(sft("hello")).await,
        Code::ResourceExhausted,
        "3 calls are at work",
    );
    talks[0].say(END).await;
    assert!(matches!(talks[0].listen().await.1, Event::Done(_)));
    app.hear(sft("hello")).await;
}

#[tokio::test]
async fn a_client_that_leaves_stops_the_speech() {
    let app = app().await;
    let mut talk = Talk::new(&app).await;
    talk.start("endless").await;
    assert!(matches!(talk.hear().await, Event::Started(_)));
    drop(talk.heard);
    app.left(1).await;
}

#[tokio::test]
async fn a_deadline_ends_the_whole_call() {
    let app = app().await;
    let (mut say, said) = mpsc::channel(8);
    let mut call = app.client.clone();
    let heard = call
        .live(with(said, "grpc-timeout", "300m"))
        .await
        .unwrap()
        .into_inner();
    say.send(LiveRequest {
        event: Some(start("endless")),
    })
    .await
    .unwrap();
    let mut talk = Talk { say, heard };
    says(&talk.end().await, Code::DeadlineExceeded, "grpc-timeout: ");
    app.left(1).await;
}

#[tokio::test]
async fn draining_lets_an_utterance_end_and_ends_calls_between_two() {
    let app = app().await;
    let (mut idle, mut talk) = (Talk::new(&app).await, Talk::new(&app).await);
    talk.start("Hello").await;
    assert!(matches!(talk.hear().await, Event::Started(_)));
    app.state.start_draining();
    says(
        &idle.end().await,
        Code::Unavailable,
        "the server is shutting down",
    );
    talk.text(" there").await;
    talk.say(END).await;
    let (audio, end) = talk.listen().await;
    assert_eq!(audio.len(), 2 * CHUNK * 2);
    assert!(matches!(end, Event::Done(_)));
    says(
        &talk.end().await,
        Code::Unavailable,
        "the server is shutting down",
    );
    let (_say, said) = mpsc::channel::<LiveRequest>(1);
    let refused = app.client.clone().live(said).await.map(|_| ()).unwrap_err();
    says(&refused, Code::Unavailable, "the server is shutting down");
}

#[tokio::test]
async fn open_calls_are_bounded() {
    let app = app().await;
    let mut talks = Vec::new();
    for _ in 0..limits::GRPC_LIVE_CALLS {
        talks.push(Talk::new(&app).await);
    }
    let (_say, said) = mpsc::channel::<LiveRequest>(1);
    let refused = app.client.clone().live(said).await.map(|_| ()).unwrap_err();
    says(&refused, Code::ResourceExhausted, "512 live calls are open");
    drop(talks.pop());
    for _ in 0..1000 {
        let (_say, said) = mpsc::channel::<LiveRequest>(1);
        if app.client.clone().live(said).await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("a call that has ended keeps its place");
}
