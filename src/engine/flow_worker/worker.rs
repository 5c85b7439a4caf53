//! The worker's thread.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use super::batch::{Batch, Planned, Planner, fits};
use super::job::Job;
use super::prefixes::Prefixes;
use super::trim::Trim;
use super::{Inbox, Queue};
use crate::engine::turn::{Turn, TurnGuard};
use crate::model::Mel;
use crate::model::flow::{Attention, FlowRunner, Row, Running};
use crate::model::pages::{Page, PagePool};
use crate::{Error, Result, limits};

pub(super) struct Worker {
    runner: FlowRunner,
    pool: PagePool,
    /// `None` where memory is kept.
    trim: Option<Trim>,
    prefixes: Prefixes,
    planner: Planner,
    turn: Option<Arc<Turn>>,
    held: Option<TurnGuard>,
    queue: Arc<Queue>,
    waiting: Vec<Job>,
    /// At work; all but the one due first are interrupted.
    active: Vec<(Vec<Planned>, Running)>,
}

impl Worker {
    pub fn new(
        runner: FlowRunner,
        pool: PagePool,
        turn: Option<Arc<Turn>>,
        left: Option<usize>,
        queue: Arc<Queue>,
    ) -> Self {
        let config = runner.flow().config();
        let planner = Planner {
            chunk: config.chunk_tokens,
            lookahead: config.lookahead_tokens,
            left,
        };
        Self {
            trim: (runner.flow().gives_memory_back()).then(|| Trim::new(pool.clone())),
            prefixes: Prefixes::new(pool.total() / limits::FLOW_PREFIX_PART),
            runner,
            pool,
            planner,
            turn,
            held: None,
            queue,
            waiting: Vec::new(),
            active: Vec::new(),
        }
    }

    /// Works until the queue is closed. Every round makes one run of a graph, of the batch that is due first.
    pub fn run(mut self) {
        while let Some(news) = self.news() {
            if let Some((rows, done)) = news.warm_up {
                let attention = Attention::Chunked {
                    left: self.planner.left,
                };
                let _ = done.send(self.runner.capture(attention, rows));
            }
            self.waiting.extend(news.jobs);
            self.trim();
            self.forget_cancelled();
            if self.may_begin() {
                self.begin();
            }
            self.advance();
        }
    }

    /// What has arrived. Waits for something when there is nothing to do.
    fn news(&self) -> Option<Inbox> {
        let idle = self.waiting.is_empty() && self.active.is_empty();
        self.queue.take(idle, self.trim.as_ref().and_then(Trim::due))
    }

    /// Gives memory back when it is time to. Between runs no graph reads or writes the pages.
    fn trim(&mut self) {
        let Some(trim) = &mut self.trim else { return };
        let runner = &self.runner;
        if let Err(error) = trim.round(Instant::now(), |pages| runner.discard(pages)) {
            tracing::warn!(%error, "the flow keeps the memory of pages that are not in use");
            self.trim = None;
        }
    }

    fn forget_cancelled(&mut self) {
        self.waiting.retain(|job| !job.is_cancelled());
        for (batch, running) in std::mem::take(&mut self.active) {
            match batch.iter().all(|p| p.job.is_cancelled()) {
                true => self.runner.end(running),
                false => self.active.push((batch, running)),
            }
        }
    }

    /// Whether the job due first goes before what is at work.
    fn may_begin(&self) -> bool {
        let Some(first) = self.waiting.iter().map(Job::deadline).min() else {
            return false;
        };
        let yields = |(batch, running): &(Vec<Planned>, Running)| {
            let is_short = running.shape().tokens < limits::FLOW_SHORT_RUN_TOKENS;
            first < batch.deadline() && !(is_short && self.runner.flow().batches())
        };
        self.active.len() < limits::FLOW_RUNS && self.active.iter().all(yields)
    }

