//! One utterance as its request's thread sees it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;

use super::job::{Goal, Job, Progress};
use super::{Queue, ended};
use crate::engine::answer;
use crate::engine::urgency::Urgency;
use crate::model::Mel;
use crate::model::flow::{Flow, FlowVoice};
use crate::{Error, Result};

/// The numbers of a flow that shape an utterance.
#[derive(Debug, Clone, Copy)]
pub(super) struct Geometry {
    chunk: usize,
    lookahead: usize,
    bins: usize,
    ratio: usize,
    spk_dim: usize,
    max_frames: usize,
}

impl Geometry {
    pub fn new(flow: &Flow) -> Self {
        let config = flow.config();
        Self {
            chunk: config.chunk_tokens,
            lookahead: config.lookahead_tokens,
            bins: flow.bins(),
            ratio: flow.ratio(),
            spk_dim: flow.spk_dim(),
            max_frames: flow.max_frames(),
        }
    }
}

/// One utterance. Chunks lie on a grid that begins with the prompt, whatever is asked for when, so its mel does not
/// depend on how its tokens come. Dropping it gives its pages back.
pub struct PagedStream {
    queue: Arc<Queue>,
    geometry: Geometry,
    voice: Arc<FlowVoice>,
    urgency: Arc<Urgency>,
    /// `None` while a job has it, and after the end or an error.
    progress: Option<Progress>,
    begun: Option<Begun>,
}

/// A job that has been asked for.
struct Begun {
    answer: mpsc::Receiver<Result<(Progress, Mel)>>,
    cancelled: Arc<AtomicBool>,
    goal: Goal,
}

impl Drop for Begun {
    /// Nobody waits for it any more.
    fn drop(&mut self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }
}

impl Drop for PagedStream {
    fn drop(&mut self) {
        self.begun = None;
        self.progress = None;
        self.queue.freed();
    }
}

impl PagedStream {
    pub(super) fn new(
        queue: Arc<Queue>,
        geometry: Geometry,
        voice: Arc<FlowVoice>,
        urgency: Arc<Urgency>,
    ) -> Self {
        Self {
            queue,
            geometry,
            progress: Some(Progress::new(voice.clone())),
            begun: None,
            voice,
            urgency,
        }
    }

    /// The mel `[bins, frames]` of the whole chunks in `tokens` (all so far) that was not returned before; the
    /// look-ahead's tokens are context only. With `finalize` no more tokens follow, and all the rest is returned.
    /// `keep_going` is asked while waiting and ends it with its error.
    pub fn chunk(
        &mut self,
        tokens: &[i64],
        finalize: bool,
        keep_going: &dyn Fn() -> Result<()>,
    ) -> Result<Mel> {
        keep_going()?;
        self.begin(tokens, finalize)?;
        self.finish(keep_going)
    }

    /// Asks for what [`Self::chunk`] returns, without waiting; [`Self::finish`] waits for it.
    pub fn begin(&mut self, tokens: &[i64], finalize: bool) -> Result<()> {
        let all = self.voice.tokens.len() + tokens.len();
        let (to, goal) = match finalize {
            true => (all, Goal::Last),
            false => (
                all.saturating_sub(self.geometry.lookahead) / self.geometry.chunk * self.geometry.chunk,
                Goal::Chunk,
            ),
        };
        self.ask(tokens, to, goal)
    }

    /// The mel of an utterance that is not streamed, with full attention.
    pub fn whole(&mut self, tokens: &[i64], keep_going: &dyn Fn() -> Result<()>) -> Result<Mel> {
        let all = self.voice.tokens.len() + tokens.len();
        keep_going()?;
        self.ask(tokens, all, Goal::Whole)?;
        self.finish(keep_going)
    }

    fn ask(&mut self, tokens: &[i64], to: usize, goal: Goal) -> Result<()> {
        self.check(to)?;
        let over = || Error::Internal("this utterance has come to its end".into());
        let progress = self.progress.take().ok_or_else(over)?;
        if to <= progress.handed_out() {
            self.progress = (goal == Goal::Chunk).then_some(progress);
            return Ok(());
        }
        let (reply, answer) = mpsc::channel();
        let cancelled = Arc::new(AtomicBool::new(false));
        let job = Job {
            progress,
            tokens: tokens.to_vec(),
            to,
            goal,
            urgency: self.urgency.clone(),
            cancelled: cancelled.clone(),
            reply,
        };
        self.begun = Some(Begun {
            answer,
            cancelled,
            goal,
        });
        self.queue.put(|inbox| inbox.jobs.push(job))
    }

    /// Waits for what was begun.
    pub fn finish(&mut self, keep_going: &dyn Fn() -> Result<()>) -> Result<Mel> {
        let Some(begun) = self.begun.take() else {
            return Ok(Mel {
                rows: self.geometry.bins,
                ..Mel::default()
            });
        };
        let (progress, mel) = answer::wait(&begun.answer, keep_going, ended)?;
        self.progress = (begun.goal == Goal::Chunk).then_some(progress);
        Ok(mel)
    }

    /// What would fail a whole batch is told here.
    fn check(&self, to: usize) -> Result<()> {
        let Geometry {
            bins, ratio, spk_dim, ..
        } = self.geometry;
        let voice = &self.voice;
        if voice.embedding.len() != spk_dim || voice.feat.len() != voice.tokens.len() * ratio * bins {
            return Err(Error::Internal(format!(
                "the voice has {} prompt tokens, {} mel values and an embedding of {}; the model wants {} values and {spk_dim}",
                voice.tokens.len(),
                voice.feat.len(),
                voice.embedding.len(),
                voice.tokens.len() * ratio * bins,
            )));
        }
        if to * ratio > self.geometry.max_frames {
            return Err(Error::Invalid(format!(
                "tts_text: prompt and speech of one sentence are {} mel frames; the model's limit is {}",
                to * ratio,
                self.geometry.max_frames
            )));
        }
        Ok(())
    }
}
