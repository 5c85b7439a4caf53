//! Admission, the pipeline of a request, its chunk plan. Knows no HTTP and no serde.
pub mod facade;
pub mod request;

pub use facade::{Engine, EngineOptions, ModelInfo};
pub use request::{Mode, PromptAudio, SpeechRequest, SpeechStream, VoiceInfo};
