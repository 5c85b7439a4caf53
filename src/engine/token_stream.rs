//! The channel from the language model's worker to a request: bounded, with an end that may be an error. The worker
//! never waits on it; it is told when there is room again, or nobody left to read.

use std::sync::Arc;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};

use crate::{Error, Result, limits};

/// Wakes one thread that has nothing to do. Raised while it works, it is seen when it next waits.
#[derive(Debug, Default)]
pub(super) struct Signal {
    raised: Mutex<bool>,
    wake: Condvar,
}

impl Signal {
    pub fn raise(&self) {
        *self.raised.lock() = true;
        self.wake.notify_one();
    }

    pub fn wait(&self) {
        let mut raised = self.raised.lock();
        while !*raised {
            self.wake.wait(&mut raised);
        }
        *raised = false;
    }
}

#[derive(Debug, Default)]
struct State {
    tokens: Vec<usize>,
    /// So many wake the reader.
    wanted: usize,
    end: Option<Result<()>>,
    gone: bool,
}

#[derive(Debug)]
struct Channel {
    state: Mutex<State>,
    ready: Condvar,
    worker: Arc<Signal>,
}

/// What a [`TokenStream`] gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// Tokens, at least one.
    Tokens(Vec<usize>),
    /// There are none yet.
    NotYet,
    /// The model has stopped, or made as many as it may.
    End,
}

/// The speech tokens of one request, as they are sampled.
#[derive(Debug)]
pub struct TokenStream(Arc<Channel>);

/// The worker's end of a [`TokenStream`].
#[derive(Debug)]
pub(super) struct TokenSink(Arc<Channel>);

/// A channel; `worker` is raised when a full one has room again and when its reader goes away.
pub(super) fn channel(worker: Arc<Signal>) -> (TokenSink, TokenStream) {
    let channel = Arc::new(Channel {
        state: Mutex::default(),
        ready: Condvar::new(),
        worker,
    });
    (TokenSink(channel.clone()), TokenStream(channel))
}

impl TokenStream {
    /// The tokens that are there once `enough` of them are, or at `until`. Until then this thread sleeps: waking it for
    /// every token would cost the worker more than sampling one.
    ///
    /// # Errors
    /// What ended the sequence early.
    pub fn take(&mut self, enough: usize, until: Instant) -> Result<Taken> {
        // A channel that is nearly full may hold the worker up.
        let enough = enough.clamp(1, limits::LM_TOKENS_AHEAD / 2);
        let mut state = self.0.state.lock();
        loop {
            let late = Instant::now() >= until;
            let here = state.tokens.len();
            if here >= enough || here > 0 && (late || state.end.is_some()) {
                let tokens = state.tokens.drain(..).collect();
                drop(state);
                if here == limits::LM_TOKENS_AHEAD {
                    self.0.worker.raise();
                }
                return Ok(Taken::Tokens(tokens));
            }
            if let Some(end) = &state.end {
                return end.clone().map(|()| Taken::End);
            }
            if late {
                return Ok(Taken::NotYet);
            }
            state.wanted = enough;
            self.0.ready.wait_until(&mut state, until);
        }
    }
}

impl Drop for TokenStream {
    fn drop(&mut self) {
        self.0.state.lock().gone = true;
        self.0.worker.raise();
    }
}

impl TokenSink {
    /// Hands a token over. The worker asks [`Self::has_room`] before it makes one.
    pub fn push(&self, token: usize) {
        let mut state = self.0.state.lock();
        state.tokens.push(token);
        let enough = state.tokens.len() >= state.wanted;
        drop(state);
        if enough {
            self.0.ready.notify_one();
        }
    }

    pub fn has_room(&self) -> bool {
        self.0.state.lock().tokens.len() < limits::LM_TOKENS_AHEAD
    }

    /// Whether nobody reads any more.
    pub fn is_gone(&self) -> bool {
        self.0.state.lock().gone
    }

    /// No more tokens, or the reason why there are none; the first end counts.
    pub fn end(&self, end: Result<()>) {
        self.0.state.lock().end.get_or_insert(end);
        self.0.ready.notify_one();
    }
}

impl Drop for TokenSink {
    fn drop(&mut self) {
        self.end(Err(Error::Internal(
            "the language model's thread has ended".into(),
        )));
    }
}
