//! The engine as the api and the command line see it.

use std::{path::PathBuf, sync::Arc, time::Duration};

use super::{PromptAudio, SpeechRequest, SpeechStream, VoiceInfo};
use crate::{Error, Result};

/// How to load and run a model.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// Bundle directory.
    pub bundle: PathBuf,
    /// Where saved voices live (created when missing).
    pub voices_dir: PathBuf,
    /// ONNX Runtime's shared library; `None` looks in the usual places.
    pub onnxruntime: Option<PathBuf>,
    /// Threads of the shared intra-op pool; 0 means one per core.
    pub threads: usize,
    /// Syntheses at work at once.
    pub concurrency: usize,
    /// Requests that may wait beyond those.
    pub queue: usize,
    /// Time one request may take.
    pub deadline: Duration,
}

/// What is loaded.
#[derive(Debug, Clone)]
pub struct ModelInfo {
    /// Model name.
    pub name: String,
    /// CosyVoice generation.
    pub generation: u32,
    /// Weight precision.
    pub precision: String,
    /// Output rate, hertz.
    pub sample_rate: u32,
}

/// A loaded model that speaks. Cheap to share; dropped last, it unloads the model.
pub struct Engine {}

impl Engine {
    /// Loads the bundle and warms it up. Blocks; call it off the async threads.
    pub fn load(_options: EngineOptions) -> Result<Arc<Self>> {
        Err(Error::Internal("not built yet".into()))
    }

    /// What is loaded.
    pub fn model(&self) -> &ModelInfo {
        unimplemented!()
    }

    /// Built-in voices, then saved ones by id.
    pub fn voices(&self) -> Vec<VoiceInfo> {
        unimplemented!()
    }

    /// Starts a synthesis. Everything wrong with the request itself is told here, before any audio; it returns
    /// when the request has been admitted (it may wait in the queue; a full queue is [`Error::Overloaded`]).
    pub async fn speak(&self, _request: SpeechRequest) -> Result<SpeechStream> {
        unimplemented!()
    }

    /// Makes a voice from a recording and saves it atomically, replacing a saved voice of that id.
    pub async fn add_voice(
        &self,
        _id: &str,
        _name: &str,
        _prompt_text: &str,
        _prompt: PromptAudio,
    ) -> Result<VoiceInfo> {
        unimplemented!()
    }

    /// Removes a saved voice.
    pub async fn remove_voice(&self, _id: &str) -> Result<()> {
        unimplemented!()
    }

    /// Stops admitting, and waits until running syntheses end or `limit` passes.
    pub async fn drain(&self, _limit: Duration) {
        unimplemented!()
    }
}
