//! From samples to an HTTP answer.

use axum::{
    body::Body,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures::Stream;

use super::layers::{RequestId, X_BIT_DEPTH, X_CHANNELS, X_SAMPLE_RATE, X_SEED};
use crate::{
    Error, Result,
    api::{
        ApiState,
        codec::{self, Encoder, Format},
        error::ApiError,
        wire::Delivery,
    },
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
    format: Format,
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
    let samples = speech.chunks.recv().await.ok_or_else(nothing)??;
    let mut encoding = Encoding {
        encoder: Some(codec::encoder(format, sample_rate)?),
        speech: Some(speech),
    };
    let first = encoding.encode(Some(samples)).await?;
    let mut response = match stream {
        true => Body::from_stream(encoding.stream(first)).into_response(),
        false => Body::from(encoding.whole(first).await?).into_response(),
    };
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static(format.content_type()),
    );
    headers.insert(X_SEED, HeaderValue::from(seed));
    if format == Format::L16 {
        headers.insert(X_SAMPLE_RATE, HeaderValue::from(sample_rate));
        headers.insert(X_CHANNELS, HeaderValue::from(1));
        headers.insert(X_BIT_DEPTH, HeaderValue::from(16));
    }
    Ok(response)
}

/// An answer being encoded. The encoder visits a blocking thread with every chunk; the speech is gone after its end.
struct Encoding {
    encoder: Option<Box<dyn Encoder>>,
    speech: Option<SpeechStream>,
}

impl Encoding {
    /// The bytes of the next chunk of audio (perhaps none yet: an MP3 frame may not be full), of the encoder's rest
    /// after the last one, or `None` after that.
    async fn next(&mut self) -> Result<Option<Bytes>> {
        let Some(speech) = &mut self.speech else {
            return Ok(None);
        };
        match speech.chunks.recv().await {
            Some(samples) => self.encode(Some(samples?)).await.map(Some),
            None => {
                self.speech = None;
                self.encode(None).await.map(Some)
            }
        }
    }

    /// Encodes these samples, or the end.
    async fn encode(&mut self, samples: Option<Vec<f32>>) -> Result<Bytes> {
        let Some(mut encoder) = self.encoder.take() else {
            return Err(Error::Internal(
                "the encoder was lost to an earlier failure".into(),
            ));
        };
        let encoded = tokio::task::spawn_blocking(move || {
            let mut bytes = Vec::new();
            match samples {
                Some(samples) => encoder.push(&samples, &mut bytes)?,
                None => encoder.finish(&mut bytes)?,
            }
            Ok((encoder, bytes))
        });
        let (encoder, bytes) = encoded
            .await
            .map_err(|error| Error::internal("encoding audio", error))??;
        self.encoder = Some(encoder);
        Ok(bytes.into())
    }

    /// All bytes, from `first` on.
    async fn whole(mut self, first: Bytes) -> Result<Bytes> {
        let mut all = Vec::from(first);
        while let Some(bytes) = self.next().await? {
            all.extend_from_slice(&bytes);
        }
        Ok(all.into())
    }

    /// The bytes as they are made, from `first` on.
    fn stream(self, first: Bytes) -> impl Stream<Item = Result<Bytes>> + Send + 'static {
        let span = tracing::Span::current();
        futures::stream::try_unfold((self, Some(first)), move |(mut encoding, first)| {
            let span = span.clone();
            async move {
                let mut bytes = first;
                // An empty chunk would say nothing to the client: go on until there is something to send.
                while bytes.as_ref().is_none_or(Bytes::is_empty) {
                    bytes = match encoding.next().await {
                        Ok(None) => return Ok(None),
                        Ok(some) => some,
                        Err(error) => {
                            span.in_scope(|| tracing::error!(%error, "speech broke off; the answer was cut"));
                            return Err(error);
                        }
                    };
                }
                Ok(bytes.map(|bytes| (bytes, (encoding, None))))
            }
        })
    }
}
