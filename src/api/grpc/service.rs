//! The methods of `cosyvoice.CosyVoice`.

use axum::http::{HeaderMap, HeaderValue};
use tonic::{Extensions, Request, Response, Status, Streaming, metadata::MetadataMap};

use super::{
    convert,
    door::{Call, Door},
    live,
    outgoing::{self, Answer},
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
#[derive(Clone)]
pub(super) struct Service {
    state: ApiState,
    door: Door,
}

impl Service {
    /// `door`: which its calls have passed.
    pub(super) fn new(state: ApiState, door: Door) -> Self {
        Self { state, door }
    }

    /// What all handlers share.
    pub(super) fn state(&self) -> &ApiState {
        &self.state
    }

    /// The door.
    pub(super) fn door(&self) -> &Door {
        &self.door
    }

    /// The status of an error of the engine; a server that drains is not merely full.
    pub(super) fn refused(&self, error: &Error, call: &Call) -> Status {
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
    type InferenceStream = Answer<proto::Response>;

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
        let head = (sample_rate, seed);
        let answer = outgoing::answer(&call.clone(), |sender| {
            outgoing::speech(audio, head, call, sender)
        });
        let mut headers = HeaderMap::new();
        headers.insert(X_SAMPLE_RATE, HeaderValue::from(sample_rate));
        headers.insert(X_SEED, HeaderValue::from(seed));
        let metadata = MetadataMap::from_headers(headers);
        Ok(Response::from_parts(metadata, answer, Extensions::default()))
    }

    type LiveStream = Answer<proto::LiveResponse>;

    async fn live(
        &self,
        request: Request<Streaming<proto::LiveRequest>>,
    ) -> Result<Response<Self::LiveStream>, Status> {
        let (call, said) = Call::of(request)?;
        let service = self.clone();
        let answer = outgoing::answer(&call.clone(), |sender| live::talk(service, call, said, sender));
        Ok(Response::new(answer))
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
