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
        // Bytes bound characters, so that few pieces are counted.
        if text.len() > limits::LIVE_PIECE_CHARS && text.chars().count() > limits::LIVE_PIECE_CHARS {
            return Err(Error::Invalid(format!(
                "text: more than {} characters at once",
                limits::LIVE_PIECE_CHARS
            )));
        }
        self.send(Piece::Text(text)).await
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
        let reading = read_pieces(&runtime, pieces.0, unwanted, splitter, &mut out);
        if let Err(error) = reading {
            out.fail(error);
        }
    });
    LiveSegments { segments, _wanted }
}

fn read_pieces(
    runtime: &Handle,
    mut pieces: mpsc::Receiver<Piece>,
    mut unwanted: oneshot::Receiver<()>,
    mut splitter: LiveSplitter<'_>,
    out: &mut Out,
) -> Result<()> {
    let last = Instant::now() + limits::LIVE_SESSION;
    loop {
        let idle = Instant::now() + limits::LIVE_IDLE;
        let next = runtime.block_on(async {
            tokio::select! {
                piece = timeout_at(idle.min(last), pieces.recv()) => piece.map_err(|_| too_long(idle < last)),
                _ = &mut unwanted => Err(Error::Cancelled),
            }
        });
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

fn too_long(idle: bool) -> Error {
    let text = match idle {
        true => format!("text: nothing came for {} s", limits::LIVE_IDLE.as_secs()),
        false => format!("text: it came for more than {} s", limits::LIVE_SESSION.as_secs()),
    };
    Error::Deadline(text)
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
