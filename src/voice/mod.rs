//! Speakers: what the model needs to sound like one, where saved ones live, those that CosyVoice itself saved, and recent
//! prompts kept for reuse.
mod cache;
mod file;
pub mod spk2info;
mod store;

pub use cache::PromptCache;
pub use spk2info::SpeakerFile;
pub use store::{Known, VoiceStore};

/// A speaker, ready for the model.
#[derive(Debug, Clone, PartialEq)]
pub struct Voice {
    /// Id as clients name it.
    pub id: String,
    /// Name to show.
    pub name: String,
    /// Which model its tokens and embedding belong to ([`Manifest::voice_space`](crate::model::bundle::Manifest));
    /// empty where that goes without saying, as in a bundle.
    pub model: String,
    /// Speaker embedding.
    pub embedding: Vec<f32>,
    /// What was said in which words; absent for speakers known by embedding alone.
    pub prompt: Option<VoicePrompt>,
}

/// The recording a voice was made from, as the model sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct VoicePrompt {
    /// Its transcript, as given.
    pub text: String,
    /// The transcript's text ids.
    pub text_tokens: Vec<i64>,
    /// Its speech tokens.
    pub speech_tokens: Vec<i64>,
    /// Its mel [frames, bins], row-major.
    pub speech_feat: Vec<f32>,
}
