//! What the api needs of an engine, so that the routes can be tested without a model.

use std::time::Duration;

use futures::future::BoxFuture;

use crate::{
    Result,
    engine::{
        Engine, Imported, LiveText, ModelInfo, PromptAudio, SpeakerFile, SpeechRequest, SpeechStream,
        VoiceInfo,
    },
};

/// Something that speaks: the [`Engine`], or a stand-in in tests. See the engine's methods of the same names.
pub trait Speaker: Send + Sync + 'static {
    /// What is loaded.
    fn model(&self) -> &ModelInfo;
    /// Syntheses at work at once; more wait.
    fn concurrency(&self) -> usize;
    /// Built-in voices, then saved ones.
    fn voices(&self) -> Vec<VoiceInfo>;
    /// The voice of this id.
    fn voice(&self, id: &str) -> Result<VoiceInfo>;
    /// Starts a synthesis once it is admitted.
    fn speak(&self, request: SpeechRequest) -> BoxFuture<'_, Result<SpeechStream>>;
    /// Starts a synthesis of a text that streams in.
    fn speak_live(&self, request: SpeechRequest) -> BoxFuture<'_, Result<(LiveText, SpeechStream)>>;
    /// Makes a voice and saves it, replacing a saved voice of that id.
    fn add_voice(
        &self,
        id: String,
        name: String,
        prompt_text: String,
        prompt: PromptAudio,
    ) -> BoxFuture<'_, Result<VoiceInfo>>;
    /// Saves the voices of a file, replacing saved voices of their ids.
    fn import_voices(&self, file: SpeakerFile) -> BoxFuture<'_, Result<Imported>>;
    /// Gives a saved voice another name.
    fn rename_voice(&self, id: String, name: String) -> BoxFuture<'_, Result<VoiceInfo>>;
    /// Removes a saved voice; returns what it was.
    fn remove_voice(&self, id: String) -> BoxFuture<'_, Result<VoiceInfo>>;
    /// Stops admitting and waits for running syntheses, at most `limit`.
    fn drain(&self, limit: Duration) -> BoxFuture<'_, ()>;
}

impl Speaker for Engine {
    fn model(&self) -> &ModelInfo {
        self.model()
    }

    fn concurrency(&self) -> usize {
        self.concurrency()
    }

    fn voices(&self) -> Vec<VoiceInfo> {
        self.voices()
    }

    fn voice(&self, id: &str) -> Result<VoiceInfo> {
        self.voice(id)
    }

    fn speak(&self, request: SpeechRequest) -> BoxFuture<'_, Result<SpeechStream>> {
        Box::pin(self.speak(request))
    }

    fn speak_live(&self, request: SpeechRequest) -> BoxFuture<'_, Result<(LiveText, SpeechStream)>> {
        Box::pin(self.speak_live(request))
    }

    fn add_voice(
        &self,
        id: String,
        name: String,
        prompt_text: String,
        prompt: PromptAudio,
    ) -> BoxFuture<'_, Result<VoiceInfo>> {
        Box::pin(async move { self.add_voice(&id, &name, &prompt_text, prompt).await })
    }

    fn import_voices(&self, file: SpeakerFile) -> BoxFuture<'_, Result<Imported>> {
        Box::pin(self.import_voices(file))
    }

    fn rename_voice(&self, id: String, name: String) -> BoxFuture<'_, Result<VoiceInfo>> {
        Box::pin(async move { self.rename_voice(&id, &name).await })
    }

    fn remove_voice(&self, id: String) -> BoxFuture<'_, Result<VoiceInfo>> {
        Box::pin(async move { self.remove_voice(&id).await })
    }

    fn drain(&self, limit: Duration) -> BoxFuture<'_, ()> {
        Box::pin(self.drain(limit))
    }
}
