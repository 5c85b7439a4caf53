//! The thread that owns a language model: sequences join and leave between its steps.
//!
//! What a request's tokens are depends on the request alone: each has its own generator and sampler, and the model
//! computes a row the same whatever is computed with it. On a CPU every prefill and every step takes the turn, as due
//! as its most urgent sequence; sequences that are due much later then sit out, so that a new request's first audio
//! does not wait for tokens nobody needs yet. A sequence whose text still comes waits for it in its slot and takes no part
//! meanwhile.

mod sequence;
mod work;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;

use parking_lot::Mutex;
use rand_chacha::ChaCha12Rng;

use self::sequence::Sequence;
use self::work::Work;
use super::text_feed::TextSource;
use super::token_stream::{Signal, TokenStream, channel};
use super::turn::Turn;
use super::urgency::Urgency;
use crate::model::llm::{Llm, RowPrompt};
use crate::text::interleave::Interleaver;
use crate::text::split::LONGEST;
use crate::{Error, Result};

/// What one sequence is made of.
pub struct LmRequest {
    /// What the model reads.
    pub input: LmInput,
    /// Tokens after which the model must stop.
    pub max_tokens: usize,
    /// The request's own draws.
    pub generator: ChaCha12Rng,
    /// How urgent it is.
    pub urgency: Arc<Urgency>,
}

/// What the model reads.
pub enum LmInput {
    /// A text that is there.
    Whole {
        /// Ids of prompt, text and prompt speech, laid out for the model.
        ids: Vec<i64>,
        /// The prompt rows that they name, where the model reads any.
        rows: Option<RowPrompt>,
        /// Tokens before which the model may not stop.
        min_tokens: usize,
    },
    /// A text that still comes, at most [`LONGEST`] tokens.
    Live {
        /// The layout, with the prompt in it.
        interleaver: Interleaver,
        /// Where the text comes from.
        text: TextSource,
    },
}

impl LmInput {
    /// Positions of the model that it takes at most, without the speech to come.
    pub fn positions(&self) -> usize {
        match self {
            LmInput::Whole { ids, .. } => ids.len(),
            // A full stop may be added; the task id; the token that is fed twice.
            LmInput::Live { interleaver, .. } => interleaver.prompt_len() + LONGEST + 3,
        }
    }
}

/// A language model at work on its own thread; dropped, it ends every sequence.
pub struct LmWorker {
    shared: Arc<Shared>,
    turn: Option<Arc<Turn>>,
    capacity: usize,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    /// Requests the worker has not looked at; how many there can be is bounded where requests are admitted.
    joining: Mutex<Vec<Sequence>>,
    news: AtomicBool,
    closed: AtomicBool,
    load: AtomicUsize,
    signal: Arc<Signal>,
}

impl LmWorker {
    /// Starts the thread. With a `turn`, computing waits for it.
    pub fn start(llm: Llm, turn: Option<Arc<Turn>>) -> Result<Self> {
        let shared = Arc::new(Shared::default());
        let capacity = llm.capacity();
        let mut work = Work::new(llm, turn.clone(), shared.clone())?;
        let (warm, ready) = std::sync::mpsc::sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("language model".into())
            .spawn(move || {
                // What CUDA captures belongs to the thread it was captured on.
                let _ = warm.send(work.warm_up());
                work.run()
            })
            .map_err(|e| Error::internal("starting the language model's thread", e))?;
        ready
            .recv()
            .map_err(|e| Error::internal("starting the language model's thread", e))??;
        Ok(Self {
            shared,
            turn,
            capacity,
            thread: Some(thread),
        })
    }

    /// Adds a sequence; its tokens come through the stream, and dropping that ends it.
    pub fn join(&self, request: LmRequest) -> Result<TokenStream> {
        let read = request.input.positions();
        let needed = read + request.max_tokens;
        if read == 0 || request.max_tokens == 0 || needed > self.capacity {
            return Err(Error::Invalid(format!(
                "tts_text: this text and prompt need {needed} positions; the model holds {}",
                self.capacity
            )));
        }
        let (sink, stream) = channel(self.shared.signal.clone());
        let sequence = Sequence::new(request, sink, Counted::new(&self.shared));
        self.shared.joining.lock().push(sequence);
        self.shared.news.store(true, Ordering::Release);
        self.wake();
        if self.shared.closed.load(Ordering::Acquire) {
            // Nobody will look there any more; dropping what is there ends its streams.
            self.shared.joining.lock().clear();
        }
        Ok(stream)
    }

    /// Most positions of a sequence.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// What wakes the thread, for those that feed it text.
    pub(super) fn signal(&self) -> Arc<Signal> {
        self.shared.signal.clone()
    }

    /// Sequences at work or waiting.
    pub fn load(&self) -> usize {
        self.shared.load.load(Ordering::Relaxed)
    }

    fn wake(&self) {
        self.shared.signal.raise();
        if let Some(turn) = &self.turn {
            turn.nudge();
        }
    }
}

impl Drop for LmWorker {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::Release);
        self.shared.news.store(true, Ordering::Release);
        self.wake();
        if let Some(thread) = self.thread.take() {
            // A panic there has ended the streams, and says so there.
            let _ = thread.join();
        }
    }
}

/// Counts as load while it lives.
struct Counted(Arc<Shared>);

impl Counted {
    fn new(shared: &Arc<Shared>) -> Self {
        shared.load.fetch_add(1, Ordering::Relaxed);
        Self(shared.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.load.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
