//! A speaker for tests: what it says depends on the text it is given.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::{StreamExt, future::BoxFuture};
use parking_lot::Mutex;
use tokio::sync::mpsc;

use crate::{
    Error, Result,
    api::Speaker,
    engine::{LiveText, Mode, ModelInfo, PromptAudio, SpeechRequest, SpeechStream, Target, VoiceInfo},
};

/// Samples of one chunk: a quarter of a second.
pub const CHUNK: usize = 6_000;
/// Chunks of a normal answer.
pub const CHUNKS: usize = 4;
/// Syntheses at once that it names; it keeps to none.
pub const CONCURRENCY: usize = 3;

pub struct Fake {
    model: ModelInfo,
    /// What it was asked to say.
    pub requests: Mutex<Vec<SpeechRequest>>,
    /// Saved voices with their transcripts.
    pub saved: Mutex<Vec<(VoiceInfo, String, PromptAudio)>>,
    /// Chunks of the endless speech that were taken.
    pub endless: Arc<AtomicUsize>,
    /// Speeches whose listener left.
    pub dropped: Arc<AtomicUsize>,
    /// Flushes of texts that stream in.
    pub flushes: Arc<AtomicUsize>,
}

impl Default for Fake {
    fn default() -> Self {
        let (name, precision) = ("fake".to_string(), "fp32".to_string());
        Self {
            model: ModelInfo {
                name,
                generation: 2,
                precision,
                sample_rate: 24_000,
            },
            requests: Mutex::default(),
            saved: Mutex::default(),
            endless: Arc::default(),
            dropped: Arc::default(),
            flushes: Arc::default(),
        }
    }
}

impl Fake {
    /// The last request it got.
    pub fn last(&self) -> SpeechRequest {
        self.requests.lock().last().cloned().unwrap()
    }

    fn knows(&self, id: &str) -> bool {
        self.voices().iter().any(|voice| voice.id == id)
    }

    /// Refuses a voice that is not known.
    fn check(&self, request: &SpeechRequest) -> Result<()> {
        if let Mode::Sft { voice }
        | Mode::Instruct { voice, .. }
        | Mode::Convert {
            target: Target::Voice(voice),
            ..
        } = &request.mode
            && !self.knows(voice)
        {
            return Err(Error::UnknownVoice(format!("spk_id: no voice {voice:?}")));
        }
        Ok(())
    }

    /// A chunk for every piece of text, none for a flush; the samples say how many characters the piece had. After
    /// "endless" there are chunks without end, and no more text is read.
    async fn say_live(&self, request: SpeechRequest) -> Result<(LiveText, SpeechStream)> {
        self.check(&request)?;
        self.requests.lock().push(request);
        let (text, mut heard) = LiveText::heard();
        let (sender, chunks) = mpsc::channel(1);
        let (flushes, dropped, endless) = (self.flushes.clone(), self.dropped.clone(), self.endless.clone());
        tokio::spawn(async move {
            while let Some(piece) = heard.next().await {
                let (item, times) = match piece.as_deref() {
                    None => {
                        flushes.fetch_add(1, Ordering::SeqCst);
                        continue;
                    }
                    Some("fault") => (Err(Error::Internal("/secret/path exploded".into())), 1),
                    Some("endless") => (Ok(vec![0.1; CHUNK]), usize::MAX),
                    Some(text) => (Ok(vec![text.chars().count() as f32 / 1000.0; CHUNK]), 1),
                };
                let last = item.is_err();
                for _ in 0..times {
                    if sender.send(item.clone()).await.is_err() {
                        dropped.fetch_add(1, Ordering::SeqCst);
                        return;
                    }
                    endless.fetch_add(usize::from(times > 1), Ordering::SeqCst);
                }
                if last {
                    return;
                }
            }
        });
        let sample_rate = self.model.sample_rate;
        Ok((text, SpeechStream { sample_rate, chunks }))
    }

    async fn say(&self, request: SpeechRequest) -> Result<SpeechStream> {
        self.check(&request)?;
        let (seed, text) = (request.seed, request.text.clone());
        self.requests.lock().push(request);
        match text.as_str() {
            "full" => return Err(Error::Overloaded("the queue is full".into())),
            "fault" => return Err(Error::Internal("/secret/path exploded".into())),
            "panic" => panic!("on purpose"),
            "never" => std::future::pending().await,
            "unsupported" => return Err(Error::Unsupported("this model takes no instructions".into())),
            _ => {}
        }
        let (sender, chunks) = mpsc::channel(1);
        let (endless, dropped) = (self.endless.clone(), self.dropped.clone());
        tokio::spawn(async move {
            for i in 0.. {
                let item = match (text.as_str(), i) {
                    ("late deadline", 0) => Err(Error::Deadline("no audio within 1 s".into())),
                    ("early fault", 0) | ("late fault", 1) => {
                        Err(Error::Internal("/secret/path exploded".into()))
                    }
                    ("nothing", 0) => return,
                    ("endless", _) => Ok(vec![0.1; CHUNK]),
                    (_, CHUNKS) => return,
                    _ => Ok((0..CHUNK)
                        .map(|n| (((n as u64).wrapping_mul(seed) % 997) as f32 / 997.0) - 0.5)
                        .collect()),
                };
                if sender.send(item).await.is_err() {
                    dropped.fetch_add(1, Ordering::SeqCst);
                    return;
                }
                endless.fetch_add(1, Ordering::SeqCst);
            }
        });
        Ok(SpeechStream {
            sample_rate: self.model.sample_rate,
            chunks,
        })
    }
}

impl Speaker for Fake {
    fn model(&self) -> &ModelInfo {
        &self.model
    }

    fn concurrency(&self) -> usize {
        CONCURRENCY
    }

    fn voices(&self) -> Vec<VoiceInfo> {
        let built_in = VoiceInfo {
            id: "中文女".into(),
            name: "中文女".into(),
            built_in: true,
        };
        let saved = self.saved.lock();
        std::iter::once(built_in)
            .chain(saved.iter().map(|(voice, ..)| voice.clone()))
            .collect()
    }

    fn speak(&self, request: SpeechRequest) -> BoxFuture<'_, Result<SpeechStream>> {
        Box::pin(self.say(request))
    }

    fn speak_live(&self, request: SpeechRequest) -> BoxFuture<'_, Result<(LiveText, SpeechStream)>> {
        Box::pin(self.say_live(request))
    }

    fn add_voice(
        &self,
        id: String,
        name: String,
        prompt_text: String,
        prompt: PromptAudio,
    ) -> BoxFuture<'_, Result<VoiceInfo>> {
        Box::pin(async move {
            if id == "中文女" {
                return Err(Error::Invalid(format!("spk_id: {id} is a built-in voice")));
            }
            let voice = VoiceInfo {
                id,
                name,
                built_in: false,
            };
            let mut saved = self.saved.lock();
            saved.retain(|(other, ..)| other.id != voice.id);
            saved.push((voice.clone(), prompt_text, prompt));
            Ok(voice)
        })
    }

    fn drain(&self, _limit: Duration) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}
