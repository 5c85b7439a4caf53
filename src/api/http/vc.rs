//! `/tts/vc`: speech to speech, in another voice.

use axum::{
    extract::{Request, State},
    response::Response,
};

use super::{
    answers::{Speech, SpeechFailures},
    body,
    layers::RequestId,
    speech,
    tts::{PROMPT_BASE64, PROMPT_WAV, required},
};
use crate::{
    api::{
        ApiState,
        error::ApiError,
        prompt,
        wire::{ConvertForm, ConvertRequest, check_text},
    },
    engine::{Mode, Target},
    limits,
};

/// The multipart field of the recording to convert.
const SOURCE_WAV: &str = "source_wav";
/// The JSON field of it.
const SOURCE_BASE64: &str = "source_audio_base64";

/// What a recording says, as it says it, in the voice of another recording or of a known voice.
#[utoipa::path(
    post, path = "/tts/vc", tag = "speech", operation_id = "convert_speech",
    request_body(content(
        (ConvertRequest = "application/json", examples(("A base64 recording, shortened" = (value = json!({
            "source_audio_base64": "data:audio/wav;base64,UklGRiQAAABXQVZF", "spk_id": "英文女"
        }))))),
        (ConvertForm = "multipart/form-data"),
    )),
    responses(Speech, SpeechFailures)
)]
pub async fn convert(
    State(state): State<ApiState>,
    id: RequestId,
    request: Request,
) -> Result<Response, ApiError> {
    let (request, [source_file, prompt_file]) =
        body::json_or_form::<ConvertRequest, 2>(request, [SOURCE_WAV, PROMPT_WAV]).await?;
    let (delivery, format) = request.delivery()?;
    let ConvertRequest {
        source_audio_base64,
        prompt_audio_base64,
        spk_id,
        ..
    } = request;
    let (field, source) = required((SOURCE_WAV, source_file), (SOURCE_BASE64, source_audio_base64))?;
    let has_prompt = prompt_file.is_some() || prompt_audio_base64.is_some();
    let target = match spk_id {
        Some(_) if has_prompt => {
            return Err(ApiError::field(
                "spk_id",
                "give a voice or a recording of one, not both",
            ));
        }
        Some(voice) => {
            check_text("spk_id", &voice, limits::VOICE_ID_CHARS)?;
            Target::Voice(voice)
        }
        None if has_prompt => {
            let (field, recording) =
                required((PROMPT_WAV, prompt_file), (PROMPT_BASE64, prompt_audio_base64))?;
            Target::Prompt(prompt::decode(&state, field, recording).await?)
        }
        None => {
            let what = format!("a voice is required: this or a recording ({PROMPT_WAV}, {PROMPT_BASE64})");
            return Err(ApiError::field("spk_id", what));
        }
    };
    let source = prompt::decode_source(&state, field, source).await?;
    let mode = Mode::Convert { source, target };
    speech::answer(&state, &id, String::new(), mode, delivery, format).await
}
