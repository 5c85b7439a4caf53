//! Messages of the wire as requests to the engine.

use bytes::Bytes;

use super::proto::{self, request::RequestPayload};
use crate::{
    api::{
        ApiState,
        error::ApiError,
        prompt::{self, Recording},
        wire::{Delivery, check_text},
    },
    engine::{Mode, PromptAudio, SpeechRequest},
    limits,
};

/// The field of a recording.
const PROMPT_AUDIO: &str = "prompt_audio";

/// What a client asks for, checked; its recording is decoded.
///
/// # Errors
/// 400 and 413, naming field and limit.
pub(super) async fn speech(
    state: &ApiState,
    id: &str,
    mut request: proto::Request,
) -> Result<SpeechRequest, ApiError> {
    if let Some(payload) = &mut request.request_payload {
        check_text("tts_text", text_of(payload), limits::TTS_TEXT_CHARS)?;
    }
    live_speech(state, id, request).await
}

/// Likewise of a text that is still to come.
///
/// # Errors
/// As [`speech`].
pub(super) async fn live_speech(
    state: &ApiState,
    id: &str,
    request: proto::Request,
) -> Result<SpeechRequest, ApiError> {
    let proto::Request {
        speed,
        seed,
        request_payload,
    } = request;
    let given = Some(f64::from(speed)).filter(|speed| *speed != 0.0);
    let delivery = Delivery::new(Some(true), given, Some(seed))?;
    let Some(mut payload) = request_payload else {
        let what =
            "must be one of sft_request, zero_shot_request, cross_lingual_request and instruct_request";
        return Err(ApiError::field("RequestPayload", what));
    };
    Ok(SpeechRequest {
        id: id.to_owned(),
        text: std::mem::take(text_of(&mut payload)),
        mode: mode(state, payload).await?,
        speed: delivery.speed,
        seed: delivery.seed,
        stream: delivery.stream,
    })
}

/// The text to speak.
fn text_of(payload: &mut RequestPayload) -> &mut String {
    match payload {
        RequestPayload::SftRequest(request) => &mut request.tts_text,
        RequestPayload::ZeroShotRequest(request) => &mut request.tts_text,
        RequestPayload::CrossLingualRequest(request) => &mut request.tts_text,
        RequestPayload::InstructRequest(request) => &mut request.tts_text,
    }
}

/// Whose voice speaks it.
async fn mode(state: &ApiState, payload: RequestPayload) -> Result<Mode, ApiError> {
    match payload {
        RequestPayload::SftRequest(request) => {
            let voice = request.spk_id;
            check_text("spk_id", &voice, limits::VOICE_ID_CHARS)?;
            Ok(Mode::Sft { voice })
        }
        RequestPayload::ZeroShotRequest(request) => {
            let prompt_text = request.prompt_text;
            check_text("prompt_text", &prompt_text, limits::PROMPT_TEXT_CHARS)?;
            let prompt = recording(state, request.prompt_audio).await?;
            Ok(Mode::ZeroShot { prompt, prompt_text })
        }
        RequestPayload::CrossLingualRequest(request) => {
            let prompt = recording(state, request.prompt_audio).await?;
            Ok(Mode::CrossLingual { prompt })
        }
        RequestPayload::InstructRequest(request) => instructed(state, request).await,
    }
}

/// An instruction to a known voice, or to that of a recording.
async fn instructed(state: &ApiState, request: proto::InstructRequest) -> Result<Mode, ApiError> {
    let (voice, instruct_text) = (request.spk_id, request.instruct_text);
    check_text("instruct_text", &instruct_text, limits::PROMPT_TEXT_CHARS)?;
    if request.prompt_audio.is_empty() {
        check_text("spk_id", &voice, limits::VOICE_ID_CHARS)?;
        return Ok(Mode::Instruct { voice, instruct_text });
    }
    if !voice.is_empty() {
        return Err(ApiError::field(
            "spk_id",
            "give a voice or a recording of one, not both",
        ));
    }
    let prompt = recording(state, request.prompt_audio).await?;
    Ok(Mode::InstructPrompt {
        prompt,
        instruct_text,
    })
}

async fn recording(state: &ApiState, samples: Bytes) -> Result<PromptAudio, ApiError> {
    prompt::decode(state, PROMPT_AUDIO, Recording::Samples(samples)).await
}
