//! A client of the general API, as small as measuring needs: hyper's own HTTP/1 client (hyper serves here already; its
//! client half adds one small crate), one connection per request, no TLS.

use std::time::{Duration, Instant};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    Request, Response, Uri,
    body::Incoming,
    header::{AUTHORIZATION, CONTENT_TYPE, HOST},
};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{net::TcpStream, time::timeout};

use super::{
    player::{Player, Sample},
    target::Who,
};
use crate::{Error, Result, limits};

/// The server's MP3 has a constant 128 kbit/s.
const MP3_BYTES_PER_SECOND: u32 = 16_000;
const VOICES: &str = "/available_spks";
const STREAM: &str = "/tts/pcm";
const WHOLE: &str = "/tts";
const ZERO_SHOT: &str = "/tts/zero_shot";
const CROSS_LINGUAL: &str = "/tts/cross_lingual";

/// A server and how it is asked.
#[derive(Debug)]
pub struct Server {
    address: String,
    port: u16,
    api_key: Option<String>,
    who: Asked,
}

/// The fields of a request that say whose voice speaks.
#[derive(Debug)]
struct Asked {
    fields: Value,
    /// The route, where it is not `/tts` or `/tts/pcm`.
    route: Option<&'static str>,
}

impl Server {
    /// The server at `url` (`http://host:port`).
    ///
    /// # Errors
    /// [`Error::Invalid`] when that is not such an address.
    pub fn new(url: &str, api_key: Option<String>) -> Result<Self> {
        let wrong = || Error::Invalid(format!("--url {url}: not of the form http://HOST:PORT"));
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let plain = uri.scheme_str() == Some("http") && matches!(uri.path(), "" | "/");
        let (host, port) = (uri.host().ok_or_else(wrong)?, uri.port_u16().unwrap_or(80));
        if !plain {
            return Err(wrong());
        }
        Ok(Self {
            address: format!("{host}:{port}"),
            port,
            api_key,
            who: Asked {
                fields: json!({}),
                route: None,
            },
        })
    }

    /// The port it listens on, where it may be a process of this machine.
    pub fn local_port(&self) -> Option<u16> {
        let host = self.address.rsplit_once(':').map(|(host, _)| host);
        let local = ["127.0.0.1", "localhost", "[::1]"];
        host.is_some_and(|host| local.contains(&host))
            .then_some(self.port)
    }

    /// Asks it to speak as `who`; its first voice when that is nobody.
    ///
    /// # Errors
    /// When it cannot be asked for its voices, or has none.
    pub async fn speak_as(mut self, who: Option<Who>) -> Result<Self> {
        self.who = match who {
            Some(Who::Prompt { recording, text, .. }) => prompted(&recording, text),
            Some(Who::Voice(voice)) => named(&voice),
            None => named(&self.first_voice().await?),
        };
        Ok(self)
    }

    async fn first_voice(&self) -> Result<String> {
        let answer = self.ask(VOICES, None).await?;
        let body = collect(answer).await?;
        let list: Value =
            serde_json::from_slice(&body).map_err(|error| Error::internal("its voices", error))?;
        let first = list["speakers"][0]["spk_id"].as_str().map(str::to_owned);
        first.ok_or_else(|| Error::Invalid("the server has no voice: name one with --voice".into()))
    }

    /// Makes one request and listens to its end.
    ///
    /// # Errors
    /// What the server answers instead of audio; [`Error::Deadline`] when it takes too long.
    pub async fn say(&self, text: &str, seed: u64, stream: bool) -> Result<Sample> {
        let patience = limits::BENCH_PATIENCE;
        let late = |_| Error::Deadline(format!("no answer in {} s", patience.as_secs()));
        timeout(patience, self.listen(text, seed, stream))
            .await
            .map_err(late)?
    }

