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
    engine::{
        Imported, LiveText, Mode, ModelInfo, PromptAudio, SpeakerFile, SpeechRequest, SpeechStream, Target,
        Usage, VoiceInfo, VoicePromptInfo,
    },
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
    pub saved: Mutex<Vec<(VoiceInfo, String)>>,
    /// Changes of saved voices' sound.
    pub revisions: AtomicUsize,
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
            revisions: AtomicUsize::default(),
            endless: Arc::default(),
            dropped: Arc::default(),
            flushes: Arc::default(),
        }
    }
}

impl Fake {
    /// One whose model makes samples at this rate.
    pub fn at(sample_rate: u32) -> Self {
        let mut fake = Self::default();
        fake.model.sample_rate = sample_rate;
        fake
    }

    /// The last request it got.
    pub fn last(&self) -> SpeechRequest {
        self.requests.lock().last().cloned().unwrap()
    }

    /// Saves a voice, replacing one of its id.
    fn save(&self, id: String, name: String, prompt: Option<VoicePromptInfo>) -> Result<VoiceInfo> {
        if id == "中文女" {
            return Err(Error::Invalid(format!("spk_id: {id} is a built-in voice")));
        }
        let text = prompt
            .as_ref()
            .map(|prompt| prompt.text.clone())
            .unwrap_or_default();
        let voice = VoiceInfo {
            id,
            name,
            built_in: false,
            prompt,
            revision: self.revisions.fetch_add(1, Ordering::SeqCst) as u64 + 1,
        };
        let mut saved = self.saved.lock();
        saved.retain(|(other, _)| other.id != voice.id);
        saved.push((voice.clone(), text));
        Ok(voice)
    }

    /// Does something to a saved voice.
    fn with_saved<T>(
        &self,
        id: &str,
        change: impl FnOnce(&mut Vec<(VoiceInfo, String)>, usize) -> T,
    ) -> Result<T> {
        if self.voice(id)?.built_in {
            return Err(Error::Invalid(format!("spk_id: {id} is a built-in voice")));
        }
        let mut saved = self.saved.lock();
        let at = saved.iter().position(|(voice, _)| voice.id == id).unwrap();
        Ok(change(&mut saved, at))
    }

    fn knows(&self, id: &str) -> bool {
        self.voice(id).is_ok()
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
        let stream = SpeechStream {
            sample_rate: self.model.sample_rate,
            chunks,
            usage: Arc::default(),
        };
        Ok((text, stream))
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
        let usage = Arc::new(Usage::default());
        let spent = usage.clone();
        tokio::spawn(async move {
            for i in 0.. {
                let item = match (text.as_str(), i) {
                    ("late deadline", 0) => Err(Error::Deadline("no audio within 1 s".into())),
                    ("early fault", 0) | ("late fault", 1) => {
                        Err(Error::Internal("/secret/path exploded".into()))
                    }
                    ("nothing", 0) => return,
                    ("endless", _) => Ok(vec![0.1; CHUNK]),
                    (_, CHUNKS) => {
                        spent.settle(text.chars().count() as u64, 25);
                        return;
                    }
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
            usage,
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
            prompt: None,
            revision: 0,
        };
        let saved = self.saved.lock();
        std::iter::once(built_in)
            .chain(saved.iter().map(|(voice, _)| voice.clone()))
            .collect()
    }

    fn voice(&self, id: &str) -> Result<VoiceInfo> {
        let mut voices = self.voices().into_iter();
        let voice = voices.find(|voice| voice.id == id);
        voice.ok_or_else(|| Error::UnknownVoice(format!("spk_id: no voice {id:?}")))
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
        let prompt = VoicePromptInfo {
            text: prompt_text,
            seconds: prompt.seconds(),
        };
        Box::pin(async move { self.save(id, name, Some(prompt)) })
    }

    /// Takes every voice as a preset one, but "fault".
    fn import_voices(&self, file: SpeakerFile) -> BoxFuture<'_, Result<Imported>> {
        Box::pin(async move {
            let (mut voices, mut skipped) = (Vec::new(), Vec::new());
            for speaker in file.into_speakers() {
                let id = speaker.id().to_owned();
                if id == "fault" {
                    return Err(Error::Internal("/secret/path exploded".into()));
                }
                match self.save(id.clone(), id.clone(), None) {
                    Ok(voice) => voices.push(voice),
                    Err(error) => skipped.push((id, error.to_string())),
                }
            }
            if voices.is_empty() {
                return Err(Error::Invalid("no voice could be imported".into()));
            }
            Ok(Imported { voices, skipped })
        })
    }

    fn rename_voice(&self, id: String, name: String) -> BoxFuture<'_, Result<VoiceInfo>> {
        Box::pin(async move {
            self.with_saved(&id, |saved, at| {
                saved[at].0.name = name;
                saved[at].0.clone()
            })
        })
    }

    fn remove_voice(&self, id: String) -> BoxFuture<'_, Result<VoiceInfo>> {
        Box::pin(async move { self.with_saved(&id, |saved, at| saved.remove(at).0) })
    }

    fn drain(&self, _limit: Duration) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}
