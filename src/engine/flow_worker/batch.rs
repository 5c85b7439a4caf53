//! What the next run of a job is, and which jobs run together.

use std::time::Instant;

use super::job::{Goal, Job, Progress};
use crate::model::Mel;
use crate::model::flow::{Attention, FlowRunner, Row};
use crate::model::pages::Page;
use crate::{Error, limits};

/// The next run of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    pub attention: Attention,
    /// It computes the part of the prompt that depends on the voice alone, not what the job asks for.
    pub prefix: bool,
    pub from: usize,
    pub to: usize,
    /// Pages of history it reads.
    pub history: usize,
    /// Pages it writes.
    pub write: usize,
}

/// How runs are planned: the numbers of the flow that matter for it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Planner {
    pub chunk: usize,
    pub lookahead: usize,
    pub left: Option<usize>,
}

impl Planner {
    /// Tokens of a prompt of `prompt` whose chunks and look-ahead lie inside the prompt.
    pub fn prefix(&self, prompt: usize) -> usize {
        prompt.saturating_sub(self.lookahead) / self.chunk * self.chunk
    }

    /// Whether `job` has to be given the prefix of its voice before its next run.
    pub fn wants_prefix(&self, job: &Job) -> bool {
        let Progress {
            voice, done, paged, ..
        } = &job.progress;
        job.goal != Goal::Whole && *paged && *done == 0 && self.prefix(voice.tokens.len()) > 0
    }

    /// The next run of `job`.
    pub fn next(&self, job: &Job) -> Run {
        let left = self.left;
        let Progress {
            voice,
            pages,
            done,
            paged,
        } = &job.progress;
        let run = |attention, from, write| Run {
            attention,
            prefix: false,
            from,
            to: job.to,
            history: if from == 0 { 0 } else { pages.len() },
            write,
        };
        if job.goal == Goal::Whole {
            return run(Attention::Full, 0, 0);
        }
        let attention = Attention::Chunked { left };
        if !paged {
            return run(attention, 0, 0);
        }
        if self.wants_prefix(job) {
            let to = self.prefix(voice.tokens.len());
            return Run {
                prefix: true,
                to,
                ..run(attention, 0, self.seen(to / self.chunk))
            };
        }
        let write = match job.goal {
            Goal::Last => 0,
            _ => self.seen((job.to - done) / self.chunk),
        };
        run(attention, *done, write)
    }

    /// Of so many chunks, those that a later one can see.
    pub fn seen(&self, chunks: usize) -> usize {
        self.left.map_or(chunks, |left| chunks.min(left))
    }
}

/// A job with its next run and the pages that takes.
pub(super) struct Planned {
    pub job: Job,
    pub run: Run,
    pub write: Vec<Page>,
}

impl Planned {
    /// As the flow takes it.
    pub fn row(&self) -> Row<'_> {
        let Progress { voice, pages, .. } = &self.job.progress;
        Row {
            voice,
            tokens: &self.job.tokens,
            from: self.run.from,
            to: self.run.to,
            history: &pages[..self.run.history],
            write: &self.write,
        }
    }

    /// Takes the run's pages into the utterance. Answers with `mel`, unless that was the prefix: then the job goes on.
    pub fn finish(mut self, mel: &Mel, planner: &Planner, ratio: usize) -> Option<Job> {
        let progress = &mut self.job.progress;
        progress.pages.append(&mut self.write);
        match self.job.goal {
            // No later chunk: what nobody sees goes back at once.
            Goal::Last | Goal::Whole if !self.run.prefix => progress.pages.clear(),
            _ => {
                let unseen = progress.pages.len() - planner.seen(progress.pages.len());
                progress.pages.drain(..unseen);
            }
        }
        if self.run.prefix {
            progress.done = self.run.to;
            return Some(self.job);
        }
        self.job.finish(mel, self.run.from, ratio);
        None
    }
}

/// Jobs that run together.
pub(super) trait Batch {
    /// When the first of them is due.
    fn deadline(&self) -> Instant;
    /// Answers all of them with `error`.
    fn fail(self, error: &Error);
}

impl Batch for Vec<Planned> {
    fn deadline(&self) -> Instant {
        let deadlines = self.iter().map(|p| p.job.deadline());
        deadlines.min().unwrap_or_else(Instant::now)
    }

    fn fail(self, error: &Error) {
        for Planned { job, .. } in self {
            // Nobody waits any more: nobody needs to know.
            let _ = job.reply.send(Err(error.clone()));
        }
    }
}

/// Whether `run` may join the runs of `batch`.
pub(super) fn fits(runner: &FlowRunner, batch: &[Planned], run: &Run, key: u64) -> bool {
    let Some(first) = batch.first() else { return true };
    let tokens = |run: &Run| runner.shape(1, run.to - run.from, 0).tokens;
    let same_prefix = |p: &Planned| p.run.prefix && p.job.progress.voice.key == key;
    if first.run.attention != run.attention
        || tokens(&first.run) != tokens(run)
        || (run.prefix && batch.iter().any(same_prefix))
    {
        return false;
    }
    let history = batch.iter().map(|p| p.run.history).fold(run.history, usize::max);
    let shape = runner.shape(batch.len() + 1, tokens(run), history);
    let new = shape.tokens * runner.flow().ratio();
    let seen = new + shape.history * runner.flow().config().chunk_tokens * runner.flow().ratio();
    shape.rows * new * seen <= limits::FLOW_BATCH_PAIRS
}
