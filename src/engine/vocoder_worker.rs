//! The vocoder's two graphs, shared by the requests of a lane.
//!
//! On a CPU every request runs them itself when it has the turn: a batch would make the first wait for the last. On a
//! GPU a worker runs those that wait together, where their mels have one shape, earliest deadline first.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::thread::JoinHandle;

use super::answer;
use super::turn::Turn;
use super::urgency::Urgency;
use crate::model::vocoder::{Ran, VocoderGraphs, VocoderRun, VocoderRuns};
use crate::{Error, Result, limits};

/// The graphs of one lane.
pub struct VocoderWorker(Way);

enum Way {
    InTurn(Box<VocoderGraphs>, Arc<Turn>),
    Batched(Worker),
}

impl VocoderWorker {
    /// With a `turn`, requests run the graphs themselves; without one, a thread runs them in batches until the worker
    /// is dropped.
    pub fn start(graphs: VocoderGraphs, turn: Option<Arc<Turn>>) -> Result<Self> {
        Ok(Self(match turn {
            Some(turn) => Way::InTurn(Box::new(graphs), turn),
            None => Way::Batched(Worker::start(graphs)?),
        }))
    }

    /// Runs the sessions that have a shape of their own; nothing else may use the device meanwhile.
    pub fn warm_up(&self) -> Result<()> {
        match &self.0 {
            Way::InTurn(graphs, _) => graphs.warm_up(),
            Way::Batched(worker) => worker.graphs.warm_up(),
        }
    }

    /// Runs for the request of this urgency; `keep_going` ends its waiting with an error.
    pub fn client<'a>(
        &'a self,
        urgency: &'a Arc<Urgency>,
        keep_going: &'a dyn Fn() -> Result<()>,
    ) -> impl VocoderRuns + use<'a> {
        Client {
            way: &self.0,
            urgency,
            keep_going,
        }
    }
}

struct Client<'a> {
    way: &'a Way,
    urgency: &'a Arc<Urgency>,
    keep_going: &'a dyn Fn() -> Result<()>,
}

impl VocoderRuns for Client<'_> {
    fn has_fixed_widths(&self) -> bool {
        match self.way {
            Way::InTurn(graphs, _) => graphs.has_fixed_widths(),
            Way::Batched(worker) => worker.graphs.has_fixed_widths(),
        }
    }

    fn run(&self, run: VocoderRun) -> Result<Ran> {
        match self.way {
            Way::InTurn(graphs, turn) => {
                let _turn = turn.take(self.urgency.deadline());
                (self.keep_going)()?;
                VocoderRuns::run(&**graphs, run)
            }
            Way::Batched(worker) => worker.run(self, run),
        }
    }
}

/// Runs of one shape can share a batch: of one graph, with so many frames.
fn shape(run: &VocoderRun) -> (bool, usize) {
    (run.decode.is_some(), run.mel.cols)
}

struct Job {
    run: VocoderRun,
    urgency: Arc<Urgency>,
    reply: SyncSender<Result<Ran>>,
}

/// The thread that runs the graphs. A request has one run at most in its queue.
struct Worker {
    graphs: Arc<VocoderGraphs>,
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    fn start(graphs: VocoderGraphs) -> Result<Self> {
        let (jobs, queue) = mpsc::channel();
        let graphs = Arc::new(graphs);
        let own = graphs.clone();
        let thread = std::thread::Builder::new()
            .name("vocoder".into())
            .spawn(move || serve(&own, &queue))
            .map_err(|e| Error::internal("starting the vocoder's thread", e))?;
        Ok(Self {
            graphs,
            jobs: Some(jobs),
            thread: Some(thread),
        })
    }

