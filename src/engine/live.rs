//! A text that streams in: the sender's handle, and the thread that makes segments of it.
//!
//! The thread reads pieces as they come, cuts and tokenises them ([`crate::text::live`]) and hands each segment to the
//! request's own thread when it begins; the language model's worker then gets the segment's words as they come. Nothing
//! grows: a sender waits for the reader, the reader for the request.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use super::stages::Stages;
use super::text_feed::{TextFeed, TextSource, feed};
use super::token_stream::Signal;
use crate::text::live::{Event, LiveSplitter};
use crate::{Error, Result, limits};

/// Where the text of a live synthesis goes. Dropping it ends the text.
#[derive(Debug)]
pub struct LiveText(mpsc::Sender<Piece>);

#[derive(Debug)]
enum Piece {
    Text(String),
    Flush,
}

impl LiveText {
    /// Adds characters, as many or few as there are. Waits while what came before has not been read.
    ///
    /// # Errors
    /// [`Error::Invalid`]: more than [`limits::LIVE_PIECE_CHARS`]; [`Error::Cancelled`]: the synthesis has ended, and
    /// its stream says why.
    pub async fn push(&self, text: impl Into<String>) -> Result<()> {
        let text = text.into();
        Self::check(&text)?;
        self.send(Piece::Text(text)).await
    }

    /// Whether a piece may be pushed at once.
    ///
    /// # Errors
    /// [`Error::Invalid`]: more than [`limits::LIVE_PIECE_CHARS`].
    pub fn check(text: &str) -> Result<()> {
        // Bytes bound characters, so that few pieces are counted.
        if text.len() > limits::LIVE_PIECE_CHARS && text.chars().count() > limits::LIVE_PIECE_CHARS {
            return Err(Error::Invalid(format!(
                "text: more than {} characters at once",
                limits::LIVE_PIECE_CHARS
            )));
        }
        Ok(())
    }

    /// Has what came so far spoken to its end, as if the text were complete; more may follow.
    ///
    /// # Errors
    /// [`Error::Cancelled`]: the synthesis has ended.
    pub async fn flush(&self) -> Result<()> {
        self.send(Piece::Flush).await
    }

    /// No more text.
    pub fn end(self) {}

    async fn send(&self, piece: Piece) -> Result<()> {
        self.0.send(piece).await.map_err(|_| Error::Cancelled)
    }
}

/// A segment of a text.
#[derive(Debug)]
pub enum LiveSegment {
    /// Its text ids.
    Text(Vec<i64>),
    /// Where they come from.
    Coming(TextSource),
}

/// The segments of a text that streams in. Dropped, it stops the reading.
#[derive(Debug)]
pub struct LiveSegments {
    segments: Receiver<Result<LiveSegment>>,
    _wanted: oneshot::Sender<()>,
}

impl LiveSegments {
    /// The next one, or `Some(None)` behind the last one; `None` if there is none after this time.
    ///
    /// # Errors
    /// What kept the text from going on.
    #[allow(clippy::option_option, reason = "not yet, no more, and there is one")]
    pub(super) fn next(&self, wait: Duration) -> Result<Option<Option<LiveSegment>>> {
        match self.segments.recv_timeout(wait) {
            Ok(segment) => segment.map(|segment| Some(Some(segment))),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Ok(Some(None)),
        }
    }
}

/// The pieces of a text, for [`read`].
#[derive(Debug)]
pub(super) struct Pieces(mpsc::Receiver<Piece>);

/// A text's two ends.
pub(super) fn text() -> (LiveText, Pieces) {
    let (sender, receiver) = mpsc::channel(limits::LIVE_PIECES);
    (LiveText(sender), Pieces(receiver))
}

/// What a sender sent, read by a stand-in of the engine in tests of the api.
#[cfg(test)]
impl LiveText {
    /// A text, and where its pieces arrive: characters, or `None` for a flush.
    pub(crate) fn heard() -> (Self, impl futures::Stream<Item = Option<String>> + Send + Unpin) {
        let (text, pieces) = text();
        let heard = futures::stream::unfold(pieces, |mut pieces| {
            Box::pin(async move {
                let piece = match pieces.0.recv().await? {
                    Piece::Text(text) => Some(text),
                    Piece::Flush => None,
                };
                Some((piece, pieces))
            })
        });
        (text, heard)
    }
}

/// Reads a text on a thread of its own, `whole` sentence by sentence or word by word; `worker` is the language model's.
pub(super) fn read(stages: Arc<Stages>, whole: bool, pieces: Pieces, worker: Arc<Signal>) -> LiveSegments {
    let (sender, segments) = sync_channel(limits::LIVE_SEGMENTS_AHEAD);
    let (_wanted, unwanted) = oneshot::channel();
    let runtime = Handle::current();
    tokio::task::spawn_blocking(move || {
        let mut out = Out {
            segments: sender,
            worker,
            open: None,
        };
        let splitter = LiveSplitter::new(&stages.text, whole);
        let patience = Patience {
            idle: limits::LIVE_IDLE,
            whole: limits::LIVE_SESSION,
        };
        let reading = runtime.block_on(read_pieces(pieces.0, unwanted, splitter, &mut out, patience));
        if let Err(error) = reading {
            out.fail(error);
        }
    });
    LiveSegments { segments, _wanted }
}

/// How long a text is waited for.
#[derive(Debug, Clone, Copy)]
struct Patience {
    /// Between two pieces.
    idle: Duration,
    /// From its beginning to its end.
    whole: Duration,
}

