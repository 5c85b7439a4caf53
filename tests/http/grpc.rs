//! The gRPC service of the built server, with real speech.

use std::time::Duration;

use cosyserve::{
    api::grpc::proto::{
        self, LiveRequest, cosy_voice_client::CosyVoiceClient, live_request::Event as Say,
        live_response::Event, request::RequestPayload,
    },
    audio::{decode::decode, encode::i16_sample},
    dsp::resample::resample,
};
use futures::{SinkExt, StreamExt};
use tonic::{
    Code, Request,
    transport::{Channel, Endpoint},
};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use crate::{
    client::{SENTENCE, STORY, plausible},
    server::{Server, shared},
};

async fn channel(server: &Server) -> Channel {
    let address = server.ready.split("gRPC on ").nth(1).expect("a gRPC address");
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    endpoint
        .timeout(Duration::from_secs(180))
        .connect()
        .await
        .unwrap()
}

fn request(payload: RequestPayload, seed: u64) -> proto::Request {
    proto::Request {
        request_payload: Some(payload),
        speed: 0.0,
        seed,
    }
}

fn sft(voice: &str, text: &str, seed: u64) -> proto::Request {
    let request = proto::SftRequest {
        spk_id: voice.into(),
        tts_text: text.into(),
    };
    self::request(RequestPayload::SftRequest(request), seed)
}

/// The samples of an answer, and its rate.
async fn hear(server: &Server, request: proto::Request) -> (Vec<u8>, u32) {
    let mut client = CosyVoiceClient::new(channel(server).await);
    let mut answer = client.inference(request).await.unwrap().into_inner();
    let (mut heard, mut rate) = (Vec::new(), 0);
    while let Some(message) = answer.message().await.unwrap() {
        rate += message.sample_rate;
        heard.extend_from_slice(&message.tts_audio);
    }
    (heard, rate)
}

/// The model's own speech as a client sends a recording: 16 kHz, 16 bit, little-endian.
async fn recording(server: &Server) -> bytes::Bytes {
    let wav = decode(server.recording().await, "recording").unwrap();
    let samples = resample(&wav.samples, wav.sample_rate, 16_000);
    samples
        .into_iter()
        .flat_map(|x| i16_sample(x).to_le_bytes())
        .collect()
}

#[tokio::test]
async fn speech_is_that_of_http() {
    let shared = shared();
    let server = &shared.server;
    let http = server.post("/tts/pcm", server.sft(SENTENCE, 9).await).await.ok();
    let (heard, rate) = hear(server, sft(&server.voice().await, SENTENCE, 9)).await;
    assert!(
        heard == http.body,
        "{} and {} bytes",
        heard.len(),
        http.body.len()
    );
    assert_eq!(rate.to_string(), http.header("x-sample-rate"));
}

#[tokio::test]
async fn recordings_are_spoken_with_in_every_mode() {
    let shared = shared();
    let server = &shared.server;
    let (prompt_audio, tts_text) = (recording(server).await, SENTENCE.to_string());
    for payload in [
        RequestPayload::ZeroShotRequest(proto::ZeroshotRequest {
            tts_text: tts_text.clone(),
            prompt_text: SENTENCE.into(),
            prompt_audio: prompt_audio.clone(),
        }),
        RequestPayload::CrossLingualRequest(proto::CrosslingualRequest {
            tts_text: tts_text.clone(),
            prompt_audio: prompt_audio.clone(),
        }),
        RequestPayload::InstructRequest(proto::InstructRequest {
            tts_text: tts_text.clone(),
            instruct_text: "慢一点".into(),
            prompt_audio: prompt_audio.clone(),
            ..proto::InstructRequest::default()
        }),
        RequestPayload::InstructRequest(proto::InstructRequest {
            tts_text: tts_text.clone(),
            spk_id: server.voice().await,
            instruct_text: "慢一点".into(),
            ..proto::InstructRequest::default()
        }),
    ] {
        let (heard, rate) = hear(server, request(payload, 3)).await;
        plausible(heard.len() as f32 / 2.0 / rate as f32);
    }
}

