//! The engine's voices: known, made, imported, renamed, removed. What changes a voice blocks on the disk, so it runs where
//! that is allowed.

use std::time::Instant;

use super::facade::{Engine, blocking};
use super::stages::Stages;
use super::{Imported, PromptAudio, VoiceInfo, VoicePromptInfo};
use crate::voice::{Known, SpeakerFile};
use crate::{Error, Result, limits};

/// Refusals that are told when nothing of a file could be saved.
const REASONS_TOLD: usize = 3;

impl Engine {
    /// Built-in voices, then saved ones by id.
    pub fn voices(&self) -> Vec<VoiceInfo> {
        let list = self.stages.voices.list();
        list.iter().map(|known| self.stages.voice_info(known)).collect()
    }

    /// The voice of this id.
    ///
    /// # Errors
    /// [`Error::UnknownVoice`].
    pub fn voice(&self, id: &str) -> Result<VoiceInfo> {
        let known = self.stages.voices.known(id)?;
        Ok(self.stages.voice_info(&known))
    }

    /// Makes a voice from a recording and saves it atomically, replacing a saved voice of that id.
    pub async fn add_voice(
        &self,
        id: &str,
        name: &str,
        prompt_text: &str,
        prompt: PromptAudio,
    ) -> Result<VoiceInfo> {
        self.stages.voices.check_id(id)?;
        let permit = self.admission.enter(Instant::now() + self.deadline).await?;
        let (id, name, text) = (id.to_string(), name.to_string(), prompt_text.to_string());
        let stages = self.stages.clone();
        blocking(move || {
            let voice = stages.voice_of(&id, &name, &text, &prompt)?;
            let saved = stages.voices.save(voice)?;
            drop(permit);
            tracing::info!(voice = saved.voice.id, "voice saved");
            Ok(stages.voice_info(&saved))
        })
        .await
    }

    /// Saves the voices of a file, each atomically, replacing saved voices of their ids. A voice that cannot be one of
    /// this model's is skipped, with the reason.
    ///
    /// # Errors
    /// [`Error::Invalid`] when none could be saved; [`Error::Internal`] when the disk fails.
    pub async fn import_voices(&self, file: SpeakerFile) -> Result<Imported> {
        let stages = self.stages.clone();
        blocking(move || stages.import(file)).await
    }

    /// Gives a saved voice another name, atomically.
    ///
    /// # Errors
    /// [`Error::UnknownVoice`]; [`Error::Invalid`] for a built-in voice.
    pub async fn rename_voice(&self, id: &str, name: &str) -> Result<VoiceInfo> {
        let (stages, id, name) = (self.stages.clone(), id.to_string(), name.to_string());
        blocking(move || {
            let renamed = stages.voices.rename(&id, &name)?;
            tracing::info!(voice = id, name, "voice renamed");
            Ok(stages.voice_info(&renamed))
        })
        .await
    }

    /// Removes a saved voice; returns what it was. Who speaks with it goes on.
    ///
    /// # Errors
    /// [`Error::UnknownVoice`]; [`Error::Invalid`] for a built-in voice.
    pub async fn remove_voice(&self, id: &str) -> Result<VoiceInfo> {
        let (stages, id) = (self.stages.clone(), id.to_string());
        blocking(move || {
            let removed = stages.voices.remove(&id)?;
            tracing::info!(voice = id, "voice removed");
            Ok(stages.voice_info(&removed))
        })
        .await
    }
}

impl Stages {
    fn voice_info(&self, known: &Known) -> VoiceInfo {
        let voice = &known.voice;
        let prompt = voice.prompt.as_ref().map(|prompt| VoicePromptInfo {
            text: prompt.text.clone(),
            seconds: prompt.speech_tokens.len() as f32 / self.manifest.token_rate.max(1) as f32,
        });
        VoiceInfo {
            id: voice.id.clone(),
            name: voice.name.clone(),
            built_in: known.built_in,
            prompt,
            revision: known.revision,
        }
    }

    fn import(&self, file: SpeakerFile) -> Result<Imported> {
        let (mut voices, mut skipped) = (Vec::new(), Vec::new());
        for speaker in file.into_speakers() {
            let id = speaker.id().to_owned();
            let saved = self.voices.check_id(&id).and_then(|()| {
                let voice = speaker.voice(&self.manifest, self.text.tokenizer())?;
                self.voices.save(voice)
            });
            match saved {
                Ok(known) => voices.push(self.voice_info(&known)),
                Err(error @ Error::Internal(_)) => return Err(error),
                Err(error) => {
                    let shown = id.chars().take(limits::VOICE_ID_CHARS).collect();
                    skipped.push((shown, error.to_string()));
                }
            }
        }
        if voices.is_empty() {
            return Err(none_imported(&skipped));
        }
        tracing::info!(saved = voices.len(), skipped = skipped.len(), "voices imported");
        Ok(Imported { voices, skipped })
    }
}

fn none_imported(skipped: &[(String, String)]) -> Error {
    let told = skipped.iter().take(REASONS_TOLD);
    let told: Vec<String> = told.map(|(id, why)| format!("\"{id}\": {why}")).collect();
    let more = match skipped.len().saturating_sub(REASONS_TOLD) {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    Error::Invalid(format!("no voice could be imported: {}{more}", told.join("; ")))
}