    fn run(&self, client: &Client<'_>, run: VocoderRun) -> Result<Ran> {
        let gone = || Error::Internal("the vocoder's thread has ended".into());
        let (reply, answer) = mpsc::sync_channel(1);
        let job = Job {
            run,
            urgency: client.urgency.clone(),
            reply,
        };
        let jobs = self.jobs.as_ref().ok_or_else(gone)?;
        jobs.send(job).map_err(|_| gone())?;
        answer::wait(&answer, client.keep_going, gone)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.jobs.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Runs batches until nobody can ask any more.
fn serve(graphs: &VocoderGraphs, queue: &Receiver<Job>) {
    let mut waiting = Vec::new();
    loop {
        if waiting.is_empty() {
            match queue.recv() {
                Ok(job) => waiting.push(job),
                Err(_) => return,
            }
        }
        waiting.extend(queue.try_iter());
        let batch = next_batch(&mut waiting, graphs.most_rows());
        let runs: Vec<&VocoderRun> = batch.iter().map(|job| &job.run).collect();
        match graphs.run(&runs) {
            Ok(rans) => {
                for (job, ran) in batch.iter().zip(rans) {
                    // One who left needs no answer.
                    let _ = job.reply.send(Ok(ran));
                }
            }
            Err(error) => batch.iter().for_each(|job| {
                let _ = job.reply.send(Err(error.clone()));
            }),
        }
    }
}

/// Takes the job that is due first and those of its shape, in the order they are due, as many as fit a batch of `most`.
fn next_batch(waiting: &mut Vec<Job>, most: usize) -> Vec<Job> {
    waiting.sort_by_cached_key(|job| job.urgency.deadline());
    let Some(due) = waiting.first().map(|job| shape(&job.run)) else {
        return Vec::new();
    };
    let alike = waiting.iter().filter(|job| shape(&job.run) == due).count();
    let mut room = rows_for(alike.min(most).min(most_rows(due.1)));
    waiting
        .extract_if(.., |job| {
            let fits = room > 0 && shape(&job.run) == due;
            room -= usize::from(fits);
            fits
        })
        .collect()
}

/// Mels of so many frames that run at once.
fn most_rows(frames: usize) -> usize {
    (limits::VOCODER_BATCH_FRAMES / frames.max(1)).max(1)
}

/// Of `count` mels, how many run at once: few sizes exist, so that few shapes are planned.
fn rows_for(count: usize) -> usize {
    let sizes = limits::VOCODER_ROWS;
    sizes.into_iter().rev().find(|&rows| rows <= count).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::model::Mel;

    fn job(frames: usize, decode: bool, due: u64) -> Job {
        let mel = Mel {
            rows: 1,
            cols: frames,
            data: vec![0.0; frames],
        };
        Job {
            run: match decode {
                true => VocoderRun::decode(mel, Vec::new()),
                false => VocoderRun::f0(mel),
            },
            urgency: {
                let urgency = Urgency::new(Instant::now(), true);
                urgency.sent(Duration::from_secs(due));
                urgency
            },
            reply: mpsc::sync_channel(1).0,
        }
    }

    #[test]
    fn a_batch_has_one_shape_and_what_is_due_first() {
        let mut waiting = vec![
            job(58, true, 9),
            job(58, true, 2),
            job(50, true, 1),
            job(58, false, 0),
        ];
        assert_eq!(shape(&next_batch(&mut waiting, 4)[0].run), (false, 58));
        assert_eq!(shape(&next_batch(&mut waiting, 4)[0].run), (true, 50));
        let pair = next_batch(&mut waiting, 4);
        assert_eq!(pair.len(), 2);
        assert!(pair[0].urgency.deadline() < pair[1].urgency.deadline());
        assert!(waiting.is_empty() && next_batch(&mut waiting, 4).is_empty());
    }

    #[test]
    fn a_batch_is_bounded_by_rows_and_frames() {
        let mut short: Vec<Job> = (0..40).map(|_| job(50, true, 0)).collect();
        assert_eq!(next_batch(&mut short, 16).len(), 16);
        assert_eq!(next_batch(&mut short, 8).len(), 8);
        let frames = limits::VOCODER_BATCH_FRAMES / 2 + 1;
        let mut long = vec![job(frames, true, 0), job(frames, true, 0)];
        assert_eq!(next_batch(&mut long, 4).len(), 1);
    }
}
