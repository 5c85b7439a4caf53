//! A live session, whatever its protocol: text in as it is written, audio out as it is made.
//!
//! Two ends with a task between them. The task takes text as far as the engine reads it and makes audio as far as it is
//! listened to, each on its own, so neither waits for the other. What the engine has not read yet waits in a bounded
//! queue: a protocol, whose messages come in order, still gets to the cancel behind it.

use std::{future::Future, pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::{ApiState, encoding::Encoding, error::ApiError};
use crate::{
    Error, Result,
    audio::encode::AudioFormat,
    engine::{LiveText, SpeechRequest, SpeechStream},
    limits,
};

/// How a session's audio is delivered.
#[derive(Debug, Clone, Copy)]
pub struct LiveAudio {
    /// How it is coded.
    pub format: AudioFormat,
    /// The most of it that is sent before it is played; `None`: as fast as it is made and taken.
    pub ahead: Option<Duration>,
}

impl LiveAudio {
    /// `ahead` in seconds.
    ///
    /// # Errors
    /// 400 when `ahead` is out of range.
    pub fn new(format: AudioFormat, ahead: Option<f64>) -> Result<Self, ApiError> {
        let bounds = limits::LIVE_AHEAD_MIN..=limits::LIVE_AHEAD_MAX;
        if let Some(ahead) = ahead.filter(|ahead| !bounds.contains(ahead)) {
            let (min, max) = (bounds.start(), bounds.end());
            let what = format!("must be between {min} and {max} seconds, not {ahead}");
            return Err(ApiError::field("ahead", what));
        }
        Ok(Self {
            format,
            ahead: ahead.map(Duration::from_secs_f64),
        })
    }
}

/// What a session says: [`LiveEvent::Started`], then audio, and one of the others as the last. One that fails or is
/// cancelled may do so at any time, also before it has started.
#[derive(Debug)]
pub enum LiveEvent {
    /// It was admitted.
    Started {
        /// Hertz.
        sample_rate: u32,
        /// The seed of its speech.
        seed: u64,
    },
    /// The next bytes of its one stream of audio, at most [`limits::LIVE_AUDIO_BYTES`]; of PCM, whole samples.
    Audio(Bytes),
    /// All its text has been spoken.
    Done {
        /// Length of the speech.
        seconds: f64,
    },
    /// It was cancelled by [`LiveInput::cancel`].
    Cancelled,
    /// It ended early.
    Failed(Error),
}

/// Where a session's text goes. Dropping it ends the text.
#[derive(Debug)]
pub struct LiveInput {
    pieces: Option<mpsc::Sender<Waiting>>,
    room: Arc<Semaphore>,
    cancel: CancellationToken,
}

/// A piece of text, or a flush, that the engine has not read yet.
#[derive(Debug)]
struct Waiting {
    /// `None`: a flush.
    text: Option<String>,
    _room: OwnedSemaphorePermit,
}

/// What comes of a session. Dropping it cancels the session.
#[derive(Debug)]
pub struct LiveEvents {
    events: mpsc::Receiver<LiveEvent>,
    cancel: CancellationToken,
    over: bool,
}

/// Begins a session: it makes its `request`, waits to be admitted and speaks. Returns at once; text may be sent before
/// the session has started.
pub fn begin(
    state: &ApiState,
    request: impl Future<Output = Result<SpeechRequest>> + Send + 'static,
    audio: LiveAudio,
) -> (LiveInput, LiveEvents) {
    let most_pieces = limits::LIVE_TEXT_AHEAD_BYTES / limits::LIVE_PIECE_BYTES;
    let (pieces, waiting) = mpsc::channel(most_pieces);
    let (sender, events) = mpsc::channel(1);
    let cancel = CancellationToken::new();
    let input = LiveInput {
        pieces: Some(pieces),
        room: Arc::new(Semaphore::new(limits::LIVE_TEXT_AHEAD_BYTES)),
        cancel: cancel.clone(),
    };
    let events = LiveEvents {
        events,
        cancel: cancel.clone(),
        over: false,
    };
    let state = state.clone();
    let session = async move {
        let last = tokio::select! {
            biased;
            () = cancel.cancelled() => LiveEvent::Cancelled,
            () = sender.closed() => return,
            spoken = speak(&state, request, audio, waiting, &sender) => match spoken {
                Ok(seconds) => LiveEvent::Done { seconds },
                Err(error) => LiveEvent::Failed(error),
            },
        };
        // Nobody may listen any more.
        let _ = sender.send(last).await;
    };
    tokio::spawn(session.in_current_span());
    (input, events)
}

impl LiveInput {
    /// Adds characters, as many or few as there are. Waits while [`limits::LIVE_TEXT_AHEAD_BYTES`] have not been read.
    ///
    /// # Errors
    /// [`Error::Invalid`]: more than [`limits::LIVE_PIECE_CHARS`], or the text has ended; [`Error::Cancelled`]: the
    /// session is over, and its events say why.
    pub async fn text(&self, text: String) -> Result<()> {
        LiveText::check(&text)?;
        match text.is_empty() {
            true => Ok(()),
            false => self.send(Some(text)).await,
        }
    }

    /// Has what came so far spoken to its end, as if the text were complete; more may follow.
    ///
    /// # Errors
    /// As [`LiveInput::text`].
    pub async fn flush(&self) -> Result<()> {
        self.send(None).await
    }

    /// No more text; what there is will be spoken.
    pub fn end(&mut self) {
        self.pieces = None;
    }

    /// Ends the session: its synthesis stops, and audio that nobody has taken yet is dropped.
    pub fn cancel(&self) {
        self.cancel.cancel();
    }

    async fn send(&self, text: Option<String>) -> Result<()> {
        let ended = || Error::invalid("text: it has ended already");
        let pieces = self.pieces.as_ref().ok_or_else(ended)?;
        let bytes = limits::LIVE_PIECE_BYTES + text.as_ref().map_or(0, String::len);
        let bytes = u32::try_from(bytes).map_err(|error| Error::internal("counting text", error))?;
        let room = tokio::select! {
            room = self.room.clone().acquire_many_owned(bytes) => room.map_err(|_| Error::Cancelled)?,
            () = pieces.closed() => return Err(Error::Cancelled),
        };
        let piece = Waiting { text, _room: room };
        pieces.send(piece).await.map_err(|_| Error::Cancelled)
    }
}

impl LiveEvents {
    /// What comes next, `None` after the last. A future that is dropped has taken nothing.
    pub async fn next(&mut self) -> Option<LiveEvent> {
        if self.over {
            return None;
        }
        let event = tokio::select! {
            biased;
            () = self.cancel.cancelled() => LiveEvent::Cancelled,
            event = self.events.recv() => event.unwrap_or_else(|| {
                LiveEvent::Failed(Error::Internal("a live session ended without a word".into()))
            }),
        };
        self.over = !matches!(event, LiveEvent::Started { .. } | LiveEvent::Audio(_));
        Some(event)
    }
}

/// The session from its request to its last audio; the seconds it spoke.
async fn speak(
    state: &ApiState,
    request: impl Future<Output = Result<SpeechRequest>>,
    audio: LiveAudio,
    waiting: mpsc::Receiver<Waiting>,
    events: &mpsc::Sender<LiveEvent>,
) -> Result<f64> {
    let request = request.await?;
    let seed = request.seed;
    let (text, speech) = state.speaker().speak_live(request).await?;
    let sample_rate = speech.sample_rate;
    tell(events, LiveEvent::Started { sample_rate, seed }).await?;
    let mut listening = pin!(listen(speech, audio, events));
    tokio::select! {
        spoken = &mut listening => return spoken,
        () = feed(waiting, text) => {}
    }
    listening.await
}

/// Hands text on until it ends, or until the engine takes no more: then its speech says why.
async fn feed(mut waiting: mpsc::Receiver<Waiting>, text: LiveText) {
    while let Some(piece) = waiting.recv().await {
        let taken = match piece.text {
            Some(piece) => text.push(piece).await,
            None => text.flush().await,
        };
        if taken.is_err() {
            return;
        }
    }
}

/// Encodes and tells the speech as it is made.
async fn listen(speech: SpeechStream, audio: LiveAudio, events: &mpsc::Sender<LiveEvent>) -> Result<f64> {
    let rate = f64::from(speech.sample_rate);
    let mut encoding = Encoding::new(speech, audio.format)?;
    let mut pace = audio.ahead.map(Pace::new);
    let mut told = 0;
    while let Some(mut bytes) = encoding.next().await? {
        let samples = encoding.samples() - told;
        told += samples;
        let seconds_a_byte = samples as f64 / rate / bytes.len().max(1) as f64;
        while !bytes.is_empty() {
            let part = bytes.split_to(bytes.len().min(limits::LIVE_AUDIO_BYTES));
            if let Some(pace) = &mut pace {
                pace.keep(part.len() as f64 * seconds_a_byte).await;
            }
            tell(events, LiveEvent::Audio(part)).await?;
        }
    }
    Ok(told as f64 / rate)
}

async fn tell(events: &mpsc::Sender<LiveEvent>, event: LiveEvent) -> Result<()> {
    events.send(event).await.map_err(|_| Error::Cancelled)
}

/// Keeps audio from running too far ahead of a listener who plays it from its first byte on.
struct Pace {
    ahead: Duration,
    /// When all that was sent has been played.
    played: Instant,
}

impl Pace {
    fn new(ahead: Duration) -> Self {
        let played = Instant::now();
        Self { ahead, played }
    }

    /// Waits until as much may be sent.
    async fn keep(&mut self, seconds: f64) {
        if self.played > Instant::now() + self.ahead {
            sleep_until(self.played - self.ahead).await;
        }
        self.played = self.played.max(Instant::now()) + Duration::from_secs_f64(seconds);
    }
}

#[cfg(test)]
#[path = "tests/live.rs"]
mod tests;
