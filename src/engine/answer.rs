//! Waiting for a worker's answer without waiting for ever.

use std::sync::mpsc::{Receiver, RecvTimeoutError};

use crate::{Error, Result, limits};

/// What the worker answers. Meanwhile `keep_going` is asked now and then and ends the waiting with its error; `gone`
/// says that the worker has ended.
pub(super) fn wait<T>(
    answer: &Receiver<Result<T>>,
    keep_going: &dyn Fn() -> Result<()>,
    gone: impl Fn() -> Error,
) -> Result<T> {
    loop {
        match answer.recv_timeout(limits::CANCEL_POLL) {
            Ok(result) => return result,
            Err(RecvTimeoutError::Timeout) => keep_going()?,
            Err(RecvTimeoutError::Disconnected) => return Err(gone()),
        }
    }
}
