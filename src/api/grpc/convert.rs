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
    request: proto::Request,
) -> Result<SpeechRequest, ApiError> {
    let proto::Request {
        speed,
        seed,
        request_payload,
    } = request;
    let given = Some(f64::from(speed)).filter(|speed| *speed != 0.0);
    let delivery = Delivery::new(Some(true), given, Some(seed))?;
    let Some(payload) = request_payload else {
        let what = "must be one of sft_request, zero_shot_request, cross_lingual_request and instruct_request";
        return Err(ApiError::field("RequestPayload", what));
    };
    let (text, mode) = spoken(state, payload).await?;
    Ok(SpeechRequest {
        id: id.to_owned(),
        text,
        mode,
        speed: delivery.speed,
        seed: delivery.seed,
        stream: delivery.stream,
    })
}

/// The text, and whose voice speaks it.
async fn spoken(state: &ApiState, payload: RequestPayload) -> Result<(String, Mode), ApiError> {
    match payload {
        RequestPayload::SftRequest(proto::SftRequest { spk_id, tts_text }) => {
            check_text("tts_text", &tts_text, limits::TTS_TEXT_CHARS)?;
            check_text("spk_id", &spk_id, limits::VOICE_ID_CHARS)?;
            Ok((tts_text, Mode::Sft { voice: spk_id }))
        }
        RequestPayload::ZeroShotRequest(proto::ZeroshotRequest {
            tts_text,
            prompt_text,
            prompt_audio,
        }) => {
            check_text("tts_text", &tts_text, limits::TTS_TEXT_CHARS)?;
            check_text("prompt_text", &prompt_text, limits::PROMPT_TEXT_CHARS)?;
            let prompt = recording(state, prompt_audio).await?;
            Ok((tts_text, Mode::ZeroShot { prompt, prompt_text }))
        }
        RequestPayload::CrossLingualRequest(proto::CrosslingualRequest {
            tts_text,
            prompt_audio,
        }) => {
            check_text("tts_text", &tts_text, limits::TTS_TEXT_CHARS)?;
            let prompt = recording(state, prompt_audio).await?;
            Ok((tts_text, Mode::CrossLingual { prompt }))
        }
        RequestPayload::InstructRequest(request) => {
            check_text("tts_text", &request.tts_text, limits::TTS_TEXT_CHARS)?;
            instructed(state, request).await
        }
    }
}

/// An instruction to a known voice, or to that of a recording.
async fn instructed(
    state: &ApiState,
    request: proto::InstructRequest,
) -> Result<(String, Mode), ApiError> {
    let proto::InstructRequest {
        tts_text,
        spk_id,
        instruct_text,
        prompt_audio,
    } = request;
    check_text("instruct_text", &instruct_text, limits::PROMPT_TEXT_CHARS)?;
    if prompt_audio.is_empty() {
        check_text("spk_id", &spk_id, limits::VOICE_ID_CHARS)?;
        let voice = spk_id;
        return Ok((tts_text, Mode::Instruct { voice, instruct_text }));
    }
    if !spk_id.is_empty() {
        return Err(ApiError::field("spk_id", "give a voice or a recording of one, not both"));
    }
    let prompt = recording(state, prompt_audio).await?;
    Ok((tts_text, Mode::InstructPrompt { prompt, instruct_text }))
}

async fn recording(state: &ApiState, samples: Bytes) -> Result<PromptAudio, ApiError> {
    prompt::decode(state, PROMPT_AUDIO, Recording::Samples(samples)).await
}
