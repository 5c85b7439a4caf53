//! What a `start` message asks for.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{
    Result,
    api::{
        ApiState,
        error::ApiError,
        http::body::wrong_field,
        lax,
        live::LiveAudio,
        prompt::{self, Recording},
        wire::{Delivery, Format, check_text},
    },
    engine::{Mode, PromptAudio, SpeechRequest},
    limits,
};

/// The field of a recording.
const PROMPT_BASE64: &str = "prompt_audio_base64";

/// The fields of a `start` message; those of the query are alike.
#[derive(Debug, Default, Deserialize)]
pub struct Start {
    mode: Option<String>,
    spk_id: Option<String>,
    prompt_text: Option<String>,
    prompt_audio_base64: Option<String>,
    instruct_text: Option<String>,
    #[serde(default, deserialize_with = "Format::lax")]
    format: Option<Format>,
    #[serde(default, deserialize_with = "lax::number")]
    speed: Option<f64>,
    #[serde(default, deserialize_with = "lax::whole")]
    seed: Option<u64>,
    #[serde(default, deserialize_with = "lax::number")]
    ahead: Option<f64>,
}

/// An utterance to begin, checked as far as that is possible without a model.
pub struct Utterance {
    /// Its audio.
    pub audio: LiveAudio,
    /// The name of its format.
    pub format: &'static str,
    voice: Voice,
    delivery: Delivery,
}

enum Voice {
    Known(Mode),
    /// That of a recording in base64, and the mode made of it.
    Recorded(String, Box<dyn FnOnce(PromptAudio) -> Mode + Send>),
}

impl Start {
    /// Checks the fields of a query, which need not be complete.
    ///
    /// # Errors
    /// 400 naming the field.
    pub fn check(query: &Map<String, Value>) -> Result<(), ApiError> {
        let start = Self::of(query.clone())?;
        start.how()?;
        start.audio()?;
        Delivery::new(None, start.speed, start.seed).map(drop)
    }

    /// Makes an utterance of these fields.
    ///
    /// # Errors
    /// 400 naming the field that is missing or wrong.
    pub fn utterance(fields: Map<String, Value>) -> Result<Utterance, ApiError> {
        let start = Self::of(fields)?;
        let (format, audio) = start.audio()?;
        Ok(Utterance {
            audio,
            format,
            delivery: Delivery::new(Some(true), start.speed, start.seed)?,
            voice: start.voice()?,
        })
    }

    fn of(fields: Map<String, Value>) -> Result<Self, ApiError> {
        serde_path_to_error::deserialize(Value::Object(fields)).map_err(|error| wrong_field(&error))
    }

    fn audio(&self) -> Result<(&'static str, LiveAudio), ApiError> {
        let format = self.format.unwrap_or(Format::Pcm);
        Ok((format.name(), LiveAudio::new(format.into(), self.ahead)?))
    }

    /// The mode: as named, or as the fields have it.
    fn how(&self) -> Result<&'static str, ApiError> {
        const MODES: [&str; 5] = ["sft", "zero_shot", "cross_lingual", "instruct", "instruct2"];
        if let Some(named) = &self.mode {
            let known = MODES.into_iter().find(|mode| mode == named);
            return known
                .ok_or_else(|| ApiError::field("mode", format!("must be one of {}", MODES.join(", "))));
        }
        let (recorded, instructed) = (self.prompt_audio_base64.is_some(), self.instruct_text.is_some());
        Ok(match (recorded, instructed, self.prompt_text.is_some()) {
            (true, true, _) => "instruct2",
            (true, false, true) => "zero_shot",
            (true, false, false) => "cross_lingual",
            (false, true, _) => "instruct",
            (false, false, _) => "sft",
        })
    }

    fn voice(self) -> Result<Voice, ApiError> {
        let how = self.how()?;
        let voice = || required("spk_id", self.spk_id, limits::VOICE_ID_CHARS);
        let prompt_text = || required("prompt_text", self.prompt_text, limits::PROMPT_TEXT_CHARS);
        let instruct_text = || required("instruct_text", self.instruct_text, limits::PROMPT_TEXT_CHARS);
        let recording = || required(PROMPT_BASE64, self.prompt_audio_base64, limits::WS_MESSAGE_BYTES);
        Ok(match how {
            "zero_shot" => {
                let prompt_text = prompt_text()?;
                let mode = |prompt| Mode::ZeroShot { prompt, prompt_text };
                Voice::Recorded(recording()?, Box::new(mode))
            }
            "cross_lingual" => {
                Voice::Recorded(recording()?, Box::new(|prompt| Mode::CrossLingual { prompt }))
            }
            "instruct2" => {
                let instruct_text = instruct_text()?;
                let mode = |prompt| Mode::InstructPrompt {
                    prompt,
                    instruct_text,
                };
                Voice::Recorded(recording()?, Box::new(mode))
            }
            "instruct" => Voice::Known(Mode::Instruct {
                voice: voice()?,
                instruct_text: instruct_text()?,
            }),
            _ => Voice::Known(Mode::Sft { voice: voice()? }),
        })
    }
}

impl Utterance {
    /// The request for it.
    ///
    /// # Errors
    /// What is wrong with its recording.
    pub async fn request(self, state: ApiState, id: String) -> Result<SpeechRequest> {
        let mode = match self.voice {
            Voice::Known(mode) => mode,
            Voice::Recorded(base64, mode) => {
                mode(prompt::heard(&state, PROMPT_BASE64, Recording::Base64(base64)).await?)
            }
        };
        let Delivery { stream, speed, seed } = self.delivery;
        Ok(SpeechRequest {
            id,
            text: String::new(),
            mode,
            speed,
            seed,
            stream,
        })
    }
}

/// A field that must be there, and its bounds.
fn required(name: &str, field: Option<String>, limit: usize) -> Result<String, ApiError> {
    let text = field.ok_or_else(|| ApiError::field(name, "is required"))?;
    check_text(name, &text, limit)?;
    Ok(text)
}
