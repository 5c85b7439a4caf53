//! Voices as they cross the wire.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    api::preview::Language,
    engine::{Imported, VoiceInfo},
};

/// A voice and what is known of it.
#[derive(Debug, Serialize, ToSchema)]
pub struct VoiceEntry {
    /// Id to send as `spk_id`.
    #[schema(example = "中文女")]
    pub spk_id: String,
    /// Name to show.
    #[schema(example = "中文女")]
    pub spk_name: String,
    /// Comes with the model; such a voice is neither renamed nor removed.
    pub built_in: bool,
    /// What it is known by.
    pub kind: VoiceKind,
    /// Language its preview is in: that of its transcript, else what its name or id tell (`zh`, `yue`, `en`, `ja`, `ko`).
    #[schema(example = "zh")]
    pub language: &'static str,
    /// What is said in the recording it was made from; null where there is none or the model tells no words, empty where
    /// nobody told.
    pub prompt_text: Option<String>,
    /// Length of that recording; null where there is none.
    pub prompt_seconds: Option<f32>,
}

/// What a voice is known by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum VoiceKind {
    /// Its speaker embedding, and how a recording sounds if it came with the model with one and without its words.
    Preset,
    /// A recording, whose manner it has too.
    Clone,
}

impl From<VoiceInfo> for VoiceEntry {
    fn from(voice: VoiceInfo) -> Self {
        let language = Language::of(&voice).code();
        let (prompt_text, prompt_seconds) = voice.prompt.map(|prompt| (prompt.text, prompt.seconds)).unzip();
        let prompt_text = prompt_text.filter(|text| !(voice.built_in && text.is_empty()));
        Self {
            spk_id: voice.id,
            spk_name: voice.name,
            built_in: voice.built_in,
            kind: match prompt_text {
                Some(_) => VoiceKind::Clone,
                None => VoiceKind::Preset,
            },
            language,
            prompt_text,
            prompt_seconds,
        }
    }
}

/// Answer of `/voices`.
#[derive(Debug, Serialize, ToSchema)]
pub struct Voices {
    /// Built-in voices, then saved ones.
    pub voices: Vec<VoiceEntry>,
}

/// What of a voice may change.
#[derive(Debug, Clone, Deserialize, ToSchema)]
pub struct VoiceChange {
    /// Its new name, 1 to 64 characters.
    #[schema(min_length = 1, max_length = 64, example = "Anna (Berlin)")]
    pub spk_name: String,
    /// Its id, which stays as it is: requests name it. May be left out.
    pub spk_id: Option<String>,
}

/// Answer to the removal of a voice.
#[derive(Debug, Serialize, ToSchema)]
pub struct VoiceRemoved {
    /// Always `success`.
    #[schema(example = "success")]
    pub status: &'static str,
    /// What happened, for people.
    pub message: String,
    /// Id it had.
    pub spk_id: String,
    /// Name it had.
    pub spk_name: String,
}

/// Answer of `/voices/import`.
#[derive(Debug, Serialize, ToSchema)]
pub struct VoicesImported {
    /// Always `success`: at least one voice was saved.
    #[schema(example = "success")]
    pub status: &'static str,
    /// What happened, for people.
    pub message: String,
    /// The voices that were saved.
    pub imported: Vec<VoiceEntry>,
    /// Those that were not.
    pub skipped: Vec<VoiceSkipped>,
}

/// A voice of a file that was not saved.
#[derive(Debug, Serialize, ToSchema)]
pub struct VoiceSkipped {
    /// Its id there.
    pub spk_id: String,
    /// Why not.
    pub reason: String,
}

impl From<Imported> for VoicesImported {
    fn from(imported: Imported) -> Self {
        let Imported { voices, skipped } = imported;
        let message = format!("voices saved: {}, skipped: {}", voices.len(), skipped.len());
        let skipped = skipped.into_iter();
        Self {
            status: "success",
            message,
            imported: voices.into_iter().map(VoiceEntry::from).collect(),
            skipped: skipped
                .map(|(spk_id, reason)| VoiceSkipped { spk_id, reason })
                .collect(),
        }
    }
}

/// The query of a voice's preview.
#[derive(Debug, Clone, Deserialize)]
pub struct PreviewQuery {
    /// What to say; a sentence in the voice's language when absent.
    pub text: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::VoicePromptInfo;

    /// Guarantees that a voice of the model with a recording for the flow is a preset, one saved without words a clone.
    #[test]
    fn a_recording_without_words_makes_no_clone_of_a_built_in_voice() {
        for (built_in, text, kind) in [
            (true, "", VoiceKind::Preset),
            (true, "你好", VoiceKind::Clone),
            (false, "", VoiceKind::Clone),
        ] {
            let entry = VoiceEntry::from(VoiceInfo {
                id: "1".into(),
                name: "1".into(),
                built_in,
                prompt: Some(VoicePromptInfo {
                    text: text.into(),
                    seconds: 4.0,
                }),
                revision: 0,
            });
            assert_eq!(entry.kind, kind);
            assert_eq!(entry.prompt_text.is_some(), kind == VoiceKind::Clone);
            assert_eq!(entry.prompt_seconds, Some(4.0));
        }
    }
}