/// Reads pieces to the end of the text. It blocks when segments wait, so it has a thread of its own.
async fn read_pieces(
    mut pieces: mpsc::Receiver<Piece>,
    mut unwanted: oneshot::Receiver<()>,
    mut splitter: LiveSplitter<'_>,
    out: &mut Out,
    patience: Patience,
) -> Result<()> {
    let last = Instant::now() + patience.whole;
    loop {
        let idle = Instant::now() + patience.idle;
        let next = tokio::select! {
            piece = timeout_at(idle.min(last), pieces.recv()) => piece.map_err(|_| patience.is_over(idle < last)),
            _ = &mut unwanted => Err(Error::Cancelled),
        };
        let events = match next? {
            Some(Piece::Text(text)) => splitter.push(&text)?,
            Some(Piece::Flush) => splitter.close()?,
            None => {
                return splitter
                    .close()?
                    .into_iter()
                    .try_for_each(|event| out.take(event));
            }
        };
        events.into_iter().try_for_each(|event| out.take(event))?;
    }
}

impl Patience {
    fn is_over(self, idle: bool) -> Error {
        Error::Deadline(match idle {
            true => format!("text: nothing came for {} s", self.idle.as_secs()),
            false => format!("text: it came for more than {} s", self.whole.as_secs()),
        })
    }
}

/// Where segments go.
struct Out {
    segments: SyncSender<Result<LiveSegment>>,
    worker: Arc<Signal>,
    /// The segment that is being read.
    open: Option<TextFeed>,
}

impl Out {
    fn take(&mut self, event: Event) -> Result<()> {
        match event {
            Event::Text(ids) => {
                if self.open.is_none() {
                    let (text, source) = feed(self.worker.clone());
                    self.send(LiveSegment::Coming(source))?;
                    self.open = Some(text);
                }
                if let Some(text) = &self.open {
                    text.push(&ids);
                }
                Ok(())
            }
            Event::End => {
                if let Some(text) = self.open.take() {
                    text.end(Ok(()));
                }
                Ok(())
            }
            Event::Whole(segments) => segments
                .into_iter()
                .try_for_each(|ids| self.send(LiveSegment::Text(ids))),
        }
    }

    fn send(&self, segment: LiveSegment) -> Result<()> {
        self.segments.send(Ok(segment)).map_err(|_| Error::Cancelled)
    }

    /// Ends the segment that is being read, and the text.
    fn fail(&mut self, error: Error) {
        if let Some(text) = self.open.take() {
            text.end(Err(error.clone()));
        }
        // Nobody listens any more when the request has ended by itself.
        let _ = self.segments.send(Err(error));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests stop where something is broken")]
    use std::path::Path;

    use super::*;
    use crate::text::{TextFrontend, TextTokenizer};

    const LONG: Duration = Duration::from_secs(600);

    /// Reads `text`, which does not end, with such patience; what ended the reading, and what was read.
    async fn read_on(text: &str, idle: Duration, whole: Duration, wanted: bool) -> (Error, Vec<LiveSegment>) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("onnx/bundled/tokenizer.json");
        let frontend = TextFrontend::new(TextTokenizer::from_file(&path).unwrap());
        let (live, pieces) = super::text();
        live.push(text).await.unwrap();
        let (segments, read) = sync_channel(limits::LIVE_SEGMENTS_AHEAD);
        let (keep, unwanted) = oneshot::channel();
        let keep = wanted.then_some(keep);
        let mut out = Out {
            segments,
            worker: Arc::default(),
            open: None,
        };
        let splitter = LiveSplitter::new(&frontend, false);
        let patience = Patience { idle, whole };
        let end = read_pieces(pieces.0, unwanted, splitter, &mut out, patience).await;
        out.fail(end.clone().unwrap_err());
        drop((out, live, keep));
        (end.unwrap_err(), read.iter().filter_map(Result::ok).collect())
    }

    /// Guarantees that a text that stops coming, or never stops, ends what was read of it with the reason.
    #[tokio::test]
    async fn a_text_that_stops_coming_is_an_error() {
        let soon = Duration::from_millis(10);
        for (idle, whole, says) in [(soon, LONG, "nothing came"), (LONG, soon, "it came for more")] {
            let (error, read) = read_on("Hello there, my", idle, whole, true).await;
            assert!(
                matches!(&error, Error::Deadline(text) if text.contains(says)),
                "{error}"
            );
            let [LiveSegment::Coming(source)] = &read[..] else {
                panic!("{read:?}")
            };
            let (ids, end) = source.take();
            assert!(!ids.is_empty() && matches!(end, Some(Err(Error::Deadline(_)))));
        }
    }

    #[tokio::test]
    async fn a_text_that_nobody_wants_is_not_read() {
        let (error, _) = read_on("Hello", LONG, LONG, false).await;
        assert!(matches!(error, Error::Cancelled));
    }

    #[tokio::test]
    async fn a_piece_has_its_bound_and_an_ended_synthesis_takes_none() {
        let (live, pieces) = super::text();
        let most = "字".repeat(limits::LIVE_PIECE_CHARS);
        live.push(most.as_str()).await.unwrap();
        let more = live.push(most + "字").await;
        assert!(matches!(more, Err(Error::Invalid(_))));
        drop(pieces);
        assert!(matches!(live.push("a").await, Err(Error::Cancelled)));
        assert!(matches!(live.flush().await, Err(Error::Cancelled)));
    }
}