    fn begin(&mut self) {
        let batch = self.next_batch();
        let Some(attention) = batch.first().map(|p| p.run.attention) else {
            return;
        };
        let rows: Vec<Row<'_>> = batch.iter().map(Planned::row).collect();
        let begun = guarded(|| self.runner.begin(&rows, attention));
        match begun {
            Ok(running) => self.active.push((batch, running)),
            Err(error) => batch.fail(&error),
        }
    }

    /// Takes the job due first, and others that can run with it in the order they are due.
    fn next_batch(&mut self) -> Vec<Planned> {
        let most = match self.runner.flow().batches() {
            true => limits::FLOW_BATCH,
            false => 1,
        };
        let mut jobs = std::mem::take(&mut self.waiting);
        jobs.sort_by_cached_key(Job::deadline);
        let mut batch = Vec::new();
        for job in jobs {
            match batch.len() < most {
                true => self.join(&mut batch, job),
                false => self.waiting.push(job),
            }
        }
        batch
    }

    /// Puts `job` into `batch` if its next run fits, else among those that wait.
    fn join(&mut self, batch: &mut Vec<Planned>, mut job: Job) {
        let key = job.progress.voice.key;
        if self.planner.wants_prefix(&job)
            && let Some(pages) = self.prefixes.get(key)
        {
            job.progress.pages = pages;
            job.progress.done = self.planner.prefix(job.progress.voice.tokens.len());
        }
        let mut run = self.planner.next(&job);
        if !fits(&self.runner, batch, &run, key) {
            return self.waiting.push(job);
        }
        let write = match self.take_pages(run.write) {
            Some(write) => write,
            None => {
                job.progress.give_up_pages();
                run = self.planner.next(&job);
                if !fits(&self.runner, batch, &run, key) {
                    return self.waiting.push(job);
                }
                Vec::new()
            }
        };
        batch.push(Planned { job, run, write });
    }

    fn take_pages(&mut self, count: usize) -> Option<Vec<Page>> {
        match self.prefixes.make_room(&self.pool, count) {
            true => self.pool.take(count),
            false => None,
        }
    }

    /// One run of a graph for the batch due first, in its turn. What goes wrong fails that batch only.
    fn advance(&mut self) {
        let by_deadline = |&i: &usize| self.active[i].0.deadline();
        let Some(index) = (0..self.active.len()).min_by_key(by_deadline) else {
            self.held = None;
            return;
        };
        if !self.in_turn(self.active[index].0.deadline()) {
            return;
        }
        let flow = self.runner.flow();
        let running = &mut self.active[index].1;
        let result = guarded(|| running.advance(flow));
        if let Ok(None) = result {
            return;
        }
        // What follows a chunk, the vocoder, is as urgent as the chunk was.
        self.held = None;
        let (batch, running) = self.active.swap_remove(index);
        self.runner.end(running);
        match result {
            Ok(mels) => self.finish(batch, &mels.unwrap_or_default()),
            Err(error) => batch.fail(&error),
        }
    }

    /// Whether this thread may compute now; false when jobs have arrived that may be more urgent.
    fn in_turn(&mut self, deadline: Instant) -> bool {
        let Some(turn) = &self.turn else { return true };
        self.held = match self.held.take() {
            Some(held) if !held.is_wanted_before(deadline) => Some(held),
            held => {
                drop(held);
                turn.take_unless(deadline, &|| self.queue.has_news())
            }
        };
        self.held.is_some()
    }

    fn finish(&mut self, batch: Vec<Planned>, mels: &[Mel]) {
        let ratio = self.runner.flow().ratio();
        for (planned, mel) in batch.into_iter().zip(mels) {
            if let Some(job) = planned.finish(mel, &self.planner, ratio) {
                let Job { progress, .. } = &job;
                self.prefixes.insert(progress.voice.key, progress.pages.clone());
                self.waiting.push(job);
            }
        }
    }
}

impl Drop for Worker {
    /// Also when the thread panics.
    fn drop(&mut self) {
        self.queue.close();
    }
}

/// A panic of the runtime is an error like others.
fn guarded<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(Error::Internal("the flow panicked".into())))
}
