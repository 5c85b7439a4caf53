//! The flow's worker: one thread that owns the flow, its pages and the prompts of recent voices, and runs the chunks
//! of all utterances, the one due first first, together with others of its shape where the device gains by it.
mod batch;
mod job;
mod prefixes;
mod stream;
mod trim;
mod worker;

use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};

use super::turn::Turn;
use super::urgency::Urgency;
use crate::model::flow::{Flow, FlowRunner, FlowVoice};
use crate::model::pages::PagePool;
use crate::{Error, Result};
use job::Job;
use stream::Geometry;
pub use stream::PagedStream;
use worker::Worker;

/// A running worker; dropping it ends its thread after the run at work.
pub struct FlowWorker {
    queue: Arc<Queue>,
    pool: PagePool,
    page_bytes: u64,
    geometry: Geometry,
    thread: Option<JoinHandle<()>>,
}

/// What utterances hand to the worker.
#[derive(Default)]
struct Queue {
    inbox: Mutex<Inbox>,
    arrived: Condvar,
    /// Where the worker may be waiting when something arrives.
    turn: Option<Arc<Turn>>,
}

/// Rows of the largest batch, and who waits for the end.
type WarmUp = (usize, mpsc::Sender<Result<()>>);

#[derive(Default)]
struct Inbox {
    jobs: Vec<Job>,
    warm_up: Option<WarmUp>,
    /// An utterance has given pages back: their memory may be too much now.
    freed: bool,
    closed: bool,
}

impl FlowWorker {
    /// Starts the thread. Pages take `cache_bytes`; a chunk sees `left_chunks` before its own (`None`: all). With a
    /// `turn`, every run of a graph waits for it.
    pub fn start(
        flow: Flow,
        turn: Option<Arc<Turn>>,
        cache_bytes: u64,
        left_chunks: Option<usize>,
    ) -> Result<Self> {
        let page_bytes = flow.page_bytes();
        let pages = cache_bytes / page_bytes.max(1);
        let pool = PagePool::new(usize::try_from(pages).unwrap_or(usize::MAX));
        let geometry = Geometry::new(&flow);
        let runner = FlowRunner::new(flow, pool.total())?;
        let queue = Arc::new(Queue {
            turn: turn.clone(),
            ..Queue::default()
        });
        // The convolutions look back into the chunk before, so there is always one.
        let left = left_chunks.map(|chunks| chunks.max(1));
        let worker = Worker::new(runner, pool.clone(), turn, left, queue.clone());
        let thread = std::thread::Builder::new()
            .name("flow".into())
            .spawn(move || worker.run())
            .map_err(|e| Error::internal("starting the flow's thread", e))?;
        Ok(Self {
            queue,
            pool,
            page_bytes,
            geometry,
            thread: Some(thread),
        })
    }

    /// A new utterance of `voice`.
    pub fn open(&self, voice: Arc<FlowVoice>, urgency: Arc<Urgency>) -> PagedStream {
        PagedStream::new(self.queue.clone(), self.geometry, voice, urgency)
    }

    /// Captures the usual shapes of up to so many rows on a GPU. Nothing else may use the device meanwhile.
    pub fn warm_up(&self, rows: usize) -> Result<()> {
        let (done, wait) = mpsc::channel();
        self.queue.put(|inbox| inbox.warm_up = Some((rows, done)))?;
        wait.recv().map_err(|_| ended())?
    }

    /// The page pool: what is free and what there is.
    pub fn pages(&self) -> &PagePool {
        &self.pool
    }

    /// Bytes of the pages that utterances and voices hold.
    pub fn bytes_in_use(&self) -> u64 {
        (self.pool.total() - self.pool.free()) as u64 * self.page_bytes
    }
}

impl Drop for FlowWorker {
    fn drop(&mut self) {
        self.queue.close();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Queue {
    fn put(&self, put: impl FnOnce(&mut Inbox)) -> Result<()> {
        let mut inbox = self.inbox.lock();
        if inbox.closed {
            return Err(ended());
        }
        put(&mut inbox);
        drop(inbox);
        self.arrived.notify_one();
        if let Some(turn) = &self.turn {
            turn.nudge();
        }
        Ok(())
    }

    /// Says that pages have come back, to a worker that waits without an end: it may have to give memory back.
    fn freed(&self) {
        self.inbox.lock().freed = true;
        self.arrived.notify_one();
    }

    /// Whether there is something to take.
    fn has_news(&self) -> bool {
        !self.inbox.lock().is_empty()
    }

    /// Ends the worker. Whoever waits, or comes later, is told so.
    fn close(&self) {
        let mut inbox = self.inbox.lock();
        inbox.closed = true;
        inbox.warm_up = None;
        inbox.jobs.clear();
        self.arrived.notify_one();
    }

    /// What has arrived; when `idle`, waits for something, at most until then. `None` when the worker is to end.
    fn take(&self, idle: bool, until: Option<Instant>) -> Option<Inbox> {
        let mut inbox = self.inbox.lock();
        while idle && inbox.is_empty() {
            match until {
                None => self.arrived.wait(&mut inbox),
                Some(until) if self.arrived.wait_until(&mut inbox, until).timed_out() => break,
                Some(_) => {}
            }
        }
        match inbox.closed {
            true => None,
            false => Some(std::mem::take(&mut *inbox)),
        }
    }
}

impl Inbox {
    /// Whether the worker has nothing to do about it.
    fn is_empty(&self) -> bool {
        !self.closed && self.jobs.is_empty() && self.warm_up.is_none() && !self.freed
    }
}

fn ended() -> Error {
    Error::Internal("the flow's worker has ended".into())
}
