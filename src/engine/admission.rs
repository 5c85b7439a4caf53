//! Who may start now: so many syntheses at work, so many waiting, nobody once draining.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{Error, Result};

/// The door of the engine.
#[derive(Debug)]
pub struct Admission {
    slots: Arc<Semaphore>,
    concurrency: usize,
    queue: usize,
    waiting: AtomicUsize,
    draining: AtomicBool,
}

impl Admission {
    /// `concurrency` at work (at least 1), `queue` waiting.
    pub fn new(concurrency: usize, queue: usize) -> Self {
        let concurrency = concurrency.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            slots: Arc::new(Semaphore::new(concurrency)),
            concurrency,
            queue,
            waiting: AtomicUsize::new(0),
            draining: AtomicBool::new(false),
        }
    }

    /// How many may be at work.
    pub fn concurrency(&self) -> usize {
        self.concurrency
    }

    /// Refuses at once what would only be refused later, before any work is done for it.
    pub fn refuse_if_full(&self) -> Result<()> {
        if self.draining.load(Ordering::Acquire) {
            return Err(Error::Overloaded("the server is shutting down".into()));
        }
        if self.slots.available_permits() == 0 {
            Place::take(&self.waiting, self.queue).map(drop)?;
        }
        Ok(())
    }

    /// Waits for a slot until `deadline`; the slot is given back when the permit is dropped.
    pub async fn enter(&self, deadline: Instant) -> Result<OwnedSemaphorePermit> {
        if self.draining.load(Ordering::Acquire) {
            return Err(Error::Overloaded("the server is shutting down".into()));
        }
        if let Ok(permit) = self.slots.clone().try_acquire_owned() {
            return Ok(permit);
        }
        let place = Place::take(&self.waiting, self.queue)?;
        let turn = tokio::time::timeout_at(deadline.into(), self.slots.clone().acquire_owned()).await;
        drop(place);
        match turn {
            Ok(Ok(permit)) if !self.draining.load(Ordering::Acquire) => Ok(permit),
            Ok(_) => Err(Error::Overloaded("the server is shutting down".into())),
            Err(_) => Err(Error::Deadline(
                "the request waited for its turn until its time limit".into(),
            )),
        }
    }

    /// Admits nobody from now on, and waits until all are done or `limit` passes.
    pub async fn drain(&self, limit: Duration) {
        self.draining.store(true, Ordering::Release);
        let all = u32::try_from(self.concurrency).unwrap_or(u32::MAX);
        if tokio::time::timeout(limit, self.slots.acquire_many(all))
            .await
            .is_err()
        {
            tracing::warn!(
                seconds = limit.as_secs(),
                "syntheses were still running at the end of the drain"
            );
        }
    }
}

/// A place in the queue, given back when dropped (also when the waiting client goes away).
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(waiting: &'a AtomicUsize, queue: usize) -> Result<Self> {
        let taken = waiting.fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| {
            (n < queue).then_some(n + 1)
        });
        taken.map(|_| Place(waiting)).map_err(|_| {
            Error::Overloaded(format!(
                "all slots are at work and {queue} requests are waiting; try again later"
            ))
        })
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_millis(50)
    }

    #[tokio::test]
    async fn the_queue_is_bounded_and_slots_come_back() {
        let door = Admission::new(1, 1);
        let first = door.enter(soon()).await.unwrap();
        let (second, third) = tokio::join!(door.enter(soon()), door.enter(soon()));
        assert!(
            matches!(second, Err(Error::Deadline(_))),
            "the one in the queue ran out of time"
        );
        assert!(
            matches!(third, Err(Error::Overloaded(_))),
            "the one beyond it was refused at once"
        );
        drop(first);
        assert!(door.enter(soon()).await.is_ok());
    }

    #[tokio::test]
    async fn draining_waits_for_those_inside_and_refuses_new_ones() {
        let door = Arc::new(Admission::new(2, 4));
        let inside = door.enter(soon()).await.unwrap();
        let drained = tokio::spawn({
            let door = door.clone();
            async move { door.drain(Duration::from_secs(5)).await }
        });
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(!drained.is_finished());
        assert!(matches!(door.enter(soon()).await, Err(Error::Overloaded(_))));
        drop(inside);
        drained.await.unwrap();
    }
}
