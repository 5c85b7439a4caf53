//! The worker's thread.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::Queue;
use super::batch::{Planned, Planner, fits};
use super::job::Job;
use super::prefixes::Prefixes;
use crate::engine::turn::{Turn, TurnGuard};
use crate::model::Mel;
use crate::model::flow::{Attention, FlowRunner, Row};
use crate::model::pages::{Page, PagePool};
use crate::{Error, Result, limits};

pub(super) struct Worker {
    runner: FlowRunner,
    pool: PagePool,
    prefixes: Prefixes,
    planner: Planner,
    turn: Option<Arc<Turn>>,
    queue: Arc<Queue>,
    waiting: Vec<Job>,
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
            prefixes: Prefixes::new(pool.total() / limits::FLOW_PREFIX_PART),
            runner,
            pool,
            planner,
            turn,
            queue,
            waiting: Vec::new(),
        }
    }

    /// Runs batches until the queue is closed.
    pub fn run(mut self) {
        while let Some((jobs, warm_up)) = self.queue.take(self.waiting.is_empty()) {
            if let Some(done) = warm_up {
                let attention = Attention::Chunked {
                    left: self.planner.left,
                };
                let _ = done.send(self.runner.capture(attention));
            }
            self.waiting.extend(jobs);
            self.waiting.retain(|job| !job.is_cancelled());
            let batch = self.next_batch();
            if !batch.is_empty() {
                self.execute(batch);
            }
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

    /// Runs a batch and answers its jobs. Whatever goes wrong fails these only.
    fn execute(&mut self, batch: Vec<Planned>) {
        let result = catch_unwind(AssertUnwindSafe(|| self.mels(&batch)))
            .unwrap_or_else(|_| Err(Error::Internal("the flow panicked".into())));
        let ratio = self.runner.flow().ratio();
        match result {
            Ok(mels) => {
                for (planned, mel) in batch.into_iter().zip(&mels) {
                    let Some(job) = planned.finish(mel, &self.planner, ratio) else {
                        continue;
                    };
                    self.prefixes
                        .insert(job.progress.voice.key, job.progress.pages.clone());
                    self.waiting.push(job);
                }
            }
            Err(error) => {
                for Planned { job, .. } in batch {
                    let _ = job.reply.send(Err(error.clone()));
                }
            }
        }
    }

    fn mels(&mut self, batch: &[Planned]) -> Result<Vec<Mel>> {
        let Some(attention) = batch.first().map(|p| p.run.attention) else {
            return Ok(Vec::new());
        };
        let rows: Vec<Row<'_>> = batch.iter().map(Planned::row).collect();
        let mut held: Option<TurnGuard> = None;
        let turn = self.turn.as_ref();
        self.runner.run(&rows, attention, &mut || {
            if batch.iter().all(|p| p.job.is_cancelled()) {
                return Err(Error::Cancelled);
            }
            if let (Some(turn), Some(deadline)) = (turn, batch.iter().map(|p| p.job.deadline()).min()) {
                match &mut held {
                    Some(guard) => guard.renew(deadline),
                    None => held = Some(turn.take(deadline)),
                }
            }
            Ok(())
        })
    }
}
