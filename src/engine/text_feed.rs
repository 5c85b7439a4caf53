//! The channel of text ids from the thread that reads a live request's text to the language model's worker, segment by
//! segment. It holds a segment at most (see [`crate::text::live`]); the worker is woken when there is more.

use std::sync::Arc;

use parking_lot::Mutex;

use super::token_stream::Signal;
use crate::{Error, Result};

#[derive(Debug, Default)]
struct State {
    ids: Vec<i64>,
    end: Option<Result<()>>,
}

/// The reading thread's end: the text of one segment as it comes.
#[derive(Debug)]
pub(super) struct TextFeed {
    state: Arc<Mutex<State>>,
    worker: Arc<Signal>,
}

/// The worker's end.
#[derive(Debug)]
pub struct TextSource(Arc<Mutex<State>>);

/// A channel; `worker` is raised when there is text and when it ends.
pub(super) fn feed(worker: Arc<Signal>) -> (TextFeed, TextSource) {
    let state = Arc::default();
    let source = TextSource(Arc::clone(&state));
    (TextFeed { state, worker }, source)
}

impl TextFeed {
    /// Adds text ids.
    pub fn push(&self, ids: &[i64]) {
        self.state.lock().ids.extend_from_slice(ids);
        self.worker.raise();
    }

    /// The segment is complete, or will never be; the first end counts.
    pub fn end(&self, end: Result<()>) {
        self.state.lock().end.get_or_insert(end);
        self.worker.raise();
    }
}

impl Drop for TextFeed {
    fn drop(&mut self) {
        self.end(Err(Error::Internal("the text's thread has ended".into())));
    }
}

impl TextSource {
    /// What has come since the last time, and the end if that has come too.
    pub(super) fn take(&self) -> (Vec<i64>, Option<Result<()>>) {
        let mut state = self.0.lock();
        (std::mem::take(&mut state.ids), state.end.clone())
    }
}
