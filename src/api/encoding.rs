//! Samples of one answer to bytes, chunk by chunk or whole, for every protocol. Encoders run on blocking threads.

use bytes::Bytes;
use futures::Stream;
use tokio::task::spawn_blocking;

use crate::{
    Error, Result,
    audio::encode::{AudioEncoder, AudioFormat, encode_whole, encoder_at},
    engine::SpeechStream,
};

/// Waits for the first audio, so that whatever fails before it can be told as the request's failure.
///
/// # Errors
/// What the engine says instead of audio.
pub async fn first(speech: &mut SpeechStream) -> Result<Vec<f32>> {
    let nothing = || Error::Internal("the engine gave no audio".into());
    speech.chunks.recv().await.ok_or_else(nothing)?
}

/// All speech, from `first` on, as one file.
///
/// # Errors
/// What ends the speech early, or what the encoder says.
pub async fn whole(mut speech: SpeechStream, first: Vec<f32>, format: AudioFormat) -> Result<Bytes> {
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

/// The speech as it is made, from `first` on; an error is the last item. Dropping it cancels the synthesis.
///
/// # Errors
/// What the encoder says of the first audio.
pub async fn streamed(
    speech: SpeechStream,
    first: Vec<f32>,
    format: AudioFormat,
) -> Result<impl Stream<Item = Result<Bytes>> + Send + 'static> {
    let rate = speech.sample_rate;
    streamed_at(speech, first, format, rate).await
}

/// As [`streamed`], at `rate` hertz whatever the speech's own rate is.
///
/// # Errors
/// As [`streamed`].
pub async fn streamed_at(
    speech: SpeechStream,
    first: Vec<f32>,
    format: AudioFormat,
    rate: u32,
) -> Result<impl Stream<Item = Result<Bytes>> + Send + 'static> {
    let mut encoding = Encoding::at(speech, format, rate)?;
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
/// fails; the speech is gone after its end. Dropping it cancels the synthesis.
pub(super) struct Encoding {
    encoder: Option<Box<dyn AudioEncoder>>,
    speech: Option<SpeechStream>,
    samples: usize,
}

impl Encoding {
    /// Of a speech that has not been listened to.
    pub fn new(speech: SpeechStream, format: AudioFormat) -> Result<Self> {
        let rate = speech.sample_rate;
        Self::at(speech, format, rate)
    }

    /// Of a speech that has not been listened to, at `rate` hertz whatever its own rate is.
    pub fn at(speech: SpeechStream, format: AudioFormat, rate: u32) -> Result<Self> {
        Ok(Self {
            encoder: Some(encoder_at(format, speech.sample_rate, rate)?),
            speech: Some(speech),
            samples: 0,
        })
    }

    /// The bytes of the next chunk of speech (perhaps none yet: an MP3 frame may not be full), of the encoder's rest
    /// after the last one, or `None` after that.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        let Some(speech) = &mut self.speech else {
            return Ok(None);
        };
        let samples = speech.chunks.recv().await.transpose()?;
        match &samples {
            Some(samples) => self.samples += samples.len(),
            None => self.speech = None,
        }
        self.encode(samples).await.map(Some)
    }

    /// Samples that [`Encoding::next`] has taken so far.
    pub fn samples(&self) -> usize {
        self.samples
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
