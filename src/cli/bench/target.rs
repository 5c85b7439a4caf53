//! What is measured: the engine in this process, or a server.

use std::{sync::Arc, time::Instant};

use super::{
    http::Server,
    player::{Player, Sample},
};
use crate::{
    Error, Result,
    engine::{Engine, Mode, PromptAudio, SpeechRequest},
};

/// Whose voice speaks.
#[derive(Debug, Clone)]
pub enum Who {
    /// A known voice.
    Voice(String),
    /// The voice of a recording.
    Prompt {
        /// The file's bytes.
        recording: Vec<u8>,
        /// The same, prepared for the engine.
        audio: PromptAudio,
        /// What is said in it; without it the voice is taken across languages.
        text: Option<String>,
    },
}

/// Somebody who speaks.
pub enum Target {
    /// The engine, loaded here.
    Engine {
        /// It.
        engine: Arc<Engine>,
        /// How it is asked.
        mode: Mode,
    },
    /// A running server.
    Server(Server),
}

impl Target {
    /// The engine, asked to speak as `who`.
    pub fn engine(engine: Arc<Engine>, who: Who) -> Self {
        let mode = match who {
            Who::Voice(voice) => Mode::Sft { voice },
            Who::Prompt {
                audio: prompt,
                text: Some(prompt_text),
                ..
            } => Mode::ZeroShot { prompt, prompt_text },
            Who::Prompt { audio: prompt, .. } => Mode::CrossLingual { prompt },
        };
        Target::Engine { engine, mode }
    }

    /// Makes request `number` and listens to its end. Its seed follows from the number.
    ///
    /// # Errors
    /// What the engine or the server says, and an answer without audio.
    pub async fn say(&self, number: u64, text: &str, stream: bool) -> Result<Sample> {
        let seed = number + 1;
        match self {
            Target::Server(server) => server.say(text, seed, stream).await,
            Target::Engine { engine, mode } => {
                let request = SpeechRequest {
                    id: format!("bench-{number}"),
                    text: text.to_owned(),
                    mode: mode.clone(),
                    speed: 1.0,
                    seed,
                    stream,
                };
                listen(engine, request).await
            }
        }
    }
}

async fn listen(engine: &Engine, request: SpeechRequest) -> Result<Sample> {
    let started = Instant::now();
    let mut speech = engine.speak(request).await?;
    let mut player = Player::default();
    while let Some(chunk) = speech.chunks.recv().await {
        player.chunk(
            started.elapsed(),
            super::seconds_of(chunk?.len(), speech.sample_rate),
        );
    }
    let nothing = || Error::Internal("the engine gave no audio".into());
    player.end(started.elapsed()).ok_or_else(nothing)
}
