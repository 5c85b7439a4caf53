//! A chunk that an utterance waits for, and how far the utterance is.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Instant;

use crate::Result;
use crate::engine::urgency::Urgency;
use crate::model::flow::FlowVoice;
use crate::model::pages::Page;
use crate::model::{Mel, mel};

/// How far an utterance is. It travels with the utterance's jobs, so that its pages are never given back while a run
/// uses them.
pub(super) struct Progress {
    pub voice: Arc<FlowVoice>,
    /// Pages of the last chunks before `done`: those a later chunk can see.
    pub pages: Vec<Page>,
    /// Positions computed, those of the prompt counted.
    pub done: usize,
    /// False once the pool was exhausted: every chunk is then computed from the start.
    pub paged: bool,
}

/// What a job asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Goal {
    /// The chunks up to a boundary; more will follow.
    Chunk,
    /// What is left.
    Last,
    /// The whole utterance with full attention.
    Whole,
}

/// A chunk, or all of an utterance, to be computed.
pub(super) struct Job {
    pub progress: Progress,
    /// The utterance's tokens so far, look-ahead included.
    pub tokens: Vec<i64>,
    /// Position to compute to.
    pub to: usize,
    pub goal: Goal,
    pub urgency: Arc<Urgency>,
    pub cancelled: Arc<AtomicBool>,
    pub reply: mpsc::Sender<Result<(Progress, Mel)>>,
}

impl Progress {
    /// Of an utterance that has not begun.
    pub fn new(voice: Arc<FlowVoice>) -> Self {
        Self {
            voice,
            pages: Vec::new(),
            done: 0,
            paged: true,
        }
    }

    /// The position before which everything has been handed out (the prompt is not).
    pub fn handed_out(&self) -> usize {
        self.done.max(self.voice.tokens.len())
    }

    /// Goes on without pages: those held go back, and chunks are computed from the start.
    pub fn give_up_pages(&mut self) {
        self.paged = false;
        self.pages.clear();
    }
}

impl Job {
    pub fn deadline(&self) -> Instant {
        self.urgency.deadline()
    }

    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    /// Answers with the frames of `mel` (positions `from` on, `ratio` frames each) that were not handed out before.
    pub fn finish(mut self, mel: &Mel, from: usize, ratio: usize) {
        let new = mel::frames(mel, (self.progress.handed_out() - from) * ratio, mel.cols);
        self.progress.done = self.to;
        // Nobody waits any more: dropping the progress gives its pages back.
        let _ = self.reply.send(Ok((self.progress, new)));
    }
}
