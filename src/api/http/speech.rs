//! From samples to an HTTP answer.

use axum::{
    body::Body,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures::Stream;
use tokio::task::spawn_blocking;

use super::layers::{RequestId, X_BIT_DEPTH, X_CHANNELS, X_SAMPLE_RATE, X_SEED};
use crate::{
    Error, Result,
    api::{ApiState, error::ApiError, wire::Delivery},
    audio::encode::{AudioEncoder, AudioFormat, encode_whole, encoder},
    engine::{Mode, SpeechRequest, SpeechStream},
};

/// Speaks `text` and answers with the audio: chunked while it is made when `delivery.stream`, else whole.
///
/// The status is decided after the first chunk of audio, so whatever fails before it gets a status of its own. What
/// fails later ends a streamed body early, which every HTTP client reports. Dropping the answer cancels the synthesis.
///
/// # Errors
/// What the engine says of the request, or of its first audio (of all its audio when not streaming).
pub async fn answer(
    state: &ApiState,
    id: &RequestId,
    text: String,
    mode: Mode,
    delivery: Delivery,
    format: AudioFormat,
) -> Result<Response, ApiError> {
    let Delivery { stream, speed, seed } = delivery;
    let request = SpeechRequest {
        id: id.as_str().to_owned(),
        text,
        mode,
        speed,
        seed,
        stream,
    };
    let mut speech = state.speaker().speak(request).await?;
    let sample_rate = speech.sample_rate;
    let nothing = || Error::Internal("the engine gave no audio".into());
    let first = speech.chunks.recv().await.ok_or_else(nothing)??;
    let mut response = match stream {
        true => Body::from_stream(streamed(speech, first, format).await?).into_response(),
        false => Body::from(whole(speech, first, format).await?).into_response(),
    };
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static(format.content_type()),
    );
    headers.insert(X_SEED, HeaderValue::from(seed));
    if format == AudioFormat::L16 {
        headers.insert(X_SAMPLE_RATE, HeaderValue::from(sample_rate));
        headers.insert(X_CHANNELS, HeaderValue::from(1));
        headers.insert(X_BIT_DEPTH, HeaderValue::from(16));
    }
    Ok(response)
}

/// All speech, from `first` on, as one file.
async fn whole(mut speech: SpeechStream, first: Vec<f32>, format: AudioFormat) -> Result<Bytes> {
    let mut samples = first;
    while let Some(chunk) = speech.chunks.recv().await {
        samples.extend_from_slice(&chunk?);
    }
    let encoded = spawn_blocking(move || encode_whole(format, speech.sample_rate, &samples));
    Ok(encoded
        .await
        .map_err(|error| Error::internal("encoding audio", error))??
        .into())
}

/// The speech as it is made, from `first` on.
async fn streamed(
    speech: SpeechStream,
    first: Vec<f32>,
    format: AudioFormat,
) -> Result<impl Stream<Item = Result<Bytes>> + Send + 'static> {
    let mut encoding = Encoding {
        encoder: Some(encoder(format, speech.sample_rate)?),
        speech: Some(speech),
    };
    let first = encoding.encode(Some(first)).await?;
    let span = tracing::Span::current();
    Ok(futures::stream::try_unfold(
        (encoding, first),
        move |(mut encoding, mut bytes)| {
            let span = span.clone();
            async move {
                // An empty chunk would say nothing to the client: go on until there is something to send.
                while bytes.is_empty() {
                    bytes = match encoding.next().await {
                        Ok(Some(bytes)) => bytes,
                        Ok(None) => return Ok(None),
                        Err(error) => {
                            span.in_scope(|| tracing::error!(%error, "speech broke off; the answer was cut"));
                            return Err(error);
                        }
                    };
                }
                Ok(Some((bytes, (encoding, Bytes::new()))))
            }
        },
    ))
}

/// A streamed answer being encoded. The encoder visits a blocking thread with every chunk and stays away when that
/// fails; the speech is gone after its end.
struct Encoding {
    encoder: Option<Box<dyn AudioEncoder>>,
    speech: Option<SpeechStream>,
}

impl Encoding {
    /// The bytes of the next chunk of speech (perhaps none yet: an MP3 frame may not be full), of the encoder's rest
    /// after the last one, or `None` after that.
    async fn next(&mut self) -> Result<Option<Bytes>> {
        let Some(speech) = &mut self.speech else {
            return Ok(None);
        };
        let samples = speech.chunks.recv().await.transpose()?;
        if samples.is_none() {
            self.speech = None;
        }
        self.encode(samples).await.map(Some)
    }

    /// Encodes these samples, or the end.
    async fn encode(&mut self, samples: Option<Vec<f32>>) -> Result<Bytes> {
        let Some(mut encoder) = self.encoder.take() else {
            return Err(Error::Internal(
                "the encoder was lost to an earlier failure".into(),
            ));
        };
        let encoded = spawn_blocking(move || {
            let bytes = match samples {
                Some(samples) => encoder.encode(&samples),
                None => encoder.finish(),
            };
            (encoder, bytes)
        });
        let (encoder, bytes) = encoded
            .await
            .map_err(|error| Error::internal("encoding audio", error))?;
        self.encoder = Some(encoder);
        Ok(bytes?.into())
    }
}
