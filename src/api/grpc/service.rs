//! The methods of `cosyvoice.CosyVoice`.

use axum::http::HeaderName;
use futures::stream::BoxStream;
use tonic::{Request, Response, Status, metadata::MetadataValue};

use super::{
    convert,
    door::Call,
    outgoing,
    proto::{self, cosy_voice_server::CosyVoice},
    status,
};
use crate::{
    Error,
    api::{
        ApiState, encoding,
        error::ApiError,
        http::layers::{X_SAMPLE_RATE, X_SEED},
    },
    audio::encode::AudioFormat,
};

/// The service over a speaker.
pub(super) struct Service {
    state: ApiState,
}

impl Service {
    pub(super) fn new(state: ApiState) -> Self {
        Self { state }
    }

    /// The status of an error of the engine; a server that drains is not merely full.
    fn refused(&self, error: &Error, call: &Call) -> Status {
        match error {
            Error::Overloaded(_) if self.state.is_draining() => {
                status::translated(&ApiError::draining(), &call.id)
            }
            error => status::refused(error, &call.id),
        }
    }
}

#[tonic::async_trait]
impl CosyVoice for Service {
    type InferenceStream = BoxStream<'static, Result<proto::Response, Status>>;

    async fn inference(
        &self,
        request: Request<proto::Request>,
    ) -> Result<Response<Self::InferenceStream>, Status> {
        let (call, message) = Call::of(request)?;
        let request = convert::speech(&self.state, call.id.as_str(), message).await;
        let request = request.map_err(|error| status::translated(&error, &call.id))?;
        let seed = request.seed;
        let refused = |error| self.refused(&error, &call);
        let mut speech = self.state.speaker().speak(request).await.map_err(refused)?;
        let sample_rate = speech.sample_rate;
        let first = encoding::first(&mut speech).await.map_err(refused)?;
        let audio = encoding::streamed(speech, first, AudioFormat::L16).await;
        let audio = audio.map_err(refused)?;
        let mut response = Response::new(outgoing::messages(audio, (sample_rate, seed), call));
        let mut tell = |name: &HeaderName, value: u64| {
            let metadata = response.metadata_mut();
            metadata.insert(name.as_str(), MetadataValue::from(value));
        };
        tell(&X_SAMPLE_RATE, sample_rate.into());
        tell(&X_SEED, seed);
        Ok(response)
    }

    async fn list_voices(
        &self,
        request: Request<proto::ListVoicesRequest>,
    ) -> Result<Response<proto::ListVoicesResponse>, Status> {
        let (_call, _message) = Call::of(request)?;
        let voices = self.state.speaker().voices().into_iter();
        let voices = voices.map(|voice| proto::Voice {
            spk_id: voice.id,
            spk_name: voice.name,
            built_in: voice.built_in,
        });
        Ok(Response::new(proto::ListVoicesResponse {
            voices: voices.collect(),
        }))
    }
}