#[tokio::test]
async fn text_that_comes_in_pieces_is_spoken_and_can_be_interrupted() {
    let shared = shared();
    let server = &shared.server;
    let mut client = CosyVoiceClient::new(channel(server).await);
    let (mut say, said) = futures::channel::mpsc::channel(64);
    let start = Say::Start(proto::LiveStart {
        request: Some(sft(&server.voice().await, "", 4)),
        ahead: 0.0,
    });
    let mut events = vec![start.clone()];
    events.extend(SENTENCE.chars().map(|c| Say::Text(c.into())));
    events.extend([Say::End(proto::LiveEnd {})]);
    for event in events {
        say.send(LiveRequest { event: Some(event) }).await.unwrap();
    }
    let mut heard = client.live(said).await.unwrap().into_inner();
    let (mut bytes, mut rate) = (0, 0);
    let seconds = loop {
        match heard.message().await.unwrap().unwrap().event.unwrap() {
            Event::Started(started) => rate = started.sample_rate,
            Event::TtsAudio(audio) => bytes += audio.len(),
            Event::Done(done) => break done.seconds,
            other => panic!("{other:?}"),
        }
    };
    plausible(seconds as f32);
    assert_eq!(bytes, (seconds * f64::from(rate)).round() as usize * 2);

    // A story that is stopped as soon as it is heard.
    for event in [start, Say::Text(STORY.into())] {
        say.send(LiveRequest { event: Some(event) }).await.unwrap();
    }
    let mut stopped = false;
    let mut bytes = 0;
    loop {
        match heard.message().await.unwrap().unwrap().event.unwrap() {
            Event::Started(_) => {}
            Event::TtsAudio(audio) => bytes += audio.len(),
            Event::Cancelled(_) => break,
            other => panic!("{other:?}"),
        }
        if bytes > 0 && !stopped {
            stopped = true;
            let cancel = Some(Say::Cancel(proto::LiveCancel {}));
            say.send(LiveRequest { event: cancel }).await.unwrap();
        }
    }
    // The whole is some 20 s.
    assert!(bytes < 10 * 2 * rate as usize, "{bytes} bytes were heard");
    drop(say);
    assert!(heard.message().await.unwrap().is_none());
}

#[tokio::test]
async fn a_full_server_says_so_and_a_deadline_makes_room() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path(), &["--max-conc", "1"]);
    let mut client = CosyVoiceClient::new(channel(&server).await);
    let voice = server.voice().await;
    // Far longer than the deadline, which leaves a busy machine time to begin.
    let mut story = Request::new(sft(&voice, &STORY.repeat(10), 5));
    story.set_timeout(Duration::from_secs(5));
    let mut answer = client.inference(story).await.unwrap().into_inner();
    let refused = client.inference(sft(&voice, SENTENCE, 5)).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    let end = loop {
        match answer.message().await {
            Ok(message) => assert!(message.is_some(), "the story is over already?"),
            Err(status) => break status,
        }
    };
    assert_eq!(end.code(), Code::DeadlineExceeded, "{end}");
    let (heard, _) = hear(&server, sft(&voice, SENTENCE, 5)).await;
    assert!(!heard.is_empty());
}

#[tokio::test]
async fn sigterm_lets_a_call_end_and_health_tells() {
    let data = tempfile::tempdir().unwrap();
    let mut server = Server::start(data.path(), &[]);
    let channel = channel(&server).await;
    let mut health = HealthClient::new(channel.clone());
    let mut watch = health
        .watch(HealthCheckRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().status, 1);
    let mut client = CosyVoiceClient::new(channel);
    let voice = server.voice().await;
    let mut answer = client
        .inference(sft(&voice, STORY, 5))
        .await
        .unwrap()
        .into_inner();
    server.terminate();
    assert_eq!(watch.message().await.unwrap().unwrap().status, 2, "NOT_SERVING");
    let mut heard = 0;
    while let Some(message) = answer.message().await.unwrap() {
        heard += message.tts_audio.len();
    }
    assert!(heard > 0);
    drop((answer, client, health));
    assert!(watch.next().await.is_none_or(|end| end.is_err()));
    assert_eq!(
        server.wait(Duration::from_secs(40)).code(),
        Some(0),
        "{}",
        server.log()
    );
    let log = server.log();
    assert!(
        log.contains("/cosyvoice.CosyVoice/Inference") && log.contains("spoke"),
        "{log}"
    );
}

#[tokio::test]
async fn a_server_may_do_without() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path(), &["--no-grpc"]);
    assert!(!server.ready.contains("gRPC"), "{}", server.ready);
}
