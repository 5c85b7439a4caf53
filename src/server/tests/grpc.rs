//! gRPC over real connections: TLS, clients that leave or read nothing, and the end of the server.

use std::{path::PathBuf, pin::pin};

use tonic::{
    Code,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint},
};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use super::*;
use crate::api::grpc::proto::{self, cosy_voice_client::CosyVoiceClient, request::RequestPayload};

async fn start_grpc(tls: Option<TlsAcceptor>) -> Running {
    let fake = Arc::new(Fake::default());
    let state = ApiState::new(fake.clone(), ApiOptions::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, doors) = (listener.local_addr().unwrap(), Doors::new());
    let router = crate::api::grpc::router(state.clone(), doors.closing.clone())
        .await
        .unwrap();
    tokio::spawn(doors.clone().accept(listener, Serves::Grpc(router, tls)));
    Running {
        address,
        state,
        doors,
        fake,
    }
}

impl Running {
    async fn channel(&self) -> Channel {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address));
        endpoint.unwrap().connect().await.unwrap()
    }

    async fn client(&self) -> CosyVoiceClient<Channel> {
        CosyVoiceClient::new(self.channel().await)
    }

    fn made(&self) -> usize {
        self.fake.endless.load(Ordering::SeqCst)
    }
}

fn request(text: &str) -> proto::Request {
    let request = proto::SftRequest {
        spk_id: "中文女".into(),
        tts_text: text.into(),
    };
    proto::Request {
        request_payload: Some(RequestPayload::SftRequest(request)),
        ..proto::Request::default()
    }
}

async fn hear(mut client: CosyVoiceClient<Channel>) -> usize {
    let mut answer = client.inference(request("hello")).await.unwrap().into_inner();
    let mut heard = 0;
    while let Some(message) = answer.message().await.unwrap() {
        heard += message.tts_audio.len();
    }
    heard
}

#[tokio::test]
async fn calls_share_a_connection_and_a_client_that_leaves_stops_its_own_speech() {
    let server = start_grpc(None).await;
    let mut client = server.client().await;
    let mut endless = client.inference(request("endless")).await.unwrap().into_inner();
    endless.message().await.unwrap().unwrap();
    assert_eq!(hear(client.clone()).await, CHUNK * CHUNKS * 2);
    drop(endless);
    assert!(server.left().await, "the speech went on");
    // A connection that breaks off is no different.
    let mut endless = client.inference(request("endless")).await.unwrap().into_inner();
    endless.message().await.unwrap().unwrap();
    drop((endless, client));
    for _ in 0..1000 {
        if server.fake.dropped.load(Ordering::SeqCst) == 2 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the speech went on");
}

#[tokio::test]
async fn a_client_that_reads_nothing_stops_the_making() {
    let server = start_grpc(None).await;
    let _answer = server.client().await.inference(request("endless")).await.unwrap();
    let mut before = 0;
    // What the windows of HTTP/2 and the buffers of the sockets hold, and then no more.
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let now = server.made();
        if now > 0 && now == before {
            return;
        }
        before = now;
    }
    panic!("{before} chunks were made");
}

/// A certificate for `localhost` in files, and itself.
fn certificate() -> (tempfile::TempDir, TlsFiles, Certificate) {
    let made = rcgen::generate_simple_self_signed(["localhost".into()]).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: String| -> PathBuf {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let files = TlsFiles {
        certificate: write("cert.pem", made.cert.pem()),
        key: write("key.pem", made.signing_key.serialize_pem()),
    };
    (directory, files, Certificate::from_pem(made.cert.pem()))
}

#[tokio::test]
async fn tls_is_for_those_who_trust_the_certificate() {
    let (_directory, files, certificate) = certificate();
    let server = start_grpc(Some(files.acceptor().unwrap())).await;
    let endpoint = || Endpoint::from_shared(format!("https://localhost:{}", server.address.port())).unwrap();
    let trusting = ClientTlsConfig::new()
        .ca_certificate(certificate)
        .domain_name("localhost");
    let channel = endpoint().tls_config(trusting).unwrap().connect().await.unwrap();
    assert_eq!(hear(CosyVoiceClient::new(channel)).await, CHUNK * CHUNKS * 2);
    let strange = ClientTlsConfig::new().domain_name("localhost");
    assert!(endpoint().tls_config(strange).unwrap().connect().await.is_err());
    let clear = Endpoint::from_shared(format!("http://{}", server.address))
        .unwrap()
        .connect_lazy();
    let refused = CosyVoiceClient::new(clear)
        .inference(request("hello"))
        .await
        .unwrap_err();
    assert_ne!(refused.code(), Code::Ok);
    assert_eq!(server.fake.requests.lock().len(), 1);
}

#[tokio::test]
async fn what_is_no_http2_is_hung_up_on() {
    let server = start_grpc(None).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    // Hung up on, whether or not it says so first.
    let _ = tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut answer))
        .await
        .unwrap();
    assert!(!answer.starts_with(b"HTTP/1.1 200"));
}

#[tokio::test]
async fn draining_lets_calls_end_and_waits_for_nobody_who_only_watches() {
    let server = start_grpc(None).await;
    let mut client = server.client().await;
    let mut running = client.inference(request("endless")).await.unwrap().into_inner();
    running.message().await.unwrap().unwrap();
    let mut health = HealthClient::new(server.channel().await);
    let watch = health
        .watch(HealthCheckRequest::default())
        .await
        .unwrap()
        .into_inner();
    server.state.start_draining();
    let refused = client.inference(request("hello")).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    let mut closing = pin!(server.doors.close());
    let early = tokio::time::timeout(Duration::from_millis(200), closing.as_mut()).await;
    assert!(early.is_err(), "a call is running");
    running.message().await.unwrap().unwrap();
    drop(running);
    tokio::time::timeout(Duration::from_secs(20), closing)
        .await
        .unwrap();
    drop(watch);
    assert!(
        TcpStream::connect(server.address).await.is_err(),
        "closed to new connections"
    );
}