    async fn listen(&self, text: &str, seed: u64, stream: bool) -> Result<Sample> {
        let mut fields = self.who.fields.clone();
        fields["tts_text"] = text.into();
        fields["seed"] = seed.into();
        fields["stream"] = stream.into();
        let route = self.who.route.unwrap_or(if stream { STREAM } else { WHOLE });
        let started = Instant::now();
        let mut answer = self.ask(route, Some(fields.to_string())).await?;
        let rate = answer.headers().get("x-sample-rate");
        let rate: Option<u32> = rate.and_then(|rate| rate.to_str().ok()?.parse().ok());
        let bytes_per_second = rate.map_or(MP3_BYTES_PER_SECOND, |rate| 2 * rate);
        let mut player = Player::default();
        while let Some(frame) = answer.body_mut().frame().await {
            let frame = frame.map_err(|error| Error::internal("the answer broke off", error))?;
            if let Some(data) = frame.data_ref() {
                player.chunk(started.elapsed(), super::seconds_of(data.len(), bytes_per_second));
            }
        }
        let nothing = || Error::Internal("the server gave no audio".into());
        player.end(started.elapsed()).ok_or_else(nothing)
    }

    /// The head of an answer with status 200; GET without a body, POST with one.
    async fn ask(&self, path: &str, body: Option<String>) -> Result<Response<Incoming>> {
        let fault =
            |error: &dyn std::fmt::Display| Error::Internal(format!("http://{}: {error}", self.address));
        let stream = TcpStream::connect(&self.address)
            .await
            .map_err(|error| fault(&error))?;
        stream.set_nodelay(true).map_err(|error| fault(&error))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| fault(&error))?;
        // It ends with the answer; its errors come out of the answer too.
        tokio::spawn(connection);
        let method = if body.is_some() { "POST" } else { "GET" };
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, &self.address);
        if let Some(key) = &self.api_key {
            request = request.header(AUTHORIZATION, format!("Bearer {key}"));
        }
        let request = request
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body.unwrap_or_default())))
            .map_err(|error| fault(&error))?;
        let answer = sender
            .send_request(request)
            .await
            .map_err(|error| fault(&error))?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        Err(refusal(answer).await)
    }
}

fn named(voice: &str) -> Asked {
    Asked {
        fields: json!({ "spk_id": voice }),
        route: None,
    }
}

fn prompted(recording: &[u8], text: Option<String>) -> Asked {
    let audio = BASE64_STANDARD.encode(recording);
    match text {
        Some(text) => Asked {
            fields: json!({ "prompt_audio_base64": audio, "prompt_text": text }),
            route: Some(ZERO_SHOT),
        },
        None => Asked {
            fields: json!({ "prompt_audio_base64": audio }),
            route: Some(CROSS_LINGUAL),
        },
    }
}

async fn collect(answer: Response<Incoming>) -> Result<Bytes> {
    let body = http_body_util::Limited::new(answer.into_body(), limits::BENCH_ANSWER_BYTES);
    let body = body.collect().await;
    Ok(body
        .map_err(|error| Error::internal("reading an answer", error))?
        .to_bytes())
}

/// The error of an answer that is no success: its status and its `detail`.
async fn refusal(answer: Response<Incoming>) -> Error {
    let status = answer.status().as_u16();
    let body = timeout(Duration::from_secs(5), collect(answer)).await;
    let body = body.ok().and_then(Result::ok).unwrap_or_default();
    let detail = serde_json::from_slice(&body).ok();
    let detail = detail.and_then(|value: Value| value["detail"].as_str().map(str::to_owned));
    Error::Internal(format!("{status} {}", detail.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let server = |url| Server::new(url, None);
        assert_eq!(server("http://127.0.0.1:5000").unwrap().local_port(), Some(5000));
        assert_eq!(server("http://localhost/").unwrap().local_port(), Some(80));
        assert_eq!(server("http://example.org:81").unwrap().local_port(), None);
        for url in ["https://a", "http://a/tts", "localhost:5000", ""] {
            assert!(matches!(server(url), Err(Error::Invalid(_))), "{url}");
        }
    }

    #[test]
    fn a_recording_has_routes_of_its_own() {
        let asked = prompted(&[1, 2], Some("hi".into()));
        assert_eq!(asked.route, Some("/tts/zero_shot"));
        assert_eq!(
            asked.fields,
            json!({"prompt_audio_base64": "AQI=", "prompt_text": "hi"})
        );
        assert_eq!(prompted(&[1, 2], None).route, Some("/tts/cross_lingual"));
    }
}
